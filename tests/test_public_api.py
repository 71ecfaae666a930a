"""The public list is what exists, each name is documented, and importing it costs nothing."""

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nerf_ad

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", nerf_ad.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(nerf_ad, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def test_list_tells_everything() -> None:
    assert set(nerf_ad.__all__) | {"__version__"} == set(dir(nerf_ad))
    assert set(nerf_ad._HOMES) == set(nerf_ad.__all__)


def test_capture_can_be_called_whoever_was_imported_first() -> None:
    import nerf_ad.capture.step

    with pytest.raises(nerf_ad.NerfAdError, match=r"no_such\.mp4"):
        nerf_ad.capture("no_such.mp4", "no_such.dataset")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = nerf_ad.nonsense


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert nerf_ad.__version__ == project["version"]


def test_importing_the_package_or_the_command_line_does_not_import_torch() -> None:
    program = (
        "import sys, nerf_ad, nerf_ad.cli.main; sys.exit('torch' in sys.modules or 'tyro' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
