"""Which images make up which shard: written once, and compared with the source by later runs.

    plan.parquet   the images in order, a row group for each shard
    plan.json      what the results depend on; written last

Shards have numbers and their files have fixed names, so whoever works on a shard, and how often,
writes the same files. A shard is done when its file in `images/` exists and has, with that in
`failed/`, a row for every image.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrcnn.detection.result_log import differences
from mrcnn.detection.result_names import numbers_in_stems
from mrcnn.files.names import counted, printable
from mrcnn.scaling.places import ResultFolder

PLAN = "plan.json"
TABLE = "plan.parquet"
# Inner folders of the shards' files.
IMAGES, OBJECTS, FAILED = "images", "objects", "failed"
# Numbers of attempts at the shards under way.
ATTEMPTS = "attempts"
_PREFIX = "part-"
_VERSION = 1
# Without a size given: this many shards, of sizes within these limits.
_NUM_SHARDS = 200
_SIZES = (50, 1000)
_FOOTER_READERS = 16


@dataclass(frozen=True)
class ShardCount:
    """The rows of the files of a finished shard.

    Attributes:
        images: images in which objects were looked for.
        failed: images that could not be read or detected on.
        objects: objects that were found.
    """

    images: int
    failed: int
    objects: int


@dataclass(frozen=True)
class Plan:
    """The shards of a run.

    Attributes:
        folder: the folder of the results.
        num_images: number of all images.
        shard_size: number of images of every shard but the last.
        column: column of the images in Parquet files; None without such files.
        is_new: whether it was made now.
    """

    folder: ResultFolder
    num_images: int
    shard_size: int
    column: str | None
    is_new: bool = False

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_images // self.shard_size)

    def size_of(self, shard: int) -> int:
        """Return the number of images of a shard."""
        return min(self.shard_size, self.num_images - shard * self.shard_size)

    def read_shard(self, shard: int) -> list[dict[str, Any]]:
        """Return `image_id`, `source`, `row` and `size` of the images of a shard."""
        return self._table.read_row_group(shard, use_threads=False).to_pylist()

    @functools.cached_property
    def _table(self) -> pq.ParquetFile:
        """The table; it stays open, as its footer lists every shard."""
        return pq.ParquetFile(self.folder.open(TABLE))

    def note_attempt(self, shard: int) -> int:
        """Note that the work on a shard begins; return how often it began and did not end."""
        name = f"{ATTEMPTS}/{shard_file(shard)}"
        try:
            with self.folder.open(name) as stream:
                before = int(stream.read())
        except (OSError, ValueError):
            before = 0
        with self.folder.writing(name) as path:
            path.write_text(str(before + 1))
        return before

    def forget_attempt(self, shard: int) -> None:
        """Note that the work on a shard has ended."""
        self.folder.remove(f"{ATTEMPTS}/{shard_file(shard)}")

    def counts(self) -> dict[int, ShardCount]:
        """Return the rows of the finished shards, by number."""
        images, failed = self.folder.names(IMAGES), self.folder.names(FAILED)
        shards = [shard for shard in range(self.num_shards) if shard_file(shard) in images]
        with ThreadPoolExecutor(_FOOTER_READERS, "mrcnn-count") as threads:
            counts = threads.map(
                lambda shard: self._count(shard, shard_file(shard) in failed), shards
            )
            return {shard: count for shard, count in zip(shards, counts) if count is not None}

    def _count(self, shard: int, has_failures: bool) -> ShardCount | None:
        """Return the rows of the files of a shard; None where they are not those of its images."""
        name = shard_file(shard)
        try:
            failed = _num_rows(self.folder, f"{FAILED}/{name}") if has_failures else 0
            images = _num_rows(self.folder, f"{IMAGES}/{name}")
            objects = _num_rows(self.folder, f"{OBJECTS}/{name}")
        except (OSError, pa.ArrowException):  # missing, or damaged by something else
            return None
        fits = images + failed == self.size_of(shard)
        return ShardCount(images, failed, objects) if fits else None


def shard_file(shard: int) -> str:
    """Return the name that the files of a shard have."""
    return f"{_PREFIX}{shard:06}.parquet"


def open_plan(
    folder: ResultFolder,
    images: pa.Table,
    column: str | None,
    settings: Mapping[str, Any],
    shard_size: int | None = None,
) -> Plan:
    """Make the plan of a run, or open that of the run that is continued.

    Args:
        folder: the folder of the results.
        images: what to detect on, with `mrcnn.scaling.listing.SCHEMA`.
        column: column of the images in Parquet files; None without such files.
        settings: what the results depend on besides the images, as JSON holds it.
        shard_size: number of images of a shard. None takes that of the plan that is continued,
            and for a new one a 200th of the images, from 50 to 1000.

    Raises:
        ValueError: the folder holds results of other images or settings; the message says what is
            different.
    """
    settings = json.loads(json.dumps({**settings, "column": column}))
    if folder.exists(PLAN) and any(name.startswith(_PREFIX) for name in folder.names(IMAGES)):
        return _continued(folder, images, column, settings, shard_size)
    folder.remove(PLAN)  # one without results, such as that of a run whose settings were wrong
    for kind in (OBJECTS, FAILED):
        for name in folder.names(kind):
            if name.startswith(_PREFIX):
                folder.remove(f"{kind}/{name}")
    low, high = _SIZES
    size = shard_size or min(max(images.num_rows // _NUM_SHARDS, low), high)
    _write_table(folder, images, size)
    content = {"version": _VERSION, "settings": settings, "shard_size": size}
    with folder.writing(PLAN) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return Plan(folder, images.num_rows, size, column, is_new=True)


def _continued(
    folder: ResultFolder,
    images: pa.Table,
    column: str | None,
    settings: Mapping[str, Any],
    shard_size: int | None,
) -> Plan:
    """Return the plan in a folder after a comparison with what it should be."""
    place = printable(folder.place)
    with folder.open(PLAN) as stream:
        try:
            content = json.load(stream)
            version, size = content["version"], content["shard_size"]
            old = content["settings"]
        except (ValueError, KeyError, TypeError, RecursionError):
            version = None
    if version != _VERSION or not isinstance(old, dict) or not isinstance(size, int) or size < 1:
        raise ValueError(
            f"{place}/{PLAN} is no plan of this version of mrcnn; move it away, or choose another "
            "folder"
        )
    if different := "; ".join(differences(old, dict(settings))):
        raise ValueError(
            f"output is {place}, which holds results of other settings ({different}); continue "
            "with the same settings, or choose another folder"
        )
    if shard_size not in (None, size):
        raise ValueError(
            f"shard_size is {shard_size}; it must be {size}, as in {place}/{PLAN}, or not be given"
        )
    try:
        known = folder.read_table(TABLE).drop_columns(["image_id"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ValueError(
            f"{place}/{TABLE} cannot be read ({printable(error)}); choose another folder"
        ) from error
    if not known.equals(images):
        raise ValueError(
            f"output is {place}, which holds results of another source: "
            f"{_difference(known, images)}; restore the source, or choose another folder"
        )
    return Plan(folder, images.num_rows, size, column)


def _difference(old: pa.Table, new: pa.Table) -> str:
    """Return how two lists of images differ."""
    texts = []
    for word, one, other in (("new", new, old), ("gone", old, new)):
        sources = pc.unique(one["source"])
        missing = sources.filter(pc.invert(pc.is_in(sources, pc.unique(other["source"]))))
        if len(missing):
            first = printable(os.fsdecode(missing[0].as_py()))
            are = "is" if len(missing) == 1 else "are"
            texts.append(f"{counted(len(missing), 'file')} {are} {word} ({first})")
    if texts:
        return ", ".join(texts)
    keys = ["source", "row"]
    if old.num_rows == new.num_rows and old.select(keys).equals(new.select(keys)):
        changed = pc.fill_null(pc.not_equal(old["size"], new["size"]), True)
        sources = pc.unique(new["source"].filter(changed))
        first = printable(os.fsdecode(sources[0].as_py()))
        have = "has" if len(sources) == 1 else "have"
        return f"{counted(len(sources), 'file')} {have} another size ({first})"
    return "the order or the number of its rows has changed"


def _write_table(folder: ResultFolder, images: pa.Table, size: int) -> None:
    """Write the images with their ids, a row group for each shard."""
    numbers = None
    if images["row"].null_count == images.num_rows:
        numbers = numbers_in_stems(_stems(images))
    ids = pa.array(range(1, images.num_rows + 1) if numbers is None else numbers, pa.int64())
    table = images.add_column(0, "image_id", ids)
    options = {"compression": "zstd", "write_statistics": False, "use_dictionary": False}
    with (
        folder.writing(TABLE) as path,
        pq.ParquetWriter(os.fspath(path), table.schema, **options) as writer,
    ):
        for start in range(0, table.num_rows, size):
            writer.write_table(table.slice(start, size), row_group_size=size)


def _stems(images: pa.Table) -> Iterator[str]:
    """Yield the names of the files without suffix."""
    for batch in images.select(["source"]).to_batches(max_chunksize=10_000):
        for source in batch.column(0).to_pylist():
            yield PurePosixPath(os.fsdecode(source)).stem


def _num_rows(folder: ResultFolder, name: str) -> int:
    """Return the number of rows that the footer of a Parquet file states."""
    with folder.open(name) as stream:
        return int(pq.ParquetFile(stream).metadata.num_rows)
