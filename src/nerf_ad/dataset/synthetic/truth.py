"""The truth about a film of a synthetic person, on disk: everything that capture has to guess.

A folder beside the video; ``truth.json`` comes last, so that a truth is whole or not there. The same choices
give the same bytes.

    truth.json            format, who, what was said, sentences, phonemes with times, size, fps
    tracking.npz          camera_to_world, torso (frames 4 4): from where they rest; intrinsics (4)
    expression.npz        units (frames 52) in [0, 1], names
    action_units.npz      intensity (frames units) in [0, 1], presence, names
    landmarks.npz         points (frames 478 3) pixels, ibug (frames 68 2) pixels, lip_gap (frames) metres
    parts/000000.png      palette: 0 background, 1 head, 2 neck, 3 torso, 4 hair
    depth/000000.png      16 bits, tenths of a millimetre along the viewing axis; 0 is the background
    background.png        the room without the person
    audio.wav             mono, 24 kHz
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.core.files import explained, read_json, read_npz, write_json, write_npz
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES
from nerf_ad.dataset.synthetic.look import Rendered
from nerf_ad.dataset.synthetic.motion import PRESENCE, action_unit_truth
from nerf_ad.dataset.synthetic.vocoder import SAMPLE_RATE
from nerf_ad.dataset.synthetic.voice import Phoneme, Sentence, Utterance
from nerf_ad.face.parsing import PALETTE
from nerf_ad.media.audio import Waveform, write_wav
from nerf_ad.media.images import write_image

FORMAT = 1
"""Version of this folder."""
HAIR = 4
"""Label of hair in ``parts``; the others are those of ``face.parsing.Part``."""
DEPTH_UNIT = 1e-4
"""Metres in one step of a depth picture."""


class Truth(NamedTuple):
    """Arrays of a truth folder; pictures stay on disk."""

    camera_to_world: Float[np.ndarray, "frames 4 4"]
    intrinsics: Float[np.ndarray, "4"]
    units: Float[np.ndarray, "frames 52"]
    intensity: Float[np.ndarray, "frames units"]
    presence: Bool[np.ndarray, "frames units"]
    names: tuple[str, ...]
    """Of the action units."""
    points: Float[np.ndarray, "frames 478 3"]
    ibug: Float[np.ndarray, "frames 68 2"]
    lip_gap: Float[np.ndarray, "frames"]
    """Metres."""


class TruthWriter:
    """Writes a truth folder frame by frame."""

    def __init__(self, root: Path) -> None:
        """Begin.

        Raises:
            BadInputError: the folder holds something already, or cannot be written.
        """
        with explained(root):
            if root.is_dir() and any(root.iterdir()):
                raise BadInputError(f"{root} is not empty", hint="choose a folder that is new or empty")
            root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.points: list[Float[np.ndarray, "478 3"]] = []
        self.ibug: list[Float[np.ndarray, "68 2"]] = []
        self.lip_gap: list[float] = []

    def add(self, seen: Rendered) -> None:
        """The next frame."""
        name = f"{len(self.points):06d}.png"
        labels = np.where(seen.hair, HAIR, seen.labels).astype(np.uint8)
        write_image(self.root / "parts" / name, labels, palette=[*PALETTE[:4], (120, 72, 30)])
        write_image(self.root / "depth" / name, steps_of_depth(seen.depth))
        self.points.append(seen.landmarks478)
        self.ibug.append(seen.landmarks68)
        self.lip_gap.append(seen.lip_gap)

    def discard(self) -> None:
        """Remove the folder, which was new or empty, with all that was written."""
        shutil.rmtree(self.root, ignore_errors=True)

    def finish(
        self,
        *,
        camera_to_world: Float[np.ndarray, "frames 4 4"],
        intrinsics: Float[np.ndarray, "4"],
        torso: Float[np.ndarray, "frames 4 4"],
        units: Float[np.ndarray, "frames 52"],
        utterance: Utterance,
        background: UInt8[np.ndarray, "size size 3"],
        facts: dict[str, object],
    ) -> None:
        """Write what belongs to all frames; ``facts`` go into ``truth.json``."""
        gap = np.array(self.lip_gap, np.float32)
        intensity, names = action_unit_truth(units, gap)
        presence = intensity >= PRESENCE
        write_npz(
            self.root / "tracking.npz",
            {
                "camera_to_world": camera_to_world.astype(np.float32),
                "intrinsics": intrinsics.astype(np.float32),
                "torso": torso.astype(np.float32),
            },
        )
        write_npz(self.root / "expression.npz", {"units": units, "names": np.array(UNIT_NAMES)})
        write_npz(
            self.root / "action_units.npz",
            {"intensity": intensity, "presence": presence, "names": np.array(names)},
        )
        write_npz(
            self.root / "landmarks.npz",
            {"points": np.stack(self.points), "ibug": np.stack(self.ibug), "lip_gap": gap},
        )
        write_image(self.root / "background.png", background)
        write_wav(self.root / "audio.wav", Waveform(utterance.samples, SAMPLE_RATE))
        write_json(
            self.root / "truth.json",
            {
                "format": FORMAT,
                **facts,
                "frames": len(gap),
                "sentences": _rows(utterance.sentences),
                "phonemes": _rows(utterance.phonemes),
            },
        )


def truth_files(root: Path) -> tuple[Path, ...]:
    """The files of a truth folder that hold more than one frame, the last one written at the end."""
    arrays = ("tracking", "expression", "action_units", "landmarks")
    return (*(root / f"{name}.npz" for name in arrays), root / "audio.wav", root / "truth.json")


def read_truth(root: Path) -> Truth:
    """The arrays of a truth folder.

    Raises:
        FormatError: it is none, of another version, or damaged.
    """
    if not (root / "truth.json").is_file():
        raise FormatError(
            f"{root} holds no truth: it has no truth.json",
            hint="make one with: nerf-ad synthesize VIDEO --truth FOLDER",
        )
    facts = read_json(root / "truth.json")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FormatError(f"{root} is a truth of another version", hint="make it again")
    hint = "delete the folder and make it again"
    try:
        tracking, expression, units, landmarks = (read_npz(path) for path in truth_files(root)[:4])
        return Truth(
            tracking["camera_to_world"],
            tracking["intrinsics"],
            expression["units"],
            units["intensity"],
            units["presence"],
            tuple(str(name) for name in units["names"]),
            landmarks["points"],
            landmarks["ibug"],
            landmarks["lip_gap"],
        )
    except FormatError as error:
        raise FormatError(error.message, hint=hint) from error
    except KeyError as error:
        raise FormatError(f"{root} is damaged: it has no array {error}", hint=hint) from error


def steps_of_depth(depth: Float[np.ndarray, "height width"]) -> UInt16[np.ndarray, "height width"]:
    """Depth in metres as whole steps; what is infinitely far, or farther than 6.5 m, is 0."""
    steps = np.where(np.isfinite(depth), depth, 0.0) / DEPTH_UNIT + 0.5
    return np.where(steps < 2**16, steps, 0).astype(np.uint16)


def _rows(items: Sequence[Sentence] | Sequence[Phoneme]) -> list[dict[str, object]]:
    return [
        {key: round(value, 6) if isinstance(value, float) else value for key, value in item._asdict().items()}
        for item in items
    ]
