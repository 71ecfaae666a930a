"""The only file that knows file names inside a dataset."""

from pathlib import Path

FORMAT = 1
"""Version of the dataset format; raised with every change that an older reader would misread."""


class Layout:
    """Where everything lies inside a dataset folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "dataset.toml"
        self.frames = root / "frames"
        self.parsing = root / "parsing"
        self.torso = root / "torso"
        self.background = root / "background.png"
        self.backgrounds = root / "backgrounds"
        self.audio = root / "audio.wav"
        self.landmarks = root / "landmarks.npz"
        self.tracking = root / "tracking.npz"
        self.action_units = root / "action_units.npz"
        self.speech = root / "speech"
        self.split = root / "split.json"
        self.complaints = root / "complaints.json"
        self.complaint_folder = root / "complaints"
        self.report = root / "report"
        self.cache = root / "cache"
        self.lock = root / "capture.lock"

    def frame(self, index: int) -> Path:
        """RGB PNG of frame ``index``."""
        return self.frames / f"{index:06d}.png"

    def labels(self, index: int) -> Path:
        """Palette PNG with the part labels of frame ``index`` (``nerf_ad.face.parsing.Part``)."""
        return self.parsing / f"{index:06d}.png"

    def torso_image(self, index: int) -> Path:
        """RGBA PNG of frame ``index`` with the head removed."""
        return self.torso / f"{index:06d}.png"

    def shot_background(self, shot: int) -> Path:
        """The clean plate of one shot; without it ``background`` holds for that shot."""
        return self.backgrounds / f"{shot:03d}.png"

    def speech_features(self, name: str) -> Path:
        """Arrays of the speech encoder ``name``."""
        return self.speech / f"{name}.npz"

    def step_complaints(self, step: str) -> Path:
        """What the capture step ``step`` found wrong; ``complaints`` holds all of them together."""
        return self.complaint_folder / f"{step}.json"
