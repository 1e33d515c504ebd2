"""Formats that are known but not read: which one it is, and what to export instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from mrcnn.datasets.layout import visible_files, visible_folders
from mrcnn.datasets.outline import Outline, json_outline

_MAX_FILES, _MAX_DEPTH = 50, 3
# A line of KITTI: a word and at least 14 numbers.
_KITTI = re.compile(r"[A-Za-z_]+(\s+-?\d+(\.\d+)?(e-?\d+)?){14,}\s*$", re.MULTILINE)
# path,x1,y1,x2,y2,class without a line of names.
_RETINANET = re.compile(r"[^,\n]+(,\d+(\.\d+)?){4},[^,\n]+$", re.MULTILINE)
_OTHERS = {
    ".tfrecord": "a TFRecord, which is not read; export COCO",
    ".tfrecords": "a TFRecord, which is not read; export COCO",
    ".zip": "an archive, which is not read; unpack it and open the folder",
    ".tar": "an archive, which is not read; unpack it and open the folder",
    ".tgz": "an archive, which is not read; unpack it and open the folder",
    ".gz": "an archive, which is not read; unpack it and open the folder",
    ".7z": "an archive, which is not read; unpack it and open the folder",
    ".rar": "an archive, which is not read; unpack it and open the folder",
}

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
        "VoTT",
        lambda o: "assets" in o.keys and bool({"tags", "version", "visitedAssets"} & o.keys),
        "export COCO from a tool that reads VoTT",
    ),
    (
        "Darwin (V7)",
        lambda o: "item" in o.keys and "annotations" in o.keys,
        "export COCO from V7",
    ),
    (
        "SuperAnnotate",
        lambda o: {"metadata", "instances"} <= o.keys,
        "export COCO from SuperAnnotate",
    ),
    (
        "SA-1B",
        lambda o: {"image", "annotations"} <= o.keys and "file_name" in o.inner,
        "its masks have no classes; convert it to COCO",
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
        elif suffix == ".csv" and (table := _csv_format(_head(file))):
            return f"{file.name} is {table}, which is not read; export COCO or VOC"
        elif suffix == ".txt" and _KITTI.match(_head(file)):
            return f"{file.name} is a label file of KITTI, which is not read; export COCO or YOLO"
        elif suffix in _OTHERS:
            return f"{file.name} is {_OTHERS[suffix]}"
    return _mask_format(path)


def _csv_format(head: str) -> str | None:
    """Return the kind of a CSV file by its columns; None if it is no list of annotations."""
    columns = {column.strip().strip('"').lower() for column in head.split("\n", 1)[0].split(",")}
    if {"imageid", "labelname"} <= columns:
        return "a table of Open Images without its folder"
    if any(column.startswith("encodedpixels") for column in columns):
        return "a table of run lengths"
    if {"xmin", "ymin", "xmax", "ymax"} <= columns or _RETINANET.match(head):
        return "a table of boxes"
    return None


def _mask_format(path: Path) -> str | None:
    """Describe the missing parts or the format of folders of masks; None if they are unknown."""
    names = {folder.name.lower() for folder in visible_folders(path)}
    for one, other in (("Class", "Object"), ("Object", "Class")):
        if f"segmentation{one.lower()}" in names and f"segmentation{other.lower()}" not in names:
            return (
                f"it has Segmentation{one} without Segmentation{other}, which is not read; export "
                "'Segmentation mask 1.1', with both, or COCO"
            )
    if any(name.endswith("annot") for name in names) and (path / "label_colors.txt").is_file():
        return "it is CamVid, which has no instances; export 'Segmentation mask 1.1' or COCO"
    return None


def _first_files(path: Path) -> list[Path]:
    folders = [path]
    for folder in folders:
        if len(folder.relative_to(path).parts) < _MAX_DEPTH:
            folders += visible_folders(folder)[: max(_MAX_FILES - len(folders), 0)]
    files = chain.from_iterable(visible_files(folder) for folder in folders)
    endings = {".json", ".ndjson", ".csv", ".txt", *_OTHERS}
    return [f for f in files if f.suffix.lower() in endings][:_MAX_FILES]


def _head(file: Path) -> str:
    with open(file, encoding="utf-8", errors="replace") as stream:
        return stream.read(2000)
