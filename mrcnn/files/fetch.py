"""Fetch one file over HTTP: resumable, verified, all or nothing, in bounded time.

While a file is on its way its bytes lie in `NAME.part`, and what the server called that
version of the file (its ETag or date) in `NAME.part.json`. Only a complete and verified file
gets its final name, by an atomic rename: a file with the final name is never half a file.
After a dropped connection, a Ctrl-C or a killed process the next call asks for the missing
bytes alone (`Range`), on the condition that the file is still the same one (`If-Range`); a
server that has another version, or cannot serve ranges, sends the whole file again.

Only the statuses 200 and 206 come with the file. A body whose end cannot be distinguished from a
cut, a body that is longer than announced or than the limit, and a server that is too slow are
errors.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mrcnn.files.cache_dir import cache_dir
from mrcnn.files.http_client import (
    CHUNK_SIZE,
    MAX_RETRY_DELAY,
    Answer,
    FetchError,
    RemoteFile,
    TransientError,
    open_url,
)
from mrcnn.files.names import printable

# Hexadecimal digits of a SHA-256 that tell the contents of files apart.
DIGEST_LENGTH = 16
# Bytes per second, on average over the timeout, below which a connection is given up.
MIN_RATE = 1000.0
# Largest file when the caller names no size: one whose length the server states, and one of
# unknown length.
MAX_STATED_SIZE = 2**38
MAX_UNKNOWN_SIZE = 2**30
# An attempt that brings this much counts as progress (less for files of less than a hundred times
# that size).
PROGRESS_BYTES = 2**16


class ChecksumError(FetchError):
    """The file arrived whole, but is not the file its checksum describes."""


class FetchStopped(Exception):
    """The caller's `stop` event was set; what has arrived is kept for the next call."""


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
Checksum = tuple[str, str]


@dataclass(frozen=True)
class _Rules:
    """The arguments of `fetch` that apply to every request."""

    url: str
    etag_is_md5: bool = False
    retries: int = 5
    timeout: float = 30.0
    backoff: float = 0.5
    min_rate: float = MIN_RATE
    size: int | None = None
    checksum: Checksum | None = None
    progress: Progress | None = None
    stop: threading.Event | None = None


def fetch(
    url: str,
    path: str | os.PathLike[str],
    *,
    checksum: str | None = None,
    size: int | None = None,
    etag_is_md5: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
    min_rate: float = MIN_RATE,
    backoff: float = 0.5,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> FetchedFile:
    """Fetch `url` to `path`, continuing where an earlier call was cut.

    A file already at `path` is kept if it has the checksum or, without one, the size and the
    MD5 the server states (one HEAD request). Without `checksum` the MD5 a server publishes
    (`Content-MD5`, `x-goog-hash`, with `etag_is_md5` also the ETag) is verified.

    Args:
        url: an http or https address; redirects from https to http are not followed.
        path: the file to write; its folders are created.
        checksum: "md5:HEX", "sha256:HEX" or the bare hexadecimal digits.
        size: the bytes the file must have, None where unknown.
        etag_is_md5: the server's plain ETags are MD5 sums, as Amazon S3's are for objects
            uploaded in one part. An ETag of another form is never read as one.
        retries: attempts in a row with hardly any new bytes before giving up.
        timeout: seconds until an answer must have begun, and over which `min_rate` is taken.
        min_rate: bytes per second that a connection must bring; a slower one is given up.
        backoff: seconds before the second attempt; doubled each time, at most 60.
        progress: called with (bytes on disk, total bytes or None) as they arrive.
        stop: when set, the call raises FetchStopped at the next chunk.

    Returns:
        A FetchedFile.

    Raises:
        ValueError: an address that is not http(s), or a checksum of unknown form.
        ChecksumError: the content has another checksum, twice from the first byte on.
        FetchError: a final answer such as 404, another size than `size`, or `retries` attempts
            in vain.
        FetchStopped: `stop` was set.
        OSError: the file could not be written.
    """
    path = Path(path)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url is {printable(url)!r}; it must start with http:// or https://")
    wanted = parse_checksum(checksum) if checksum else None
    rules = _Rules(
        url, etag_is_md5, retries, timeout, backoff, min_rate, size, wanted, progress, stop
    )
    part = _PartFile(path)
    if path.is_file():
        found = _existing_file(path, rules)
        if found is not None:
            part.discard()  # what a process killed right after its rename left behind
            return found
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = _fetch_part(part, rules)
    num_bytes = part.size()
    part.finish(path)
    return FetchedFile(path, num_bytes, digest, part.received)


def parse_checksum(checksum: str) -> Checksum:
    """Split "md5:HEX", "sha256:HEX" or bare digits into (algorithm, lower-case digits)."""
    name, _, digits = checksum.rpartition(":")
    lengths = {"md5": 32, "sha256": 64}
    name = name.lower() or {32: "md5", 64: "sha256"}.get(len(digits), "")
    if len(digits) != lengths.get(name) or not re.fullmatch(r"[0-9a-fA-F]+", digits):
        raise ValueError(
            f"checksum is {checksum!r}; it must be md5: and 32 or sha256: and 64 hexadecimal digits"
        )
    return name, digits.lower()


def file_digest(path: str | os.PathLike[str], algorithm: str = "md5") -> str:
    """Return a file's digest in lower-case hexadecimal digits."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_SIZE):
            digest.update(chunk)
    return digest.hexdigest()


def content_digest(path: str | os.PathLike[str]) -> str:
    """Return what tells the content of a file apart: `DIGEST_LENGTH` digits of its SHA-256."""
    return file_digest(path, "sha256")[:DIGEST_LENGTH]


def fetch_to_cache(url: str, folder: str, suffix: str = "") -> Path:
    """Fetch `url` into a folder of the cache, under a digest of the address; see `fetch`.

    Args:
        url: an http or https address.
        folder: name of the folder in `cache_dir()`.
        suffix: end of the file's name.

    Returns:
        The path of the file.
    """
    name = hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return fetch(url, cache_dir() / folder / f"{name}{suffix}", retries=2).path


def remote_file(
    url: str,
    *,
    etag_is_md5: bool = False,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 0.5,
    stop: threading.Event | None = None,
) -> RemoteFile:
    """Ask a server about a file without fetching it (HEAD).

    Args:
        url: an http or https address.
        etag_is_md5: as for `fetch`.
        retries: as for `fetch`.
        timeout: as for `fetch`.
        backoff: as for `fetch`.
        stop: as for `fetch`.

    Raises:
        FetchError: the server refused, or could not be reached in `retries` + 1 attempts.
        FetchStopped: `stop` was set.
    """
    rules = _Rules(url, etag_is_md5, retries, timeout, backoff, stop=stop)
    attempts = _Attempts(rules)
    while True:
        _check(stop)
        try:
            with open_url(
                url, {}, timeout=timeout, min_rate=rules.min_rate, method="HEAD"
            ) as answer:
                return answer.describe(etag_is_md5)
        except TransientError as error:
            attempts.failed(error)


def _fetch_part(part: _PartFile, rules: _Rules) -> str | None:
    """Bring the part to its full size and verify it; return the digest that was verified."""
    attempts, mismatches = _Attempts(rules), 0
    while True:
        try:
            remote = _receive(part, rules)
        except TransientError as error:
            attempts.failed(error, part.size(), part.total)
            continue
        published = rules.checksum or (("md5", remote.md5) if remote.md5 else None)
        if published is None:
            return None
        algorithm, expected = published
        found = file_digest(part.path, algorithm)
        if found == expected:
            return expected
        part.discard()
        mismatches += 1
        if mismatches > 1:
            raise ChecksumError(rules.url, f"{algorithm} is {found}, expected {expected}")


class _Attempts:
    """Counts the attempts in a row with hardly any new bytes, and pauses between them."""

    def __init__(self, rules: _Rules):
        self.rules = rules
        self._in_vain = 0
        self._farthest = 0

    def failed(self, error: TransientError, size: int = 0, total: int | None = None) -> None:
        """Note a failure after `size` bytes of `total`; pause, or give up with FetchError."""
        step = PROGRESS_BYTES if total is None else max(1, min(PROGRESS_BYTES, total // 100))
        is_progress = size >= self._farthest + step and not error.in_vain
        self._in_vain = 1 if is_progress else self._in_vain + 1
        self._farthest = max(self._farthest, size)
        if self._in_vain > self.rules.retries:
            reason = f"{error} (attempt {self._in_vain} of {self.rules.retries + 1})"
            raise FetchError(self.rules.url, reason, error.status) from error
        seconds = max(error.delay, self.rules.backoff * 2 ** (self._in_vain - 1))
        _pause(min(seconds, MAX_RETRY_DELAY), self.rules.stop)


class _PartFile:
    """The growing `NAME.part` and the record of the version it is a part of."""

    def __init__(self, path: Path):
        self.path = path.with_name(path.name + ".part")
        self._record = path.with_name(path.name + ".part.json")
        self.received = 0
        self.total: int | None = None

    def size(self) -> int:
        """Return the bytes on disk."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def resumable(self, url: str) -> RemoteFile | None:
        """Return the version of `url` the bytes on disk belong to; None if they are of no use."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            if record.pop("url") != url:
                return None
            remote = RemoteFile(**record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        texts = (remote.etag, remote.modified, remote.md5)
        if not all(isinstance(text, str | None) for text in texts):
            return None
        return remote if remote.validator and self.size() else None

    def restart(self, url: str, remote: RemoteFile) -> None:
        """Empty the part, then record that it is of another version: never the reverse."""
        self.path.write_bytes(b"")
        # Half a record counts as none, and a temporary file would stay behind a killed process.
        self._record.write_text(json.dumps({"url": url, **vars(remote)}), encoding="utf-8")

    def discard(self) -> None:
        """Remove part and record."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Give the part its final name."""
        os.replace(self.path, path)
        self._record.unlink(missing_ok=True)


def _receive(part: _PartFile, rules: _Rules) -> RemoteFile:
    """Make one attempt to bring the part to its full size; return the version it is now."""
    _check(rules.stop)
    known = part.resumable(rules.url)
    offset = part.size() if known else 0
    if known and known.size == offset:  # cut between the last byte and the rename
        return known
    headers = {}
    if known and known.validator:
        headers = {"Range": f"bytes={offset}-", "If-Range": known.validator}
    try:
        answer = open_url(rules.url, headers, timeout=rules.timeout, min_rate=rules.min_rate)
    except FetchError as error:
        if error.status != 416:
            raise
        part.discard()  # the part is longer than the file now is
        raise TransientError("the file became shorter", 416) from error
    with answer:
        if answer.status == 206:
            remote = _continued(answer, part, known, offset, rules)
        else:
            offset, remote = 0, answer.describe(rules.etag_is_md5)
        limit = _size_limit(answer, remote, rules)
        if answer.status != 206:
            part.restart(rules.url, remote)
        part.total = remote.size
        size = _append(answer, part, offset, limit, remote, rules)
    if remote.size is not None and size != remote.size:
        raise TransientError(f"connection closed at byte {size} of {remote.size}")
    if rules.size is not None and size != rules.size:
        part.discard()
        raise FetchError(rules.url, f"it has {size:,} bytes, expected {rules.size:,}", 200)
    return remote


def _continued(
    answer: Answer, part: _PartFile, known: RemoteFile | None, offset: int, rules: _Rules
) -> RemoteFile:
    """Return the version of a 206; throw the part away if it is not the version `known`."""
    start, total = answer.content_range()
    remote = answer.describe(rules.etag_is_md5)
    problem = None
    if known is None or start != offset:
        problem = f"range starts at {start}, not at {offset}"
    elif known.etag and remote.etag and known.etag != remote.etag:
        problem = f"the file changed from {known.etag} to {remote.etag}"
    elif None not in (known.size, total) and known.size != total:
        problem = f"the file changed from {known.size} to {total} bytes"
    if problem or known is None:
        part.discard()
        raise TransientError(str(problem), 206, in_vain=True)
    # The headers of a part describe the whole file, but for its length.
    total = known.size if total is None else total
    return replace(remote, size=total, md5=remote.md5 or known.md5)


def _size_limit(answer: Answer, remote: RemoteFile, rules: _Rules) -> int:
    """Return the largest size the file may have; raise if the server announces another size."""
    if remote.size is None and not answer.is_chunked:
        if rules.size is None and rules.checksum is None and remote.md5 is None:
            raise FetchError(
                rules.url,
                "the server does not send the file's length, so that a cut would go unnoticed; "
                "it must send Content-Length",
                answer.status,
            )
    if rules.size is not None:
        if remote.size not in (None, rules.size):
            raise FetchError(
                rules.url, f"it has {remote.size:,} bytes, expected {rules.size:,}", answer.status
            )
        return rules.size
    if remote.size is not None and remote.size > MAX_STATED_SIZE:
        reason = f"it has {remote.size:,} bytes; it must have at most {MAX_STATED_SIZE:,}"
        raise FetchError(rules.url, reason, answer.status)
    return MAX_UNKNOWN_SIZE if remote.size is None else remote.size


def _append(
    answer: Answer, part: _PartFile, size: int, limit: int, remote: RemoteFile, rules: _Rules
) -> int:
    """Add the body to the part of `size` bytes; return the new size."""
    with open(part.path, "ab", buffering=0) as stream:
        while chunk := answer.read():
            size += len(chunk)
            if size > limit:
                part.discard()
                raise FetchError(
                    rules.url, f"it is longer than {limit:,} bytes; it must not be", answer.status
                )
            stream.write(chunk)
            part.received += len(chunk)
            if rules.progress:
                rules.progress(size, remote.size)
            _check(rules.stop)
    return size


def _existing_file(path: Path, rules: _Rules) -> FetchedFile | None:
    """Return the file already at `path`, if it is the wanted one or, unknown that, the server's."""
    size, wanted = path.stat().st_size, rules.checksum
    if rules.size not in (None, size):
        return None
    if wanted is None:
        remote = remote_file(
            rules.url,
            etag_is_md5=rules.etag_is_md5,
            retries=rules.retries,
            timeout=rules.timeout,
            backoff=rules.backoff,
            stop=rules.stop,
        )
        if remote.size != size:
            return None
        wanted = ("md5", remote.md5) if remote.md5 else None
    if wanted is not None and file_digest(path, wanted[0]) != wanted[1]:
        return None
    return FetchedFile(path, size, wanted[1] if wanted else None, 0)


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise FetchStopped


def _pause(seconds: float, stop: threading.Event | None) -> None:
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):
        raise FetchStopped
