"""Import of Keras and its backend without start-up messages and with less waiting.

TensorFlow 2.21 writes informational lines straight to file descriptor 2 while it is imported,
before it reads TF_CPP_MIN_LOG_LEVEL, so that no setting silences them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

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
# Contexts in which Keras is imported besides `backend_startup`, see `import_inside`.
_around_import: list[Callable[[], AbstractContextManager[object]]] = []


def import_backend() -> None:
    """Import Keras and its backend inside `backend_startup`; see `mrcnn.startup.keras_finder`."""
    prepare_keras_imports()
    import keras  # noqa: F401


def backend_name() -> str:
    """Return the backend of Keras, "tensorflow", "jax" or "torch", without importing Keras."""
    module: Any = sys.modules.get("keras")
    if hasattr(module, "backend"):  # not while it is being imported
        return module.backend.backend()
    name = os.environ.get("KERAS_BACKEND")
    return name or str(keras_settings().get("backend", "tensorflow"))


def keras_settings() -> dict[str, Any]:
    """Return the content of Keras's settings file, which it reads when it is imported."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = os.path.expanduser("~")
        home = os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
    try:
        with open(os.path.join(os.path.expanduser(home), "keras.json"), encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def import_inside(context: Callable[[], AbstractContextManager[object]]) -> None:
    """Let this package import Keras inside a context, whenever that will be.

    Args:
        context: makes the context; it is called once, unless Keras is imported already.
    """
    if context not in _around_import:
        _around_import.append(context)


def prepare_process() -> None:
    """Set what a backend finds when it is imported: how memory is kept, and its level of messages.

    TF_CPP_MIN_LOG_LEVEL takes precedence where the user has set it.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def backend_startup() -> Iterator[None]:
    """Prepare the process for the import of a backend in the block.

    `prepare_process` is called, garbage collection is disabled inside the block, and start-up
    messages are dropped. Warnings and errors still appear, at the end of the block.
    TF_CPP_MIN_LOG_LEVEL takes precedence where the user has set it; 0 shows everything.
    """
    prepare_process()
    shows_all = os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    with contextlib.ExitStack() as stack:
        for context in _around_import:
            stack.enter_context(context())
        stack.enter_context(paused_collection())
        if not shows_all:
            stack.enter_context(without_chatter())
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
