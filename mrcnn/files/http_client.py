"""One HTTP request whose time, redirects and answer are bounded.

`urllib` waits `timeout` seconds for each read of the socket, so a server that sends a byte now and
then holds it for ever; it follows redirects from https to http, and takes a page with any status
from 200 to 299 for the file. `open_url` does not.

Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any

from mrcnn.files.names import printable

USER_AGENT = "mrcnn (+urllib)"
CHUNK_SIZE = 1 << 18
# Answers that may be different a moment later; every other status but 200 and 206 is final.
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_RETRY_DELAY = 60.0
# Time to wait for bytes beyond the announced length, before a server that keeps the connection
# open is believed.
SURPLUS_WAIT = 0.05


class FetchError(OSError):
    """A file could not be fetched.

    Attributes:
        url: the address that was asked for.
        status: the HTTP status of the last answer, None where there was none.
    """

    def __init__(self, url: str, reason: str, status: int | None = None):
        super().__init__(f"{printable(url)}: {printable(reason)}")
        self.url = url
        self.status = status


class TransientError(Exception):
    """A failure worth another attempt.

    Attributes:
        status: the HTTP status, None where there was none.
        delay: seconds that the server asks to wait.
        in_vain: the attempt does not count as one that brought the file nearer.
    """

    def __init__(
        self, reason: str, status: int | None = None, delay: float = 0.0, in_vain: bool = False
    ):
        super().__init__(reason)
        self.status = status
        self.delay = delay
        self.in_vain = in_vain


@dataclass(frozen=True)
class RemoteFile:
    """Facts about a file from a server's headers.

    Attributes:
        size: bytes, None when the server does not send it.
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
        """The value for If-Range: a strong ETag, else the date (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class SlowServerError(TimeoutError):
    """The server sends fewer bytes in a time than it must."""


class _Pace:
    """Time limits of a connection: a time for the headers, then a rate for the body.

    The body must bring `min_rate` bytes per second, on average over each `timeout` seconds.
    """

    def __init__(self, timeout: float, min_rate: float) -> None:
        self.timeout, self.min_rate = timeout, min_rate
        self._deadline = time.monotonic() + timeout
        self._missing = 0.0

    def start_body(self) -> None:
        self._deadline = time.monotonic() + self.timeout
        self._missing = self.timeout * self.min_rate

    def remaining(self) -> float:
        """Return the seconds until the next bytes must be there; raise if there are none left."""
        now = time.monotonic()
        if now >= self._deadline:
            raise self.too_slow()
        return self._deadline - now

    def too_slow(self) -> SlowServerError:
        """Return the error for bytes that were not there in time."""
        if self._missing:
            return SlowServerError(f"the server is slower than {self.min_rate:g} bytes per second")
        return SlowServerError(f"no answer in {self.timeout:g} s")

    def received(self, count: int) -> None:
        if self._missing:
            self._missing -= count
            if self._missing <= 0:
                self.start_body()


class _PacedReader(io.RawIOBase):
    """The incoming bytes of a socket, each read limited by a `_Pace`."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, pace: _Pace) -> None:
        self.raw, self.sock, self.pace = raw, sock, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.sock.settimeout(self.pace.remaining())
        try:
            count: int | None = self.raw.readinto(buffer)
        except TimeoutError as error:
            raise self.pace.too_slow() from error
        self.pace.received(count or 0)
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    """An answer that is read at the pace of its connection."""

    pace: _Pace

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # urllib closes its own hold on the socket; that of `makefile` stays until `close`.
        raw = self.fp.detach()
        self.paced = _PacedReader(raw, sock, self.pace)
        self.fp = io.BufferedReader(self.paced)


def _handlers(pace: _Pace) -> list[urllib.request.BaseHandler]:
    """Return the urllib handlers that read every answer, redirects included, at one pace."""
    response_class = type("Response", (_PacedResponse,), {"pace": pace})

    class HTTPConnection(http.client.HTTPConnection):
        pass

    class HTTPSConnection(http.client.HTTPSConnection):
        pass

    HTTPConnection.response_class = HTTPSConnection.response_class = response_class

    class HTTPHandler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(HTTPConnection, request)

    class HTTPSHandler(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(HTTPSConnection, request)

    return [HTTPHandler(), HTTPSHandler(), _Redirects()]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https, never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        # urllib would read the whole body of the redirect, however long.
        fp.close()
        old = urllib.parse.urlsplit(req.full_url).scheme
        new = urllib.parse.urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            raise FetchError(
                req.full_url,
                f"the server redirects to {newurl}; it must not lead from {old} to {new}",
                code,
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Answer:
    """The body of a successful answer, and the facts in its headers.

    Attributes:
        status: 200, or 206 for a part of the file.
        headers: the headers.
        length: bytes that will come, None where the server does not send it.
    """

    def __init__(self, url: str, response: http.client.HTTPResponse) -> None:
        self.url, self._response = url, response
        self.status, self.headers = response.status, response.headers
        self.length = _whole_number(self.headers.get("Content-Length"))
        self.is_chunked = bool(response.chunked)
        if self.is_chunked:
            self.length = None
        self._left = self.length
        paced = getattr(response, "paced", None)
        self._pace: _Pace | None = paced.pace if paced else None
        if self._pace:
            self._pace.start_body()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self) -> bytes:
        """Return the bytes that have arrived, b"" at the end.

        Raises:
            TransientError: the connection broke, is too slow, or brings more than was announced.
        """
        try:
            if self._left is None:
                return self._response.read1(CHUNK_SIZE)  # `read` loses the bytes before a drop
            if not self._left:
                self._refuse_surplus()
                return b""
            # Around HTTPResponse, which closes the connection at the announced length.
            chunk: bytes = self._response.fp.read1(min(CHUNK_SIZE, self._left))
        except SlowServerError as error:
            raise TransientError(str(error), in_vain=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: the length of a chunk is no number.
            raise TransientError(f"{type(error).__name__}: {error}") from error
        self._left -= len(chunk)
        return chunk

    def _refuse_surplus(self) -> None:
        """Raise where bytes follow the announced ones: then their number was wrong."""
        paced = getattr(self._response, "paced", None)
        if paced is None or self._response.fp is None:
            return
        paced.pace = _Pace(SURPLUS_WAIT, 0)
        try:
            surplus = self._response.fp.peek(1)
        except OSError:
            return
        if surplus:
            raise TransientError(
                f"Content-Length is {self.length}, but the server sends more", in_vain=True
            )

    def describe(self, etag_is_md5: bool) -> RemoteFile:
        """Return the facts about the file in the headers."""
        return RemoteFile(
            size=self.length,
            etag=self.headers.get("ETag"),
            modified=self.headers.get("Last-Modified"),
            md5=_published_md5(self.headers, self.status, etag_is_md5),
        )

    def content_range(self) -> tuple[int, int | None]:
        """Return first byte and total size from `bytes 5-9/10`; a start of -1 if it is wrong."""
        text = self.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text, re.ASCII)
        if not found:
            return -1, None
        start, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        is_rest = start <= last and total in (None, last + 1)
        if not is_rest or self.length not in (None, last + 1 - start):
            return -1, None
        return start, total


def open_url(
    url: str,
    headers: Mapping[str, str],
    *,
    timeout: float,
    min_rate: float,
    method: str = "GET",
) -> Answer:
    """Send a request.

    Args:
        url: an http or https address.
        headers: further headers.
        timeout: seconds until the headers of the answer must be there, redirects included, and
            over which the rate of the body is taken.
        min_rate: bytes per second that the body must bring.
        method: "GET" or "HEAD".

    Raises:
        FetchError: a final refusal: a status other than 200 and 206, a redirect that leads from
            https to http, a compressed body.
        TransientError: no answer, or one that may be different a moment later.
    """
    # A compressed answer could neither be resumed nor compared with the published MD5.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=headers, method=method)
    opener = urllib.request.build_opener(*_handlers(_Pace(timeout, min_rate)))
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"HTTP {error.code} {error.reason}"
        if error.code in TRANSIENT_STATUS:
            raise TransientError(reason, error.code, _retry_after(error.headers)) from error
        raise FetchError(url, reason, error.code) from error
    except FetchError:
        raise
    except (OSError, http.client.HTTPException) as error:
        cause: BaseException = error
        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
            cause = error.reason
        in_vain = isinstance(cause, SlowServerError)
        raise TransientError(f"{type(cause).__name__}: {cause}", in_vain=in_vain) from error
    except ValueError as error:  # an address or redirect that cannot be parsed
        raise FetchError(url, f"{type(error).__name__}: {error}") from error
    problem = None
    if response.status not in (200, 206):
        problem = f"HTTP {response.status} {response.reason}; only 200 and 206 come with the file"
    elif response.headers.get("Content-Encoding", "identity") != "identity":
        problem = "the server compresses the file, which was not asked for"
    if problem:
        response.close()
        raise FetchError(url, problem, response.status)
    return Answer(url, response)


def _published_md5(headers: Message, status: int, etag_is_md5: bool) -> str | None:
    """Return the MD5 of the whole file, from the headers that state one."""
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


def _whole_number(text: str | None) -> int | None:
    found = re.fullmatch(r"[ \t]*(\d{1,18})[ \t]*", text or "", re.ASCII)
    return int(found[1]) if found else None


def _retry_after(headers: Message) -> float:
    seconds = _whole_number(headers.get("Retry-After"))
    return min(float(seconds or 0), MAX_RETRY_DELAY)
