"""What the sources of a run name: images, or rows of Parquet files that hold images.

Everything goes through fsspec, so that a folder on a disk and a bucket are read by the same code.
The list of all images is an Arrow table, which takes a fifth of the memory of Python objects.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrcnn.datasets.image_files import IMAGE_EXTENSIONS
from mrcnn.files.names import printable
from mrcnn.scaling.places import canonical_address, open_file_system, scheme_of

# `source` is the path or address of an image, as the bytes of its name; or that of a Parquet file
# with images, whose number in the file is `row`. `size` is that of the file in bytes, null where a
# list names it.
SCHEMA = pa.schema([("source", pa.binary()), ("row", pa.int64()), ("size", pa.int64())])
LIST_EXTENSION = ".txt"
PARQUET_EXTENSIONS = (".parquet", ".pq")
# Columns of Parquet files that are looked for, in this order, where none is named.
COLUMNS = ("image", "bytes", "path", "image_path", "file_name", "filename", "uri", "url")
_NO_IMAGES = "__MACOSX"
_PATTERN = "*?["
_CHUNK = 100_000


def list_images(
    words: Sequence[str],
    *,
    recursive: bool = False,
    column: str | None = None,
    leave_out: str | None = None,
) -> tuple[pa.Table, str | None]:
    """Return what words name, each image once, in an order that does not change.

    Args:
        words: paths or addresses (`s3://bucket/photos`) of images, of folders (their images, sorted
            by name, or their Parquet files), of lists (`.txt`, one image a line), of Parquet files
            (a column of paths, or of encoded images), and patterns (`photos/*.jpg`). Relative
            paths in lists and Parquet files may start at the file's folder.
        recursive: look in the folders of a folder too.
        column: column of the Parquet files; None looks for the first of `COLUMNS`.
        leave_out: a folder in which nothing is looked for: that of the results.

    Returns:
        A table with `SCHEMA`, and the column of the images in the Parquet files, None without such
        files.

    Raises:
        FileNotFoundError: a word names no file, or a folder, list or file holds no image.
        ValueError: a word names something else, or a Parquet file has no such column.
        ImportError: the package that reads an address is not installed.
    """
    lister = _Lister(recursive, column, leave_out)
    for word in words:
        lister.add(word)
    if column is not None and not lister.parquet_files:
        raise ValueError(
            f"column is {printable(column)}; it must not be given where no Parquet file is read"
        )
    return lister.table(), lister.image_column


class _Lister:
    """Collects the images; the arguments are those of `list_images`."""

    def __init__(self, recursive: bool, column: str | None, leave_out: str | None) -> None:
        self.recursive = recursive
        self.column = column
        self.leave_out = leave_out
        self.image_column: str | None = None
        self.parquet_files: set[str] = set()
        self._tables: list[pa.Table] = []
        self._readable: set[str | None] = {None, "http", "https"}

    def table(self) -> pa.Table:
        """Return the images, each at its first place."""
        table = pa.concat_tables(self._tables).combine_chunks()
        is_path = pc.is_null(table["row"]).combine_chunks()
        places = pc.indices_nonzero(is_path)
        paths = table["source"].combine_chunks().take(places)
        unique = pc.unique(paths)
        if len(unique) == len(paths):
            return table
        first = places.take(pc.index_in(unique, value_set=paths))
        kept = pa.concat_arrays([first, pc.indices_nonzero(pc.invert(is_path))])
        return table.take(kept.take(pc.sort_indices(kept)))

    def add(self, word: str) -> None:
        """Add what a word names."""
        is_parquet = word.lower().endswith(PARQUET_EXTENSIONS)
        if scheme_of(word) in ("http", "https") and not is_parquet:
            self._add([word])
            return
        files, path = open_file_system(word, "source")
        if files.isdir(path):
            self._add_found(word, files, self._in_folder(files, path), is_folder=True)
        elif files.isfile(path):
            self._add_file(word, files, files.info(path))
        elif files.exists(path):
            raise ValueError(f"source is {printable(word)}; it must be a regular file or a folder")
        elif any(character in path for character in _PATTERN):
            found = files.glob(path, detail=True).values()
            self._add_found(word, files, [info for info in found if self._is_wanted(files, info)])
        else:
            raise FileNotFoundError(f"source is {printable(word)}: no such file or folder")

    def _in_folder(self, files: Any, folder: str) -> list[dict[str, Any]]:
        """Return what fsspec knows of the files in a folder."""
        found = []
        depth = None if self.recursive else 1
        for _, folders, inner in files.walk(folder, maxdepth=depth, detail=True):
            for name in [name for name in folders if name.startswith(".") or name == _NO_IMAGES]:
                del folders[name]
            found += [info for info in inner.values() if self._is_wanted(files, info)]
        return found

    def _is_wanted(self, files: Any, info: dict[str, Any]) -> bool:
        """Return whether it is a file that is neither hidden nor one of the results."""
        name = _name_of(files, info["name"])
        of_results = self.leave_out is not None and name.startswith(f"{self.leave_out}/")
        hidden = name.rpartition("/")[2].startswith(".") or f"/{_NO_IMAGES}/" in name
        is_file = info["type"] == "file" or (info.get("islink") and files.isfile(info["name"]))
        return bool(is_file) and not of_results and not hidden

    def _add_found(
        self, word: str, files: Any, found: list[dict[str, Any]], is_folder: bool = False
    ) -> None:
        """Add the images, or else the Parquet files, of a folder or pattern."""
        found.sort(key=lambda info: info["name"])
        images = [one for one in found if _ends_in(one["name"], IMAGE_EXTENSIONS)]
        tables = [one for one in found if _ends_in(one["name"], PARQUET_EXTENSIONS)]
        if images and tables:
            raise ValueError(
                f"source is {printable(word)}, which holds images and Parquet files; it must name "
                "one kind, as in photos/*.jpg"
            )
        if not images and not tables:
            kind = "a folder" if is_folder else "a pattern"
            hint = " (its folders are searched with --recursive)"
            raise FileNotFoundError(
                f"source is {printable(word)}: {kind} without images or Parquet files"
                f"{hint if is_folder and not self.recursive else ''}"
            )
        self._add([_name_of(files, one["name"]) for one in images], [one["size"] for one in images])
        for one in tables:
            self._add_parquet(files, one)

    def _add_file(self, word: str, files: Any, info: dict[str, Any]) -> None:
        """Add an image, the images of a list, or those of a Parquet file."""
        path = info["name"]
        if _ends_in(path, PARQUET_EXTENSIONS):
            self._add_parquet(files, info)
        elif _ends_in(path, (LIST_EXTENSION,)):
            self._add_list(files, path)
        elif _ends_in(path, IMAGE_EXTENSIONS):
            self._add([_name_of(files, path)], [info["size"]])
        else:
            raise ValueError(
                f"source is {printable(word)}, whose type is unknown; it must be an image, a "
                f"folder, a list ({LIST_EXTENSION}) or a Parquet file"
            )

    def _add_list(self, files: Any, path: str) -> None:
        """Add the images that the lines of a file name."""
        base, count = _name_of(files, path).rpartition("/")[0], 0
        with files.open(path, "rb") as stream:
            for lines in _chunks(stream):
                words = [os.fsdecode(line.removeprefix(b"\xef\xbb\xbf")) for line in lines]
                words = [word.rstrip("\r\n") for word in words]
                found = [self._resolve(word, base) for word in words if word.strip()]
                count += len(found)
                self._add(found)
        if not count:
            name = printable(_name_of(files, path))
            raise FileNotFoundError(f"{name} is an empty list; it must name at least one image")

    def _resolve(self, word: str, base: str) -> str:
        """Return the absolute path or the address of an image in a list or table."""
        scheme = scheme_of(word)
        if scheme not in self._readable:
            open_file_system(word, "source")
            self._readable.add(scheme)
        if scheme is not None:
            return canonical_address(word)
        path = os.path.expanduser(word)
        if os.path.isabs(path):
            return path
        if scheme_of(base) is None and os.path.exists(path):
            return os.path.abspath(path)
        return f"{base}/{path}"

    def _add_parquet(self, files: Any, info: dict[str, Any]) -> None:
        """Add the rows of a Parquet file, or the images that it names."""
        name = _name_of(files, info["name"])
        if name in self.parquet_files:
            return
        self.parquet_files.add(name)
        with files.open(info["name"], "rb") as stream:
            with _reading(name):
                file = pq.ParquetFile(stream)
            if not file.metadata.num_rows:
                raise FileNotFoundError(
                    f"{printable(name)} has no rows; it must hold at least one image"
                )
            column, holds_paths = self._column_in(name, file.schema_arrow)
            if holds_paths:
                self._add_paths_in(name, file, column)
                return
            if self.image_column not in (None, column):
                raise ValueError(
                    f"{printable(name)} holds images in the column {printable(column)}, other "
                    f"files in {printable(self.image_column)}; column must name one for all"
                )
            self.image_column = column
            count = file.metadata.num_rows
            values = [
                pa.repeat(pa.scalar(os.fsencode(name), pa.binary()), count),
                pa.array(range(count), pa.int64()),
                pa.repeat(pa.scalar(info["size"], pa.int64()), count),
            ]
            self._tables.append(pa.Table.from_arrays(values, schema=SCHEMA))

    def _column_in(self, name: str, schema: pa.Schema) -> tuple[str, bool]:
        """Return the column of the images, and whether it holds their paths."""
        wanted = COLUMNS if self.column is None else (self.column,)
        column = next((one for one in wanted if one in schema.names), None)
        if column is None:
            had = f"{printable(name)}, which has {', '.join(map(printable, schema.names))}"
            if self.column is None:
                raise ValueError(
                    f"column is not given; it must name the column with the images in {had}"
                )
            raise ValueError(f"column is {printable(self.column)}; it must be a column of {had}")
        kind = schema.field(column).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):  # {"bytes": ..., "path": ...}, as the package datasets writes
            has_bytes = kind.get_field_index("bytes") >= 0
            kind = kind.field("bytes").type if has_bytes else kind
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return column, True
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return column, False
        raise ValueError(
            f"column is {printable(column)}, of type {printable(kind)} in {printable(name)}; it "
            "must hold paths (string), encoded images (binary), or a struct with these as bytes"
        )

    def _add_paths_in(self, name: str, file: pq.ParquetFile, column: str) -> None:
        """Add the images whose paths are in a column."""
        base, count = name.rpartition("/")[0], 0
        for words in _values_of(name, file, column):
            empty = [row for row, word in enumerate(words, start=count) if not word]
            if empty:
                raise ValueError(
                    f"{printable(name)} has no path in row {empty[0]} of the column "
                    f"{printable(column)}; it must have one in every row"
                )
            self._add([self._resolve(word, base) for word in words])
            count += len(words)

    def _add(self, names: Sequence[str], sizes: Sequence[int] | None = None) -> None:
        """Add images by path or address."""
        sources = pa.array([os.fsencode(name) for name in names], pa.binary())
        rows = pa.nulls(len(names), pa.int64())
        known = rows if sizes is None else pa.array(sizes, pa.int64())
        self._tables.append(pa.Table.from_arrays([sources, rows, known], schema=SCHEMA))


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Raise ValueError with the name of a Parquet file for what cannot be read in the block."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:  # OSError: damaged pages
        raise ValueError(
            f"{printable(name)} is not a Parquet file that can be read: {printable(error)}"
        ) from error


def _values_of(name: str, file: pq.ParquetFile, column: str) -> Iterator[list[Any]]:
    """Yield the values of a column in lists of limited length."""
    with _reading(name):
        for batch in file.iter_batches(_CHUNK, columns=[column], use_threads=False):
            yield batch.column(0).to_pylist()


def _name_of(files: Any, path: str) -> str:
    """Return the address of a path in a file system; the path itself on a disk."""
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return path if "file" in protocols else str(files.unstrip_protocol(path))


def _ends_in(path: str, extensions: Iterable[str]) -> bool:
    return os.path.splitext(path)[1].lower() in extensions


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lines in lists of limited length."""
    iterator = iter(lines)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk
