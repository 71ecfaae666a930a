"""What an avatar keeps of its poses, and where."""

from pathlib import Path

import numpy as np
import torch

from nerf_ad.avatar.avatar import Moment, Motion
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.avatar.planes import PlanesBody, layers_folder
from nerf_ad.dataset.expression import ExpressionBasis
from nerf_ad.models.fields.hashed_planes import HashedPlaneFieldConfig
from nerf_ad.models.speech_code import SpeechCodeConfig
from nerf_ad.models.talking_head import OPAQUE, Condition, TalkingHead, TalkingHeadConfig
from nerf_ad.speech.encoder import MelConfig

CONFIG = TalkingHeadConfig(grid_resolution=16, num_steps=32, mouth_dim=3, eye_dim=5)
HASHED = HashedPlaneFieldConfig(num_levels=3, base_resolution=8, finest_resolution=32, log2_table_size=8)


def make_body(config: TalkingHeadConfig = CONFIG) -> PlanesBody:
    torch.manual_seed(0)
    head = TalkingHead(config, size=32)
    head.grid.set_box(torch.full((3,), -0.15), torch.full((3,), 0.15))
    head.grid.set_cells(head.grid.centres().norm(dim=-1) < 0.12)
    head.intrinsics.copy_(torch.tensor([60.0, 60, 16, 16]))
    head.mouth_centre.copy_(torch.tensor([0.0, -0.05, 0.1]))
    head.mouth_extent.fill_(0.02)
    poses = np.broadcast_to(np.eye(4, dtype=np.float32), (6, 4, 4)).copy()
    poses[:, 2, 3] = 0.8 + 0.01 * np.arange(6)
    motion = Motion(poses, np.zeros((6, 5), np.float32), np.zeros(1, np.int64), np.array([0, 6]))
    nothing = np.zeros((1, 1), np.float32)
    basis = ExpressionBasis(nothing[0], nothing, nothing[0], nothing[0], nothing[0])
    return PlanesBody(head.eval(), basis, motion)


def moment(body: PlanesBody, place: int, *, again: bool = False, shift: float = 0.0) -> Moment:
    pose = torch.from_numpy(body.motion.camera_to_world[place : place + 1]).clone()
    pose[0, 0, 3] += shift
    return Moment(torch.randn(1, 3), torch.zeros(1, 5), pose, place, None, again)


def manifest(digest: str) -> FastManifest:
    return FastManifest(
        name="person",
        made_by="0",
        preset="tiny",
        fps=25,
        size=32,
        speech=MelConfig(),
        speech_channels=29,
        speech_id="mel",
        source_sha256="0" * 64,
        head=CONFIG,
        speech_code=SpeechCodeConfig(),
        files={"weights/head.safetensors": digest},
    )


def check(body: PlanesBody, of: Moment) -> None:
    plain = body.head.frame(Condition(of.code, of.eyes, torch.tensor([0])), of.camera_to_world)
    torch.testing.assert_close(body.frame(of, None), plain, atol=OPAQUE / 2, rtol=0)


def test_only_poses_that_come_again_are_kept() -> None:
    body = make_body()
    for place in range(6):
        check(body, moment(body, place))
    assert body.layers.is_empty
    check(body, moment(body, 2, again=True))
    check(body, moment(body, 2))
    check(body, moment(body, 2, again=True, shift=0.01))  # a user's own pose
    assert body.layers.num_kept == 2


def test_layers_in_the_folder_are_those_of_the_clips_poses_and_of_these_weights(tmp_path: Path) -> None:
    body = make_body()
    body.keep_layers(tmp_path, manifest("0" * 64))
    for place in (0, 1):
        check(body, moment(body, place))
    check(body, moment(body, 3, again=True, shift=0.01))
    body.frame(moment(body, 4, again=True), torch.rand(3, 32, 32))  # before the user's background
    folder = layers_folder(tmp_path, manifest("0" * 64))
    assert len(list(folder.glob("*.npz"))) == 2
    assert layers_folder(tmp_path, manifest("1" * 64)) != folder
    other = make_body()
    other.keep_layers(tmp_path, manifest("0" * 64))
    check(other, moment(other, 0))
    assert other.layers.num_kept == 1


def test_a_field_that_cannot_be_layered_is_drawn_plainly_and_keeps_nothing(tmp_path: Path) -> None:
    body = make_body(TalkingHeadConfig.model_validate({**CONFIG.model_dump(), "field": HASHED}))
    body.keep_layers(tmp_path, manifest("0" * 64))
    of = moment(body, 2, again=True)
    plain = body.head.frame(Condition(of.code, of.eyes, torch.tensor([0])), of.camera_to_world)
    assert torch.equal(body.frame(of, None), plain)
    assert bool((plain != plain[0, 0]).any())
    assert body.layers.is_empty
    assert not any(tmp_path.iterdir())
