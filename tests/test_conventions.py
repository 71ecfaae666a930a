"""House rules that no other tool checks."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

import nerf_ad
from nerf_ad.core.config import Config

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "nerf_ad").rglob("*.py"))
FORBIDDEN = ("pickle", "cPickle", "dill", "joblib", "shelve", "marshal")
UNTRUSTED = {"weights.py", "bisenet.py", "array_pickles.py"}
"""Files that may read a foreign checkpoint: ``weights_only=True``, or unpickling arrays alone."""


def configs() -> Iterator[type[Config]]:
    """Every config class in the package."""
    for module in pkgutil.walk_packages(nerf_ad.__path__, "nerf_ad."):
        if module.name.endswith("__main__"):
            continue
        importlib.import_module(module.name)
    waiting = [Config]
    while waiting:
        found = waiting.pop()
        waiting.extend(found.__subclasses__())
        if found.__module__.startswith("nerf_ad"):
            yield found


def test_shapes_are_really_checked() -> None:
    """A wrong shape must fail: nerfstudio's checks were silently off through one missing argument."""
    from nerf_ad.dataset.synthetic.analytic import project

    points, pose = np.zeros((5, 3)), np.eye(4)
    with pytest.raises(jaxtyping.TypeCheckError, match="intrinsics"):
        project(points, pose, np.zeros(3))
    with pytest.raises(jaxtyping.TypeCheckError, match="points"):
        project(np.zeros((5, 2)), pose, np.ones(4))


def test_every_config_field_is_explained() -> None:
    silent = [
        f"{config.__module__}.{config.__qualname__}.{name}"
        for config in configs()
        for name, field in config.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_every_config_is_frozen_strict_and_closed() -> None:
    for config in configs():
        assert config.model_config.get("frozen"), config
        assert config.model_config.get("strict"), config
        assert config.model_config.get("extra") == "forbid", config


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_source_keeps_the_house_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert node.module != "__future__", "no imports from __future__: shapes must stay objects"
        else:
            names = []
        for name in names:
            top = name.partition(".")[0]
            assert top not in FORBIDDEN or path.name in UNTRUSTED, f"{name} is pickle"
            assert not name.startswith("torch.distributed") or path.name == "distributed.py"
            assert top not in {"torchvision", "torchaudio", "torchcodec", "ray", "aiortc"}
        if isinstance(node, ast.Call):
            _refuse_dangerous_call(node, path)
    assert path.stem not in {"utils", "helpers", "common", "misc", "new", "final", "legacy"}
    assert not re.search(r"\.cuda\(", text), "the device arrives as an argument"


def _refuse_dangerous_call(node: ast.Call, path: Path) -> None:
    function = ast.unparse(node.func)
    keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
    assert function not in {"eval", "exec", "os.system", "yaml.load"}, f"line {node.lineno}: {function}"
    assert keywords.get("shell") != "True", f"line {node.lineno}: no shell strings"
    assert keywords.get("allow_pickle") != "True", f"line {node.lineno}: no pickle"
    assert function != "torch.save", f"line {node.lineno}: tensors are saved as safetensors"
    if function == "torch.load":
        assert path.name in UNTRUSTED, f"line {node.lineno}: torch.load only where foreign weights are read"
        assert keywords.get("weights_only") == "True", f"line {node.lineno}: weights_only=True"


def test_nothing_tracked_names_a_machine() -> None:
    """No path of the machine it was written on."""
    places = ("src", "tests", "docs", "scripts", ".ci")
    files = [path for place in places for path in (ROOT / place).rglob("*") if path.is_file()]
    files += [ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")]
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
    for path in files:
        if "__pycache__" in path.parts or path == Path(__file__):
            continue
        found = pattern.search(path.read_text(encoding="utf-8", errors="ignore"))
        assert found is None, f"{path.relative_to(ROOT)}: {found and found.group()}"
