"""Import of Keras and its backend without start-up messages and with less waiting.

TensorFlow 2.21 writes informational lines straight to file descriptor 2 while it is imported,
before it reads TF_CPP_MIN_LOG_LEVEL, so that no setting silences them.
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
from mrcnn.startup.keras_finder import prepare_keras_imports

# Informational lines of abseil's log in its two formats, and the two lines that come with them.
_CHATTER = re.compile(
    rb"I\d{4} \d\d:\d\d:[\d.]+ "
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: I "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: "
)
_STDERR = 2


def import_backend() -> None:
    """Import Keras and its backend inside `backend_startup`; see `mrcnn.startup.keras_finder`."""
    prepare_keras_imports()
    import keras  # noqa: F401


@contextlib.contextmanager
def backend_startup() -> Iterator[None]:
    """Prepare the process for the import of a backend in the block.

    `keep_freed_memory` is called, garbage collection is disabled inside the block, and start-up
    messages are dropped. Warnings and errors still appear, at the end of the block.
    TF_CPP_MIN_LOG_LEVEL takes precedence where the user has set it; 0 shows everything.
    """
    keep_freed_memory()
    shows_all = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"
    with paused_collection(), contextlib.nullcontext() if shows_all else without_chatter():
        yield


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Disable garbage collection inside the block.

    An import makes a million objects that stay. The collector would visit them again and again, for
    a quarter of the time that TensorFlow takes to import.
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
    """Collect the output to file descriptor 2 and write it without start-up messages."""
    sys.stderr.flush()
    try:
        terminal = os.dup(_STDERR)
    except OSError:  # no stderr, as under pythonw
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
