"""Write a file whole or not at all.

A file is written under a temporary name in the folder of its target and renamed when it is
complete. A process that is killed, a full disk or an exception leaves the target as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PREFIX = ".tmp-"
# Temporary files of this age belong to no process that is still writing.
_STALE_SECONDS = 24 * 3600


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Yield the path of an empty temporary file; rename it to `path` at the end of the block.

    Args:
        path: the target. Missing folders are made; a symbolic link is followed.
        durable: flush the content to disk before the rename, so that it survives a power failure.

    Yields:
        A path in the same folder and with the same suffix as the target, for writers that choose
        the format by suffix. It is removed if the block raises.

    Raises:
        OSError: the folder cannot be made or written.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{_PREFIX}{secrets.token_hex(8)}{target.suffix}")
    # Mode 0o666 less the umask, as `open` makes it; `tempfile` would make the file private.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        if durable:
            _flush(temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _flush(target.parent)


@contextlib.contextmanager
def atomic_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of an empty temporary folder; move its content to `folder` at the end.

    For writers of several files, or of a folder. Each entry replaces the one of its name.

    Args:
        folder: the target. It is made where it is missing.

    Yields:
        A folder within `folder`. It is removed with its content if the block raises.

    Raises:
        OSError: the folder cannot be made or written.
    """
    target = Path(os.path.realpath(folder))
    target.mkdir(parents=True, exist_ok=True)
    temporary = target / f"{_PREFIX}{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        yield temporary
        for entry in sorted(temporary.iterdir()):
            place = target / entry.name
            if place.is_dir():  # a folder can be renamed to a free name only
                os.replace(place, temporary / f"{_PREFIX}{entry.name}")
            os.replace(entry, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str, *, durable: bool = False) -> None:
    r"""Write a UTF-8 text file whole or not at all; see `atomic_path`.

    Lone surrogates, with which Python represents bytes of file names that are not UTF-8, are
    written as `\udc..` escapes.
    """
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(
    path: str | os.PathLike[str], value: Any, *, indent: int | None = 1, durable: bool = False
) -> None:
    """Write a value as JSON whole or not at all; see `atomic_path`."""
    write_text(path, json.dumps(value, indent=indent) + "\n", durable=durable)


def remove_stale(folder: str | os.PathLike[str], *, before: float | None = None) -> None:
    """Remove the temporary files of killed processes, recognized by name and age, in a folder.

    Args:
        folder: the folder; folders in it are left alone.
        before: remove files last written before this time, as `time.time()` gives it. Default: a
            day ago, which no process that still writes a file has begun before.
    """
    if before is None:
        before = time.time() - _STALE_SECONDS
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):
                    if entry.stat().st_mtime < before:
                        os.unlink(entry.path)


def _flush(path: Path) -> None:
    """Flush a file or a folder to disk, where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
