"""Settings of the C library for memory that a backend frees.

By default glibc takes every large array from the system and returns it immediately. The system then
fills each page with zeros at its first access, 16,000 times for one map of P2, and the maps of a
network are allocated again for every image: on two cores this was a third of the time of
TensorFlow's ResNet-50 in float32.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable

# mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MAX_INT = 2**31 - 1
_SETTINGS = (
    (_MMAP_MAX, 0),  # large arrays come from the heap as well,
    (_TRIM_THRESHOLD, _MAX_INT),  # keep freed memory,
    (_TOP_PAD, 64 << 20),  # grows in large steps,
    (_ARENA_MAX, 1),  # and is shared by all threads: an operation runs on any of them.
)


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next large array, for the rest of the process.

    Call it before the backend is imported, as threads keep the heap that they have. From then on
    the process stays as large as at its peak.

    Returns:
        Whether it was done: not without glibc, and not where MRCNN_KEEP_MEMORY is 0 or the user has
        set glibc's own settings (MALLOC_..., GLIBC_TUNABLES), which take precedence.
    """
    if os.environ.get("MRCNN_KEEP_MEMORY", "1") == "0":
        return False
    if _has_settings(os.environ, os.environ.get("GLIBC_TUNABLES", "")):
        return False
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return all([mallopt(name, value) == 1 for name, value in _SETTINGS])


def _has_settings(names: Iterable[str], tunables: str) -> bool:
    return "glibc.malloc." in tunables or any(name.startswith("MALLOC_") for name in names)
