"""Read the files of all shards: failures, and COCO's formats."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.detection.image_results import categories
from mrcnn.detection.writers import write_joined
from mrcnn.scaling.places import ResultFolder
from mrcnn.scaling.plan import FAILED, IMAGES, OBJECTS, Plan, ShardCount, shard_file


def read_failures(
    plan: Plan, counts: Mapping[int, ShardCount], limit: int
) -> list[tuple[str, str]]:
    """Return source and reason of the first images that failed, at most `limit`."""
    found: list[tuple[str, str]] = []
    for shard in sorted(shard for shard, count in counts.items() if count.failed):
        if len(found) >= limit:
            break
        for row in _rows(plan.folder, f"{FAILED}/{shard_file(shard)}"):
            place = row["source"] if row["row"] is None else f"{row['source']}#{row['row']}"
            found.append((place, row["error"]))
    return found[:limit]


def write_coco(plan: Plan, class_names: Sequence[str]) -> list[str]:
    """Write `detections.json` and `images.json` of all shards, as `mrcnn detect` does.

    Args:
        plan: the plan; all shards are done.
        class_names: names by class id, the background first.

    Returns:
        The addresses of the files.
    """

    def records() -> Iterator[dict[str, Any]]:
        return _records(plan)

    kinds, names = ("coco",), categories(class_names)
    folder = plan.folder
    if folder.is_local:
        paths = write_joined(Path(folder.place), kinds, records, names, segmentation="rle")
        return [os.fspath(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="mrcnn-") as temporary:
        paths = write_joined(Path(temporary), kinds, records, names, segmentation="rle")
        for path in paths:
            with folder.writing(path.name) as target:
                os.replace(path, target)
    return [f"{folder.place}/{path.name}" for path in paths]


def _records(plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield a record for each image, shard by shard, as `mrcnn.detection.writers` takes them."""
    failed = plan.folder.names(FAILED)
    for shard in range(plan.num_shards):
        name = shard_file(shard)
        entries = defaultdict(list)
        for row in _rows(plan.folder, f"{OBJECTS}/{name}"):
            entries[row["image_id"]].append(_entry(row))
        for image in _rows(plan.folder, f"{IMAGES}/{name}"):
            yield {**image, "objects": entries[image["image_id"]]}
        if name in failed:
            yield from _rows(plan.folder, f"{FAILED}/{name}")


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the objects in COCO's results format."""
    entry = {key: row[key] for key in ("image_id", "file_name", "category_id", "category_name")}
    entry["bbox"] = [row[key] for key in ("x", "y", "width", "height")]
    # The shortest text of a float32: 0.9, not 0.8999999761581421.
    entry["score"] = float(str(np.float32(row["score"])))
    entry["area"] = row["area"]
    if row.get("segmentation") is not None:
        entry["segmentation"] = row["segmentation"]
    return entry


def _rows(folder: ResultFolder, name: str) -> list[dict[str, Any]]:
    return folder.read_table(name).to_pylist()
