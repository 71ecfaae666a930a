"""Action units of detected faces, against one neutral: that of the recorded person.

A made face and a recorded one can only be compared if both are measured from the same rest. It is the one
that ``capture`` finds: the median of the frames of the whole clip in which least happens.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from nerf_ad.capture.landmarks import fill_gaps
from nerf_ad.dataset.dataset import LandmarkTrack
from nerf_ad.face.action_unit_network import lay_on_bone, load_network
from nerf_ad.face.action_units import NETWORK_UNITS
from nerf_ad.face.landmarks import BLENDSHAPE_NAMES

UPPER = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU45")
"""Units of the upper face (peers' sets; AU45 where the detector has blendshapes)."""
LOWER = ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU25", "AU26")
"""Units of the lower face (peers' sets, without AU23, which nobody here reads)."""
_BLINK = [BLENDSHAPE_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]


class Units(NamedTuple):
    """What is read of some frames."""

    names: tuple[str, ...]
    """Such as ``AU25``; AU45 last, if it is there."""
    intensity: Float[np.ndarray, "frames units"]
    """In [0, 1], the recorded person's neutral subtracted."""
    presence: Bool[np.ndarray, "frames network_units"]
    """Of the units that the network reads."""


class UnitReader:
    """Reads units of one person, in any pictures."""

    def __init__(self, track: LandmarkTrack) -> None:
        """Find the person's neutral.

        Args:
            track: landmarks and scores of the whole recording; frames without a face are left out or filled.
        """
        self.network = load_network()
        self._rest = self.network.find_rest(
            lay_on_bone(track.points.astype(np.float64), self.network.template)
        )
        self._columns = [self.network.names.index(name) for name in NETWORK_UNITS]
        self._open_eyes = float(np.percentile(track.blendshapes[:, _BLINK].mean(axis=1), 10))
        self.names = (*NETWORK_UNITS, "AU45") if track.blendshapes.any() else NETWORK_UNITS

    @property
    def id(self) -> str:
        """What reads."""
        return self.network.id

    def read(
        self,
        frames: Int[np.ndarray, "frames"],
        points: Float[np.ndarray, "frames 478 3"],
        blendshapes: Float[np.ndarray, "frames 52"],
        *,
        step: int,
    ) -> Units:
        """Units of detected faces.

        Args:
            frames: number of each frame in the clip, ascending.
            points: their landmarks; x right, y down, z away from the viewer, in one unit.
            blendshapes: their scores; for AU45.
            step: how far the frames are apart, but for those without a face. If it is 1 the network's units
                are blurred over time as ``capture`` blurs them, and gaps are filled for that; else they are
                read frame by frame.
        """
        laid = lay_on_bone(points.astype(np.float64), self.network.template)
        read = self.network.read(laid, self._rest)
        if step == 1:
            at = frames - frames[0]
            found = np.isin(np.arange(at[-1] + 1), at)
            read = tuple(part[at] for part in self.network.smooth(*(_spread(part, found) for part in read)))
        intensity, probability = (part[:, self._columns] for part in read)
        if "AU45" in self.names:
            blink = blendshapes[:, _BLINK].mean(axis=1, keepdims=True) - self._open_eyes
            intensity = np.concatenate([intensity, blink.astype(np.float32)], axis=1)
        presence = probability >= self.network.threshold[self._columns]
        return Units(self.names, np.clip(intensity, 0, 1), presence)


def _spread(
    values: Float[np.ndarray, "found units"], found: Bool[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames units"]:
    """One row for every frame, interpolated where nothing was found."""
    whole = np.full((len(found), values.shape[1]), np.nan, values.dtype)
    whole[found] = values
    return fill_gaps(whole, found)
