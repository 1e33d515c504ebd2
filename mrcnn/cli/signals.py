"""Signals that end a command: an exception in the main thread, so that files are completed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

# Signals of a user (Ctrl-C), a batch system and a closed terminal. Windows has no SIGHUP.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# Service managers send two signals together. A later one means that a user is waiting.
_PATIENCE_SECONDS = 1.0


class Stopped(SystemExit):
    """Raised in the main thread when a signal asks the process to end.

    Attributes:
        code: the exit code, 128 plus the number of the signal: 130, 143 or 129.
        signal_name: "SIGINT", "SIGTERM" or "SIGHUP".
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.signal_name = signal.Signals(number).name


class _State:
    """The signals of this process.

    Attributes:
        blocks: number of open `delayed` blocks.
        waiting: the signal that arrived inside a `delayed` block.
        raised: the signal for which `Stopped` was raised, and when.
    """

    blocks = 0
    waiting: int | None = None
    raised: tuple[int, float] | None = None


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.blocks:
        _State.waiting = number
    elif _State.raised is None:
        _raise(number)
    elif time.monotonic() - _State.raised[1] > _PATIENCE_SECONDS:
        # The process still waits for something, such as a server. Files are whole at any moment.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _raise(number: int) -> None:
    _State.raised = number, time.monotonic()
    raise Stopped(number)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise `Stopped` inside the block for SIGINT, SIGTERM and SIGHUP.

    A second signal, more than a second later, ends the process immediately. A signal that the
    process ignores, as under `nohup`, stays ignored. Outside the main thread the block changes
    nothing: Python runs handlers in the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.blocks, _State.waiting, _State.raised = 0, None, None
    previous = {}
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            previous[number] = signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Let the block finish before a signal that arrives inside it raises `Stopped`.

    For short work that must not be cut: completing the files of a run.
    """
    _State.blocks += 1
    try:
        yield
    finally:
        _State.blocks -= 1
        if not _State.blocks and _State.waiting is not None:
            number, _State.waiting = _State.waiting, None
            if _State.raised is None:
                _raise(number)


def stop_if_asked() -> None:
    """Raise `Stopped` again if a library has swallowed it, as callbacks and destructors do."""
    if _State.raised is not None:
        raise Stopped(_State.raised[0])
