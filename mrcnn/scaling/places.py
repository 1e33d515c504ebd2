"""Paths and addresses, and a folder of results: local, or anything that fsspec writes."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
# Object stores show an object when it is complete; elsewhere a rename does the same.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "obs", "r2"}
# Schemes of the same store, and the one in which fsspec writes the addresses that it lists.
_ALIASES = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs"}


def scheme_of(place: str) -> str | None:
    """Return "s3" of "s3://bucket/photos"; None for a path."""
    found = _SCHEME.match(place)
    return found[1].lower() if found else None


def canonical_address(place: str) -> str:
    """Return an address with the scheme of fsspec's listings: "s3://b/x" of "s3a://b/x".

    A path, or an address with another scheme, stays as it is.
    """
    scheme = scheme_of(place)
    alias = _ALIASES.get(scheme or "")
    return place if scheme is None or alias is None else alias + place[len(scheme) :]


def open_file_system(place: str, name: str) -> tuple[Any, str]:
    """Return the file system of a path or address, and the path in it.

    Args:
        place: the path or address.
        name: what it is called in an error.

    Raises:
        ValueError: nothing reads such addresses.
        ImportError: the package that reads them is not installed; the message names it.
    """
    import fsspec

    if scheme_of(place) is None:
        place = os.path.abspath(os.path.expanduser(place))
        return fsspec.filesystem("file"), place
    try:
        return fsspec.core.url_to_fs(place)
    except ValueError as error:
        raise ValueError(
            f"{name} is {printable(place)}; it must be a path, or an address that fsspec reads "
            f"({printable(error)})"
        ) from error
    except ImportError as error:
        raise ImportError(
            f"{name} is {printable(place)}; such addresses need another package ({error})"
        ) from error


class ResultFolder:
    """A folder in which files appear whole or not at all.

    Args:
        place: path or address.

    Attributes:
        place: the address, or the absolute path.
        is_local: whether it is on a disk of this machine, or mounted there.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        text = os.fspath(place)
        self.is_local = scheme_of(text) is None
        self._files, self._path = open_file_system(text, "output")
        self.place = self._path if self.is_local else canonical_address(text.rstrip("/"))

    def __reduce__(self) -> tuple[Any, ...]:
        return ResultFolder, (self.place,)

    def path_of(self, name: str) -> str:
        """Return the path of a file in the file system."""
        return f"{self._path.rstrip('/')}/{name}"

    def names(self, folder: str) -> set[str]:
        """Return the names of the files in an inner folder; none where it does not exist."""
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self.path_of(folder), detail=False)
        except FileNotFoundError:
            return set()
        return {path.rstrip("/").rpartition("/")[2] for path in found}

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        self._files.invalidate_cache()
        return bool(self._files.exists(self.path_of(name)))

    def open(self, name: str) -> Any:
        """Open a file for reading."""
        return self._files.open(self.path_of(name), "rb")

    def read_table(self, name: str) -> pa.Table:
        """Read a Parquet file.

        In this thread alone: threads of Arrow that still hold a file of Python when the process
        ends would abort it.
        """
        with self.open(name) as stream:
            return pq.ParquetFile(stream).read(use_threads=False)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self.path_of(name))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield the path of a temporary file that gets this name at the end of the block.

        A process that is killed, or an exception in the block, leaves the folder as it was.
        """
        target = self.path_of(name)
        if self.is_local:
            with atomic_path(target, durable=True) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="mrcnn-") as folder:
            temporary = Path(folder) / Path(name).name
            temporary.touch()
            yield temporary
            parent, _, own_name = target.rpartition("/")
            self._files.makedirs(parent, exist_ok=True)
            if scheme_of(self.place) in _OBJECT_STORES:
                self._files.put_file(str(temporary), target)
            else:
                hidden = f"{parent}/.tmp-{secrets.token_hex(8)}-{own_name}"
                self._files.put_file(str(temporary), hidden)
                self._files.mv(hidden, target)
