"""Import of the deep learning library, and how a process allocates memory."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

__all__ = ["import_backend", "keep_freed_memory"]

_HOMES = {
    "import_backend": "mrcnn.startup.backend",
    "keep_freed_memory": "mrcnn.startup.allocation",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
