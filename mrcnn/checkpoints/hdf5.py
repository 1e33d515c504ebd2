"""HDF5 files from untrusted sources: checked before anything in them is used.

HDF5 can refer to other files (external links, external raw storage, virtual datasets), can claim
arrays of any size and can hold any type under any name. A weight file needs none of that:
`open_hdf5` and `check_array` refuse it, and `content_errors` turns what h5py raises about damaged
files into one kind of error.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn.files.names import printable, shown
from mrcnn.files.reading import check_regular_file

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_EXPORTED = (
    "it is an exported model, which the commands detect, evaluate, serve and info and "
    "mrcnn.open_export take; to train or to export, name the weight file that it was made from"
)
# The best that gzip can do is about 1:1032.
MAX_COMPRESSION = 2000
# A larger value, in bytes, than any single array of a network that fits into memory.
MAX_ARRAY_BYTES = 2**34


class HDF5ContentError(ValueError):
    """An HDF5 file whose content cannot be used; the message names file and entry."""


def why_not_hdf5(path: Path) -> str | None:
    """Return what a file is instead of HDF5, as the end of a sentence; None if it is HDF5."""
    with open(path, "rb") as stream:
        start = stream.read(1024)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(HDF5_SIGNATURE):
        return None
    if not start:
        return "it is empty"
    if path.suffix.lower() in (".onnx", ".tflite") or (
        text.startswith(b"<?xml") and b"<net " in text
    ):
        return _EXPORTED
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "it is a web page saved under that name, as happens when a link leads to a download "
            "page or a login; fetch the file itself"
        )
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file; run `git lfs pull`"
    if start.startswith(b"PK\x03\x04"):
        return (
            "it is a zip archive; a .keras model is loaded with keras.saving.load_model, and its "
            "weights saved to a .h5 file"
        )
    return f"it starts with {start[:12]!r}"


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str], kind: str = "weight file") -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after checking that it refers to no other file.

    Args:
        path: the file.
        kind: what it should be, for messages.

    Yields:
        The open file. It has no external links, and no array lies in another file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an HDF5 file, is damaged or cut short, or refers to another file.
    """
    path = Path(path).expanduser()
    if (path / "saved_model.pb").is_file():
        raise ValueError(f"{printable(path)} is not an HDF5 {kind}: {_EXPORTED}")
    check_regular_file(path, kind)
    if reason := why_not_hdf5(path):
        size = path.stat().st_size
        raise ValueError(f"{printable(path)} ({size:,} bytes) is not an HDF5 {kind}: {reason}")
    with content_errors(path):
        file = h5py.File(path, "r")
    with file:
        with content_errors(path):
            _check_stands_alone(path, file)
        yield file


@contextlib.contextmanager
def content_errors(path: Path) -> Iterator[None]:
    """Turn h5py's errors about damaged content into a ValueError that names the file."""
    try:
        yield
    except HDF5ContentError:
        raise
    except (
        *(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError),
        # h5py's own locks end in a SystemError on some damaged files.
        *(OverflowError, IndexError, MemoryError, RecursionError, SystemError),
    ) as error:
        raise HDF5ContentError(_unreadable(path, error)) from error


def check_array(path: Path, name: str, item: Any) -> h5py.Dataset:
    """Return an entry if it is an array of real numbers whose values lie in the file.

    Args:
        path: the file, for messages.
        name: the entry, for messages.
        item: what h5py gives for it.

    Raises:
        HDF5ContentError: it is something else; the message names the entry.
    """
    entry = f"{printable(name)} of {printable(path)}"
    if not isinstance(item, h5py.Dataset):
        raise HDF5ContentError(f"{entry} is a group; it must be an array. The file is damaged")
    if item.shape is None:
        raise HDF5ContentError(f"{entry} is empty; it must be an array. The file is damaged")
    dtype = item.dtype
    is_number = dtype.kind in "fiu" and dtype.itemsize <= 8 and dtype.metadata is None
    if not is_number or dtype.subdtype is not None:
        raise HDF5ContentError(
            f"{entry} is of type {printable(dtype)}; it must be an array of real numbers of at "
            "most 64 bits"
        )
    num_bytes = math.prod(item.shape) * dtype.itemsize
    stored = item.id.get_storage_size()
    compressed = item.chunks is not None
    limit = stored * MAX_COMPRESSION if compressed else stored
    # An array without any stored value is refused when it is read: shapes alone may be of use.
    is_cut = stored > 0 and num_bytes > limit
    if is_cut or num_bytes > MAX_ARRAY_BYTES or stored > path.stat().st_size:
        raise HDF5ContentError(
            f"{entry} has the shape {item.shape}, for which the file holds {stored:,} bytes; it "
            f"must hold all {num_bytes:,}. The file is damaged"
        )
    return item


def read_names(path: Path, group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names from one attribute, or one that is split over NAME0, NAME1, ...

    Args:
        path: the file, for messages.
        group: the group that has the attribute.
        attribute: its name.

    Returns:
        The names; none where there is no such attribute.

    Raises:
        HDF5ContentError: the attribute holds something else than UTF-8 text.
    """
    if attribute in group.attrs:
        return _texts(path, attribute, _attribute(path, group, attribute))
    names: list[str] = []
    for number in range(len(group.attrs)):
        if f"{attribute}{number}" not in group.attrs:
            break
        names += _texts(path, attribute, _attribute(path, group, f"{attribute}{number}"))
    return names


def read_text_attribute(path: Path, group: h5py.Group, attribute: str) -> str | None:
    """Return the text of an attribute, None where there is none; errors as for `read_names`."""
    if attribute not in group.attrs:
        return None
    value = _attribute(path, group, attribute)
    if not isinstance(value, bytes | str):
        raise HDF5ContentError(
            f"attribute {attribute} of {printable(path)} is of type {type(value).__name__}; it "
            "must be one text"
        )
    return _text(path, attribute, value)


def _attribute(path: Path, group: h5py.Group, name: str) -> Any:
    """Return the value of an attribute, after its type and claimed size have been checked."""
    attribute = group.attrs.get_id(name)
    is_text = h5py.check_string_dtype(attribute.dtype) is not None
    # Reading damaged sequences of variable length or references can end the process.
    if not is_text and attribute.dtype.kind not in "biufc":
        raise HDF5ContentError(
            f"attribute {name} of {printable(path)} is of type {printable(attribute.dtype)}; it "
            "must hold text"
        )
    num_bytes = math.prod(attribute.shape or ()) * attribute.dtype.itemsize
    if num_bytes > path.stat().st_size:
        raise HDF5ContentError(
            f"attribute {name} of {printable(path)} has the shape {attribute.shape}; it must fit "
            "into the file. The file is damaged"
        )
    return group.attrs[name]


def _texts(path: Path, attribute: str, value: Any) -> list[str]:
    items = [] if isinstance(value, h5py.Empty) else np.atleast_1d(value).ravel().tolist()
    return [_text(path, attribute, item) for item in items]


def _text(path: Path, attribute: str, value: Any) -> str:
    entry = f"attribute {attribute} of {printable(path)}"
    if not isinstance(value, bytes | str):
        raise HDF5ContentError(f"{entry} holds {shown(value, 60)}; it must hold text")
    # h5py gives undecodable bytes of a variable-length text as lone surrogates.
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HDF5ContentError(
            f"{entry} holds {raw[:40]!r}; it must be UTF-8 text. The file is damaged"
        ) from error


def _check_stands_alone(path: Path, file: h5py.File) -> None:
    """Raise for links and arrays that lie in other files, and for groups reached twice.

    A group with two names makes a tree into a graph, which may contain itself.
    """
    links: list[tuple[bytes, int]] = []

    def note(name: bytes, info: Any) -> None:  # an exception in here would upset h5py's locks
        links.append((bytes(name), info.type))

    file.id.links.visit(note, info=True)
    groups, arrays = {h5py.h5o.get_info(file.id).addr}, []
    for name, link_type in links:
        if link_type == h5py.h5l.TYPE_SOFT:
            continue
        if link_type != h5py.h5l.TYPE_HARD:
            raise HDF5ContentError(
                f"{printable(path)}: {_shown(name)} is a link to another file; a weight file must "
                "hold everything itself"
            )
        entry = h5py.h5o.get_info(file.id, name)
        if entry.type == h5py.h5o.TYPE_DATASET:
            arrays.append(name)
        elif entry.type == h5py.h5o.TYPE_GROUP:
            if entry.addr in groups:
                raise HDF5ContentError(
                    f"{printable(path)}: {_shown(name)} is a second name of a group; every group "
                    "must have one name"
                )
            groups.add(entry.addr)
    places = []
    for name in arrays:
        array = h5py.h5d.open(file.id, name)
        places.append((array.get_offset(), array.get_storage_size()))
        creation = array.get_create_plist()
        if creation.get_external_count() or creation.get_layout() == h5py.h5d.VIRTUAL:
            raise HDF5ContentError(
                f"{printable(path)}: the values of {_shown(name)} lie in another file; a weight "
                "file must hold everything itself"
            )
    _check_text_lengths(path, places)


def _check_text_lengths(path: Path, arrays: list[tuple[int | None, int]]) -> None:
    """Raise for a text of variable length that claims more bytes than the file has.

    HDF5 allocates and clears the claimed length, up to 4 GiB, before it compares it with what is
    stored, and has no call that gives the length before. In the file such a text is a length of 4
    bytes, the address of its heap in 8 bytes, and its number in the heap in 4.

    Args:
        path: the file.
        arrays: offset and bytes of every array that lies in one piece, which are not looked at.
    """
    size = path.stat().st_size
    with (
        open(path, "rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        gaps = _gaps(size, arrays)
        for heap in _find_all(data, b"GCOL\x01\0\0\0", gaps):
            for position in _find_all(data, heap.to_bytes(8, "little"), gaps):
                claimed = int.from_bytes(data[max(0, position - 4) : position], "little")
                index = int.from_bytes(data[position + 8 : position + 12], "little")
                # Other addresses of the file format start at multiples of 8.
                if position % 8 == 4 and 0 < index < 2**16 and claimed > size:
                    raise _text_too_long(path, claimed, size)
        for start, end in gaps:
            for match in _TEXT_TYPE.finditer(data, start, end):
                claimed = max(_claimed_lengths(data[match.end() : match.end() + 4096]), default=0)
                if claimed > size:
                    raise _text_too_long(path, claimed, size)


# The datatype of texts of variable length in the header of an attribute, with its base type of 12
# bytes: class 9 of version 1, a string, of 16 bytes. Padding to a multiple of 8 follows in headers
# of version 1.
_TEXT_TYPE = re.compile(rb"\x19[\x01\x11\x21][\x00\x01]\x00\x10\x00\x00\x00.{12}", re.DOTALL)


def _claimed_lengths(header: bytes) -> list[int]:
    """Return the lengths of the texts of an attribute.

    Args:
        header: the bytes behind the datatype: the dataspace, then for each text its length in 4
            bytes, the address of its heap in 8, and its number there in 4.
    """
    if header[:1] == b"\x02":  # dataspace of version 2, in a header without padding
        rank, flags, begin = header[1], header[2], 4
    elif header[4:5] == b"\x01":
        rank, flags, begin = header[5], header[6], 12
    else:
        return []
    sides = [header[begin + 8 * axis : begin + 8 * axis + 8] for axis in range(rank)]
    count = math.prod(int.from_bytes(side, "little") for side in sides)
    begin += 8 * rank * (2 if flags & 1 else 1)  # the largest sides follow if they are given
    starts = range(begin, min(begin + 16 * count, len(header) - 3), 16)
    return [int.from_bytes(header[start : start + 4], "little") for start in starts]


def _text_too_long(path: Path, claimed: int, size: int) -> HDF5ContentError:
    return HDF5ContentError(
        f"{printable(path)} has a text of {claimed:,} bytes; it must fit into the file of "
        f"{size:,} bytes. The file is damaged"
    )


def _gaps(size: int, arrays: list[tuple[int | None, int]]) -> list[tuple[int, int]]:
    """Return start and end of the parts of a file that no array in one piece takes up."""
    gaps, end = [], 0
    for offset, num_bytes in sorted((o, n) for o, n in arrays if o is not None and n):
        if offset > end:
            gaps.append((end, min(offset, size)))
        end = max(end, offset + num_bytes)
    return [*gaps, (end, size)] if end < size else gaps


def _find_all(data: mmap.mmap, text: bytes, parts: list[tuple[int, int]]) -> list[int]:
    """Return the positions of a text in some parts of a file."""
    found = []
    for start, end in parts:
        position = data.find(text, start, end)
        while position != -1:
            found.append(position)
            position = data.find(text, position + 1, end)
    return found


def _shown(name: bytes) -> str:
    return printable(name.decode("utf-8", "backslashreplace"))


def _unreadable(path: Path, error: BaseException) -> str:
    if "truncated" in str(error):
        what = (
            "is cut short, as by a download or a copy that was interrupted; delete it and fetch "
            "it again"
        )
    elif "unable to lock" in str(error):
        what = "cannot be locked; another program writes it, or set HDF5_USE_FILE_LOCKING=FALSE"
    else:
        what = "is damaged; delete it and fetch it again"
    shown = printable(path)
    return f"{shown} ({path.stat().st_size:,} bytes) {what}. (HDF5 says: {printable(error)})"
