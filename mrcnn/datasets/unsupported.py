"""Formats that are known but not read: which one it is, and what to export instead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from mrcnn.datasets.layout import visible_files, visible_folders
from mrcnn.datasets.outline import Outline, json_outline

_MAX_FILES = 50

# Name, test of a JSON file's keys, and what to export.
_JSON_FORMATS: tuple[tuple[str, Callable[[Outline], bool], str], ...] = (
    (
        "Label Studio's own JSON",
        lambda o: (
            o.is_list and "data" in o.inner and bool({"annotations", "completions"} & o.inner)
        ),
        'export "COCO" or "YOLO with images" from Label Studio',
    ),
    (
        "Label Studio's JSON-MIN",
        lambda o: o.is_list and {"annotator", "annotation_id"} <= o.inner,
        'export "COCO" or "YOLO with images" from Label Studio',
    ),
    (
        "a list of COCO results (detections)",
        lambda o: o.is_list and {"image_id", "category_id"} <= o.inner,
        'give the annotation file, with "images", "annotations" and "categories"',
    ),
    (
        "CreateML",
        lambda o: o.is_list and "image" in o.inner and "annotations" in o.inner,
        "it has boxes only; export COCO or VOC",
    ),
    (
        "Datumaro",
        lambda o: {"categories", "items"} <= o.keys,
        'export "COCO 1.0" from CVAT or Datumaro',
    ),
    (
        "Supervisely",
        lambda o: {"objects", "size"} <= o.keys or {"classes", "tags"} <= o.keys,
        "export COCO from Supervisely",
    ),
    (
        "Labelbox",
        lambda o: (
            "data_row" in o.keys or (o.is_list and bool({"Labeled Data", "data_row"} & o.inner))
        ),
        "convert the export to COCO with Labelbox's own converter",
    ),
    (
        "BDD100K or Scalabel",
        lambda o: {"frames"} <= o.keys or (o.is_list and {"name", "labels"} <= o.inner),
        "export COCO from Scalabel",
    ),
    (
        "Cityscapes",
        lambda o: {"imgHeight", "imgWidth", "objects"} <= o.keys,
        "convert it to COCO",
    ),
    (
        "a COCO file without images",
        lambda o: {"annotations", "info"} <= o.keys or {"categories", "info"} <= o.keys,
        'it must have the lists "images", "annotations" and "categories"',
    ),
)


def unsupported_format(path: Path) -> str | None:
    """Return "this is FORMAT, which is not read; ..." for a known format, else None."""
    files = [path] if path.is_file() else _first_files(path)
    for file in files:
        suffix = file.suffix.lower()
        if suffix in (".json", ".ndjson"):
            outline = json_outline(file)
            for name, test, advice in _JSON_FORMATS:
                if outline is not None and test(outline):
                    return f"{file.name} is {name}, which is not read; {advice}"
        elif suffix == ".csv" and "CSV_HEADER" in _head(file):
            return f"{file.name} is VIA 3's CSV, which is not read; save the project as JSON in VIA"
        elif suffix == ".tfrecord":
            return f"{file.name} is a TFRecord, which is not read; export COCO"
    return None


def _first_files(path: Path) -> list[Path]:
    inner = (visible_files(folder) for folder in visible_folders(path)[:_MAX_FILES])
    files = chain(visible_files(path), *inner)
    return [f for f in files if f.suffix.lower() in (".json", ".ndjson", ".csv", ".tfrecord")][
        :_MAX_FILES
    ]


def _head(file: Path) -> str:
    with open(file, encoding="utf-8", errors="replace") as stream:
        return stream.read(2000)
