"""The server: uvicorn with time limits, in one process or several."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mrcnn.service.metrics import FOLDER_VARIABLE

# Time for the head of a request; its body has a limit of its own.
HEAD_SECONDS = 20.0
# A worker that does not answer the supervisor for this time is replaced.
_WORKER_SECONDS = 60
# Hosts that stand for all network interfaces -> the one by which this machine reaches itself.
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
# With this exit code a worker is not started again.
STARTUP_FAILURE = 3
_SLOW_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that ends a connection whose request does not begin within `HEAD_SECONDS`.

    uvicorn has a time limit between two requests of a connection only.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time of the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._end_slow_head)

    def data_received(self, data: bytes) -> None:
        """Stop the time when the head of a request is complete; start it with the next head."""
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE
        if not waits and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif waits and self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._end_slow_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _end_slow_head(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        message = b'{"error":"request is incomplete after %d s; it must begin within that time"}'
        text = message % HEAD_SECONDS
        self.transport.write(_SLOW_HEAD % (len(text), text))
        self.transport.close()


def run_server(
    app: Any,
    host: str,
    port: int,
    *,
    workers: int = 1,
    grace_seconds: float = 30.0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered before the end.

    Args:
        app: the application; with several workers the "module:function" that makes it, which
            ends its process with the exit code `STARTUP_FAILURE` if it cannot.
        host: address or name of the network interface.
        port: port from 0 to 65535; 0 takes a free one.
        workers: number of processes. Each calls the function and holds a model of its own.
        grace_seconds: time that requests under way have after the signal.
        on_ready: called with the address of the page on this machine when the first worker
            answers.

    Raises:
        ValueError: the port is in use or may not be taken, or there is no such host.
        OSError: the workers ended before one of them was ready.
    """
    # It writes a line for each form that is damaged, which the answer says.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    port = _free_port(host, port)
    is_ready, stopped = threading.Event(), threading.Event()

    def announce() -> None:
        if _answers(host, port, stopped):
            is_ready.set()
            if on_ready is not None:
                on_ready(_address(host, port))

    threading.Thread(target=announce, daemon=True).start()
    try:
        with _shared_figures(workers):
            uvicorn.run(
                app,
                host=host,
                port=port,
                workers=workers,
                factory=isinstance(app, str),
                http=TimedProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(grace_seconds)),
                timeout_worker_healthcheck=_WORKER_SECONDS,
            )
    finally:
        stopped.set()
    if workers > 1 and not is_ready.is_set():
        raise OSError("the processes ended before one of them was ready")


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0, after taking it for a moment."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port is {port}; it must be a number from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ValueError(
            f"host is {host!r}; it must be an address of this machine, such as 127.0.0.1, or "
            f"0.0.0.0 for all ({error.strerror})"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        if os.name != "nt":  # where it would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            raise ValueError(
                f"port is {port}; it must be free on {host} and open to this user "
                f"({error.strerror}): choose another with --port"
            ) from error
        return int(probe.getsockname()[1])


def _address(host: str, port: int) -> str:
    """Return the address of the page; on this machine, where the host means all interfaces."""
    host = ANY_HOST.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _answers(host: str, port: int, stopped: threading.Event) -> bool:
    """Wait until the server answers; return False if it has stopped before."""
    address = f"{_address(host, port)}healthz"
    # Not through a proxy of the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not stopped.wait(0.1):
        with contextlib.suppress(OSError), opener.open(address, timeout=5):
            return True
    return False


@contextlib.contextmanager
def _shared_figures(workers: int) -> Iterator[None]:
    """Let several workers add up their figures in a temporary folder."""
    if workers == 1 or FOLDER_VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mrcnn-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]
