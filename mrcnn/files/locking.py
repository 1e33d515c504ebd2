"""Locks, so that two processes do not write the same results."""

from __future__ import annotations

from typing import IO, Any


def try_to_lock(file: IO[Any] | int) -> bool:
    """Lock an open file or folder, or its descriptor, until it is closed.

    Returns:
        False if it is locked already, by another process or through another open file. True also
        where there are no locks: on Windows, and on some network file systems.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True
