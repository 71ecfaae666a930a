"""What ``benchmarks/gpu.sh`` does around the GPU: parts that fail, the table, and the room for warps."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.gpu.occupancy import Multiprocessor, resident_warps
from benchmarks.gpu.summary import lines

ROOT = Path(__file__).parents[2]
SYSTEM = "/usr/bin:/bin"
needs_timeout = pytest.mark.skipif(
    shutil.which("timeout", path=SYSTEM) is None, reason="gpu.sh is for Linux: there is no timeout here"
)
TRAINING = {
    "device": "a card",
    "rows": [
        {"seconds": 20.0, "step": 9000, "whole": 28.5, "head": 30.3, "mouth": 28.0},
        {"seconds": 60.0, "step": 27_000, "whole": 29.3, "head": 31.0, "mouth": 29.1},
    ],
    "rays_per_second": 5_200_000,
    "samples_per_second": 83_200_000,
    "gpu_peak_mb": 2800,
    "gpu_reserved_mb": 3500,
    "sharpened_by_lpips": True,
    "steps_ms": {
        "as it is": {"ms": 2.6, "graph": True, "peak_mb": 1, "rays_per_s": 6_300_000},
        "with a square": {"ms": 19.0, "graph": False, "complaint": "steps are launched one by one: oh"},
        "65536 rays": {"failed": "out of memory"},
        "waits": {"of a step launched singly": "none"},
    },
}
COUNTERS = """==PROF== Connected to process 1
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","1","read_level","Occupancy","Achieved Occupancy","%","61.5"
"0","1","read_level","GPU Speed Of Light Throughput","DRAM Throughput","%","40.1"
"0","1","read_level","Occupancy","Block Limit SM","block","32"
"""


def test_as_many_warps_fit_as_the_scarcest_of_what_they_share_lets() -> None:
    assert resident_warps(4, 32, 0) == 64  # the multiprocessor's own limit
    assert resident_warps(4, 128, 0) == 16  # 128 x 32 registers a warp, of 65536
    assert resident_warps(4, 129, 0) == 12  # 129 are given as 136: 15 warps, 3 blocks
    assert resident_warps(4, 32, 100_000) == 8  # two blocks' shared memory
    assert resident_warps(1, 16, 0) == 32  # blocks
    assert resident_warps(4, 32, 0, Multiprocessor(warps=48)) == 48


def test_the_table_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(TRAINING))
    (tmp_path / "kernels.json").write_text("{ cut off")
    (tmp_path / "counters.csv").write_text(COUNTERS)
    (tmp_path / "parts.tsv").write_text("kernels\t124\t90\ntrain\t0\t150\nrender\tskipped\t0\n")
    found = {line.what: line.found for line in lines(tmp_path)}
    assert found["card"] == "a card"
    assert found["part: kernels"] == "90 s, ran out of time"
    assert found["part: render"] == "0 s, left out"
    assert found["all parts"] == "240 s"
    assert (found["seconds until then, whole"], found["seconds until then, head"]) == ("60.0", "20.0")
    assert found["seconds until then, mouth"] == "not reached"
    assert found["step, as it is"] == "2.6 ms, 6.30 M rays/s (graph)"
    assert "no graph steps are launched one by one" in found["step, with a square"]
    assert found["step, 65536 rays"] == "failed: out of memory"
    assert found["counted: read_level #0"] == "Achieved Occupancy 61.5 %, DRAM Throughput 40.1 %"


def test_nothing_there_is_a_table_too(tmp_path: Path) -> None:
    assert [line.what for line in lines(tmp_path)] == ["card"]


def test_what_was_not_measured_has_no_rate() -> None:
    rates = importlib.import_module("benchmarks.gpu.render").rates  # mypy is not to follow it
    fps = {"graph, 1 frame": 100.0, "graph, 8 frames": 500.0, "eager reference": 2.0}
    assert rates(fps, rays=10, samples=30.0) == {
        "rays_per_s, graph, 1 frame": 1000.0,
        "samples_per_s, graph, 1 frame": 3000.0,
        "rays_per_s, eager reference": 20.0,
        "samples_per_s, eager reference": 60.0,
    }
    del fps["graph, 1 frame"]
    assert not [name for name in rates(fps, rays=10, samples=30.0) if "graph" in name]


@needs_timeout
def test_only_sources_are_run_as_tests(tmp_path: Path) -> None:
    marked = ".".join(["mark", "gpu"])  # in one piece, this file would be found
    script = tmp_path / "benchmarks" / "gpu.sh"
    for name, text in {
        "benchmarks/gpu.sh": (ROOT / "benchmarks" / "gpu.sh").read_text(),
        "tests/a/test_card.py": f"@pytest.{marked}",
        "tests/a/test_host.py": "",
        "tests/a/__pycache__/test_card.cpython-311.pyc": marked,
        "tests/notes.md": marked,
        "python": f'#!/bin/sh\necho "$@" >>"{tmp_path}/asked"\n',
        "a.dataset/dataset.toml": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": SYSTEM, "PYTHON": str(tmp_path / "python")}
    words = ["sh", str(script), str(tmp_path / "a.dataset"), str(tmp_path / "out")]
    subprocess.run(words, env=environment, check=True)
    (tests,) = [line for line in (tmp_path / "asked").read_text().splitlines() if "-m pytest" in line]
    assert [word for word in tests.split() if "/tests/" in word] == [str(tmp_path / "tests/a/test_card.py")]


@needs_timeout
@pytest.mark.parametrize("minutes", ["10", "0"])
def test_a_part_that_fails_stops_no_other(tmp_path: Path, minutes: str) -> None:
    python, avatar = tmp_path / "python", tmp_path / "out" / "fast.avatar"
    dataset = tmp_path / "a.dataset"
    dataset.mkdir()
    python.write_text(
        f"""#!/bin/sh
case "$*" in
    *summary.py*) exec {sys.executable} "$@" ;;
    *kernels.py*) echo "no card" >&2; exit 3 ;;
    *train.py*) echo '{json.dumps(TRAINING)}' >"{tmp_path}/out/train.json" ;;
    *"nerf_ad train"*) mkdir -p "{avatar}"; touch "{avatar}/avatar.toml" ;;
    *evaluate*) echo "PSNR 29" ;;
esac
"""
    )
    python.chmod(0o755)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(ROOT / "benchmarks" / "gpu.sh"), str(dataset), str(tmp_path / "out")],
            env={"PATH": SYSTEM, "PYTHON": str(python), "MINUTES_MOST": minutes},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = run()
    assert refused.returncode == 2
    assert "is not a dataset" in refused.stderr
    assert not (tmp_path / "out").exists()
    (dataset / "dataset.toml").touch()
    done = run()
    ended = dict(line.split("\t")[:2] for line in (tmp_path / "out" / "parts.tsv").read_text().splitlines())
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "out" / "summary.md").read_text() in done.stdout
    assert run().returncode == 2  # numbers of two runs are not mixed
    if minutes == "0":  # no time is left for anything
        assert set(ended.values()) == {"skipped"}
        return
    assert ended.pop("kernels") == "3"
    assert "no card" in done.stdout
    assert "failed: kernels" in done.stdout
    assert ended == dict.fromkeys(["train", "fast", "render", "tests", "evaluate", "fast-ad"], "0")
    assert "PSNR 29" in done.stdout
    assert "29.30 dB" in done.stdout
