"""The sync scorer: from synthetic takes to the file that comes with the package.

    network = yield from fit_sync(config, lessons, talkers)
    save_scorer(network, path, version="1", facts={"licence": ...})

Each example is a stretch of a take, said by a face that has another shape, gains, lags and errors each time.
The network has to tell the true offset from the thirty others within 15 frames, and from the sound of the
other examples (InfoNCE):

    loss = -log softmax(exp(scale) [s(-15) ... s(15), s of the others])(0),   0.1 of it on each neighbour
"""

from collections.abc import Generator, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.dataset.synthetic.face_points import load_face_points
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES, load_head_mesh
from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.takes import TAKE_FPS
from nerf_ad.face.action_unit_network import lay_on_bone, load_network
from nerf_ad.sync.mouth import GAPS, NUM_LENGTHS, mouth_lengths, normalise_mouth
from nerf_ad.sync.scorer import (
    FPS,
    MAX_OFFSET,
    STEPS_PER_FRAME,
    SyncNetwork,
    SyncNetworkConfig,
    normalise_speech,
)

_REPORT: Final = 20
"""Steps from one event to the next."""
_FRAMES: Final = TAKE_FPS // FPS
"""Of a take for each of a clip."""
_AROUND: Final = 40
"""Frames before and after an example that normalise it too, as the rest of a clip would."""
_FAINT: Final = 1e-3
_SEAL: Final = 0.035
"""Weight of mouthClose at rest (``dataset.synthetic.figure``)."""


class SyncTrainingConfig(Config):
    """Fitting the sync scorer. All numbers are ours."""

    seed: int = Field(default=0, ge=0)
    """Of the weights and of all chance."""
    network: SyncNetworkConfig = SyncNetworkConfig()
    """Sizes."""
    num_steps: int = Field(default=300, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=2)
    """Examples per step."""
    num_frames: int = Field(default=50, ge=10)
    """Frames of an example."""
    rate: float = Field(default=2e-3, gt=0)
    """AdamW's rate, rising for 50 steps, then falling along a cosine to 0."""
    weight_decay: float = Field(default=0.02, ge=0)
    """AdamW's weight decay."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of speech channels that are left out; of hidden values half as many."""
    lag: float = Field(default=0.015, ge=0)
    """Seconds: deviation of how much earlier or later each face unit moves."""
    jitter: float = Field(default=0.02, ge=0)
    """Seconds by which all may be early or late."""
    blur: float = Field(default=0.055, ge=0)
    """Seconds: largest deviation of the blur over time."""
    gain: float = Field(default=0.35, ge=0)
    """Deviation of the logarithm of how strongly each unit moves."""
    liveliness: float = Field(default=0.4, ge=0)
    """The same of all together; on average 0.6 of what synthetic people do, as people move less."""
    mixing: float = Field(default=0.2, ge=0)
    """How far lengths are taken for one another."""
    trembling: float = Field(default=0.3, ge=0)
    """Largest error of a length from frame to frame, in usual deviations."""
    drift: float = Field(default=0.4, ge=0)
    """Largest slow error, over half a second."""


class Lesson(NamedTuple):
    """A take, ready to learn from."""

    units: Float32[np.ndarray, "frames 52"]
    """``TAKE_FPS`` times a second."""
    features: Float32[np.ndarray, "steps channels"]
    """Speech features, normalised."""

    @staticmethod
    def of(units: Float[np.ndarray, "frames 52"], features: Float[np.ndarray, "steps channels"]) -> "Lesson":
        """Of a take and its features as the encoder gives them."""
        return Lesson(units.astype(np.float32), normalise_speech(features.astype(np.float32)))

    @property
    def num_frames(self) -> int:
        """At 25 fps."""
        return min(len(self.units) // _FRAMES, len(self.features) // STEPS_PER_FRAME)


class Talker(NamedTuple):
    """Someone's mouth: its lengths are linear in the face units until lips touch."""

    rest: Float32[np.ndarray, "lengths"]
    moves: Float32[np.ndarray, "52 lengths"]

    @staticmethod
    def of(identity: Identity) -> "Talker":
        """Of a synthetic person.

        Raises:
            WeightsError: the mesh is not in the cache.
        """
        mesh, places = load_head_mesh(), load_face_points()
        shape = mesh.in_head_axes(mesh.shape(identity.shape_targets()))
        shape = shape + _SEAL * mesh.units[UNIT_NAMES.index("mouthClose")]
        rest = places.locate(shape, mesh.quads)
        moved = [rest + places.locate(unit, mesh.quads) for unit in mesh.units]
        faces = np.stack([rest, *moved]) * np.array([1.0, -1.0, -1.0])
        lengths = mouth_lengths(lay_on_bone(faces, load_network().template).points)
        return Talker(lengths[0], lengths[1:] - lengths[0])

    def speak(
        self,
        lesson: Lesson,
        start: int,
        count: int,
        config: SyncTrainingConfig,
        rng: np.random.Generator,
    ) -> Float32[np.ndarray, "frames lengths"]:
        """Lengths of the frames from ``start``, as a detector might see them on somebody much like that."""
        reach = 12
        lags = (rng.normal(0, config.lag, len(UNIT_NAMES)) + rng.uniform(-1, 1) * config.jitter) * TAKE_FPS
        at = np.arange(start * _FRAMES - reach, (start + count) * _FRAMES + reach)
        units = lesson.units[np.clip(at, 0, len(lesson.units) - 1)]
        units = gaussian_filter1d(units, rng.uniform(0.5, max(config.blur * TAKE_FPS, 0.5)), axis=0)
        where = np.clip(reach + _FRAMES * np.arange(count)[:, None] + lags[None], 0, len(units) - 1.001)
        below = where.astype(int)
        columns = np.arange(len(UNIT_NAMES))
        share = where - below
        units = units[below, columns] * (1 - share) + units[below + 1, columns] * share
        units = units * np.exp(rng.normal(0, config.gain, len(UNIT_NAMES)))
        lengths = units @ self.moves
        lengths[:, GAPS] = np.maximum(lengths[:, GAPS], -self.rest[GAPS])
        lengths = lengths * np.exp(rng.normal(-0.5, config.liveliness))
        mixing = rng.normal(0, config.mixing / 3**0.5, (NUM_LENGTHS, NUM_LENGTHS))
        lengths = lengths + lengths @ mixing
        fast, slow = rng.normal(size=(2, *lengths.shape))
        lengths += 1.3 * config.trembling * rng.uniform(0.07, 1) * gaussian_filter1d(fast, 0.5, axis=0)
        lengths += 6 * config.drift * rng.uniform() * gaussian_filter1d(slow, 12, axis=0)
        return np.asarray(lengths, np.float32)


class Batch(NamedTuple):
    """Examples; their sound begins ``MAX_OFFSET`` frames before the pictures and ends as much later."""

    mouths: Float32[Tensor, "batch frames lengths"]
    features: Float32[Tensor, "batch steps channels"]


def draw_batch(
    config: SyncTrainingConfig,
    lessons: Sequence[Lesson],
    talkers: Sequence[Talker],
    rng: np.random.Generator,
) -> Batch:
    """Stretches of random takes, said by random people."""
    mouths, features = [], []
    for _ in range(config.batch_size):
        lesson = lessons[int(rng.integers(len(lessons)))]
        start = int(rng.integers(MAX_OFFSET, lesson.num_frames - config.num_frames - MAX_OFFSET))
        first = max(0, start - _AROUND)
        last = min(lesson.num_frames, start + config.num_frames + _AROUND)
        talker = talkers[int(rng.integers(len(talkers)))]
        seen = normalise_mouth(talker.speak(lesson, first, last - first, config, rng))
        mouths.append(seen[start - first : start - first + config.num_frames])
        heard = lesson.features[
            STEPS_PER_FRAME * (start - MAX_OFFSET) : STEPS_PER_FRAME
            * (start + config.num_frames + MAX_OFFSET)
        ]
        features.append(heard + rng.normal(0, 0.2, heard.shape[1]) + rng.normal(0, 0.2, heard.shape))
    return Batch(torch.from_numpy(np.stack(mouths)), torch.from_numpy(np.stack(features).astype(np.float32)))


def agreements(
    mouths: Float[Tensor, "batch frames embedding"], sounds: Float[Tensor, "batch heard embedding"]
) -> tuple[Float[Tensor, "batch offsets"], Float[Tensor, "batch batch"]]:
    """Of every example with its own sound at all offsets, and with every example's sound at offset 0."""
    shifted = sounds.unfold(1, mouths.shape[1], 1)  # batch, offsets, embedding, frames
    loud = mouths.square().sum(dim=(1, 2))
    own = torch.einsum("bfe,boef->bo", mouths, shifted)
    own = own / (loud[:, None] * shifted.square().sum(dim=(2, 3)) + _FAINT).sqrt()
    middle = sounds[:, MAX_OFFSET:-MAX_OFFSET]
    every = torch.einsum("bfe,cfe->bc", mouths, middle)
    return own, every / (loud[:, None] * middle.square().sum(dim=(1, 2))[None] + _FAINT).sqrt()


def fit_sync(
    config: SyncTrainingConfig, lessons: Sequence[Lesson], talkers: Sequence[Talker]
) -> Generator[Event, None, SyncNetwork]:
    """Train the networks; about a tenth of a second a step."""
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    network = SyncNetwork(config.network, dropout=config.dropout)
    scale = nn.Parameter(torch.tensor(2.0))
    optimiser = torch.optim.AdamW(
        [*network.parameters(), scale], lr=config.rate, weight_decay=config.weight_decay
    )
    wanted = torch.zeros(config.batch_size, 2 * MAX_OFFSET + 1 + config.batch_size)
    wanted[:, MAX_OFFSET - 1 : MAX_OFFSET + 2] = torch.tensor([0.1, 0.8, 0.1])
    hidden = torch.diag(torch.full((config.batch_size,), -1e9))
    for step in range(config.num_steps):
        for group in optimiser.param_groups:
            fall = 0.5 + 0.5 * np.cos(np.pi * step / config.num_steps)
            group["lr"] = config.rate * min(1.0, (step + 1) / 50) * fall
        batch = draw_batch(config, lessons, talkers, rng)
        own, every = agreements(network.embed_mouth(batch.mouths), network.embed_speech(batch.features))
        logits = torch.cat([own, every + hidden], dim=1) * scale.exp()
        loss = -(wanted * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % _REPORT == _REPORT - 1 or step == config.num_steps - 1:
            near = (own.argmax(dim=1) - MAX_OFFSET).abs() <= 1
            yield Metric(name="sync_loss", step=step + 1, value=loss.item())
            yield Metric(name="sync_within_one", step=step + 1, value=near.float().mean().item())
            yield Progress(stage="learning sync", done=step + 1, total=config.num_steps)
    return network.eval()
