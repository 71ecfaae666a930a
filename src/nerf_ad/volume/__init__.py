"""The mathematics of volume rendering, as pure functions."""
