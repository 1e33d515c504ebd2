"""The stack of signal handlers, which OpenVINO replaces and may leave pointing at freed memory.

Each `openvino.Core` that loads the CPU plugin gives the thread an alternate signal stack. When the
plugin is freed, it restores the stack that it found and unmaps its own. With two cores, such as
NNCF's beside that of the compiled networks, the one that is freed last restores the unmapped stack
of the other, and the next signal with a Python handler, such as SIGTERM, ends the process with a
segmentation fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_SS_DISABLE = 2


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Restore the thread's alternate signal stack after the block; also a decorator.

    A plugin restores what it found only while its own stack is in use, so no plugin that was loaded
    inside the block changes the stack later. Elsewhere than on Linux the block changes nothing.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    before, disabled = _Stack(), _Stack(flags=_SS_DISABLE)
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        # Once the process may use AMX, Linux refuses stacks that are too small for its registers.
        if libc.sigaltstack(ctypes.byref(before), None):
            libc.sigaltstack(ctypes.byref(disabled), None)
