"""How large the demonstration is."""

from typing import Final

from pydantic import Field

from nerf_ad.capture.capture import MAX_SIZE, MIN_SIZE
from nerf_ad.core.config import Config
from nerf_ad.dataset.synthetic.identity import IDENTITIES

LONGEST: Final = 24 * 60
"""Minutes of training at most."""


class DemoConfig(Config):
    """What is filmed, trained and spoken."""

    identity: int = Field(default=4, ge=0, lt=len(IDENTITIES))
    """Which of the synthetic people."""
    seconds: float = Field(default=40.0, ge=8.0, le=3600.0)
    """Length of the film that the avatar learns from; a sentence is never cut."""
    size: int = Field(default=256, ge=MIN_SIZE, le=MAX_SIZE // 2, multiple_of=8)
    """Width and height of the avatar's pictures; the film's are twice as large."""
    minutes: float = Field(default=6.0, gt=0, le=LONGEST)
    """Time for training."""
    least_steps: int = Field(default=1200, ge=0, le=60_000)
    """Steps of the head that are made even where the time is too short for them: on a busy machine."""
    num_sentences: int = Field(default=3, ge=1, le=5)
    """How many of the held-out sentences are spoken."""
    shift_step: int = Field(default=1, ge=1, le=10)
    """Frames between the shifts of the sound that are tried, from -10 to 10."""
    seed: int = Field(default=0, ge=0)
    """Of the film that is learnt from; the held-out one has the next. With 0 the sentences keep the order
    in which they were written to cover the sounds of the language."""


FULL: Final = DemoConfig()
"""Under twenty minutes on two cores."""
QUICK: Final = DemoConfig(seconds=12.0, size=128, minutes=0.8, least_steps=500, num_sentences=1, shift_step=5)
"""Under five minutes on two cores: enough to see that everything works, not how good it can get."""
