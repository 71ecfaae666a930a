"""The room behind: a still picture, out of focus."""

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.noise import smoothstep, value_noise


def paint_backdrop(identity: Identity, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The picture behind a person, as it is on a screen."""
    rng = np.random.default_rng(identity.seed + 61)
    side = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(side, side)
    wall = np.asarray(identity.wall)
    match identity.room:
        case "wall":
            picture, blur = _wall(x, y, wall, rng), 0.004
        case "shelves":
            picture, blur = _shelves(x, y, wall, rng), 0.009
        case "lights":
            picture, blur = _lights(x, y, wall, rng), 0.006
        case "bricks":
            picture, blur = _bricks(x, y, wall, rng), 0.004
    picture = ndimage.gaussian_filter(picture, (blur * size, blur * size, 0.0))
    places = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    grain = value_noise(places, 160.0, seed=identity.seed + 62) + value_noise(
        places, 45.0, seed=identity.seed + 63
    )
    light = 1.08 - 0.40 * np.hypot(x - 0.35, 0.8 * (y - 0.25))
    picture = picture * light[..., None] * (1.0 + 0.018 * grain.reshape(x.shape)[..., None])
    return (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


_Grid = Float[np.ndarray, "size size"]
_Picture = Float[np.ndarray, "size size 3"]


def _box(x: _Grid, y: _Grid, left: float, top: float, right: float, bottom: float) -> _Grid:
    return np.asarray(((x > left) & (x < right) & (y > top) & (y < bottom)).astype(float))


def _over(picture: _Picture, colour: Float[np.ndarray, "..."], share: _Grid) -> _Picture:
    return np.asarray(picture + (colour - picture) * share[..., None])


def _wall(x: _Grid, y: _Grid, wall: Float[np.ndarray, "3"], rng: np.random.Generator) -> _Picture:
    """Plaster, a framed picture and a plant."""
    picture = np.broadcast_to(wall, (*x.shape, 3)).copy()
    left = 0.70 + rng.uniform(-0.02, 0.02)
    picture = _over(picture, wall * 0.72, _box(x, y, left + 0.012, 0.112, left + 0.242, 0.432))
    picture = _over(picture, np.array([0.25, 0.20, 0.16]), _box(x, y, left, 0.10, left + 0.23, 0.42))
    picture = _over(
        picture, np.array([0.93, 0.92, 0.88]), _box(x, y, left + 0.014, 0.114, left + 0.216, 0.406)
    )
    # A landscape in flat tones: round shapes in a frame pass for a face.
    inside = _box(x, y, left + 0.030, 0.132, left + 0.200, 0.388)
    for height, slope in zip((0.0, 0.235, 0.275, 0.325), rng.uniform(-0.25, 0.25, 4), strict=True):
        colour = wall * rng.uniform(0.35, 1.15) + rng.uniform(-0.08, 0.08, 3)
        picture = _over(picture, colour, inside * (y > height + slope * (x - left - 0.115)))
    for _ in range(26):
        root, angle, length = np.array([0.12, 0.80]), rng.uniform(-2.6, -0.6), rng.uniform(0.12, 0.34)
        along = (x - root[0]) * np.cos(angle) + (y - root[1]) * np.sin(angle)
        aside = -(x - root[0]) * np.sin(angle) + (y - root[1]) * np.cos(angle) - 0.8 * along**2
        leaf = smoothstep(
            1.0, 0.7, np.abs(aside) / (0.016 * np.sin(np.pi * np.clip(along / length, 0, 1)) + 1e-6)
        )
        green = np.array([0.20, 0.36, 0.18]) * rng.uniform(0.6, 1.3)
        picture = _over(picture, green, leaf * ((along > 0) & (along < length)))
    return picture


def _shelves(x: _Grid, y: _Grid, wall: Float[np.ndarray, "3"], rng: np.random.Generator) -> _Picture:
    """Books on boards."""
    picture = np.broadcast_to(wall * 0.42, (*x.shape, 3)).copy()
    for board in range(4):
        floor = 0.16 + 0.25 * board
        place = -0.02
        while place < 1.02:
            width, height = rng.uniform(0.018, 0.045), rng.uniform(0.13, 0.21)
            colour = np.clip(wall * rng.uniform(0.4, 1.35) + rng.uniform(-0.10, 0.10, 3), 0.06, 0.92)
            book = _box(x, y, place, floor - height, place + width * 0.94, floor)
            round_back = 1.0 - 0.35 * np.abs((x - place) / width - 0.5)
            picture = picture + (colour * round_back[..., None] - picture) * book[..., None]
            place += width + (rng.uniform(0.03, 0.10) if rng.uniform() < 0.12 else 0.0)
        picture = _over(picture, wall * 1.05, _box(x, y, -1.0, floor, 2.0, floor + 0.022))
        picture = picture * (1.0 - 0.5 * _box(x, y, -1.0, floor + 0.022, 2.0, floor + 0.04))[..., None]
    return picture


def _lights(x: _Grid, y: _Grid, wall: Float[np.ndarray, "3"], rng: np.random.Generator) -> _Picture:
    """A window on a town at dusk."""
    picture = wall * (0.7 + 0.7 * (1.0 - y))[..., None]
    for _ in range(46):
        centre, radius = rng.uniform([0.0, 0.1], [1.0, 0.95]), rng.uniform(0.012, 0.045)
        colour = np.array([1.0, rng.uniform(0.55, 0.9), rng.uniform(0.25, 0.8)])
        disc = smoothstep(1.0, 0.85, np.hypot(x - centre[0], y - centre[1]) / radius)
        picture = picture + (rng.uniform(0.12, 0.4) * disc)[..., None] * colour
    frame = _box(x, y, 0.155, -1.0, 0.185, 2.0) + _box(x, y, 0.86, -1.0, 0.89, 2.0)
    return _over(picture, np.array([0.10, 0.10, 0.11]), frame)


def _bricks(x: _Grid, y: _Grid, wall: Float[np.ndarray, "3"], rng: np.random.Generator) -> _Picture:
    """A painted brick wall."""
    row = np.floor(y / 0.052)
    along = x / 0.15 + 0.5 * (row % 2)
    column = np.floor(along)
    tones = rng.uniform(0.86, 1.08, (64, 64))
    tone = tones[row.astype(int) % 64, column.astype(int) % 64]
    gap = np.minimum(
        np.minimum(along - column, column + 1 - along) * 0.15,
        np.minimum(y / 0.052 - row, row + 1 - y / 0.052) * 0.052,
    )
    mortar = smoothstep(0.006, 0.002, gap)
    picture = wall * tone[..., None]
    return np.asarray(picture * (1.0 - 0.22 * mortar[..., None]))
