"""The numbers of stage 3."""

from pydantic import Field

from nerf_ad.core.config import Config


class NerfTrainingConfig(Config):
    """Fitting the fields."""

    num_steps: int = Field(default=190_000, ge=1)
    """Optimiser steps (NeRF-AD's code: it ends here, and tests the 143 000th)."""
    num_rays: int = Field(default=1024, ge=16, le=1 << 20)
    """Rays per step, all of one frame (NeRF-AD's code; AD-NeRF 2048, DFRF 850, GeneFace 1600)."""
    face_share: float = Field(default=0.95, ge=0, le=1)
    """Part of the rays inside the rectangle around the face (NeRF-AD's and AD-NeRF's code)."""
    rate: float = Field(default=5e-4, gt=0)
    """Adam's first rate (NeRF-AD's code)."""
    decay: float = Field(default=0.1, gt=0, le=1)
    """What is left of the rate after ``decay_steps`` steps (NeRF-AD's code)."""
    decay_steps: int = Field(default=750_000, ge=1)
    """Steps of one ``decay`` (NeRF-AD's code; AD-NeRF 250 000)."""
    smoothing_rate: float = Field(default=5.0, gt=0)
    """Rate of the temporal attention over neighbouring frames, in ``rate`` (NeRF-AD's and AD-NeRF's code)."""
    smooth_from: int = Field(default=100_000, ge=0)
    """Step from which the temporal attention is used (NeRF-AD's code; AD-NeRF 200 000)."""
    offset_weight: float = Field(default=5e-9, ge=0)
    """Weight of L_off, the offsets' size where nothing is seen (NeRF-AD's code; DFRF 5e-8)."""
    largest_gradient: float = Field(default=10.0, gt=0)
    """Norm that gradients are clipped to: a guard against one bad step, seldom reached (ours)."""
    rays_at_once: int | None = Field(default=None, ge=1)
    """Rays that go through the fields together; gradients are summed over such parts, so that memory is
    bounded and the step the same (ours). All of them by default, as in NeRF-AD's code."""
    average_decay: float = Field(default=0.0, ge=0, lt=1)
    """Moving average of the parameters; 0 is none (NeRF-AD's code has none)."""
