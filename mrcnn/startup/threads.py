"""The number of threads that the libraries of a process use."""

from __future__ import annotations

import os

# OpenMP, OpenVINO's engine of this package and PyTorch; TensorFlow; the CPU client of JAX.
_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")


def limit_threads(count: int) -> None:
    """Let the backends, OpenVINO and OpenCV use this number of threads.

    It must be called before the backend is imported, as the libraries read the environment then.

    Args:
        count: number of threads, at least 1.
    """
    import cv2

    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    cv2.setNumThreads(count)


def requested_threads() -> int | None:
    """Return OMP_NUM_THREADS, which numeric libraries follow; None for their own choice."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None
