"""Where everything of a demonstration lies."""

from pathlib import Path


class Places:
    """The files of one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / ".lock"
        self.choices = root / "demo.json"
        """What was chosen; a folder without it is no demonstration."""
        self.film = root / "person.mp4"
        """What the avatar learns from."""
        self.dataset = root / "person.dataset"
        self.avatar = root / "person.avatar"
        self.sentences = root / "sentences.txt"
        """What the avatar never heard."""
        self.truth_film = root / "truth.mp4"
        """The person itself saying it."""
        self.truth = root / "truth"
        """What is true of that film."""
        self.talking = root / "talking.mp4"
        """The avatar saying it."""
        self.side_by_side = root / "side_by_side.mp4"
        self.sheet = root / "sheet.png"
        self.lips = root / "lips.png"
        self.shifts = root / "shifts.png"
        self.learning = root / "learning.png"
        self.figures = root / "figures.json"
        self.page = root / "index.html"
        self.shown = (self.side_by_side, self.sheet, self.lips, self.shifts, self.learning, self.figures)
        """What the page shows, made with it."""
