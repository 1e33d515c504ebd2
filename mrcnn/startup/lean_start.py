"""Starts the deep learning library for a process that runs one command, in half the time.

Keras loads scikit-learn and matplotlib wherever they are installed, for wrappers and galleries that
no command uses, and Python's garbage collector looks through a million objects of TensorFlow over
and over, at the end of the process once more, and finds nothing. With the small model this is two
of the five seconds that `mrcnn detect` has.

A library must do neither to its user's process: `import mrcnn.model` does not come through here.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence

from mrcnn.startup import backend

# What Keras imports if it is there and does without if not.
UNUSED_PACKAGES = ("sklearn", "matplotlib")


def import_backend() -> None:
    """Import Keras and its backend for a command; a process that has Keras already stays as it is.

    From here on the garbage collector leaves alone what there is, and at the end of the process
    everything.
    """
    if "keras" in sys.modules:
        return
    with without_packages(UNUSED_PACKAGES), backend.paused_collection():
        backend.import_backend()
        gc.freeze()
    atexit.register(gc.freeze)


@contextlib.contextmanager
def without_packages(names: Sequence[str]) -> Iterator[None]:
    """Packages that are not imported yet look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # None makes an import fail: the documented way
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
