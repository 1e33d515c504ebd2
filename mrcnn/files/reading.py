"""Read small files from untrusted sources."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from mrcnn.files.names import printable

MAX_JSON_BYTES = 2**24


def check_regular_file(path: str | os.PathLike[str], kind: str = "file") -> None:
    """Raise unless a path is that of an ordinary file.

    Reading a named pipe or a device would block or never end.

    Args:
        path: what is to be read; a symbolic link is followed.
        kind: what the file should be, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a named pipe, a device or a socket.
    """
    shown = printable(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{kind} not found: {shown}") from error
    except ValueError as error:  # a null character
        raise ValueError(f"path is {shown!r}; it must be the path of a file") from error
    if stat.S_ISDIR(mode):
        raise ValueError(f"{shown} is a folder; it must be a {kind}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{shown} is a pipe, device or socket; it must be a {kind}")


def read_json_object(path: str | os.PathLike[str], kind: str = "JSON file") -> dict[str, Any]:
    """Return the object that a small JSON file holds.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        kind: what the file should be, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ordinary file, larger than 16 MiB, not UTF-8, not JSON, nested too
            deeply, or holds something else than an object.
    """
    check_regular_file(path, kind)
    shown = printable(path)
    if (size := os.stat(path).st_size) > MAX_JSON_BYTES:
        raise ValueError(f"{shown} has {size:,} bytes; a {kind} must have at most {MAX_JSON_BYTES}")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown} is not UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown} is not valid JSON: {printable(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{shown} holds a JSON {type(content).__name__}; it must hold an object")
    return content
