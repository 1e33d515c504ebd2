"""Detection results as COCO JSON, CSV and polygons.

`MaskRCNN.detect` returns arrays in memory; the functions here turn one such result into
plain rows, and rows into files that other programs read. No result, or one without
instances, gives an empty list and a valid file.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CSV_COLUMNS = (
    "image_id",
    "file_name",
    "category_id",
    "category_name",
    "score",
    "x",
    "y",
    "width",
    "height",
    "area",
)
SEGMENTATIONS = ("rle", "polygon", "none")


def to_coco(
    result: Mapping[str, Any],
    image_id: int | str,
    file_name: str | None = None,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
    segmentation: str = "rle",
) -> list[dict[str, Any]]:
    """Turn the result of one image into COCO's results format.

    Args:
        result: One entry of `MaskRCNN.detect`: `rois` [N, (y1, x1, y2, x2)] in pixels,
            `class_ids` [N], `scores` [N] and, if present, `masks` [H, W, N] bool or `rles`,
            N run lengths.
        image_id: Written as `image_id`.
        file_name: Written as `file_name`; left out when None.
        class_names: Names by class id, the background first; written as `category_name`.
        category_ids: Category ids by class id, where the data set's own ids differ from the
            model's (`mrcnn.checkpoints.coco_names.COCO_CATEGORY_IDS`). The class id otherwise.
        segmentation: "rle" (compressed run lengths), "polygon" (lists of x, y; holes and
            masks under three points are lost) or "none".

    Returns:
        N dicts that `json.dump` and `pycocotools.coco.COCO.loadRes` take: `image_id`,
        `file_name`, `category_id`, `category_name`, `bbox` [x, y, width, height], `score`,
        `area` in pixels of the mask (of the box without masks) and `segmentation`.

    Raises:
        ValueError: if the arrays differ in length, a class id has no name or category, or
            `segmentation` is unknown.
    """
    if segmentation not in SEGMENTATIONS:
        raise ValueError(f"segmentation must be one of {SEGMENTATIONS}, got {segmentation!r}")
    rois, class_ids, scores, rles = _arrays(result)
    for name, table in (("class_names", class_names), ("category_ids", category_ids)):
        if table is not None and len(class_ids) and class_ids.max() >= len(table):
            raise ValueError(
                f"{name} must cover class id {class_ids.max()}, got only {len(table)} entries"
            )
    if rles is None:
        outlines = [None] * len(rois)
        areas = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
    else:
        outlines, areas = _segmentations(rles, segmentation)
    entries = []
    for i, (y1, x1, y2, x2) in enumerate(rois.tolist()):
        k = int(class_ids[i])
        entry: dict[str, Any] = {"image_id": image_id}
        if file_name is not None:
            entry["file_name"] = file_name
        entry["category_id"] = k if category_ids is None else int(category_ids[k])
        if class_names is not None:
            entry["category_name"] = str(class_names[k])
        entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        # float32 as written by hand: 0.9, not 0.8999999761581421.
        entry["score"] = round(float(scores[i]), 6)
        entry["area"] = int(areas[i])
        if outlines[i] is not None:
            entry["segmentation"] = outlines[i]
        entries.append(entry)
    return entries


def from_coco(entries: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Turn COCO entries of one image back into a result with the keys of `MaskRCNN.detect`.

    Args:
        entries: As `to_coco` returns them, with run lengths or polygons.
        size: (height, width) of the image in pixels.

    Returns:
        `rois` [N, 4] int32, `class_ids` [N] int32 (the category ids), `scores` [N] float32
        and `masks` [H, W, N] bool, without holes where they came from polygons.
    """
    from pycocotools import mask as mask_utils

    from mrcnn.geometry.rle import segmentation_to_rle

    masks = np.zeros((*size, len(entries)), dtype=bool)
    for i, entry in enumerate(entries):
        if entry.get("segmentation"):
            rle = segmentation_to_rle(entry["segmentation"], *size)
            masks[:, :, i] = mask_utils.decode(rle)
    x, y, width, height = np.reshape([e["bbox"] for e in entries], (-1, 4)).T
    return {
        "rois": np.stack([y, x, y + height, x + width], axis=1).astype(np.int32),
        "class_ids": np.array([e["category_id"] for e in entries], dtype=np.int32),
        "scores": np.array([e["score"] for e in entries], dtype=np.float32),
        "masks": masks,
    }


def to_polygons(masks: np.ndarray) -> list[list[list[float]]]:
    """Return the outlines of masks.

    Args:
        masks: [H, W, N] bool.

    Returns:
        For each mask its polygons, each a flat list x1, y1, x2, y2, ... of pixel corners.
    """
    from mrcnn.geometry.masks import mask_to_polygons

    masks = np.asarray(masks)
    return [mask_to_polygons(masks[:, :, i]) for i in range(masks.shape[2])]


def to_rows(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one flat row an entry of `to_coco`, with the keys of `CSV_COLUMNS`."""
    rows = []
    for entry in entries:
        box = dict(zip(("x", "y", "width", "height"), entry["bbox"], strict=True))
        rows.append({key: {**entry, **box}.get(key, "") for key in CSV_COLUMNS})
    return rows


def save_json(path: str | Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write COCO entries as a JSON list, one instance a line.

    Args:
        path: The file; missing folders are made. It is replaced whole or not at all.
        entries: As `to_coco` returns them, of any number of images.

    Returns:
        The path.
    """
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return _write(path, f"[\n{lines}\n]\n" if lines else "[]\n")


def save_csv(path: str | Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write COCO entries as CSV with the columns `CSV_COLUMNS`, without outlines.

    Args:
        path: The file; missing folders are made. It is replaced whole or not at all.
        entries: As `to_coco` returns them, of any number of images.

    Returns:
        The path.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_rows(entries))
    return _write(path, text.getvalue())


def _arrays(
    result: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]] | None]:
    """Return rois, class ids, scores and run lengths of a result after checking their lengths."""
    from mrcnn.geometry.rle import encode_rle

    missing = [key for key in ("rois", "class_ids", "scores") if key not in result]
    if missing:
        raise ValueError(f"a detect() result must have {missing}, got keys {sorted(result)}")
    rois = np.asarray(result["rois"]).reshape(-1, 4)
    class_ids = np.asarray(result["class_ids"]).reshape(-1).astype(int)
    scores = np.asarray(result["scores"]).reshape(-1)
    lengths = {"class_ids": len(class_ids), "scores": len(scores)}
    rles = None
    # Without an instance a mask array of any shape is as good as none.
    if len(rois) and result.get("rles") is not None:
        rles = list(result["rles"])
        lengths["rles"] = len(rles)
    elif len(rois) and result.get("masks") is not None:
        masks = np.asarray(result["masks"])
        lengths["masks"] = masks.shape[-1]
    for name, length in lengths.items():
        if length != len(rois):
            raise ValueError(f"{name} must have one entry a roi ({len(rois)}), got {length}")
    if "masks" in lengths:
        rles = encode_rle(masks)
    return rois, class_ids, scores, rles


def _segmentations(rles: list[dict[str, Any]], kind: str) -> tuple[list[Any], np.ndarray]:
    """Return each mask's `segmentation`, None where none is to be written, and its area."""
    from mrcnn.geometry.masks import mask_to_polygons
    from mrcnn.geometry.rle import decode_rle, rle_area

    areas = rle_area(rles)
    if kind == "none":
        return [None] * len(rles), areas
    if kind == "polygon":
        return [mask_to_polygons(decode_rle(rle)) for rle in rles], areas
    return rles, areas


def _write(path: str | Path, text: str) -> Path:
    """Write a text file whole, so that a broken-off run leaves no half file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path
