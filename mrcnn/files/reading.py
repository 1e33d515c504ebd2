"""Read JSON files from untrusted sources."""

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
        path: the file to read; a symbolic link is followed.
        kind: what the file should be, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a named pipe, a device or a socket.
    """
    name = printable(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{kind} not found: {name}") from error
    except ValueError as error:  # a null character
        raise ValueError(f"path is {name!r}; it must be the path of a file") from error
    if stat.S_ISDIR(mode):
        raise ValueError(f"{name} is a folder; it must be a {kind}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name} is a pipe, device or socket; it must be a {kind}")


def read_json(
    path: str | os.PathLike[str], kind: str = "JSON file", max_bytes: int | None = MAX_JSON_BYTES
) -> Any:
    """Return the value that a JSON file contains.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        kind: what the file should be, for messages.
        max_bytes: the most bytes it may have, None for any number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ordinary file, too large, not UTF-8, not JSON, or nested too deeply.
    """
    check_regular_file(path, kind)
    name = printable(path)
    size = os.stat(path).st_size
    if max_bytes is not None and size > max_bytes:
        raise ValueError(f"{name} has {size:,} bytes; a {kind} must have at most {max_bytes:,}")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not valid JSON: {printable(error)}") from error


def read_json_object(
    path: str | os.PathLike[str], kind: str = "JSON file", max_bytes: int | None = MAX_JSON_BYTES
) -> dict[str, Any]:
    """Return the object that a JSON file holds; arguments and errors as for `read_json`."""
    content = read_json(path, kind, max_bytes)
    if not isinstance(content, dict):
        raise ValueError(
            f"{printable(path)} holds a JSON {type(content).__name__}; it must hold an object"
        )
    return content
