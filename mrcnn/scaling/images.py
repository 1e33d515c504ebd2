"""Read the images of a shard: from a disk, from a bucket, or from rows of Parquet files."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow.parquet as pq

from mrcnn.datasets.image_files import decode_image, read_image
from mrcnn.files.names import printable
from mrcnn.scaling.places import open_file_system, scheme_of

# Encoded images of a Parquet file that are in memory at a time.
_ROWS = 32


@dataclass(frozen=True)
class PlannedImage:
    """One image of a shard.

    Attributes:
        image_id: its id.
        source: its path or address, or that of the Parquet file with it.
        row: its row in the Parquet file; None for a file of its own.
        read: returns [height, width, 3] uint8 RGB, upright by its EXIF orientation.
    """

    image_id: int
    source: str
    row: int | None
    read: Callable[[], np.ndarray]

    @property
    def file_name(self) -> str:
        """The name of the file; of a row with its number, as in "photos.parquet#17"."""
        name = self.source.rstrip("/").rpartition("/")[2]
        return name if self.row is None else f"{name}#{self.row}"


def planned_images(rows: Sequence[Mapping[str, Any]], column: str | None) -> Iterator[PlannedImage]:
    """Yield the images of a shard in their order; what cannot be read fails when it is read.

    Args:
        rows: of `Plan.read_shard`.
        column: column of the images in Parquet files.
    """
    for (source, in_table), found in itertools.groupby(
        rows, key=lambda row: (row["source"], row["row"] is not None)
    ):
        name, group = os.fsdecode(source), list(found)
        reads: Iterator[Callable[[], np.ndarray]]
        if in_table:
            reads = _reads_of_rows(name, [row["row"] for row in group], column or "")
        else:
            reads = (partial(read_source, name) for _ in group)
        for row, read in zip(group, reads):
            yield PlannedImage(row["image_id"], name, row["row"], read)


def read_source(source: str) -> np.ndarray:
    """Return the image at a path or address, upright.

    Raises:
        OSError: it cannot be read or fetched.
        ValueError: it cannot be decoded.
    """
    scheme = scheme_of(source)
    if scheme is None:
        return read_image(source, exif_orientation=True)
    name = printable(source)
    if scheme in ("http", "https"):
        from mrcnn.files.fetch import fetch

        with tempfile.TemporaryDirectory(prefix="mrcnn-") as folder:
            data = fetch(source, Path(folder) / "image", retries=2).path.read_bytes()
        return decode_image(data, name, exif_orientation=True)
    files, path = open_file_system(source, "source")
    return decode_image(files.cat_file(path), name, exif_orientation=True)


def _reads_of_rows(
    source: str, rows: Sequence[int], column: str
) -> Iterator[Callable[[], np.ndarray]]:
    """Yield a function for each row, one after the other, that returns its image."""
    name, count = printable(source), 0
    problem: Exception = ValueError(f"{name} has fewer rows than before")
    try:
        for row, data in zip(rows, _values(source, rows[0], rows[-1] + 1, column)):
            count += 1
            yield partial(_decode, data, f"row {row} of {name}")
    except Exception as error:  # anything: the other images of the shard must be processed
        problem = error
    yield from (partial(_raise, problem) for _ in rows[count:])


def _values(source: str, first: int, end: int, column: str) -> Iterator[Any]:
    """Yield the values of consecutive rows of a column; groups before them are not read."""
    files, path = open_file_system(source, "source")
    with files.open(path, "rb") as stream:
        file = pq.ParquetFile(stream)
        begin = 0
        for group in range(file.num_row_groups):
            stop = begin + file.metadata.row_group(group).num_rows
            if stop > first and begin < end:
                for batch in file.iter_batches(
                    _ROWS, row_groups=[group], columns=[column], use_threads=False
                ):
                    low, high = max(first - begin, 0), min(end - begin, batch.num_rows)
                    if high > low:
                        yield from batch.column(0).slice(low, high - low).to_pylist()
                    begin += batch.num_rows
                    if begin >= end:
                        return
            begin = stop


def _decode(value: Any, name: str) -> np.ndarray:
    """Decode the value of a row: bytes, or a struct with them."""
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not data:
        raise ValueError(f"{name} is empty; it must hold an encoded image")
    return decode_image(data, name, exif_orientation=True)


def _raise(error: Exception) -> NoReturn:
    raise error
