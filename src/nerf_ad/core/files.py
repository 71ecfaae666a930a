"""Files that are either whole or not there: write beside, sync, rename, sync the folder."""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nerf_ad.core.errors import BadInputError, FormatError, NerfAdError

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and is gone otherwise.

    Raises:
        BadInputError: the folder cannot be written.
        NerfAdError: the disk is full.
    """
    try:
        if path.is_dir():
            raise BadInputError(f"{path} is a folder, not a file", hint="choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _refusal(error, path) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refusal(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system refuses inside the block into a sentence about ``path``.

    Raises:
        BadInputError: the folder cannot be written.
        NerfAdError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise _refusal(error, path) from error


def file_in_the_way(folder: Path) -> Path | None:
    """What stands where a folder is to be made, there or above, if that is no folder itself.

    Raises:
        BadInputError: the system refuses the name; it may be too long.
    """
    with explained(folder):
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return None if place.is_dir() else place


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file while the block runs; the system lets go of it when the process dies.

    Where the system or the file system has no such locks, nobody is kept out.

    Args:
        path: the lock's file; made where it is missing, and left there.
        wait: wait until it is free.

    Yields:
        whether it is held: False only where another holds it and ``wait`` is off.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        yield _lock(file.fileno(), wait=wait)


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write readable JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON.

    Raises:
        FormatError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{path} is not readable JSON: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read TOML.

    Raises:
        FormatError: missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error


def write_npz(path: Path, arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> None:
    """Write named arrays atomically; object arrays (which would need pickle) are refused."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            message = f"array {name!r} holds Python objects"
            raise ValueError(message)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_npz(path: Path, names: Collection[str] | None = None) -> Arrays:
    """Read named arrays, never unpickling; where ``names`` are given, those of them that are there.

    Raises:
        FormatError: missing, not readable, damaged, or holding Python objects.
    """
    with reading(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if names is None or name in names}


@contextlib.contextmanager
def reading(path: Path, *, hint: str | None = None) -> Iterator[None]:
    """Turn what is wrong with the array's file that the block reads into a sentence about ``path``.

    Raises:
        FormatError: missing, not readable or damaged.
    """
    try:
        yield
    except NerfAdError:  # it is a sentence already
        raise
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError) and not path.exists()
        what = "is missing" if is_missing else f"cannot be read: {error.strerror or error}"
        raise FormatError(f"{path} {what}", hint=hint) from error
    except Exception as error:
        raise FormatError(f"{path} is damaged: {error}", hint=hint) from error


def no_array(path: Path, name: str, *, hint: str | None = None) -> FormatError:
    """That an ``.npz`` lacks an array."""
    return FormatError(f"{path} has no {name}", hint=hint)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refusal(error: OSError, path: Path) -> NerfAdError:
    if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
        return NerfAdError(f"the disk is full: {path} was not written", hint="free some space and run again")
    if error.errno == errno.ENAMETOOLONG:
        return BadInputError(f"the name {path.name[:20]}... is too long", hint="choose a shorter name")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return BadInputError(f"{path.parent} is not a folder", hint="choose a folder you may write to")
    if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT, errno.ELOOP}:
        return BadInputError(
            f"{path.parent} cannot be written: {error.strerror}", hint="choose a folder you may write to"
        )
    return NerfAdError(f"{path} could not be written: {error}")
