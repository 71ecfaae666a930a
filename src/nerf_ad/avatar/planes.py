"""What avatars of the planes field have in common: head, torso and plates, the clip's motion, eye states."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerf_ad.avatar.avatar import Moment, Motion, refuse_unsound_motion
from nerf_ad.avatar.folder import Plates, read_arrays, read_weights, refuse_misfit_tensors
from nerf_ad.avatar.manifest import FastAdManifest, FastManifest
from nerf_ad.core.files import write_npz
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.dataset import Dataset, shot_numbers
from nerf_ad.dataset.expression import ExpressionBasis, encode_expression
from nerf_ad.dataset.head_landmarks import HeadLandmarks
from nerf_ad.models.layered_renderer import LayeredRenderer, can_layer
from nerf_ad.models.pose_layers import LayerStore
from nerf_ad.models.talking_head import Condition, TalkingHead

BASIS_SHAPES = {
    "mouth_mean": "coordinates",
    "mouth_modes": "units coordinates",
    "mouth_scale": "units",
    "eye_mean": "states",
    "eye_scale": "states",
}
MOTION_SHAPES = {
    "camera_to_world": "frames 4 4",
    "eyes": "frames states",
    "shots": "shots",
    "train_frames": "2",
}

LAYERS_FORMAT = 1
"""Grows when kept layers of before can no longer be used."""


class PlanesBody:
    """A person as a planes field, whatever makes its mouth codes."""

    def __init__(self, head: TalkingHead, basis: ExpressionBasis, motion: Motion) -> None:
        self.head = head
        self.basis = basis
        self.motion = motion
        self.layers = LayerStore()
        """What speech does not touch of poses that come again."""
        self.shots = shot_numbers(motion.shots.tolist(), len(motion.eyes), head.config.num_shots)
        """Which shot each frame of the clip belongs to."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.head.intrinsics.device

    @classmethod
    def read(
        cls, root: Path, manifest: FastManifest | FastAdManifest, *, device: str | torch.device
    ) -> "PlanesBody":
        """Read the body's part of an avatar's folder.

        Raises:
            FormatError: damaged, or with a missing tensor.
        """
        paths = {part: root / "weights" / f"{part}.safetensors" for part in ("torso", "head")}
        torso, rest = (read_weights(path) for path in paths.values())
        whole = {**rest, **{f"torso.{name}": tensor for name, tensor in torso.items()}}
        # Shapes are compared before memory is taken: a manifest cannot claim more than the files hold.
        with torch.device("meta"):
            planned = TalkingHead(manifest.head, size=manifest.size)
        refuse_misfit_tensors(planned.torso, torso, paths["torso"])
        refuse_misfit_tensors(planned, whole, paths["head"])
        head = TalkingHead(manifest.head, size=manifest.size)
        head.load_state_dict(whole)
        plates = Plates.read(root, manifest, num_shots=manifest.head.num_shots)
        head.set_backgrounds(plates.pictures, plates.of_shot)
        sizes = {"units": manifest.head.mouth_dim, "states": manifest.head.eye_dim}
        basis = ExpressionBasis(**read_arrays(root / "assets" / "expression.npz", BASIS_SHAPES, sizes))
        motion = Motion(**read_arrays(root / "assets" / "poses.npz", MOTION_SHAPES, sizes))
        refuse_unsound_motion(root / "assets" / "poses.npz", motion)
        body = cls(head.eval().to(device), basis, motion)
        folder = layers_folder(root, manifest)
        if folder.is_dir():
            body.layers = LayerStore(folder=folder)
        return body

    def write(self, root: Path) -> None:
        """Write the body's part of an avatar's folder."""
        (root / "weights").mkdir(parents=True, exist_ok=True)
        state = self.head.state_dict()
        torso = {k.removeprefix("torso."): v for k, v in state.items() if k.startswith("torso.")}
        rest = {k: v for k, v in state.items() if not k.startswith("torso.")}
        write_tensors(root / "weights" / "torso.safetensors", torso)
        write_tensors(root / "weights" / "head.safetensors", rest)
        Plates(self.head.backgrounds, self.head.background_of.tolist()).write(root)
        write_npz(root / "assets" / "expression.npz", self.basis._asdict())
        write_npz(root / "assets" / "poses.npz", self.motion._asdict())

    def eyes_of(self, dataset: Dataset) -> Float[np.ndarray, "frames states"]:
        """Eye states of a recording's frames."""
        return encode_expression(HeadLandmarks.of(dataset), self.basis).eyes

    def frame(
        self, moment: Moment, background: Float[Tensor, "3 size size"] | None
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]: head over torso over background."""
        shot = self._shots_there[moment.place : moment.place + 1]
        condition = Condition(moment.code, moment.eyes, shot)
        if can_layer(self.head):
            lasting = background is None and self._is_of_clip(moment)
            keep = moment.comes_again or (lasting and self.layers.folder is not None)
            return self._layered.draw(
                condition, moment.camera_to_world, background=background, keep=keep, lasting=lasting
            )
        return self._draw(condition, moment.camera_to_world, background)

    def _is_of_clip(self, moment: Moment) -> bool:
        """Whether the clip's own head motion has that pose and these eyes."""
        motion, place = self.motion, moment.place
        own = (motion.camera_to_world[place], motion.eyes[place])
        asked = (moment.camera_to_world[0].numpy(), moment.eyes[0].numpy())
        return all(np.array_equal(np.asarray(a, np.float32), b) for a, b in zip(own, asked, strict=True))

    def keep_layers(self, root: Path, manifest: FastManifest | FastAdManifest) -> None:
        """From now on, keep layers in the avatar's folder; only where the head can be drawn by layers."""
        if can_layer(self.head):
            self.layers = LayerStore(folder=layers_folder(root, manifest))
            self.layers.clear_others()
            self.__dict__.pop("_layered", None)

    @cached_property
    def _shots_there(self) -> Int[Tensor, "frames"]:
        """The shots on the device: a copy for every frame would wait for the GPU."""
        return torch.as_tensor(np.asarray(self.shots), device=self.device)

    @cached_property
    def _layered(self) -> LayeredRenderer:
        """What draws a head that can be layered."""
        return LayeredRenderer(self.head, self.layers)

    @cached_property
    def _draw(self) -> Callable[[Condition, Tensor, Tensor | None], Tensor]:
        """What draws other heads: kernels on an NVIDIA GPU where the head fits them, else PyTorch."""
        if self.device.type == "cuda":
            from nerf_ad.models.frame_renderer import FrameRenderer, Frames, can_render

            if can_render(self.head):
                renderer = FrameRenderer(self.head)
                return lambda *made_from: renderer.draw(Frames(*made_from))[0]
        return lambda condition, pose, background: self.head.frame(condition, pose, background=background)


def layers_folder(root: Path, manifest: FastManifest | FastAdManifest) -> Path:
    """Where an avatar's layers are kept: below ``runs``, named by what they were made from."""
    files = {name: digest for name, digest in manifest.files.items() if "speech" not in name}
    made_from = json.dumps([LAYERS_FORMAT, files, manifest.size], sort_keys=True)
    return root / "runs" / "layers" / hashlib.blake2b(made_from.encode(), digest_size=8).hexdigest()
