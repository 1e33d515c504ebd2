"""Converted networks on disk, so that the next start is fast.

An entry is a folder named by a digest of everything its content depends on. It is written under a
temporary name and renamed when it is complete, and renamed before it is removed, so a process that
is killed leaves a whole entry or none. An entry whose checksums do not match is removed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mrcnn.files.atomic import write_json
from mrcnn.files.cache_dir import cache_dir

# Total size above which the least recently used entries are removed; a ResNet-101 takes 250 MB.
MAX_BYTES = 3 << 30
_CONTENTS = "contents.json"
_TEMPORARY = ".partial-"
_STALE_SECONDS = 24 * 3600
# The code that determines the converted networks: what `mrcnn.engines.pieces` imports.
_SOURCES = (
    "config.py",
    "config_rules.py",
    "graphs.py",
    "checkpoints/*.py",
    "engines/*.py",
    "files/*.py",
    "geometry/*.py",
    "layers/*.py",
    "startup/*.py",
    "value_types.py",
)


def cache_key(*parts: Any) -> str:
    """Return a digest of values.

    Args:
        parts: bytes, memoryviews of contiguous arrays, or values that `json.dumps` accepts.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if not isinstance(part, bytes | memoryview):
            part = json.dumps(part, sort_keys=True).encode()
        digest.update(memoryview(part).nbytes.to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


@functools.cache
def source_digest() -> str:
    """Return a digest of the code that builds the networks."""
    return cache_key(*(file.read_bytes() for file in source_files()))


def source_files() -> list[Path]:
    """Return the files that `source_digest` covers."""
    package = Path(__file__).resolve().parents[1]
    return [file for pattern in _SOURCES for file in sorted(package.glob(pattern))]


def find_entry(key: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder of an entry and the note stored with it; None where there is none.

    A damaged entry is removed.
    """
    try:
        folder = _home() / key
        if not os.path.isdir(folder):
            return None
    except (OSError, RuntimeError):  # no home folder
        return None
    try:
        contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        whole = all(
            _checksum(folder / name) == checksum for name, checksum in contents["files"].items()
        )
        note = contents["note"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole, note = False, {}
    if not whole:
        _discard(folder)
        return None
    try:
        os.utime(folder)
    except OSError:  # of another user, or on a read-only disk
        pass
    return folder, note


def store(
    key: str, write: Callable[[Path], None], note: dict[str, Any] | None = None
) -> Path | None:
    """Make an entry, or replace it.

    Args:
        key: from `cache_key`.
        write: is called with the path of an empty folder and fills it with files.
        note: values for `json.dumps` that `find_entry` returns.

    Returns:
        The folder; None where none can be written.
    """
    try:
        home = _home()
        home.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=home))
    except (OSError, RuntimeError):  # no home folder, or a read-only one
        return None
    folder = home / key
    try:
        write(partial)
        files = {file.name: _checksum(file) for file in sorted(partial.iterdir())}
        write_json(partial / _CONTENTS, {"files": files, "note": note or {}})
        _discard(folder)
        os.replace(partial, folder)
    except OSError:
        # The disk is full, or another process has stored the same entry in the meantime.
        shutil.rmtree(partial, ignore_errors=True)
        found = find_entry(key)
        return found and found[0]
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _prune(home, keep=folder)
    return folder


def _home() -> Path:
    return cache_dir() / "compiled"


def _checksum(file: Path) -> list[int]:
    """Return `[bytes, CRC-32]`."""
    size, value = 0, 0
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            size += len(block)
            value = zlib.crc32(block, value)
    return [size, value]


def _discard(folder: Path) -> None:
    """Remove an entry where there is one and the system allows it.

    It is renamed first: removing a folder takes time, in which the process may be killed.
    """
    trash = folder.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        os.rename(folder, trash)
    except OSError:
        return
    shutil.rmtree(trash, ignore_errors=True)


def _prune(home: Path, keep: Path) -> None:
    """Remove the least recently used entries above `MAX_BYTES`, and files of killed processes."""

    def size(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.iterdir())

    try:
        folders = [folder for folder in home.iterdir() if folder.is_dir()]
        for folder in folders:
            age = time.time() - folder.stat().st_mtime
            if folder.name.startswith(_TEMPORARY) and age > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        total = 0
        for folder in _newest_first(f for f in folders if not f.name.startswith(_TEMPORARY)):
            total += size(folder)
            if total > MAX_BYTES and folder != keep:
                _discard(folder)
    except OSError:  # another process prunes as well
        pass


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
