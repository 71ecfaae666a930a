"""Hand-made archives and a package index on the loopback address, for tests of weights."""

import contextlib
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from nerf_ad.core.catalogue import Archive, Weight

PAYLOAD = bytes(range(256)) * 300
"""What the weight holds."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


def tarball(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_archive(
    data: bytes, *, name: str = "thing_models-1.0-py3-none-any.whl", registry: str = "pypi"
) -> Archive:
    return Archive.from_mapping(
        {
            "registry": registry,
            "package": "Thing.Models",
            "version": "1.0",
            "name": name,
            "size": len(data),
            "sha256": sha256(data),
        },
        source="test",
    )


def make_weight(
    archive: Archive, *, member: str = "thing_models/net.bin", payload: bytes = PAYLOAD
) -> Weight:
    return Weight(
        name="thing",
        label="thing",
        purpose="tests",
        archive=archive,
        member=member,
        size=len(payload),
        sha256=sha256(payload),
        licence="MIT",
        terms="none",
        fallback="nothing",
    )


class Page(NamedTuple):
    body: bytes
    kind: str = "application/octet-stream"
    status: int = 200
    announced: int | None = None
    """Content-Length, if not the true one."""


class Index:
    """A loopback web server; ``pages`` maps paths to answers and may be changed at any time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str | None]] = []
        """Paths asked for, with the Authorization header."""

    def offer(self, name: str, data: bytes, *, sha: str | None = None, html: bool = False) -> None:
        """Publish one file of Thing.Models."""
        self.pages[f"/files/{name}"] = Page(data)
        digest = sha or sha256(data)
        if html:
            page = f'<html><a href="../../files/{name}#sha256={digest}">{name}</a></html>'
            self.pages["/simple/thing-models/"] = Page(page.encode(), "text/html; charset=utf-8")
        else:
            file = {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": digest}}
            body = json.dumps({"files": [file]}).encode()
            self.pages["/simple/thing-models/"] = Page(body, "application/vnd.pypi.simple.v1+json")


@contextlib.contextmanager
def serve() -> Iterator[Index]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append((self.path, self.headers.get("Authorization")))
            page = index.pages.get(self.path, Page(b"no", "text/plain", 404))
            self.send_response(page.status)
            self.send_header("Content-Type", page.kind)
            self.send_header(
                "Content-Length", str(len(page.body) if page.announced is None else page.announced)
            )
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = Index(f"http://127.0.0.1:{server.server_port}/simple")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


def file_index(folder: Path, name: str, data: bytes) -> str:
    """An index of plain folders, as mirrors have them; its ``file:`` address."""
    (folder / "files").mkdir(parents=True)
    (folder / "simple" / "thing-models").mkdir(parents=True)
    (folder / "files" / name).write_bytes(data)
    link = f'<a href="../../files/{name}#sha256={sha256(data)}">{name}</a>'
    (folder / "simple" / "thing-models" / "index.html").write_text(link)
    return (folder / "simple").as_uri()
