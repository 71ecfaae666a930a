"""Members come out byte for byte; anything odd is refused."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.core.fake_index import PAYLOAD, tarball, wheel

from nerf_ad.core import archives
from nerf_ad.core.archives import extract_file, extract_folder
from nerf_ad.core.errors import WeightsError

Pack = Callable[[Mapping[str, bytes]], bytes]

UNSAFE = ["../evil.bin", "/etc/evil.bin", "a/../../evil.bin", "..\\evil.bin", "C:\\evil.bin", "C:evil.bin"]


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "pack"), [("a.whl", wheel), ("a.tar.gz", tarball), ("a.tgz", tarball)])
def test_member_comes_out_as_it_went_in(tmp_path: Path, name: str, pack: Pack) -> None:
    archive = put(tmp_path, name, pack({"other.txt": b"x", "pkg/net.bin": PAYLOAD}))
    extract_file(archive, "pkg/net.bin", tmp_path / "out", size=len(PAYLOAD))
    assert (tmp_path / "out").read_bytes() == PAYLOAD


@pytest.mark.parametrize(("name", "pack"), [("a.whl", wheel), ("a.tgz", tarball)])
def test_folder_takes_only_what_fits(tmp_path: Path, name: str, pack: Pack) -> None:
    members = {
        "p/d/a.t": b"aa",
        "p/d/sub/b.t": b"bbb",
        "p/d/sub/deep/c.t": b"c",
        "p/d/x.py": b"d",
        "a.t": b"e",
    }
    archive = put(tmp_path, name, pack(members))
    out = tmp_path / "out"
    out.mkdir()
    extract_folder(archive, "p/d/", ("*.t", "sub/*.t"), out, size=5)
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("*.t")) == ["a.t", "sub/b.t"]
    with pytest.raises(WeightsError, match="expected 4 bytes"):
        extract_folder(archive, "p/d/", ("*.t", "sub/*.t"), out, size=4)


@pytest.mark.parametrize(("name", "pack"), [("a.whl", wheel), ("a.tgz", tarball)])
@pytest.mark.parametrize("unsafe", UNSAFE)
def test_unsafe_names_are_refused(tmp_path: Path, name: str, pack: Pack, unsafe: str) -> None:
    archive = put(tmp_path, name, pack({unsafe: b"evil", "pkg/net.bin": PAYLOAD}))
    with pytest.raises(WeightsError, match="unsafe name"):
        extract_file(archive, "pkg/net.bin", tmp_path / "out", size=len(PAYLOAD))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.parent.glob("evil*"))


@pytest.mark.parametrize(("name", "pack"), [("a.whl", wheel), ("a.tgz", tarball)])
def test_absent_or_wrong_size(tmp_path: Path, name: str, pack: Pack) -> None:
    archive = put(tmp_path, name, pack({"pkg/net.bin": PAYLOAD}))
    with pytest.raises(WeightsError, match=r"holds no pkg/other\.bin"):
        extract_file(archive, "pkg/other.bin", tmp_path / "out", size=1)
    with pytest.raises(WeightsError, match="instead of 12"):
        extract_file(archive, "pkg/net.bin", tmp_path / "out", size=12)


@pytest.mark.parametrize(("name", "pack"), [("a.whl", wheel), ("a.tgz", tarball)])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_cut_archive(tmp_path: Path, name: str, pack: Pack, keep: float) -> None:
    data = pack({"pkg/net.bin": PAYLOAD})
    archive = put(tmp_path, name, data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match=r"damaged|holds no"):
        extract_file(archive, "pkg/net.bin", tmp_path / "out", size=len(PAYLOAD))


def test_flipped_byte_in_a_wheel(tmp_path: Path) -> None:
    data = bytearray(wheel({"pkg/net.bin": PAYLOAD}))
    data[60] ^= 0xFF
    archive = put(tmp_path, "a.whl", bytes(data))
    with pytest.raises(WeightsError, match="damaged"):
        extract_file(archive, "pkg/net.bin", tmp_path / "out", size=len(PAYLOAD))


def test_links_are_not_followed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        info = tarfile.TarInfo("pkg/net.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        bundle.addfile(info)
    archive = put(tmp_path, "a.tgz", buffer.getvalue())
    with pytest.raises(WeightsError, match="holds no"):
        extract_file(archive, "pkg/net.bin", tmp_path / "out", size=1)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("zeros", bytes(1 << 20))
        bundle.writestr("pkg/net.bin", PAYLOAD)
    archive = put(tmp_path, "a.whl", buffer.getvalue())
    monkeypatch.setattr(archives, "_MAX_UNPACKED_BYTES", 1 << 19)
    with pytest.raises(WeightsError, match="unpacks to more"):
        extract_file(archive, "pkg/net.bin", tmp_path / "out", size=len(PAYLOAD))
