"""How the C library deals with memory that a backend gives back.

By default glibc takes every large array from the system and returns it at once. The system then
fills each page with zeros at its first touch, 16,000 times for one map of P2, and the maps of a
network are made anew for every picture: on two cores a third of the time of TensorFlow's
ResNet-50 in float32 was that.
"""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MOST = 2**31 - 1
_SETTINGS = (
    (_MMAP_MAX, 0),  # large arrays from the heap as well,
    (_TRIM_THRESHOLD, _MOST),  # which keeps what is freed,
    (_TOP_PAD, 64 << 20),  # grows in large steps,
    (_ARENA_MAX, 1),  # and is one for all threads: an operation runs now on this, now on that.
)


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next large array, for the rest of the process.

    To be called before the backend is imported, as threads keep the heap that they have. The
    process is as large as at its peak from then on.

    Returns:
        Whether it was done: not without glibc, and not where MRCNN_KEEP_MEMORY is 0 or the user has
        given settings of glibc's own (MALLOC_..., GLIBC_TUNABLES), which win.
    """
    if os.environ.get("MRCNN_KEEP_MEMORY", "1") == "0" or _has_settings(os.environ):
        return False
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return all([mallopt(name, value) == 1 for name, value in _SETTINGS])


def _has_settings(environment) -> bool:
    tunables = environment.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name.startswith("MALLOC_") for name in environment)
