"""The network of action units: from drawn people to the file that comes with the package.

    network = yield from fit_action_units(config, people, imagine_speech(40))
    save_network(network, path, {"licence": ...})

A drawn frame costs a tenth of a second, a movement costs nothing. So besides the drawn frames the network
learns from imagined ones: how detected landmarks answer to the face units is fitted once (`Response`), and
what it does not explain - the detector's errors, the person's own ways, the neutral that was found instead of
the true one - is taken from one drawn frame and put on what another face does.

All is linear up to the network's first layer, so that movements are kept as components of few dimensions.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.synthetic.articulation import UNIT_INDEX
from nerf_ad.dataset.synthetic.samples import Imagined, Samples, imagine_expressions
from nerf_ad.face.action_unit_network import (
    FORMAT,
    ActionUnitNetwork,
    average_template,
    lay_on_bone,
    turn_terms,
)
from nerf_ad.face.action_units import UNITS, ActionUnitConfig
from nerf_ad.face.landmarks import NUM_POINTS
from nerf_ad.geometry.rotations import align_rotation

WIDEST: Final = 0.25
"""Gap between the inner lips, in distances between the outer eye corners, at which AU25 is 1.

About the widest of a speaking synthetic person."""
_NUM_TURN_TERMS: Final = 9
_REPORT: Final = 100
"""Steps from one event to the next."""
_SMOOTHINGS: Final = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5)
"""Frames; longer ones would pay on imagined faces, whose errors do not last."""
_THRESHOLDS: Final = tuple(round(0.05 * index, 2) for index in range(3, 14))
_JAW: Final = UNIT_INDEX["jawOpen"]
_MOUTH: Final = tuple(index for name, index in UNIT_INDEX.items() if name.startswith("mouth"))


class ActionUnitTrainingConfig(Config):
    """Fitting the network of action units. All numbers are ours."""

    seed: int = Field(default=0, ge=0)
    """Of the weights, the batches and the noise."""
    num_components: int = Field(default=160, ge=1)
    """Principal movements that are seen."""
    num_members: int = Field(default=3, ge=1)
    """Networks whose mean is taken; together they are one network with as many times the hidden values."""
    hidden_dim: int = Field(default=128, ge=1)
    """Hidden values of each member."""
    num_steps: int = Field(default=4000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=256, ge=2)
    """Frames per step."""
    imagined: float = Field(default=0.5, ge=0, le=1)
    """Share of the batch that is imagined."""
    expressive: float = Field(default=0.33, ge=0, le=1)
    """Share of the imagined frames that are expressions and no speech."""
    num_expressions: int = Field(default=12000, ge=2)
    """Imagined sparse expressions; dense ones are half as many."""
    rate: float = Field(default=2e-3, gt=0)
    """AdamW's rate, falling along a cosine to 0."""
    weight_decay: float = Field(default=1.0, ge=0)
    """AdamW's weight decay."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of hidden values that are left out."""
    noise: float = Field(default=0.003, ge=0)
    """Deviation of the noise on every component, in distances between the outer eye corners."""
    ridge: float = Field(default=3e-4, ge=0)
    """What holds the response to the units down, against their mean square."""
    num_neutrals: int = Field(default=8, ge=1)
    """Neutrals of each person, each from another half of the frames: how far off a found one may be."""
    presence_share: float = Field(default=0.3, ge=0)
    """Weight of presence in the loss; intensities have 1."""


class Response(NamedTuple):
    """How components answer to the face units, away from a person's neutral."""

    matrix: Float32[Tensor, "terms components"]

    @staticmethod
    def terms(units: Float[Tensor, "frames 52"]) -> Float[Tensor, "frames terms"]:
        """The units, and what the mouth's do while the jaw is open."""
        jaw = units[:, [_JAW]]
        return torch.cat([units, jaw * units[:, list(_MOUTH)], jaw * jaw], dim=1)

    @staticmethod
    def fit(units: Sequence[Tensor], components: Sequence[Tensor], ridge: float) -> "Response":
        """Least squares on how frames differ from their person's mean, held down by ``ridge``."""
        terms = [Response.terms(part).double() for part in units]
        within = torch.cat([part - part.mean(dim=0) for part in terms])
        moved = torch.cat([part.double() - part.double().mean(dim=0) for part in components])
        square = within.T @ within + ridge * len(within) * torch.eye(within.shape[1], dtype=torch.float64)
        return Response(torch.linalg.solve(square, within.T @ moved).float())

    def __call__(self, units: Float[Tensor, "frames 52"]) -> Float[Tensor, "frames components"]:
        """Components of a face with such units, from neutral."""
        return Response.terms(units) @ self.matrix


class Prepared(NamedTuple):
    """Everybody's frames, and the same in a mirror. Neutrals are not subtracted yet."""

    template: Float32[np.ndarray, "rigid 3"]
    basis: Float32[np.ndarray, "coordinates components"]
    """Orthonormal."""
    deviation: Float32[np.ndarray, "components"]
    """Of each component."""
    response: Response
    frames: Float32[Tensor, "frames components"]
    turns: Float32[Tensor, "frames 3"]
    neutrals: Float32[Tensor, "people neutrals components"]
    neutral_turns: Float32[Tensor, "people neutrals 3"]
    person: Int[Tensor, "frames"]
    """Row of the neutrals."""
    units: Float32[Tensor, "frames 52"]
    targets: Float32[Tensor, "frames units"]
    """Intensities of ``UNITS``."""


class Dream(NamedTuple):
    """Imagined faces, ready to learn from."""

    units: Float32[Tensor, "frames 52"]
    intensity: Float32[Tensor, "frames units"]

    @staticmethod
    def of(imagined: Imagined) -> "Dream":
        """With their true intensities."""
        return Dream(
            torch.from_numpy(imagined.units),
            torch.from_numpy(true_intensity(imagined.units, imagined.lip_gap)),
        )


class Lessons(NamedTuple):
    """What batches are drawn from."""

    data: Prepared
    expected: Float32[Tensor, "frames components"]
    """The response to the units of every drawn frame."""
    scale: Float32[Tensor, "components"]
    """Brings components to one size."""
    speech: Dream
    expressions: Dream

    def draw(
        self, config: ActionUnitTrainingConfig, generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch inputs"], Float[Tensor, "batch units"]]:
        """Inputs and true intensities: imagined speech first, then expressions, then frames as drawn."""
        data, count = self.data, config.batch_size
        chosen = torch.randint(len(data.frames), (count,), generator=generator)
        which = torch.randint(config.num_neutrals, (count,), generator=generator)
        owner = data.person[chosen]
        moved = data.frames[chosen] - data.neutrals[owner, which]
        turn = data.turns[chosen] - data.neutral_turns[owner, which]
        wanted = data.targets[chosen].clone()
        num_imagined = round(count * config.imagined)
        num_expressive = round(num_imagined * config.expressive)
        at = 0
        for dream, share in (
            (self.speech, num_imagined - num_expressive),
            (self.expressions, num_expressive),
        ):
            here = slice(at, at + share)
            picked = torch.randint(len(dream.units), (share,), generator=generator)
            moved[here] += data.response(dream.units[picked]) - self.expected[chosen[here]]
            wanted[here] = dream.intensity[picked]
            at += share
        moved += config.noise * torch.randn(moved.shape, generator=generator)
        return torch.cat([moved * self.scale, torch.from_numpy(turn_terms(turn.numpy()))], dim=1), wanted


class Member(nn.Module):
    """One network while it learns."""

    def __init__(self, config: ActionUnitTrainingConfig, num_outputs: int) -> None:
        super().__init__()
        num_inputs = config.num_components + _NUM_TURN_TERMS
        self.hidden = nn.Linear(num_inputs, config.hidden_dim)
        self.output = nn.Linear(config.hidden_dim, num_outputs)
        self.shortcut = nn.Linear(num_inputs, num_outputs, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """Intensities, then logits of presence."""
        return self.output(self.dropout(F.relu(self.hidden(inputs)))) + self.shortcut(inputs)


def true_intensity(
    units: Float[np.ndarray, "frames 52"], lip_gap: Float[np.ndarray, "frames"]
) -> Float32[np.ndarray, "frames units"]:
    """Of every unit of ``UNITS``: the mean of its blendshapes; AU25 is the lips' gap over ``WIDEST``."""
    gap = np.clip(lip_gap / WIDEST, 0, 1)
    columns = [
        units[:, [UNIT_INDEX[part] for part in parts]].mean(axis=1) if parts else gap
        for parts in UNITS.values()
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def prepare(config: ActionUnitTrainingConfig, people: Sequence[Samples]) -> Prepared:
    """Lay all faces on an average one, find principal movements, the response to units, and neutrals.

    A person's neutral is what is left of the frames without the response to their units, on average: nothing
    gets closer with so few frames, and the network's own way about as close with some hundred.
    """
    rng = np.random.default_rng(config.seed)
    closed = np.stack([person.points[np.argmin(person.lip_gap)] for person in people]).astype(np.float64)
    template = average_template(closed)
    plain = [lay_on_bone(person.points.astype(np.float64), template) for person in people]
    twin = mirrored_points(np.stack([laid.points.mean(axis=0) for laid in plain]))
    faces = [*plain, *(laid.mirrored(twin) for laid in plain)]
    flat = [laid.points.reshape(len(laid.points), -1) for laid in faces]
    basis, deviation = principal(
        np.concatenate([part - part.mean(axis=0) for part in flat]), config.num_components
    )
    other = _other_sides()
    units = [person.units for person in people] + [person.units[:, other] for person in people]
    targets = [true_intensity(person.units, person.lip_gap) for person in people] * 2

    def tensor(values: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(values).astype(np.float32))

    components = [part @ basis for part in flat]
    response = Response.fit(
        [torch.from_numpy(part) for part in units],
        [torch.from_numpy(part) for part in components],
        config.ridge,
    )
    neutrals, neutral_turns = [], []
    for laid, part, moved in zip(faces, components, units, strict=True):
        left = part - response(torch.from_numpy(moved)).numpy()
        halves = [
            rng.choice(len(left), max(len(left) // 2, 1), replace=False) for _ in range(config.num_neutrals)
        ]
        neutrals.append(np.stack([left[half].mean(axis=0) for half in halves])[None])
        neutral_turns.append(np.stack([laid.turn[half].mean(axis=0) for half in halves])[None])
    return Prepared(
        template=template,
        basis=basis.astype(np.float32),
        deviation=deviation.astype(np.float32),
        response=response,
        frames=tensor(components),
        turns=tensor([laid.turn for laid in faces]),
        neutrals=tensor(neutrals),
        neutral_turns=tensor(neutral_turns),
        person=torch.from_numpy(np.repeat(np.arange(len(faces)), [len(part) for part in flat])),
        units=tensor(units),
        targets=tensor(targets),
    )


def fit_action_units(
    config: ActionUnitTrainingConfig, people: Sequence[Samples], speech: Imagined, *, version: str = "1"
) -> Generator[Event, None, ActionUnitNetwork]:
    """Train on all of them.

    Args:
        config: the numbers.
        people: drawn by ``dataset.synthetic.samples``.
        speech: what is said besides.
        version: what the network is called.

    Returns:
        the network, its members and components multiplied out.
    """
    data = prepare(config, people)
    expressions = imagine_expressions(speech, config.num_expressions, seed=config.seed)
    scale = 1 / torch.sqrt(torch.from_numpy(data.deviation) ** 2 + config.noise**2)
    lessons = Lessons(data, data.response(data.units), scale, Dream.of(speech), Dream.of(expressions))
    spread = data.targets.std(dim=0).clamp(min=0.02)
    presence = ActionUnitConfig().presence

    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)  # dropout and the first weights draw from the global generator
    members = [Member(config, 2 * len(UNITS)) for _ in range(config.num_members)]
    optimiser = torch.optim.AdamW(
        nn.ModuleList(members).parameters(), lr=config.rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.num_steps)
    total = 0.0
    for step in range(1, config.num_steps + 1):
        inputs, wanted = lessons.draw(config, generator)
        is_there = (wanted >= presence).float()
        loss = torch.zeros(())
        for member in members:
            intensity, logits = member(inputs).chunk(2, dim=1)
            loss = loss + (((intensity - wanted) / spread) ** 2).mean()
            loss = loss + config.presence_share * F.binary_cross_entropy_with_logits(logits, is_there)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item() / config.num_members
        if step % _REPORT == 0:
            mean, total = total / _REPORT, 0.0
            yield Metric(name="action unit loss", step=step, value=mean)
            yield Progress(stage="action units", done=step, total=config.num_steps, note=f"loss {mean:.3f}")
    network = multiply_out(members, data, scale, version=version)
    return tune_over_time(network, data, scale, speech, generator)


def multiply_out(
    members: Sequence[Member], data: Prepared, scale: Float[Tensor, "components"], *, version: str
) -> ActionUnitNetwork:
    """The mean of the members as one network."""
    share = 1 / len(members)

    def plain(tensor: Tensor) -> np.ndarray:
        return tensor.detach().numpy().astype(np.float32)

    return ActionUnitNetwork(
        version=version,
        names=tuple(UNITS),
        template=data.template,
        directions=plain(torch.from_numpy(data.basis) * scale),
        hidden=plain(torch.cat([member.hidden.weight.T for member in members], dim=1)),
        hidden_bias=plain(torch.cat([member.hidden.bias for member in members])),
        output=plain(share * torch.cat([member.output.weight.T for member in members])),
        shortcut=plain(share * torch.stack([member.shortcut.weight.T for member in members]).sum(dim=0)),
        smoothing=np.zeros(len(UNITS), np.float32),
        threshold=np.full(len(UNITS), 0.5, np.float32),
        output_bias=plain(share * torch.stack([member.output.bias for member in members]).sum(dim=0)),
    )


def tune_over_time(
    network: ActionUnitNetwork,
    data: Prepared,
    scale: Float[Tensor, "components"],
    speech: Imagined,
    generator: torch.Generator,
) -> ActionUnitNetwork:
    """Choose each unit's smoothing (best correlation) and threshold (best F1) on imagined speech.

    Every frame gets the errors of a random drawn one, as if they did not last from frame to frame.
    """
    units, wanted = torch.from_numpy(speech.units), true_intensity(speech.units, speech.lip_gap)
    lent = torch.randint(len(data.frames), (len(units),), generator=generator)
    owner = data.person[lent]
    moved = (
        data.frames[lent] - data.neutrals[owner, 0] + data.response(units) - data.response(data.units)[lent]
    )
    turn = turn_terms((data.turns[lent] - data.neutral_turns[owner, 0]).numpy())
    intensity, probability = network.judge(np.concatenate([(moved * scale).numpy(), turn], axis=1))
    tried = []
    for sigma in _SMOOTHINGS:
        blur = network._replace(smoothing=np.full(len(UNITS), sigma, np.float32))
        tried.append((correlations(blur.smooth(intensity)[0], wanted), sigma))
    best = np.argmax([values for values, _ in tried], axis=0)
    network = network._replace(smoothing=np.array([_SMOOTHINGS[index] for index in best], np.float32))
    (blurred,) = network.smooth(probability)
    is_there = wanted >= ActionUnitConfig().presence
    scores = []
    for threshold in _THRESHOLDS:
        said = blurred >= threshold
        scores.append(
            2 * (said & is_there).sum(axis=0) / np.maximum(said.sum(axis=0) + is_there.sum(axis=0), 1)
        )
    chosen = np.array([_THRESHOLDS[index] for index in np.argmax(scores, axis=0)], np.float32)
    return network._replace(threshold=chosen)


def correlations(
    first: Float[np.ndarray, "frames units"], second: Float[np.ndarray, "frames units"]
) -> Float[np.ndarray, "units"]:
    """Column by column, in [-1, 1]; 0 where one does not move."""
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    size = np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    return np.asarray(np.where(size > 1e-9, (one * two).sum(axis=0) / np.maximum(size, 1e-9), 0.0))


def save_network(network: ActionUnitNetwork, path: Path, facts: Mapping[str, str]) -> None:
    """Write the file that ``face.action_unit_network`` reads, in half precision.

    Args:
        network: what to write.
        path: where; ``.safetensors``.
        facts: what else stands in the file's head: licence, command, seed.
    """
    tensors = {
        name: torch.from_numpy(value).half()
        for name, value in network._asdict().items()
        if isinstance(value, np.ndarray)
    }
    head = {"format": str(FORMAT), "version": network.version, "names": json.dumps(network.names)}
    write_tensors(path, tensors, {**facts, **head})


def principal(
    moved: Float[np.ndarray, "frames coordinates"], count: int
) -> tuple[Float[np.ndarray, "coordinates components"], Float[np.ndarray, "components"]]:
    """The directions along which faces move most, and how far."""
    values, vectors = np.linalg.eigh(moved.T @ moved / len(moved))
    order = np.argsort(values)[::-1][:count]
    return vectors[:, order], np.sqrt(np.maximum(values[order], 0))


def mirrored_points(faces: Float[np.ndarray, "people 478 3"]) -> Int[np.ndarray, "478"]:
    """For every landmark the one on the other side: the nearest on the mean face in a mirror."""
    from scipy.spatial import cKDTree

    mean = faces.mean(axis=0)
    mean = mean - mean.mean(axis=0)
    flipped = mean * np.array([-1.0, 1.0, 1.0])
    tree = cKDTree(mean)
    twin = tree.query(flipped)[1]
    for _ in range(4):
        turn = align_rotation(flipped, mean[twin], np.ones(NUM_POINTS))
        twin = tree.query((flipped - flipped.mean(axis=0)) @ turn.T + mean[twin].mean(axis=0))[1]
    return np.asarray(twin)


def _other_sides() -> list[int]:
    """For every face unit the column of the one on the other side."""
    swap = {"Left": "Right", "Right": "Left"}
    order = []
    for name, index in UNIT_INDEX.items():
        side = next((end for end in swap if name.endswith(end)), None)
        order.append(index if side is None else UNIT_INDEX[name[: -len(side)] + swap[side]])
    return order
