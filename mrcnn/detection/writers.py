"""What `mrcnn detect --save` writes: files for each image, and files for all images together.

The latter are made from records (`mrcnn.detection.result_log`), one at a time, so that memory does
not grow with the number of images.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.detection.results import CSV_COLUMNS, Detections, to_rows
from mrcnn.files.atomic import atomic_path, write_text
from mrcnn.files.names import printable
from mrcnn.geometry.masks import mask_to_polygons
from mrcnn.geometry.rle import decode_part, rle_box

SAVE_KINDS = ("image", "coco", "csv", "masks", "polygons", "video", "parquet")
# Those of models that give every pixel a class, and of models without masks.
LABEL_KINDS = ("image", "labels", "csv", "video")
BOX_KINDS = ("image", "coco", "csv", "video", "parquet")
# Those of models that also tell what they found before suppression.
REGION_KINDS = (*BOX_KINDS, "before")
# Columns that the tables have in addition where there are videos and tracks.
VIDEO_COLUMNS = ("frame", "seconds")
TRACK_COLUMN = "track_id"
# The largest number in an image of 16 bits.
_MAX_INSTANCES = 2**16 - 1
_ROWS_PER_GROUP = 10_000

Records = Callable[[], Iterable[Mapping[str, Any]]]


def check_save(
    save: str | Iterable[str], name: str = "save", allowed: Sequence[str] = SAVE_KINDS
) -> tuple[str, ...]:
    """Return the kinds of files to write, in the order of those allowed.

    Args:
        save: kinds, or their names separated by commas.
        name: what they are called in an error.
        allowed: the kinds that the model can give.

    Raises:
        ValueError: a kind is unknown, or there is none.
        ImportError: a package that a kind requires is not installed.
    """
    words = save.split(",") if isinstance(save, str) else list(save)
    words = [word.strip().lower() for word in words]
    if not words or not set(words) <= set(allowed):
        raise ValueError(
            f"{name} is {printable(','.join(words))!r}; it must name some of {', '.join(allowed)}"
        )
    if "parquet" in words and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            f"{name} has parquet; it needs the package pyarrow: pip install 'mrcnn-keras3[parquet]'"
        )
    return tuple(kind for kind in allowed if kind in words)


# ---- for each image ----------------------------------------------------------------------------


def write_masks(
    path: Path, found: Detections, entries: Sequence[Mapping[str, Any]], size: tuple[int, int]
) -> None:
    """Write the instance ids of an image: `path` with the suffixes `.png` and `.json`.

    The PNG has 16 bits: 0 is the background, and k the k-th object. Where objects overlap, the
    pixel belongs to the one of the highest score. The JSON file lists the objects with their ids.

    Args:
        path: path without suffix.
        found: N detections.
        entries: N entries of `Detections.to_coco`.
        size: (height, width) of the image in pixels.

    Raises:
        ValueError: there are more than 65535 objects.
    """
    import cv2

    if len(found) > _MAX_INSTANCES:
        raise ValueError(f"found has {len(found)} objects; it must have at most {_MAX_INSTANCES}")
    ids = np.zeros(size, np.uint16)
    visible = [0] * len(found)
    parts = dict(_parts(found))
    for i in np.argsort(-found.scores, kind="stable").tolist():
        if i in parts:  # else there are boxes only
            (y, x), mask = parts[i]
            place = ids[y : y + mask.shape[0], x : x + mask.shape[1]]
            free = mask & (place == 0)
            place[free] = i + 1
            visible[i] = int(free.sum())
    objects = [
        {"id": i + 1, **_without_outline(entry), "visible_area": visible[i]}
        for i, entry in enumerate(entries)
    ]
    with atomic_path(path.with_name(f"{path.name}.png")) as temporary:
        temporary.write_bytes(cv2.imencode(".png", ids)[1].tobytes())
    index = {"height": size[0], "width": size[1], "objects": objects}
    write_text(path.with_name(f"{path.name}.json"), _json(index, indent=1))


def write_polygons(
    path: Path,
    found: Detections,
    entries: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    image_path: str,
    tolerance: float,
) -> None:
    """Write the outlines of an image's objects in LabelMe's format.

    An object of several separate parts has one shape for each, with the same `group_id`. LabelMe's
    polygons have no holes: those of an object are in `holes` of its first shape.

    Args:
        path: the file.
        found: N detections.
        entries: N entries of `Detections.to_coco`.
        size: (height, width) of the image in pixels.
        image_path: path of the image relative to the file's folder, or its address.
        tolerance: pixels by which a simplified outline may be off; 0 keeps every corner.
    """
    shapes = []
    for i, ((y, x), mask) in _parts(found):
        entry, corner = entries[i], np.array([x, y], float)
        holes = _points(_holes(mask), corner, tolerance)
        for k, points in enumerate(_points(mask, corner, tolerance)):
            shape = {
                "label": entry.get("category_name", str(entry["category_id"])),
                "points": points,
                "group_id": i + 1,
                "shape_type": "polygon",
                "flags": {},
                "score": entry["score"],
                "holes": holes if k == 0 else [],
            }
            if TRACK_COLUMN in entry:
                shape[TRACK_COLUMN] = entry[TRACK_COLUMN]
            shapes.append(shape)
    content: dict[str, Any] = {
        "version": "5.0.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    write_text(path, _json(content, indent=1))


def _parts(found: Detections) -> Iterator[tuple[int, tuple[tuple[int, int], np.ndarray]]]:
    """Yield (index, ((y, x), mask)) of each object: its mask within the box around it."""
    for i, rle in enumerate(found.rles or []):
        y1, x1, y2, x2 = rle_box(rle)
        yield i, ((y1, x1), decode_part(rle, (y1, x1, y2, x2)))


def _points(mask: np.ndarray, corner: np.ndarray, tolerance: float) -> list[list[list[float]]]:
    """Return the outlines of a mask as lists of [x, y]; `corner` is its [x, y] in the image."""
    polygons = mask_to_polygons(mask, tolerance)
    return [(np.reshape(polygon, (-1, 2)) + corner).tolist() for polygon in polygons]


def _holes(mask: np.ndarray) -> np.ndarray:
    """Return the pixels that a mask encloses and does not contain."""
    import cv2

    surrounded = np.ascontiguousarray(np.pad(mask, 1), np.uint8)
    cv2.floodFill(surrounded, None, (0, 0), 1)
    return surrounded[1:-1, 1:-1] == 0


def _without_outline(entry: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("segmentation", "image_id", "file_name")
    return {key: value for key, value in entry.items() if key not in left_out}


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent) + "\n"


# ---- for all images ----------------------------------------------------------------------------


def write_joined(
    folder: Path,
    kinds: Sequence[str],
    records: Records,
    categories: Sequence[Mapping[str, Any]],
    *,
    segmentation: str,
    columns: Sequence[str] = (),
) -> list[Path]:
    """Write the files that hold the results of all images, each whole or not at all.

    Args:
        folder: the folder.
        kinds: of `SAVE_KINDS`; those of single images are ignored.
        records: returns an iterator over the records, each time from the start.
        categories: `id` and `name` of each class.
        segmentation: "rle", "polygon" or "none", as the records hold masks.
        columns: columns of tables beside `CSV_COLUMNS`.

    Returns:
        Their paths: `detections.json` and `images.json` (coco), `detections.csv`,
        `detections.parquet`.

    Raises:
        OSError: a file cannot be written; the message has its path.
    """

    def write_parquet(path: Path, records: Records) -> None:
        write_object_table(path, records, columns, segmentation)

    def write_csv(path: Path, records: Records) -> None:
        _write_csv(path, records, columns)

    def write_images(path: Path, records: Records) -> None:
        _write_images(path, records, categories)

    writers: dict[str, Callable[[Path, Records], None]] = {}
    if "coco" in kinds:
        writers.update({"detections.json": _write_entries, "images.json": write_images})
    if "csv" in kinds:
        writers["detections.csv"] = write_csv
    if "parquet" in kinds:
        writers["detections.parquet"] = write_parquet
    for name, write in writers.items():
        try:
            with atomic_path(folder / name) as temporary:
                write(temporary, records)
        except OSError as error:  # which file it was
            raise OSError(error.errno, error.strerror, str(folder / name)) from error
    return [folder / name for name in writers]


def _entries(records: Records) -> Iterator[dict[str, Any]]:
    """Yield the entries of all images in COCO's results format."""
    for record in records():
        yield from record.get("objects", ())


def write_list(file: Any, values: Iterable[Any]) -> None:
    """Write a JSON list, one value a line."""
    start = "[\n"
    for value in values:
        file.write(start + json.dumps(value, ensure_ascii=False))
        start = ",\n"
    file.write("[]" if start == "[\n" else "\n]")


def _write_entries(path: Path, records: Records) -> None:
    """Write COCO's results format: a list with an entry for each object."""
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        write_list(file, _entries(records))
        file.write("\n")


def _write_images(path: Path, records: Records, categories: Sequence[Mapping[str, Any]]) -> None:
    """Write COCO's dataset format without annotations: every image, also those without objects.

    `failed` lists the images without a result.
    """
    keys = ("file_name", "width", "height", "source", *VIDEO_COLUMNS)

    def image(record: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": record["image_id"], **{key: record[key] for key in keys if key in record}}

    def failure(record: Mapping[str, Any]) -> dict[str, Any]:
        return {**image(record), "error": record["error"]}

    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write('{"images": ')
        write_list(file, (image(record) for record in records() if "width" in record))
        file.write(',\n"annotations": [],\n"categories": ')
        write_list(file, categories)
        file.write(',\n"failed": ')
        write_list(file, (failure(record) for record in records() if "error" in record))
        file.write("}\n")


def _write_csv(path: Path, records: Records, columns: Sequence[str]) -> None:
    """Write a table of the objects, without outlines."""
    names = (*CSV_COLUMNS, *columns)
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for entry in _entries(records):
            writer.writerow({**to_rows([entry])[0], **_present(entry, columns)})


def write_object_table(
    path: Path, records: Records, columns: Sequence[str], segmentation: str
) -> None:
    """Write a Parquet file with a row for each object.

    Args:
        path: the file.
        records: returns an iterator over the records.
        columns: columns beside `CSV_COLUMNS`.
        segmentation: "rle", "polygon" or "none", as the records hold masks.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"category_id": pa.int32(), "score": pa.float32(), "area": pa.float64()}
    types |= dict.fromkeys(("image_id", "frame", TRACK_COLUMN), pa.int64())
    types |= dict.fromkeys(("file_name", "category_name"), pa.string())
    rle = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    outline = {"rle": rle, "polygon": pa.list_(pa.list_(pa.float64()))}.get(segmentation)
    fields = [(name, types.get(name, pa.float64())) for name in (*CSV_COLUMNS, *columns)]
    if outline is not None:
        fields.append(("segmentation", outline))
    schema = pa.schema(fields)
    rows = (_parquet_row(entry, schema.names) for entry in _entries(records))
    with pq.ParquetWriter(os.fspath(path), schema) as writer:
        while group := list(itertools.islice(rows, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _parquet_row(entry: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    row = {**to_rows([entry])[0], **_present(entry, names)}
    row["file_name"] = row["file_name"].encode("utf-8", "backslashreplace").decode()
    return {name: row.get(name) for name in names}


def _present(entry: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    return {name: entry[name] for name in columns if name in entry}
