"""A video of one person becomes a dataset, step by step.

The package can be called: ``nerf_ad.capture(video, dataset)`` is ``nerf_ad.capture.capture.capture``. The
public function and the package share their name, and whoever imports a step first must not hide it.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerf_ad.dataset.dataset import Dataset


class _CallablePackage(ModuleType):
    """The package as a function."""

    def __call__(self, *arguments: Any, **options: Any) -> "Dataset":  # noqa: ANN401 - see the function
        """See ``nerf_ad.capture.capture.capture``."""
        from nerf_ad.capture.capture import capture

        return capture(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
