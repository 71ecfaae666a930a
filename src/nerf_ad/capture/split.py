"""Training and held-out frames: the last eleventh is never trained on (AD-NeRF's rule)."""

from nerf_ad.dataset.dataset import Split


def split_frames(num_frames: int) -> Split:
    """The first 10/11 of the frames train, the rest is held out; never shuffled (AD-NeRF: int(10 N / 11))."""
    boundary = 10 * num_frames // 11
    return Split(range(boundary), range(boundary, num_frames))
