"""What long work says while it goes on: one closed union, shared by terminal, log file and tests."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from nerf_ad.core.config import Config


class Progress(Config):
    """How far a stage has come."""

    event: Literal["progress"] = "progress"
    """Tag of the union."""
    stage: str
    """What is being done, in a word or two."""
    done: int
    """Units finished."""
    total: int
    """Units in all."""
    note: str = ""
    """Figures worth seeing beside the bar."""
    seconds_left: float | None = None
    """Estimate of the time left, where the stage knows better than done/total."""


class Metric(Config):
    """A number measured at a step."""

    event: Literal["metric"] = "metric"
    """Tag of the union."""
    name: str
    """What was measured, such as ``loss`` or ``psnr``."""
    step: int
    """Optimiser step."""
    value: float
    """The figure."""
    seconds: float | None = None
    """Seconds of work when it was measured."""


class Preview(Config):
    """A picture was written."""

    event: Literal["preview"] = "preview"
    """Tag of the union."""
    step: int
    """Optimiser step."""
    path: str
    """Where, relative to the run's folder."""


class Saved(Config):
    """Something reached the disk whole."""

    event: Literal["saved"] = "saved"
    """Tag of the union."""
    path: str
    """What was saved."""
    step: int | None = None
    """Optimiser step, if any."""


class Warned(Config):
    """Something the user should know; the work goes on."""

    event: Literal["warned"] = "warned"
    """Tag of the union."""
    message: str
    """One sentence."""
    frame: int | None = None
    """The frame concerned, if one."""


Event = Annotated[Progress | Metric | Preview | Saved | Warned, Field(discriminator="event")]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads an event back from its JSON line."""
