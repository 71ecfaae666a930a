"""Resume files: one safetensors file with everything that a stage needs to go on, finite or not written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nerf_ad.core.errors import FormatError, NerfAdError
from nerf_ad.core.tensors import write_tensors


class Checkpoint(NamedTuple):
    """What was read back."""

    tensors: dict[str, Tensor]
    """All state, by dotted name."""
    facts: dict[str, Any]
    """Step, seconds, generator state and the like."""


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write atomically; NaN or infinity never reaches the disk (ecosystem.md R3).

    Raises:
        NerfAdError: a tensor is not finite, or the disk is full.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NerfAdError(f"{name} is not finite; the last good checkpoint is kept")
    write_tensors(path, tensors, {"facts": json.dumps(dict(facts))})


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a resume file; None where there is none.

    Raises:
        FormatError: damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError) as error:
        raise FormatError(
            f"{path} is damaged: {error}", hint="delete it to train this stage from its start"
        ) from error


def load_facts(path: Path) -> dict[str, Any]:
    """Step, seconds and the like of a resume file, without its tensors; nothing where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            return facts
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError):
        return {}


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and numbers: the same for what was trained and for what was read back."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's tensors by parameter number, without pickle."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of ``optimiser_state``."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names under ``prefix.``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What lies under ``prefix.``, with the prefix taken off."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
