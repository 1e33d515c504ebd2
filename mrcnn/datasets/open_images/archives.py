"""Mask archives: PNG files taken out of a zip archive by name, and nothing else.

Nothing is unpacked by the paths in an archive: a member is looked up by the name of a mask that
the table lists, and written under that name.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from mrcnn.files.atomic import atomic_path
from mrcnn.files.fetch import FetchStopped
from mrcnn.files.names import printable

# A mask of 1024 pixels has some ten kilobytes; what claims to be far larger is no mask.
MAX_MASK_BYTES = 64 << 20
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class DamagedMemberError(zipfile.BadZipFile):
    """Members of an archive cannot be unpacked; the message names the first ones.

    Attributes:
        members: name -> description of the damage.
    """

    def __init__(self, members: dict[str, str]):
        self.members = members
        listed = [f"{printable(name)}: {reason}" for name, reason in list(members.items())[:3]]
        super().__init__("; ".join(listed))


def extract_members(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    names: Collection[str],
    stop: threading.Event | None = None,
) -> set[str]:
    """Take PNG files out of a zip archive, each under its own name and no other.

    Only members whose full name is one of `names` are read; paths in the archive are ignored.
    Each file appears complete, by a rename.

    Args:
        archive: the zip file.
        folder: where to write; it must exist.
        names: plain file names.
        stop: when set, FetchStopped is raised between two files.

    Returns:
        The names that the archive does not have.

    Raises:
        ValueError: a name is not a plain file name.
        DamagedMemberError: members are damaged or no PNG files; all others are unpacked.
        zipfile.BadZipFile: the archive is damaged.
    """
    for name in names:
        if name != os.path.basename(name) or name in ("", ".", ".."):
            raise ValueError(f"names has {name!r}; it must be a plain file name")
    absent, damaged = set(), {}
    with zipfile.ZipFile(archive) as stored:
        sizes = {member.filename: member.file_size for member in stored.infolist()}
        for name in sorted(names):
            if stop is not None and stop.is_set():
                raise FetchStopped
            if name not in sizes:
                absent.add(name)
                continue
            try:
                data = _read_mask(stored, name, sizes[name])
            except zipfile.BadZipFile as error:
                damaged[name] = str(error)
                continue
            with atomic_path(Path(folder, name)) as temporary:
                temporary.write_bytes(data)
    if damaged:
        raise DamagedMemberError(damaged)
    return absent


def member_names(archive: str | os.PathLike[str]) -> set[str]:
    """Return the names of the members of a zip archive.

    Raises:
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(archive) as stored:
        return set(stored.namelist())


def files_beginning(folder: Path, first: str) -> set[str]:
    """Return the names of the PNG files in a folder that begin so and are not empty."""
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if entry.name.startswith(first) and entry.name.endswith(".png") and entry.stat().st_size
        }


def _read_mask(stored: zipfile.ZipFile, name: str, size: int) -> bytes:
    if size >= MAX_MASK_BYTES:
        raise zipfile.BadZipFile(f"its size is {size} bytes")
    try:
        data = stored.read(name)
    except (zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise zipfile.BadZipFile(str(error)) from error
    if not data.startswith(_PNG_SIGNATURE):
        raise zipfile.BadZipFile("it is not a PNG file")
    return data
