"""Whether a model's tensors are still those that something was packed from."""

from collections.abc import Iterable

from torch import nn


def tensor_state(modules: Iterable[nn.Module]) -> tuple[tuple[int, int], ...]:
    """Changes with every tensor that is written to or replaced.

    Args:
        modules: all of a model's, as ``model.modules()`` lists them; own tensors only are looked at.
    """
    kept = (part for module in modules for part in (module._parameters, module._buffers))
    tensors = (tensor for part in kept for tensor in part.values() if tensor is not None)
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)
