"""Start of the deep learning library for a process that runs one command, in half the time.

Keras imports scikit-learn, matplotlib and pandas wherever they are installed, for wrappers, plots
and tables that no command uses, and Python's garbage collector visits a million objects of
TensorFlow over and over, once more at the end of the process, and finds nothing. With the small
model this takes two of the five seconds of `mrcnn detect`.

A library must do neither to its user's process, so `import mrcnn.model` does not use this module.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mrcnn.startup.backend import import_backend, import_inside, paused_collection

# Packages that Keras imports if they are installed, and does not require.
UNUSED_PACKAGES = ("sklearn", "matplotlib", "pandas")


def start_backend() -> None:
    """Import Keras and its backend for a command; do nothing where Keras is imported already.

    From then on the garbage collector ignores the objects that exist, and at the end of the process
    all objects.
    """
    if "keras" in sys.modules:
        return
    start_backend_when_needed()
    import_backend()


def _is_not_about_retracing(record: logging.LogRecord) -> bool:
    """Return False for TensorFlow's advice about functions that are compiled again and again."""
    return "tf.function retracing" not in str(record.msg)


def start_backend_when_needed() -> None:
    """Let the first import of Keras by this package be that of `start_backend`."""
    import_inside(_lean_import)


@contextlib.contextmanager
def _lean_import() -> Iterator[None]:
    with without_packages(UNUSED_PACKAGES), paused_collection():
        yield
        gc.freeze()
    # A network that runs in the size of each image is compiled for each; TensorFlow advises how to
    # write it otherwise.
    logging.getLogger("tensorflow").addFilter(_is_not_about_retracing)
    atexit.register(gc.freeze)


@contextlib.contextmanager
def without_packages(names: Sequence[str]) -> Iterator[None]:
    """Make packages that are not imported yet appear as not installed inside the block."""
    hidden = [name for name in names if name not in sys.modules]
    blocked: dict[str, Any] = dict.fromkeys(hidden)  # None makes an import fail, as documented
    sys.modules.update(blocked)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
