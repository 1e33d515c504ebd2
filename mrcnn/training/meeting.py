"""The line between the processes of a training on several hosts, before and beside JAX's own.

Process 0 listens, the others connect, and every process tells the others small values: its
settings, which checkpoint to continue from, whether to stop. JAX's own service aborts the process
without a message where another one is missing; this one says who is missing, and notices within a
second that a process has died.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from mrcnn.files.names import printable
from mrcnn.training.launchers import Place

# The exit status of a process that lost another one: a temporary failure, to be started again.
LOST_STATUS = 75
# How long a process may take to report an error of its own after the end of another, in seconds.
_GRACE = 10.0
_RETRY_SECONDS = 0.2
_MAX_LINE = 1 << 24


class Meeting:
    """All processes of a training, connected through process 0.

    Args:
        place: of this process.
        timeout: seconds to wait for the others.
        on_end: called from a thread, with a message and an exit status, if another process ends
            before its training has.

    Attributes:
        lost: what to report if another process ended without a word, otherwise None.

    Raises:
        ValueError: two processes have the same rank, or not the same number of processes.
        TimeoutError: not all processes came in time.
        OSError: the port cannot be used.
    """

    def __init__(
        self, place: Place, timeout: float, on_end: Callable[[str, int], None] | None = None
    ) -> None:
        self.rank, self.count = place.rank, place.count
        self.lost: str | None = None
        self._on_end = on_end or self._end_process
        self._is_closed = False
        if place.rank:
            self._peers = {0: _connect(place, timeout)}
        else:
            self._peers = _accept(place, timeout)
        self._received: dict[int, queue.Queue[Any]] = {rank: queue.Queue() for rank in self._peers}
        for rank in self._peers:
            threading.Thread(target=self._read, args=(rank,), daemon=True).start()

    def exchange(self, value: Any) -> list[Any]:
        """Give a value, for which JSON must have a form, and return those of all, by rank.

        All processes must call this equally often, in the same order. It waits for the slowest.
        """
        if self.rank:
            self._peers[0].send(value)
            values: list[Any] = self._received[0].get()
            return values
        values = [value, *(self._received[rank].get() for rank in range(1, self.count))]
        for peer in self._peers.values():
            peer.send(values)
        return values

    def close(self, failed: bool = False) -> None:
        """Part from the others, which are not to take the end of this process for a loss.

        Args:
            failed: whether this process ends because of an error.
        """
        self._is_closed = True
        for peer in self._peers.values():
            peer.say_goodbye(failed)
            peer.close()

    def _read(self, rank: int) -> None:
        """Pass on what another process sends, until it ends."""
        peer = self._peers[rank]
        while (value := peer.receive()) is not None:
            self._received[rank].put(value[0])
        if self._is_closed or peer.ending == "done":
            return
        name = f"process {rank} of {self.count}"
        if peer.ending == "failed":
            self._on_end(f"{name} ended with an error; its own output has more", 1)
            return
        self.lost = (
            f"{name} was lost; start all processes again, with --resume to go on from the newest "
            "checkpoint"
        )
        self._on_end(self.lost, LOST_STATUS)

    def _end_process(self, message: str, status: int) -> None:
        """End this process, which cannot go on without another one."""
        # An error of its own, which it may have for the same reason, says more.
        time.sleep(_GRACE)
        if not self._is_closed:
            end_process(message, status)

    def end_if_lost(self, seconds: float) -> None:
        """End this process if another one is found to be lost within some seconds."""
        end = time.monotonic() + seconds
        while self.lost is None and time.monotonic() < end:
            time.sleep(0.05)
        if self.lost is not None:
            end_process(self.lost, LOST_STATUS)


def end_process(message: str, status: int) -> None:
    """Print a message to stderr and end this process at once.

    Not through `sys.exit`: the main thread, or JAX at the end of the process, may wait for the
    others for minutes.
    """
    sys.stdout.flush()
    print(f"mrcnn: {message}", file=sys.stderr, flush=True)
    os._exit(status)


class _Peer:
    """A connection that carries values as lines of JSON."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # a host that lost its power sends no end of a connection
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._connection = connection
        self._lines = connection.makefile("rb")
        self.ending = "lost"

    def send(self, value: Any) -> None:
        """Send a value."""
        self._send_line([value])

    def say_goodbye(self, failed: bool) -> None:
        """Tell the other process that nothing will follow."""
        self._send_line({"end": "failed" if failed else "done"})

    def _send_line(self, content: Any) -> None:
        with contextlib.suppress(OSError):  # a lost connection is noticed by its reader
            self._connection.sendall(json.dumps(content).encode() + b"\n")

    def receive(self) -> list[Any] | None:
        """Wait for a value, in a list; None at the end of the connection."""
        try:
            line = self._lines.readline(_MAX_LINE)
            value = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        if isinstance(value, dict) and value.get("end") in ("done", "failed"):
            self.ending = value["end"]
        return value if isinstance(value, list) and len(value) == 1 else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _connect(place: Place, timeout: float) -> _Peer:
    """Connect to process 0, as soon as it listens, and be admitted."""
    end = time.monotonic() + timeout
    name = f"{printable(place.address)}:{place.port}"
    while True:
        try:
            connection = socket.create_connection((place.address, place.port), timeout=5)
            break
        except OSError as error:
            if time.monotonic() >= end:
                raise TimeoutError(
                    f"process 0 did not answer at {name} within {timeout:g} s ({error}); it must "
                    "run, and its host must accept connections to that port"
                ) from error
            time.sleep(_RETRY_SECONDS)
    peer = _Peer(connection)
    peer.send({"rank": place.rank, "count": place.count})
    connection.settimeout(max(end - time.monotonic(), 0.1) + _RETRY_SECONDS)
    answer = peer.receive()
    connection.settimeout(None)
    if answer is None:
        raise TimeoutError(
            f"process 0 at {name} closed the connection before all {place.count} processes had "
            f"come (it waits {timeout:g} s); its own message says which are missing"
        )
    if answer[0] != "welcome":
        raise ValueError(str(answer[0]))
    return peer


def _accept(place: Place, timeout: float) -> dict[int, _Peer]:
    """Wait for all other processes and admit them."""
    end = time.monotonic() + timeout
    peers: dict[int, _Peer] = {}
    with _listen(place.port) as server:
        while len(peers) < place.count - 1:
            server.settimeout(max(end - time.monotonic(), 0.01))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = [str(rank) for rank in range(1, place.count) if rank not in peers]
                for peer in peers.values():
                    peer.close()
                raise TimeoutError(
                    f"process{'es' * (len(missing) > 1)} {', '.join(missing)} of {place.count} did "
                    f"not come to port {place.port} of this host within {timeout:g} s"
                ) from None
            _admit(connection, place, peers)
    for peer in peers.values():
        peer.send("welcome")
    return peers


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise OSError(
            f"port {port} of this host cannot be used ({error}); another one must be given to all "
            "processes, for example as MASTER_PORT"
        ) from error


def _admit(connection: socket.socket, place: Place, peers: dict[int, _Peer]) -> None:
    """Read who has connected and note it.

    Raises:
        ValueError: the process contradicts the others, which are told so.
    """
    peer = _Peer(connection)
    connection.settimeout(5)
    hello = peer.receive()
    connection.settimeout(None)
    known = hello[0] if hello and isinstance(hello[0], dict) else {}
    rank, count = known.get("rank"), known.get("count")
    if not isinstance(rank, int) or not isinstance(count, int):
        peer.close()  # something else has found the port
        return
    message = ""
    if count != place.count:
        message = (
            f"process {rank} is one of {count}; it must be one of {place.count}, as process 0 is"
        )
    elif rank in peers or not 0 < rank < place.count:
        message = f"two processes have the rank {rank}; every process must have its own"
    if message:
        for other in (peer, *peers.values()):
            other.send(message)
            other.close()
        raise ValueError(message)
    peers[rank] = peer
