"""Imports the backend without its start-up chatter on the terminal, and without needless waiting.

TensorFlow 2.21 writes informational lines straight to file descriptor 2 while it is imported,
before it has read TF_CPP_MIN_LOG_LEVEL, so that no setting silences them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from mrcnn.startup.allocation import keep_freed_memory

# Informational lines of abseil's log, and the two lines that come with them.
_CHATTER = re.compile(
    rb"I\d{4} \d\d:\d\d:[\d.]+ "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: "
)
_STDERR = 2


def import_backend() -> None:
    """Import Keras and its backend without the start-up chatter and the garbage collector, after
    `mrcnn.startup.allocation.keep_freed_memory`.

    Warnings and errors still appear, a moment later. What the user has set in
    TF_CPP_MIN_LOG_LEVEL wins; 0 shows everything.
    """
    keep_freed_memory()
    shows_all = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"
    with paused_collection(), contextlib.nullcontext() if shows_all else without_chatter():
        import keras  # noqa: F401


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Let no garbage be collected meanwhile.

    An import makes a million objects that stay. The collector visits them again and again on the
    way, a quarter of the time that TensorFlow takes to import.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, then write it without the chatter."""
    sys.stderr.flush()
    try:
        terminal = os.dup(_STDERR)
    except OSError:  # no stderr at all, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, _STDERR)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not _CHATTER.match(line):
                    os.write(_STDERR, line)
