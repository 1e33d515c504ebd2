"""Features of images on disk, so that a second training need not compute them again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.files.atomic import atomic_path, remove_stale

_SUFFIX = ".npz"


class FeatureCache:
    """Arrays by key in a folder of bounded size; the least recently used ones are removed.

    Several processes may use one folder.

    Args:
        folder: made when the first entry is written.
        max_bytes: the most that all entries take; 0 keeps none.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self.folder = Path(folder).expanduser()
        self.max_bytes = max_bytes

    @staticmethod
    def key(parts: Iterable[Any]) -> str:
        """Return a key for what the arrays depend on.

        Args:
            parts: arrays, whose type, shape and values count, and texts or numbers.
        """
        digest = hashlib.sha256()
        for part in parts:
            if isinstance(part, np.ndarray):
                digest.update(f"{part.dtype.str} {part.shape};".encode())
                digest.update(np.ascontiguousarray(part).tobytes())
            else:
                digest.update(f"{part!r};".encode())
        return digest.hexdigest()

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a key; None if there are none, or if their file is damaged."""
        path = self._path(key)
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return arrays

    def put(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays of a key, and remove old entries beyond the limit."""
        if sum(array.nbytes for array in arrays.values()) > self.max_bytes:
            return
        # An open file: `np.savez` would change the name of a path.
        with atomic_path(self._path(key)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / (key + _SUFFIX)

    def _shrink(self) -> None:
        remove_stale(self.folder)
        entries = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                # Another process may have removed it.
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    entries.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
