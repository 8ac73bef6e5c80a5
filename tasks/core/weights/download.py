"""Fetch a file over HTTP: whole, checked, resumed where the connection was cut."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx
from pydantic import ValidationError

from tasks.core.errors import ServiceError, WeightsError
from tasks.core.hashes import file_sha256
from tasks.core.network.redirects import RedirectRule
from tasks.core.paths import cache_folder
from tasks.core.progress import Progress
from tasks.core.records.record import Record
from tasks.core.weights.folders import weights_files, weights_sha256
from tasks.core.weights.urls import mirrored, split_url, without_query

Hooks = dict[str, list[Callable[..., object]]]
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MAX_RESUMES = 5


class _Remembered(Record):
    """What the cache knows of a URL; nothing by default."""

    sha256: str = ""
    etag: str | None = None


@dataclass
class _Version:
    """Validators: of the file in the cache, and of the one that is being fetched."""

    cached: str | None
    etag: str | None = None


_WAY_OUT = "give a local file with --weights FILE"


def fetch_to_file(url: str, folder: Path, *, variable: str) -> Path:
    """Fetch a file into a folder under its own name; one that is there already is checked, not fetched again.

    Args:
        url: where it is; `ASSAY_WEIGHTS_MIRROR` is asked instead, if set.
        folder: where it shall be.
        variable: environment variable that moves the folder, for the message where it can't be written.

    Raises:
        WeightsError: the bytes have another hash than the URL states; they are removed. Or the folder can't be written.
        ServiceError: the host could not be reached, or kept cutting the connection.
    """
    _, name, expected = split_url(url)
    target = folder / name
    if target.is_file() and file_sha256(target).startswith(expected or ""):
        return target  # without a lock, which a shared read-only folder does not take
    asked = without_query(mirrored(url))
    way_out = f"{_WAY_OUT}, set ASSAY_WEIGHTS_MIRROR to a mirror (asked: {asked}), or put {name} into {folder}"
    with _locked(target, folder=folder, variable=variable):
        if not target.exists():
            _download(url, target, etag=None, way_out=way_out)
        _check(target, expected)
    return target


def fetch_to_cache(url: str) -> Path:
    """Fetch a file into the content-addressed cache.

    Where the URL states its hash and the file is there, no network is touched; else the server is asked whether the
    file changed. `ASSAY_WEIGHTS_MIRROR` is asked instead, if set.

    Raises:
        WeightsError, ServiceError: as `fetch_to_file`.
    """
    address, name, expected = split_url(url)
    index = cache_folder() / "urls" / f"{hashlib.sha256(address.encode()).hexdigest()}.json"
    with _locked(index, folder=cache_folder(), variable="ASSAY_CACHE"):
        known = _remembered(index)
        blob = _blob(known.sha256, name)
        if is_known := blob.exists():
            _check(blob, known.sha256)
            if expected and known.sha256.startswith(expected):
                return blob
        incoming = index.with_suffix("") / name
        incoming.parent.mkdir(exist_ok=True)
        way_out = f"{_WAY_OUT}, or set ASSAY_WEIGHTS_MIRROR to a mirror"
        etag = _download(address, incoming, etag=known.etag if is_known else None, way_out=way_out)
        if is_known and not incoming.exists():  # 304: not modified
            _check(blob, expected)
            return blob
        sha256 = _check(incoming, expected)
        index.unlink(missing_ok=True)  # a half-done update must not pair the old hash with new bytes
        blob = _blob(sha256, name)
        blob.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(blob)
        half = index.with_suffix(".half")
        half.write_text(_Remembered(sha256=sha256, etag=etag).model_dump_json())
        half.replace(index)
        return blob


def keep_in_cache(path: Path) -> Path:
    """Move weights that a library fetched into the content-addressed cache; gives their place there.

    Args:
        path: of a weights file, or of an index whose shards lie beside it.

    Raises:
        WeightsError: shards are missing, or the cache can't be written.
    """
    blob = _blob(weights_sha256(path), path.name)
    with _locked(blob, folder=cache_folder(), variable="ASSAY_CACHE"):
        for file in dict.fromkeys((*weights_files(path), path)):  # an index is the last to be there
            incoming = blob.with_name(f".{file.name}.part")
            shutil.move(file, incoming)
            incoming.replace(blob.with_name(file.name))
    return blob


def _remembered(index: Path) -> _Remembered:
    try:
        return _Remembered.model_validate_json(index.read_text())
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return _Remembered()


def _blob(sha256: str, name: str) -> Path:
    return cache_folder() / "sha256" / sha256 / name


@contextlib.contextmanager
def _locked(target: Path, *, folder: Path, variable: str) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(f".{target.name}.lock")):
            yield
    except OSError as error:
        what = error.strerror or error
        raise WeightsError(f"{folder} can't be written ({what}); set {variable} to a folder that can.") from error


def _check(path: Path, expected: str | None) -> str:
    sha256 = file_sha256(path)
    if expected and not sha256.startswith(expected):
        path.unlink()
        raise WeightsError(
            f"The SHA-256 of {path.name} is {sha256}, which does not start with {expected}: the file is damaged or "
            f"not the one you mean and was removed; fetch it again, or give its true hash as URL#sha256=HEX."
        )
    return sha256


def _download(url: str, target: Path, *, etag: str | None, way_out: str) -> str | None:
    """Download by way of a part file, resumed up to 5 times; with `etag`, an unchanged file leaves no `target`."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    address = mirrored(url)
    version = _Version(etag)
    try:
        hooks: Hooks = {"request": [RedirectRule(address)]}
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, event_hooks=hooks) as client:
            for attempt in range(_MAX_RESUMES + 1):
                try:
                    _request(client, address, part=part, version=version)
                    break
                except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout):
                    if attempt == _MAX_RESUMES or not part.exists():
                        raise
        if part.exists():
            part.replace(target)
        return version.etag
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        failure = ServiceError if status >= 500 or status == 429 else WeightsError
        raise failure(f"{without_query(address)} answered with status {status}: {way_out}.") from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        what = str(error) or type(error).__name__
        raise ServiceError(f"{without_query(address)} could not be reached ({what}): {way_out}.") from error
    finally:
        part.unlink(missing_ok=True)


def _request(client: httpx.Client, address: str, *, part: Path, version: _Version) -> None:
    """Ask for the file, or for the rest of it; append what comes to `part`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have and version.etag:  # without a validator the rest could be that of another file
        headers |= {"Range": f"bytes={have}-", "If-Range": version.etag}
    elif version.cached and not part.exists():
        headers["If-None-Match"] = version.cached
    with client.stream("GET", address, headers=headers) as response:
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        etag = response.headers.get("etag", version.etag if resumed else None)
        starts = response.headers.get("content-range", "").startswith(f"bytes {have}-")
        if resumed and not (have and starts and etag == version.etag):
            part.write_bytes(b"")
            raise httpx.RemoteProtocolError("the server sent another part of the file than asked for")
        version.etag = etag
        progress = Progress("{done:.0f} of {total:.0f} MB", float(response.headers.get("content-length", 0)) / 1e6)
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():  # as it arrives: a cut loses nothing
                progress.advance(len(chunk) / 1e6)
                file.write(chunk)
