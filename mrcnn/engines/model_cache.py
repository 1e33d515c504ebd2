"""Converted networks on disk, so that the second start is fast.

An entry is a folder named after everything its content depends on. It is written beside its place
and moved there whole; what does not fit its checksums is thrown away and made anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mrcnn.files.cache_dir import cache_dir

# A ResNet-101 takes 250 MB. What was used longest ago goes first.
MAX_BYTES = 3 << 30
_CONTENTS = "contents.json"


def cache_key(*parts: Any) -> str:
    """A name for what the parts determine.

    Args:
        parts: bytes, arrays with a buffer, or values that `json.dumps` accepts.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if not isinstance(part, bytes | memoryview):
            part = json.dumps(part, sort_keys=True).encode()
        digest.update(len(part).to_bytes(8, "big") if isinstance(part, bytes) else b"")
        digest.update(part)
    return digest.hexdigest()


@functools.cache
def source_digest() -> str:
    """A digest of the code that builds the graphs: other code, other entries."""
    package = Path(__file__).resolve().parents[1]
    files = [package / "graphs.py", *sorted((package / "layers").glob("*.py"))]
    files += sorted((package / "engines").glob("*.py"))
    return cache_key(*(file.read_bytes() for file in files))


def load(key: str) -> tuple[Path, dict[str, Any]] | None:
    """The folder of an entry and the note stored with it; None where there is none.

    An entry that is damaged is removed.
    """
    folder = _home() / key
    try:
        contents = json.loads((folder / _CONTENTS).read_text())
        whole = all(
            _checksum(folder / name) == checksum for name, checksum in contents["files"].items()
        )
        note = contents["note"]
    except FileNotFoundError:
        whole, note = False, {}
        if not folder.exists():
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole, note = False, {}
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    try:
        os.utime(folder)
    except OSError:  # somebody else's, or read only: good to use all the same
        pass
    return folder, note


def store(key: str, write: Any, note: dict[str, Any] | None = None) -> Path | None:
    """Make an entry, or replace it.

    Args:
        key: from `cache_key`.
        write: called with a `Path`, an empty folder, and fills it with files.
        note: kept with them; values for `json.dumps`.

    Returns:
        The folder; None where nothing can be written there.
    """
    try:
        home = _home()
        home.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home))
    except OSError:
        return None
    try:
        write(partial)
        files = {file.name: _checksum(file) for file in sorted(partial.iterdir())}
        (partial / _CONTENTS).write_text(json.dumps({"files": files, "note": note or {}}))
        folder = home / key
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except OSError:
        # No space, or another process was first with the same entry.
        shutil.rmtree(partial, ignore_errors=True)
        found = load(key)
        return found and found[0]
    _prune(home, keep=folder)
    return folder


def _home() -> Path:
    return cache_dir() / "compiled"


def _checksum(file: Path) -> list[int]:
    """`[bytes, CRC-32]`."""
    size, value = 0, 0
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            size += len(block)
            value = zlib.crc32(block, value)
    return [size, value]


def _prune(home: Path, keep: Path) -> None:
    """Remove what was used longest ago until the rest is small enough."""

    def size(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.iterdir())

    try:
        folders = [folder for folder in home.iterdir() if folder.is_dir()]
        for folder in folders:  # what a killed process has left
            if folder.name.startswith(".") and time.time() - folder.stat().st_mtime > 86400:
                shutil.rmtree(folder, ignore_errors=True)
        entries = _newest_first(f for f in folders if not f.name.startswith("."))
        total = 0
        for folder in entries:
            total += size(folder)
            if total > MAX_BYTES and folder != keep:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # another process is at the same work
        pass


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
