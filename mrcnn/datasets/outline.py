"""The outer keys of a JSON file, to recognize its format without parsing all of it."""

from __future__ import annotations

import functools
import json
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Strings with what follows them, and brackets; numbers and words do not matter here.
_TOKEN = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:)?|[{}\[\]]', re.DOTALL)
# Files with more tokens have shown what they are: COCO lists hundreds of thousands of entries.
_MAX_TOKENS = 100_000
_MAX_KEYS = 1000


@dataclass(frozen=True)
class Outline:
    """The structure of a JSON file, read without parsing all of it.

    Attributes:
        is_list: whether it is a list; else an object.
        keys: keys of the outermost object.
        inner: keys of the objects directly in it, or in the outermost list.
        is_complete: whether the whole file was looked at.
    """

    is_list: bool
    keys: frozenset[str]
    inner: frozenset[str]
    is_complete: bool = True


def json_outline(path: Path) -> Outline | None:
    """Return the outline of a JSON file, also of a broken one; None when it is no JSON.

    Large copies of images in front of the keys do not matter: the file is read until its keys
    are known, not to a fixed position.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return _cached_outline(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(4096)
def _cached_outline(path: Path, modified: int, size: int) -> Outline | None:
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file:
            # Mapped, not read: of COCO's 450 MB only the beginning is looked at.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # ValueError: an empty file
        return None
    with content:
        encoding = json.detect_encoding(content[:4])
        if encoding.startswith("utf-8"):
            return _read(content)
        return _read(content[:].decode(encoding, "replace").encode("utf-8", "replace"))


def _read(data: bytes | mmap.mmap) -> Outline | None:
    first = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first not in (b"{", b"["):
        return None
    levels: tuple[set[str], set[str]] = (set(), set())
    is_complete = True
    for depth, key in _keys(data):
        if depth < 0:
            is_complete = False
        elif 1 <= depth <= 2 and len(levels[depth - 1]) < _MAX_KEYS:
            levels[depth - 1].add(key)
    return Outline(first == b"[", frozenset(levels[0]), frozenset(levels[1]), is_complete)


def late_keys(path: Path, names: Sequence[str]) -> set[str]:
    """Return those of some keys that hold a list anywhere in a JSON file.

    For files whose outline is not complete: a list of annotations may come before other keys.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return {
            name
            for name in names
            if re.search(rb'"%s"\s*:\s*\[' % re.escape(name).encode(), text) is not None
        }


def _keys(data: bytes | mmap.mmap) -> Iterator[tuple[int, str]]:
    """Yield (depth, key) in the order of the file; 1 is the outermost object or list.

    The last depth is -1 where the file has more tokens than are looked at.
    """
    depth = 0
    for count, token in enumerate(_TOKEN.finditer(data)):
        if count > _MAX_TOKENS:
            yield -1, ""
            return
        if token.group(2):
            yield depth, token.group(1)[:200].decode("utf-8", "replace")
        elif token.group(1) is None:
            depth += 1 if token.group() in (b"{", b"[") else -1
