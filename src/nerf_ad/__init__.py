"""nerf-ad: a minute of video of one person becomes an avatar that speaks any audio."""

__version__ = "0.1.0"
