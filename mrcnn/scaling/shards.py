"""Detection on the images of one shard, and its files.

Of shard 12 these are `part-000012.parquet` in the folders `objects` (a row for each object, as
`mrcnn detect --save parquet` writes), `failed` (a row for each image that failed, with the reason)
and `images` (a row for each other image). That in `images` is written last: then the shard is done.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrcnn.checkpoints.coco_names import coco_category_ids
from mrcnn.detection.results import Detections
from mrcnn.detection.runs import describe_failure
from mrcnn.detection.writers import write_object_table
from mrcnn.scaling.images import PlannedImage, planned_images
from mrcnn.scaling.places import ResultFolder
from mrcnn.scaling.plan import FAILED, IMAGES, OBJECTS, Plan, shard_file

_PLACE = [
    ("image_id", pa.int64()),
    ("source", pa.string()),
    ("row", pa.int64()),
    ("file_name", pa.string()),
]
_IMAGE = [("width", pa.int32()), ("height", pa.int32()), ("num_objects", pa.int32())]
IMAGE_SCHEMA = pa.schema([*_PLACE, *_IMAGE])
FAILED_SCHEMA = pa.schema([*_PLACE, ("error", pa.string())])


@dataclass(frozen=True)
class ShardOutcome:
    """What the work on one shard gave.

    Attributes:
        shard: its number.
        images: images in which objects were looked for.
        failed: images that could not be read or detected on.
        objects: objects that were found.
        seconds: wall time of the work.
        peak_mb: the most memory that the process has had so far, in megabytes; 0 where the system
            does not tell.
        deaths: workers that died before over the same shard.
    """

    shard: int
    images: int
    failed: int
    objects: int
    seconds: float
    peak_mb: float
    deaths: int = 0


def detect_shard(
    model: Any,
    plan: Plan,
    shard: int,
    *,
    classes: Sequence[int] | None = None,
    batch_size: int = 1,
) -> ShardOutcome:
    """Detect on the images of a shard and write its files.

    Args:
        model: a model with `detect_stream` and `class_names`.
        plan: the plan.
        shard: number of the shard.
        classes: ids of the classes to keep; None keeps all.
        batch_size: images that go into the network together.

    Raises:
        OSError: a file cannot be written.
    """
    begun = time.perf_counter()
    records = list(_records(model, plan, shard, classes, batch_size))
    good = [record for record in records if "error" not in record]
    bad = [record for record in records if "error" in record]
    folder, name = plan.folder, shard_file(shard)
    outlines = "none" if getattr(model.config, "USE_MASK", True) is False else "rle"
    with folder.writing(f"{OBJECTS}/{name}") as path:
        write_object_table(path, lambda: good, (), outlines)
    if bad:
        _write_rows(folder, f"{FAILED}/{name}", bad, FAILED_SCHEMA)
    else:
        folder.remove(f"{FAILED}/{name}")
    _write_rows(folder, f"{IMAGES}/{name}", good, IMAGE_SCHEMA)
    plan.forget_attempt(shard)
    objects = sum(record["num_objects"] for record in good)
    seconds = time.perf_counter() - begun
    return ShardOutcome(shard, len(good), len(bad), objects, seconds, _peak_megabytes())


def _records(
    model: Any, plan: Plan, shard: int, classes: Sequence[int] | None, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield a record for each image: with `objects`, or with `error`."""
    names = list(model.class_names)
    category_ids = coco_category_ids(names)
    images, waiting = itertools.tee(planned_images(plan.read_shard(shard), plan.column))
    reads = (image.read for image in images)
    results = model.detect_stream(reads, batch_size, errors="return", with_images=True, rle=True)
    with contextlib.closing(results):
        for (image, result), planned in zip(results, waiting):
            record = _place_of(planned)
            try:
                if isinstance(result, Exception):
                    raise result
                found = Detections.from_result(result).of_classes(classes)
                name = record["file_name"]
                entries = found.to_coco(planned.image_id, name, names, category_ids)
            except Exception as error:  # anything: the other images must be processed
                yield {**record, "error": describe_failure(planned.source, error)}
                continue
            height, width = image.shape[:2]
            size = {"width": width, "height": height, "num_objects": len(entries)}
            yield {**record, **size, "objects": entries}


def _place_of(planned: PlannedImage) -> dict[str, Any]:
    """Return the columns that say which image it is; names that are not UTF-8 have escapes."""
    return {
        "image_id": planned.image_id,
        "source": _as_text(planned.source),
        "row": planned.row,
        "file_name": _as_text(planned.file_name),
    }


def _as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _write_rows(
    folder: ResultFolder, name: str, records: Sequence[Mapping[str, Any]], schema: pa.Schema
) -> None:
    """Write records as a Parquet file with the columns of a schema."""
    rows = [{column: record[column] for column in schema.names} for record in records]
    with folder.writing(name) as path:
        pq.write_table(pa.Table.from_pylist(rows, schema), os.fspath(path))


def _peak_megabytes() -> float:
    """Return the most memory that this process has had."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
