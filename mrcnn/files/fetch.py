"""Fetch one file over HTTP: resumable, verified, all or nothing.

While a file is on its way its bytes lie in `NAME.part`, and what the server called that
version of the file (its ETag or date) in `NAME.part.json`. Only a complete and verified file
gets its final name, by an atomic rename: a file with the final name is never half a file.
After a dropped connection, a Ctrl-C or a killed process the next call asks for the missing
bytes alone (`Range`), on the condition that the file is still the same one (`If-Range`); a
server that has another version, or cannot serve ranges, sends the whole file again.

Standard library only.
"""

import base64
import binascii
import hashlib
import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

CHUNK_SIZE = 1 << 18
USER_AGENT = "mrcnn (+urllib)"
# Answers that may be different a moment later; every other 4xx and 5xx is final.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_RETRY_DELAY = 60.0


class FetchError(OSError):
    """A file could not be fetched.

    Attributes:
        url: what was asked for.
        status: the HTTP status of the last answer, None when none came.
    """

    def __init__(self, url: str, reason: str, status: int | None = None):
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.status = status


class ChecksumError(FetchError):
    """The file arrived whole, but is not the file its checksum describes."""


class FetchStopped(Exception):
    """The caller's `stop` event was set; what has arrived is kept for the next call."""


class _TransientError(Exception):
    """A failure worth another attempt, with the server's wish for a pause in seconds."""

    def __init__(self, reason: str, status: int | None = None, delay: float = 0.0):
        super().__init__(reason)
        self.status = status
        self.delay = delay


@dataclass(frozen=True)
class RemoteFile:
    """What a server says of a file.

    Attributes:
        size: bytes, None when the server does not say.
        etag: the ETag header as sent, quotes included, or None.
        modified: the Last-Modified header, or None.
        md5: lower-case hexadecimal MD5 of the content where the server publishes one.
    """

    size: int | None = None
    etag: str | None = None
    modified: str | None = None
    md5: str | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a strong ETag, else the date (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True)
class FetchedFile:
    """A file that now lies complete at `path`.

    Attributes:
        path: where it is.
        size: its bytes.
        digest: the MD5 or SHA-256 it was verified against, None when none was known.
        transferred: body bytes that came over the network in this call; 0 for a file that
            was already there.
    """

    path: Path
    size: int
    digest: str | None
    transferred: int


Progress = Callable[[int, int | None], None]


def fetch(
    url: str,
    path: str | os.PathLike,
    *,
    checksum: str | None = None,
    etag_is_md5: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 0.5,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> FetchedFile:
    """Fetches `url` to `path`, going on where an earlier call was cut.

    A file already at `path` is kept if it has the checksum or, without one, the size and the
    MD5 the server states (one HEAD request). Without `checksum` the MD5 a server publishes
    (`Content-MD5`, `x-goog-hash`, with `etag_is_md5` also the ETag) is verified.

    Args:
        url: an http or https address.
        path: the file to write; its folders are created.
        checksum: "md5:HEX", "sha256:HEX" or the bare hexadecimal digits.
        etag_is_md5: the server's plain ETags are MD5 sums, as Amazon S3's are for objects
            uploaded in one part. An ETag of another form is never read as one.
        retries: attempts in a row that may bring nothing new before giving up. An attempt
            that brought bytes nearer does not count.
        timeout: seconds without a sign of life after which a connection is given up.
        backoff: seconds before the second attempt; doubled each time, at most 60.
        progress: called with (bytes on disk, total bytes or None) as they arrive.
        stop: when set, the call raises FetchStopped at the next chunk.

    Returns:
        A FetchedFile.

    Raises:
        ValueError: an address that is not http(s), or a checksum of unknown form.
        ChecksumError: the content has another checksum, twice from the first byte on.
        FetchError: a final answer such as 404, or `retries` attempts in vain.
        FetchStopped: `stop` was set.
        OSError: the file could not be written.
    """
    path = Path(path)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url is {url!r}: it must start with http:// or https://")
    wanted = parse_checksum(checksum) if checksum else None
    part = _PartFile(path)
    attempts = _Attempts(url, retries, backoff, stop)
    if path.is_file():
        kept = _keep(url, path, wanted, etag_is_md5, timeout, attempts)
        if kept is not None:
            part.discard()  # what a process killed right after its rename left behind
            return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    mismatches = 0
    while True:
        try:
            remote = _receive(url, part, etag_is_md5, timeout, progress, stop)
        except _TransientError as error:
            attempts.failed(error, part.size())
            continue
        published = wanted or (remote.md5 and ("md5", remote.md5))
        if published and (found := file_digest(part.path, published[0])) != published[1]:
            part.discard()
            mismatches += 1
            if mismatches > 1:
                name, expected = published
                raise ChecksumError(url, f"{name} is {found}, expected {expected}")
            continue
        size = part.size()
        part.finish(path)
        return FetchedFile(path, size, published[1] if published else None, part.received)


def parse_checksum(checksum: str) -> tuple[str, str]:
    """Splits "md5:HEX", "sha256:HEX" or bare digits into (algorithm, lower-case digits)."""
    name, _, digits = checksum.rpartition(":")
    lengths = {"md5": 32, "sha256": 64}
    name = name.lower() or {32: "md5", 64: "sha256"}.get(len(digits), "")
    if len(digits) != lengths.get(name) or not re.fullmatch(r"[0-9a-fA-F]+", digits):
        raise ValueError(
            f"checksum is {checksum!r}: it must be md5: and 32 or sha256: and 64 hexadecimal digits"
        )
    return name, digits.lower()


def file_digest(path: str | os.PathLike, algorithm: str = "md5") -> str:
    """The file's digest in lower-case hexadecimal digits."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_SIZE):
            digest.update(chunk)
    return digest.hexdigest()


def remote_file(
    url: str,
    *,
    etag_is_md5: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 0.5,
    stop: threading.Event | None = None,
) -> RemoteFile:
    """Asks a server about a file without fetching it (HEAD); arguments as for `fetch`.

    Raises:
        FetchError: the server refused, or could not be reached in `retries` + 1 attempts.
        FetchStopped: `stop` was set.
    """
    attempts = _Attempts(url, retries, backoff, stop)
    while True:
        _check(stop)
        try:
            with _open(url, {}, timeout, method="HEAD") as response:
                return _describe(response, etag_is_md5)
        except _TransientError as error:
            attempts.failed(error)


class _Attempts:
    """Counts the attempts in a row that brought nothing new, and pauses between them."""

    def __init__(self, url: str, retries: int, backoff: float, stop: threading.Event | None):
        self.url, self.retries, self.backoff, self.stop = url, retries, backoff, stop
        self._in_vain = 0
        self._farthest = 0

    def failed(self, error: _TransientError, size: int = 0) -> None:
        """Notes a failure after `size` bytes in all; pauses, or gives up with FetchError."""
        self._in_vain = 1 if size > self._farthest else self._in_vain + 1
        self._farthest = max(self._farthest, size)
        if self._in_vain > self.retries:
            reason = f"{error} (attempt {self._in_vain} of {self.retries + 1})"
            raise FetchError(self.url, reason, error.status) from error
        seconds = max(error.delay, self.backoff * 2 ** (self._in_vain - 1))
        _pause(min(seconds, MAX_RETRY_DELAY), self.stop)


class _PartFile:
    """The growing `NAME.part` and the record of the version it is a part of."""

    def __init__(self, path: Path):
        self.path = path.with_name(path.name + ".part")
        self._record = path.with_name(path.name + ".part.json")
        self.received = 0

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def resumable(self, url: str) -> RemoteFile | None:
        """The version of `url` the bytes on disk belong to; None where they are of no use."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            if record.pop("url") != url:
                return None
            remote = RemoteFile(**record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return remote if remote.validator and self.size() else None

    def restart(self, url: str, remote: RemoteFile) -> None:
        """Empties the part before it is said to be of another version: never the reverse."""
        self.path.write_bytes(b"")
        self._record.write_text(json.dumps({"url": url, **vars(remote)}), encoding="utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        os.replace(self.path, path)
        self._record.unlink(missing_ok=True)


def _receive(
    url: str,
    part: _PartFile,
    etag_is_md5: bool,
    timeout: float,
    progress: Progress | None,
    stop: threading.Event | None,
) -> RemoteFile:
    """One attempt to bring the part to its full size; returns the version it is now."""
    _check(stop)
    known = part.resumable(url)
    offset = part.size() if known else 0
    if known and known.size == offset:  # cut between the last byte and the rename
        return known
    headers = {"Range": f"bytes={offset}-", "If-Range": known.validator} if known else {}
    try:
        response = _open(url, headers, timeout)
    except FetchError as error:
        if error.status != 416:
            raise
        part.discard()  # the part is longer than the file now is
        raise _TransientError("the file became shorter", 416) from error
    with response:
        remote = _describe(response, etag_is_md5)
        if response.status == 206:
            start, total = _content_range(response)
            if known is None or start != offset:
                part.discard()
                raise _TransientError(f"range starts at {start}, not at {offset}", 206)
            # The headers of a part describe the whole file, but for its length.
            remote = replace(remote, size=total, md5=remote.md5 or known.md5)
        else:
            offset = 0
            part.restart(url, remote)
        size = offset
        with open(part.path, "ab", buffering=0) as stream:
            while chunk := _read(response):
                stream.write(chunk)
                part.received += len(chunk)
                size += len(chunk)
                if progress:
                    progress(size, remote.size)
                _check(stop)
    if remote.size is not None and size != remote.size:
        raise _TransientError(f"connection closed at byte {size} of {remote.size}")
    return remote


def _open(
    url: str, headers: dict[str, str], timeout: float, method: str = "GET"
) -> http.client.HTTPResponse:
    """Sends the request; FetchError for a final refusal, _TransientError for the rest."""
    # A compressed answer could neither be resumed nor compared with the published MD5.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"HTTP {error.code} {error.reason}"
        if error.code in TRANSIENT_STATUS:
            raise _TransientError(reason, error.code, _retry_after(error.headers)) from error
        raise FetchError(url, reason, error.code) from error
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(f"{type(error).__name__}: {error}") from error
    if response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise FetchError(url, "the server compresses the file, unasked", response.status)
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    """The bytes that have arrived, b"" at the end. `read1`, as `read` loses them in a drop."""
    try:
        return response.read1(CHUNK_SIZE)
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(f"{type(error).__name__}: {error}") from error


def _describe(response: http.client.HTTPResponse, etag_is_md5: bool) -> RemoteFile:
    headers = response.headers
    length = headers.get("Content-Length")
    return RemoteFile(
        size=int(length) if length and length.isdigit() else None,
        etag=headers.get("ETag"),
        modified=headers.get("Last-Modified"),
        md5=_published_md5(headers, response.status, etag_is_md5),
    )


def _published_md5(headers, status: int, etag_is_md5: bool) -> str | None:
    """The MD5 of the whole file, from the headers that state one."""
    stated = []
    # x-goog-hash describes the stored object; Content-MD5 the body, so not of a 206.
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        for value in headers.get_all("x-goog-hash", []):
            stated += [item.strip()[4:] for item in value.split(",") if item.strip()[:4] == "md5="]
    if status == 200 and "Content-MD5" in headers:
        stated.append(headers["Content-MD5"])
    for value in stated:
        try:
            digest = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(digest) == 16:
            return digest.hex()
    etag = headers.get("ETag", "").strip('"').lower()
    return etag if etag_is_md5 and re.fullmatch(r"[0-9a-f]{32}", etag) else None


def _content_range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte and total size out of `bytes 5-9/10`; a start of -1 where it is unreadable."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not found:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _keep(
    url: str,
    path: Path,
    wanted: tuple[str, str] | None,
    etag_is_md5: bool,
    timeout: float,
    attempts: _Attempts,
) -> FetchedFile | None:
    """The file already at `path`, if it is the wanted one or, unknown that, the server's."""
    size = path.stat().st_size
    if wanted is None:
        remote = remote_file(
            url,
            etag_is_md5=etag_is_md5,
            retries=attempts.retries,
            timeout=timeout,
            backoff=attempts.backoff,
            stop=attempts.stop,
        )
        if remote.size != size:
            return None
        wanted = ("md5", remote.md5) if remote.md5 else None
    if wanted is not None and file_digest(path, wanted[0]) != wanted[1]:
        return None
    return FetchedFile(path, size, wanted[1] if wanted else None, 0)


def _retry_after(headers) -> float:
    value = headers.get("Retry-After", "")
    return min(float(value), MAX_RETRY_DELAY) if value.isdigit() else 0.0


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise FetchStopped


def _pause(seconds: float, stop: threading.Event | None) -> None:
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):
        raise FetchStopped
