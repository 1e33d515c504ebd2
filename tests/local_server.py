"""An HTTP server on 127.0.0.1 for download tests: ranges, ETags and failures on demand."""

import base64
import hashlib
import http.server
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
        status: answer with this status and no body, 0 for none.
        drop_after: close the connection after this number of body bytes, though more were promised;
            -1 for never. Headers are sent before.
        corrupt: flip the first byte of the body.
        reset: end the connection with a reset instead of an ordinary close.
    """

    status: int = 0
    drop_after: int = -1
    corrupt: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Request:
    """One answered request: `sent` body bytes from byte `start` on."""

    method: str
    path: str
    start: int
    sent: int
    status: int
    complete: bool


class LocalServer:
    """Serves `files` (address path -> bytes); a context manager.

    Attributes:
        files: what is served; may be changed between requests.
        fault: called with (method, path, number of the request) before each answer.
        busiest: the most requests that were under way at the same time.
        log: a Request for each answer, in the order they ended; waits for those under way.
        ranges: whether Range is honoured.
        published: "etag" (the MD5 as ETag, as Amazon S3), "goog" (x-goog-hash and an opaque
            ETag), "date" (Last-Modified only) or "none".
    """

    def __init__(self, files: dict[str, bytes], published: str = "etag"):
        self.files = dict(files)
        self.published = published
        self.ranges = True
        self.fault: Callable[[str, str, int], Fault | None] = lambda method, path, number: None
        self._log: list[Request] = []
        self._idle = threading.Condition()
        self._begun = 0
        self.busiest = 0

    def __enter__(self) -> "LocalServer":
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def begin(self) -> int:
        with self._idle:
            self._begun += 1
            self.busiest = max(self.busiest, self._begun - len(self._log))
            return self._begun - 1

    def record(self, request: Request) -> None:
        with self._idle:
            self._log.append(request)
            self._idle.notify_all()

    @property
    def log(self) -> list[Request]:
        with self._idle:  # a client can have its last byte before the server has noted it
            self._idle.wait_for(lambda: len(self._log) == self._begun, timeout=5)
            return list(self._log)

    def paths(self, method: str = "GET") -> list[str]:
        return [request.path for request in self.log if request.method == method]


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: LocalServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.lstrip("/")
        fault = self.owner.fault(self.command, path, self.owner.begin()) or Fault()
        start = sent = status = 0
        complete = False
        try:
            data, status, start, headers = self._choose(path, fault)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET" and data:
                sent = self._body(data, fault)
                complete = sent == len(data)
        except OSError:
            self.close_connection = True  # the client went away
        finally:
            self.owner.record(Request(self.command, path, start, sent, status, complete))

    def _choose(self, path: str, fault: Fault) -> tuple[bytes, int, int, dict[str, str]]:
        """Body, status, first byte and headers of the answer."""
        data = self.owner.files.get(path)
        if fault.status or data is None:
            return b"", fault.status or 404, 0, {"Content-Length": "0"}
        headers = self._headers(data)
        start, status = 0, 200
        wanted = self.headers.get("Range")
        version = headers.get("ETag", headers.get("Last-Modified"))
        if wanted and self.owner.ranges and self.headers.get("If-Range") in (None, version):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                return b"", 416, start, {"Content-Length": "0"}
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        return data[start:], status, start, headers

    def _headers(self, data: bytes) -> dict[str, str]:
        digest = hashlib.md5(data)
        return {
            "etag": {"ETag": f'"{digest.hexdigest()}"'},
            "goog": {
                "ETag": f'"v-{digest.hexdigest()[:8]}"',
                "x-goog-hash": "md5=" + base64.b64encode(digest.digest()).decode(),
            },
            "date": {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"},
            "none": {},
        }[self.owner.published]

    def _body(self, data: bytes, fault: Fault) -> int:
        if fault.corrupt:
            data = bytes([data[0] ^ 255]) + data[1:]
        dropped = 0 <= fault.drop_after < len(data)
        data = data[: fault.drop_after] if dropped else data
        self.wfile.write(data)
        self.wfile.flush()
        if dropped:
            self.close_connection = True
            if fault.reset:
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return len(data)
