"""Frames in the device's memory: what is read of a pixel, and where rays fall, are the host's."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import PixelCache, around_head, open_pixels, pixels_folder
from nerf_ad.dataset.resident import BYTES, CHUNK, NEAR, ResidentFrames, ResidentRays
from nerf_ad.dataset.sampler import HostRays, RaySampler, RaySamplingConfig, RaySource, patch_pixels

SIZE = 48
TRAIN = range(3, 25)
CONFIG = RaySamplingConfig(num_rays=640, num_frames=8)
MOUTH, EYES = np.array([20, 30, 28, 36]), np.array([14, 10, 34, 18])
Opened = Callable[..., ResidentFrames]


@pytest.fixture(scope="module")
def cache(person: Dataset) -> PixelCache:
    list(open_pixels(person, SIZE))
    return PixelCache(pixels_folder(person, SIZE), num_frames=person.num_frames, size=SIZE)


@pytest.fixture(scope="module")
def plates(rng_of_module: np.random.Generator) -> np.ndarray:
    return rng_of_module.random((2, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def rng_of_module() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def background_of(cache: PixelCache) -> np.ndarray:
    return np.arange(cache.num_frames) % 2


def boxes(cache: PixelCache) -> np.ndarray:
    both = np.stack([np.tile(MOUTH, (cache.num_frames, 1)), np.tile(EYES, (cache.num_frames, 1))])
    both[1, 5] = 0  # no eyes there
    return both


@pytest.fixture(scope="module")
def opened(cache: PixelCache, plates: np.ndarray, background_of: np.ndarray) -> Opened:
    def open_frames(largest_bytes: int = 1 << 30) -> ResidentFrames:
        return ResidentFrames(
            cache,
            plates,
            background_of,
            train=TRAIN,
            boxes=boxes(cache),
            device=torch.device("cpu"),
            largest_bytes=largest_bytes,
        )

    return open_frames


def host_sampler(cache: PixelCache, plates: np.ndarray, background_of: np.ndarray) -> RaySampler:
    mouth, eyes = boxes(cache)
    return RaySampler(
        CONFIG,
        cache,
        plates,
        background_of,
        train=TRAIN,
        mouth_boxes=mouth,
        eye_boxes=eyes,
        generator=np.random.default_rng(0),
    )


def test_rays_carry_what_the_host_reads(
    opened: Opened, cache: PixelCache, plates: np.ndarray, background_of: np.ndarray
) -> None:
    frames = opened()
    assert frames.is_whole
    assert sorted(frames.frame_of.tolist()) == list(TRAIN)
    host = host_sampler(cache, plates, background_of)
    rays = ResidentRays(CONFIG, frames, torch.Generator().manual_seed(0)).draw()
    assert len(set(rays.frames.tolist())) == CONFIG.num_frames
    column, row = (rays.pixels.numpy() - 0.5).astype(int).T
    truth = host.read(rays.frames.numpy(), rays.slot.numpy(), row * SIZE + column)
    for name in ("slot", "pixels", "rgb", "head", "certain"):
        np.testing.assert_allclose(getattr(rays, name).numpy(), getattr(truth, name), atol=1e-7, err_msg=name)
    np.testing.assert_allclose(rays.behind.numpy(), truth.behind, atol=0.501 / 255)


@pytest.mark.parametrize("where", ["host", "device"])
def test_a_patch_is_a_square_of_one_frame_at_mouth_or_eyes(
    where: str, opened: Opened, cache: PixelCache, plates: np.ndarray, background_of: np.ndarray
) -> None:
    side, centres = CONFIG.patch_size, []
    sampler = host_sampler(cache, plates, background_of)
    rays: RaySource = HostRays(sampler, torch.device("cpu"))
    if where == "device":
        rays = ResidentRays(CONFIG, opened(), torch.Generator().manual_seed(3))
    for _ in range(40):
        drawn = rays.draw(with_patch=True)
        assert len(drawn.pixels) == CONFIG.num_rays + side**2
        (slot,) = set(drawn.slot[CONFIG.num_rays :].tolist())
        square = (drawn.pixels[CONFIG.num_rays :] - 0.5).long().view(side, side, 2)
        left, top = square[0, 0].tolist()
        assert torch.equal(square[..., 0], torch.arange(left, left + side).expand(side, side))
        assert torch.equal(square[..., 1], torch.arange(top, top + side)[:, None].expand(side, side))
        recorded = cache.frames[int(drawn.frames[slot]), top : top + side, left : left + side]
        seen = drawn.rgb[CONFIG.num_rays :].view(side, side, 3)
        np.testing.assert_allclose(seen.numpy(), recorded / 255, atol=1e-6)
        if int(drawn.frames[slot]) != 5:
            centres.append((left, top))
    # MOUTH and EYES are smaller than a patch: around their middles (24, 33) and (24, 14), within the picture
    assert set(centres) == {(8, 16), (8, 0)}
    assert 0.45 < np.mean([top == 16 for _, top in centres]) < 0.95  # patch_mouth_share is 0.7


def test_patches_come_from_every_frame_though_topk_may_sort(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sorting(keys: torch.Tensor, k: int, *, sorted: bool) -> SimpleNamespace:  # noqa: A002 - torch's name
        return SimpleNamespace(indices=whole(keys, k).indices.sort().values)

    rays = ResidentRays(CONFIG, opened(), torch.Generator().manual_seed(4))
    whole = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", sorting)  # CUDA's gives ascending places
    seen = set()
    for _ in range(300):
        drawn = rays.draw(with_patch=True)
        seen.add(int(drawn.frames[drawn.slot[-1]]))
    assert seen == set(TRAIN)


def test_a_patch_at_eyes_out_of_the_picture_is_on_the_head(
    cache: PixelCache, plates: np.ndarray, background_of: np.ndarray
) -> None:
    sampler = host_sampler(cache, plates, background_of)
    near = cache.pixels_of_head(5)
    for _ in range(20):
        sampler.config = CONFIG.model_copy(update={"patch_mouth_share": 0.0})
        patch = sampler._patch(5)
        assert np.isin(patch, near).any()


def test_patches_lie_anywhere_in_a_larger_box_and_around_a_smaller_one() -> None:
    corners = {
        tuple(
            int(c) for c in divmod(int(patch_pixels(torch.tensor([10.0, 20, 14, 23]), share, 3, 50)[0]), 50)
        )
        for share in torch.rand(200, 2)
    }
    assert corners == {(20, 10), (20, 11)}
    assert patch_pixels(torch.tensor([0.0, 0, 1, 1]), torch.zeros(2), 3, 50)[0] == 0
    low_right = patch_pixels(torch.tensor([49.0, 49, 50, 50]), torch.rand(2), 3, 50)
    assert low_right.tolist() == [50 * row + column for row in (47, 48, 49) for column in (47, 48, 49)]


def test_what_is_near_the_head_is_the_host_s_pool(opened: Opened, cache: PixelCache) -> None:
    frames = opened()
    whole, which = frames.pictures(torch.arange(frames.num_slots))
    assert whole.shape == (len(TRAIN), SIZE, SIZE, BYTES)
    for picture, frame in zip(whole.numpy(), which.tolist(), strict=True):
        near = np.flatnonzero(picture[..., 7] & NEAR)
        np.testing.assert_array_equal(near, around_head(np.asarray(cache.labels[frame])))
        np.testing.assert_array_equal(near, cache.pixels_of_head(frame))
        np.testing.assert_array_equal(picture[..., 6], cache.torso[frame, ..., 3])


def test_rays_fall_where_the_host_s_fall(opened: Opened, cache: PixelCache) -> None:
    rays = ResidentRays(CONFIG, opened(), torch.Generator().manual_seed(1))
    per_frame, num_mouth, num_eyes = 80, 20, 8
    hits = np.zeros((SIZE, SIZE))
    for _ in range(60):
        drawn = rays.draw()
        column, row = ((drawn.pixels.numpy() - 0.5).astype(int).T).reshape(2, CONFIG.num_frames, per_frame)
        for place, frame in enumerate(drawn.frames.tolist()):
            part = [(column[place, :num_mouth], row[place, :num_mouth], MOUTH)]
            if frame != 5:
                rest = slice(num_mouth, num_mouth + num_eyes)
                part.append((column[place, rest], row[place, rest], EYES))
            for u, v, (left, top, right, bottom) in part:
                assert u.min() >= left
                assert u.max() < right
                assert v.min() >= top
                assert v.max() < bottom
            start = num_mouth if frame == 5 else num_mouth + num_eyes
            flat = row[place, start:] * SIZE + column[place, start:]
            assert np.isin(flat, cache.pixels_of_head(frame)).mean() > 0.95
            hits.reshape(-1)[flat] += 1 / len(cache.pixels_of_head(frame))
    common = around_head(np.asarray(cache.labels[TRAIN.start]))
    even = hits.reshape(-1)[common]
    assert even.std() / even.mean() < 0.35  # about 18 hits a pixel, and the head moves


def test_frames_that_do_not_fit_take_turns(opened: Opened) -> None:
    frames = opened(largest_bytes=10 * BYTES * SIZE**2)
    assert frames.num_slots == 10
    assert not frames.is_whole
    seen = set(frames.frame_of.tolist())
    assert len(seen) == 10
    for _ in range(200):
        if frames._reading:
            frames._reading[0][2].result()
        frames.refresh()
        now = frames.frame_of.tolist()
        assert len(set(now)) == 10
        seen |= set(now)
    assert seen == set(TRAIN)


def test_more_frames_than_there_are_are_drawn_again(opened: Opened) -> None:
    config = RaySamplingConfig(num_rays=1024, num_frames=64)
    rays = ResidentRays(config, opened(), torch.Generator().manual_seed(0)).draw()
    assert len(rays.frames) == 64
    assert CHUNK <= len(set(rays.frames.tolist())) <= len(TRAIN)


def test_the_generator_alone_decides(opened: Opened) -> None:
    frames, generator = opened(), torch.Generator().manual_seed(3)
    rays = ResidentRays(CONFIG, frames, generator)
    state = generator.get_state()
    first = rays.draw()
    generator.set_state(state)
    for ours, again in zip(first, rays.draw(), strict=True):
        assert torch.equal(ours, again)


def test_a_cache_that_is_cut_short_is_told(cache: PixelCache, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(cache.folder, tmp_path / "cache"))
    opened, place = (
        PixelCache(folder, num_frames=cache.num_frames, size=SIZE),
        np.zeros((SIZE, SIZE), np.uint8),
    )
    os.truncate(folder / "labels.raw", (cache.num_frames - 1) * SIZE**2 + 5)
    opened.labels.read_into(cache.num_frames - 2, place)
    np.testing.assert_array_equal(place, cache.labels[-2])
    with pytest.raises(FormatError, match="cut short") as told:
        opened.labels.read_into(cache.num_frames - 1, place)
    assert str(folder) in str(told.value.hint)
    with pytest.raises(IndexError):
        opened.labels.read_into(cache.num_frames, place)
