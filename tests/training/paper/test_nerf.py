"""Stage 3: rates, rays, references, what learns, and going on where it stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nerf_ad.core.events import Metric, Progress
from nerf_ad.dataset.frame_file import FrameFile
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.face import landmarks as lm
from nerf_ad.geometry.camera import pose_matrix
from nerf_ad.models.paper.identity import IdentityConfig
from nerf_ad.models.paper.nerf import (
    ConditionalNerfConfig,
    ConditionModule,
    NerfConditions,
    PaperHead,
    PaperHeadConfig,
)
from nerf_ad.training.paper.nerf import fit_nerf, is_smoothed, nerf_parameters, nerf_rate
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig
from nerf_ad.training.paper.nerf_rays import NerfSampler, NerfTruth, ReferencePictures, face_rects
from nerf_ad.training.paper.nerf_step import NerfModule, StepGradients, add_gradients, draw_step
from nerf_ad.training.stage import StageState

SIZE, COUNT = 16, 8
TRAIN = range(1, 7)
HEAD = PaperHeadConfig(
    field=ConditionalNerfConfig(depth=2, width=24, again_after=2, colour_depth=1, colour_width=16),
    identity=IdentityConfig(
        input_frequencies=2, extractor_dim=8, feature_dim=8, offset_dims=(8, 4), ray_dim=4, slot_dim=8
    ),
    num_references=2,
    face_dim=3,
    offset_code_dim=2,
    point_frequencies=3,
    direction_frequencies=1,
    point_scale=10.0,
    coarse_samples=8,
    fine_samples=8,
)
TRAINING = NerfTrainingConfig(num_steps=6, num_rays=64, smooth_from=3)


class Speech(ConditionModule):
    """Stands in for the fusion part: codes that learn, through a layer that is frozen; and an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Embedding(COUNT, 2)
        with torch.no_grad():
            self.code.weight.copy_(torch.tensor([[-1.0, 0.5], [1.0, 0.5]]).repeat(COUNT // 2, 1))
        self.attention = nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 3).requires_grad_(requires_grad=False)

    def forward(self, frames, *, is_smoothed):
        audio = self.code(frames)
        if is_smoothed:
            audio = self.attention(audio)
        return NerfConditions(audio=audio, face=self.frozen(audio))

    def smoothing_parameters(self):
        return list(self.attention.parameters())


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> NerfTruth:
    """A disc before a grey wall, whose colour changes from frame to frame."""
    folder = Path(tmp_path_factory.mktemp("pixels"))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    disc = (rows - 7.5) ** 2 + (columns - 7.5) ** 2 < 20
    frames = np.full((COUNT, SIZE, SIZE, 3), 128, np.uint8)
    for frame in range(COUNT):
        frames[frame, disc] = (230, 40, 40) if frame % 2 else (40, 40, 230)
    torso = np.zeros((COUNT, SIZE, SIZE, 4), np.uint8)
    torso[:, 12:, :, :] = (10, 60, 110, 255)
    for name, array in (("frames", frames), ("torso", torso), ("labels", frames[..., 0])):
        (folder / f"{name}.raw").write_bytes(np.ascontiguousarray(array).tobytes())
    np.save(folder / "head_pixels.npy", np.zeros(0, np.int32))
    np.save(folder / "head_offsets.npy", np.zeros(COUNT + 1, np.int64))
    cache = PixelCache(folder, num_frames=COUNT, size=SIZE)
    plates = np.stack([np.full((SIZE, SIZE, 3), 0.5, np.float32), np.full((SIZE, SIZE, 3), 0.2, np.float32)])
    return NerfTruth(cache, plates, np.array([0, 0, 0, 0, 0, 0, 0, 1]))


POSES = torch.from_numpy(
    np.stack([pose_matrix(np.eye(3), np.array([0.01 * k, 0, 0.8])) for k in range(COUNT)])
)
POSES = POSES.float()


def gradients_of(config, module, state, sampler, poses, references):
    """Loss and figures of the step that comes next."""
    draw = draw_step(module.head, state, sampler, references, poses)
    return add_gradients(config, module, draw, poses, is_smoothed=False)


def make(path: Path, truth: NerfTruth, head=HEAD, config=TRAINING):
    torch.manual_seed(0)
    module = NerfModule(PaperHead(head, size=SIZE), Speech())
    module.head.set_camera(torch.tensor([40.0, 40.0, 8.0, 8.0]), POSES)
    state = StageState(
        path,
        module,
        torch.optim.Adam(nerf_parameters(module, config)),
        average_decay=config.average_decay,
        seed=0,
        fingerprint="x",
    )
    rects = np.tile([2, 4, 14, 12], (COUNT, 1))
    sampler = NerfSampler(config, truth, train=TRAIN, rects=rects, generator=state.numpy)
    pictures = ReferencePictures(np.asarray(truth.cache.frames[1:7]), first_frame=1)
    return module, state, sampler, pictures


def test_the_rate_is_the_papers() -> None:
    """5e-4 * 0.1 ** (step / 750000), by section 10."""
    config = NerfTrainingConfig()
    assert nerf_rate(config, 0) == 5e-4
    assert nerf_rate(config, 750_000) == pytest.approx(5e-5)
    assert nerf_rate(config, 375_000) == pytest.approx(5e-4 / 10**0.5)
    assert [is_smoothed(config, step) for step in (99_999, 100_000)] == [False, True]


def test_the_rectangle_is_ad_nerfs() -> None:
    """Half width 1.5 (x_max - c_x), half height 1.15 (chin - c_y) around the top of the nose; clipped."""
    points = np.full((2, 478, 2), 50.0)
    points[0, 0], points[0, 1] = (40, 50), (60, 50)  # extent 40..60: middle 50, half 10
    points[0, lm.NASION], points[0, lm.CHIN] = (50, 40), (50, 60)
    points[1] = points[0] + [45, -30]
    rects = face_rects(points, 100)
    assert rects[0].tolist() == [35, 17, 65, 63]
    assert rects[1].tolist() == [80, 0, 100, 33]


def test_rays_lie_in_the_rectangle_and_outside_it_by_their_share(truth: NerfTruth) -> None:
    """Defect 7: left, top, right, bottom; rows are y. No pixel twice."""
    config = NerfTrainingConfig(num_rays=40)
    rects = np.tile([1, 4, 15, 9], (COUNT, 1))
    sampler = NerfSampler(config, truth, train=TRAIN, rects=rects, generator=np.random.default_rng(0))
    flat = sampler.pixels(3)
    row, column = np.divmod(flat, SIZE)
    inside = (row >= 4) & (row < 9) & (column >= 1) & (column < 15)
    assert inside.sum() == 38
    assert len(set(flat.tolist())) == 40
    sampler.rects = np.zeros((COUNT, 4), int)
    assert len(sampler.pixels(3)) == 40


def test_a_batch_holds_what_the_cache_holds(truth: NerfTruth) -> None:
    for frame in (1, 7):
        flat = np.array([0, 7 * SIZE + 8, 13 * SIZE + 2])
        batch = truth.read(frame, flat)
        assert batch.pixels.tolist() == [[0.5, 0.5], [8.5, 7.5], [2.5, 13.5]]
        np.testing.assert_allclose(batch.rgb[1], np.array([230, 40, 40]) / 255, atol=1e-6)
        np.testing.assert_allclose(batch.behind[0], 0.5 if frame == 1 else 0.2, atol=1e-6)
        np.testing.assert_allclose(batch.behind[2], np.array([10, 60, 110]) / 255, atol=1e-6)
        np.testing.assert_allclose(truth.torso_image(frame)[13, 2], batch.behind[2])


def test_references_are_other_training_frames(truth: NerfTruth) -> None:
    sampler = NerfSampler(
        TRAINING, truth, train=TRAIN, rects=np.zeros((COUNT, 4), int), generator=np.random.default_rng(0)
    )
    seen = set()
    for _ in range(200):
        views = sampler.references(3, 4)
        assert len(set(views.tolist())) == 4
        seen.update(views.tolist())
    assert seen == {1, 2, 4, 5, 6}
    assert set(sampler.references(3, 50).tolist()) <= seen


def test_reference_pictures_are_read_by_the_clips_numbers(tmp_path: Path) -> None:
    pictures = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
    (tmp_path / "references.raw").write_bytes(pictures.tobytes())
    for held in (pictures, FrameFile(tmp_path / "references.raw", pictures.shape)):
        read = ReferencePictures(held, first_frame=5)(np.array([7, 5]))
        np.testing.assert_allclose(read.numpy() * 255, pictures[[2, 0]].transpose(0, 3, 1, 2), atol=1e-4)


def test_frozen_parts_stay_and_what_is_before_them_learns(truth: NerfTruth, tmp_path: Path) -> None:
    """Section 2: gradients flow through frozen parts; the attention learns at five times the rate."""
    module, state, sampler, pictures = make(tmp_path / "nerf.safetensors", truth)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    rates = []
    for _ in fit_nerf(TRAINING, module, state, sampler, POSES, pictures, seconds=None):
        rates = [group["lr"] for group in state.optimiser.param_groups]
    moved = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert {"conditions.code.weight", "conditions.attention.weight"} <= moved
    assert not any("frozen" in name for name in moved)
    still = {name for name in before if name not in moved and "frozen" not in name}
    # A bias of the queries adds the same to every slot's logit, which the softmax over slots takes out again.
    assert still <= {"head.identity.slots.query.bias"}
    assert rates[1] == pytest.approx(5 * rates[0])
    assert rates[0] == pytest.approx(nerf_rate(TRAINING, 5))


def test_the_attention_waits_for_its_step(truth: NerfTruth, tmp_path: Path) -> None:
    config = NerfTrainingConfig(num_steps=3, num_rays=32, smooth_from=3)
    module, state, sampler, pictures = make(tmp_path / "nerf.safetensors", truth, config=config)
    assert isinstance(module.conditions, Speech)
    before = module.conditions.attention.weight.detach().clone()
    events = list(fit_nerf(config, module, state, sampler, POSES, pictures, seconds=None))
    assert torch.equal(module.conditions.attention.weight, before)
    told = [event.name for event in events if isinstance(event, Metric) and event.step == 3]
    assert told == ["nerf loss", "nerf psnr", "nerf opacity"]
    assert {event.stage for event in events if isinstance(event, Progress)} == {"nerf"}


def test_stopped_and_resumed_equals_never_stopped(truth: NerfTruth, tmp_path: Path) -> None:
    """Defect 5: everything comes back, across the step at which the attention begins; bit for bit."""
    module, state, sampler, pictures = make(tmp_path / "whole.safetensors", truth)
    list(fit_nerf(TRAINING, module, state, sampler, POSES, pictures, seconds=None))
    for num_steps in (2, 6):
        parts, part, draws, pictures = make(tmp_path / "parts.safetensors", truth)
        part.resume()
        config = NerfTrainingConfig(num_steps=num_steps, num_rays=64, smooth_from=3)
        list(fit_nerf(config, parts, part, draws, POSES, pictures, seconds=None))
    assert part.step == state.step == 6
    for name, tensor in module.state_dict().items():
        assert torch.equal(parts.state_dict()[name], tensor), name


def test_the_loss_is_the_papers(truth: NerfTruth, tmp_path: Path) -> None:
    """MSE of both passes and 5e-9 L_off; a weight of 1 shows L_off itself."""
    losses = []
    for weight in (0.0, 1.0):
        config = NerfTrainingConfig(num_rays=64, offset_weight=weight)
        module, state, sampler, pictures = make(tmp_path / f"{weight}.safetensors", truth, config=config)
        assert module.head.identity is not None
        with torch.no_grad():
            for field in (module.head.coarse, module.head.fine):
                field.density.weight.zero_()
                field.density.bias.fill_(-1.0)  # empty: the picture is what is behind
            module.head.identity.offset.layers[2].bias.copy_(torch.tensor([3.0, 3.0]))
        loss, seen = gradients_of(config, module, state, sampler, POSES, pictures)
        losses.append((float(loss.detach()), float(seen.error)))
        assert float(seen.opacity) < 1e-4
    again = NerfSampler(TRAINING, truth, train=TRAIN, rects=sampler.rects, generator=np.random.default_rng(0))
    batch = again.draw()
    truth_error = float(((batch.behind - batch.rgb) ** 2).mean())
    assert losses[0][1] == pytest.approx(truth_error, abs=1e-4)
    assert losses[0][0] == pytest.approx(2 * truth_error, abs=2e-4)
    assert losses[1][0] - losses[0][0] == pytest.approx(9.0 * 15 / 16, rel=1e-2)


@pytest.mark.parametrize("uses_references", [True, False])
def test_parts_of_a_step_have_the_gradients_of_the_whole(
    truth: NerfTruth, tmp_path: Path, *, uses_references: bool
) -> None:
    """In double precision, offset loss included: 64 rays whole, in equal parts, and with a remainder."""
    head = PaperHeadConfig.model_validate({**HEAD.model_dump(), "uses_references": uses_references})
    found = []
    for size in (None, 16, 23):
        config = NerfTrainingConfig(num_rays=64, offset_weight=1.0, rays_at_once=size)
        module, state, sampler, pictures = make(tmp_path / f"{size}.safetensors", truth, head, config)
        module.double()
        if module.head.identity is not None:
            with torch.no_grad():
                module.head.identity.offset.layers[2].bias.copy_(torch.tensor([3.0, -2.0]))

        def doubled(frames, pictures=pictures):
            return pictures(frames).double()

        loss, seen = gradients_of(config, module, state, sampler, POSES.double(), doubled)
        gradients = {name: value.grad for name, value in module.named_parameters()}
        found.append((loss, seen, gradients))
    loss, seen, gradients = found[0]
    assert gradients["conditions.code.weight"] is not None
    for other_loss, other_seen, others in found[1:]:
        torch.testing.assert_close(other_loss, loss, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(other_seen, seen, atol=1e-12, rtol=1e-10)
        for name, mine in gradients.items():
            if mine is None:
                assert others[name] is None, name
            else:
                torch.testing.assert_close(others[name], mine, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("uses_references", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_head_learns_its_picture_and_what_it_is_conditioned_on(
    truth: NerfTruth, tmp_path: Path, *, uses_references: bool
) -> None:
    """Red when the code says odd, blue when it says even: from a flat wall to a coloured disc."""
    head = PaperHeadConfig.model_validate({**HEAD.model_dump(), "uses_references": uses_references})
    config = NerfTrainingConfig(num_steps=200, num_rays=96, rate=5e-3, smooth_from=10**6)
    module, state, sampler, pictures = make(tmp_path / "nerf.safetensors", truth, head, config)
    list(fit_nerf(config, module, state, sampler, POSES, pictures, seconds=None))
    module.eval()
    module.head.set_references(pictures(np.array([1, 2])), POSES[[1, 2]])
    for frame in (3, 4):
        given = module.conditions(torch.tensor([frame]), is_smoothed=False)
        torso = torch.from_numpy(truth.torso_image(frame))
        picture = module.head.frame(given, POSES[frame], torso)
        recorded = torch.from_numpy(np.asarray(truth.cache.frames[frame]).astype(np.float32) / 255)
        middle = picture[6:10, 6:10] - recorded[6:10, 6:10]
        assert float(middle.abs().mean()) < 0.15
        assert int(picture[8, 8].argmax()) == (0 if frame % 2 else 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("uses_references", [True, False])
def test_a_captured_step_is_the_step(truth: NerfTruth, tmp_path: Path, *, uses_references: bool) -> None:
    """Five different draws: what the graph replays has the losses and gradients of a step made anew."""
    head = PaperHeadConfig.model_validate({**HEAD.model_dump(), "uses_references": uses_references})
    module, state, sampler, pictures = make(tmp_path / "nerf.safetensors", truth, head)
    module, poses = module.cuda(), POSES.cuda()
    captured = StepGradients(TRAINING, module, poses)
    for _ in range(5):
        draw = draw_step(module.head, state, sampler, pictures, poses)
        loss, seen = captured(draw, is_smoothed=False)
        assert captured.failure is None
        mine = {
            name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None
        }
        module.zero_grad(set_to_none=True)
        plain, plain_seen = add_gradients(TRAINING, module, draw, poses, is_smoothed=False)
        torch.testing.assert_close(loss, plain, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(seen, plain_seen, atol=1e-6, rtol=1e-4)
        for name, value in module.named_parameters():
            if value.grad is not None:
                torch.testing.assert_close(mine[name], value.grad, atol=1e-5, rtol=1e-3)
