"""Detections of one image as one checked type, and their files: COCO JSON and CSV.

`MaskRCNN.detect` returns Matterport's dictionary, a `DetectionResult` whose entries may be changed.
`Detections` is what evaluation, files and the command line make of it. An image without instances
gives an empty list and a valid file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.files.atomic import write_text
from mrcnn.geometry.rle import encode_rle, rle_area, rle_box, segmentation_to_rle

__all__ = [
    "CSV_COLUMNS",
    "SEGMENTATIONS",
    "Detections",
    "save_csv",
    "save_json",
    "to_coco",
    "to_rows",
]

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


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one image. N may be 0.

    Attributes:
        boxes: [N, (y1, x1, y2, x2)] in pixels, the lower right corner outside.
        class_ids: [N] int, from 1.
        scores: [N] float.
        masks: [height, width, N] (anything but zero is inside), N run lengths as of
            `mrcnn.geometry.rle.encode_rle`, or None for boxes only.

    Raises:
        ValueError: a shape, a length or a value does not fit; the message names it.

    Example:
        >>> found = Detections([[0, 0, 2, 3], [1, 1, 4, 4]], [1, 2], [0.9, 0.4])
        >>> found[found.scores > 0.5].boxes.tolist()
        [[0, 0, 2, 3]]
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        for name, columns in (("boxes", 4), ("class_ids", 0), ("scores", 0)):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), columns))
        count = len(self.boxes)
        for name in ("class_ids", "scores"):
            _check_length(name, len(getattr(self, name)), count)
        class_ids = self.class_ids.astype(np.int64)
        if (class_ids != self.class_ids).any() or (class_ids < 1).any():
            raise ValueError(
                f"class_ids is {self.class_ids.tolist()}; it must hold whole numbers from 1 (0 is "
                "the background)"
            )
        object.__setattr__(self, "class_ids", class_ids)
        object.__setattr__(self, "masks", _checked_masks(self.masks, count))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: Any) -> Detections:
        """Return some of the detections.

        Args:
            selection: [N] bool, a list or array of indices, or a slice.
        """
        rows = np.arange(len(self))[selection]
        if rows.ndim != 1:
            raise IndexError(f"selection is {selection!r}; it must select a list of detections")
        masks = self.masks
        if isinstance(masks, np.ndarray):
            masks = masks[..., rows]
        elif masks is not None:
            masks = [masks[row] for row in rows]
        return Detections(self.boxes[rows], self.class_ids[rows], self.scores[rows], masks)

    def of_classes(self, class_ids: Iterable[int] | None) -> Detections:
        """Return the detections of some classes; None keeps all."""
        if class_ids is None:
            return self
        return self[np.isin(self.class_ids, list(class_ids))]

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the masks in pixels; None without a mask."""
        if isinstance(self.masks, np.ndarray):
            return self.masks.shape[0], self.masks.shape[1]
        if self.masks:
            height, width = self.masks[0]["size"]
            return int(height), int(width)
        return None

    @property
    def rles(self) -> list[dict[str, Any]] | None:
        """The masks as N compressed run lengths; None without masks."""
        if not isinstance(self.masks, np.ndarray):
            return self.masks
        return encode_rle(self.masks) if len(self) else []

    def dense_masks(self, size: tuple[int, int] | None = None) -> np.ndarray | None:
        """Return the masks as [height, width, N] bool; None without masks.

        Args:
            size: (height, width) in pixels, used where there are no detections.

        Raises:
            ValueError: run lengths are invalid or of different sizes.
        """
        if self.masks is None:
            return None
        if isinstance(self.masks, np.ndarray):
            return self.masks if self.masks.dtype == bool else self.masks != 0
        from mrcnn.geometry.masks import rles_to_masks

        return rles_to_masks(self.masks, self.size or size or (0, 0))

    @classmethod
    def from_result(cls, result: Mapping[str, Any], name: str = "result") -> Detections:
        """Read a result of `MaskRCNN.detect`.

        Args:
            result: dict with `rois`, `class_ids`, `scores` and, if present, `masks` or `rles`.
                Other entries are left out.
            name: name of the result for error messages.

        Raises:
            ValueError: an entry is missing or does not fit the others.
        """
        missing = [key for key in ("rois", "class_ids", "scores") if result.get(key) is None]
        if missing:
            raise ValueError(f"{name} lacks {missing}; it must have rois, class_ids and scores")
        masks = result.get("rles")
        if masks is None:
            masks = result.get("masks")
        try:
            return cls(result["rois"], result["class_ids"], result["scores"], masks)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def to_result(self) -> dict[str, Any]:
        """Return a dict as `MaskRCNN.detect` does, with `masks` or `rles` if there are masks."""
        result: dict[str, Any] = {
            "rois": self.boxes.astype(np.int32),
            "class_ids": self.class_ids.astype(np.int32),
            "scores": self.scores.astype(np.float32),
        }
        if self.masks is not None:
            result["masks" if isinstance(self.masks, np.ndarray) else "rles"] = self.masks
        return result

    @classmethod
    def from_coco(
        cls,
        entries: Sequence[Mapping[str, Any]],
        size: tuple[int, int] | None = None,
        class_ids: Mapping[int, int] | None = None,
        masks: bool = True,
    ) -> Detections:
        """Read the entries of one image in COCO's results format.

        Args:
            entries: dicts with `category_id`, `score` and `bbox` [x, y, width, height] in pixels
                or `segmentation`; what `to_coco` returns.
            size: (height, width) of the image; required for polygons.
            class_ids: class id of each category id; None if they are the same.
            masks: read `segmentation`; False reads boxes only.

        Raises:
            ValueError: an entry lacks a field, has an unknown category, or an invalid outline.
        """
        needed = {"category_id", "score", "segmentation" if masks else "bbox"}
        boxes, rles, ids = [], [], []
        for i, entry in enumerate(entries):
            if missing := sorted(needed - entry.keys()):
                raise ValueError(f"entry {i} of the COCO results lacks {missing}")
            category = entry["category_id"]
            if class_ids is not None and category not in class_ids:
                raise ValueError(
                    f"category_id {category!r} is not in the dataset; it must be one of "
                    f"{sorted(class_ids)}"
                )
            ids.append(category if class_ids is None else class_ids[category])
            if masks:
                outline = entry["segmentation"]
                if size is None and not isinstance(outline, Mapping):
                    raise ValueError(
                        f"size is None; it must be (height, width): the outline of entry {i} is of "
                        "polygons"
                    )
                height, width = size or outline["size"]
                rles.append(segmentation_to_rle(outline, height, width))
            has_box = "bbox" in entry
            boxes.append(_corners(entry["bbox"]) if has_box else [*map(float, rle_box(rles[-1]))])
        scores = np.array([entry["score"] for entry in entries], float)
        return cls(np.array(boxes), np.array(ids), scores, rles if masks else None)

    def to_coco(
        self,
        image_id: int | str,
        file_name: str | None = None,
        class_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | Mapping[int, int] | None = None,
        segmentation: str = "rle",
        tolerance: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Return the detections in COCO's results format.

        Args:
            image_id: written as `image_id`.
            file_name: written as `file_name`; left out if None.
            class_names: names by class id, the background first; written as `category_name`.
            category_ids: category ids by class id, where the dataset's own ids differ from the
                model's (`mrcnn.checkpoints.coco_names.COCO_CATEGORY_IDS`); None takes class ids.
            segmentation: "rle" (compressed run lengths), "polygon" (lists of x, y; holes and
                masks of fewer than three points are lost) or "none".
            tolerance: pixels by which a polygon may be off the outline, which then has fewer
                points; 0 keeps every corner.

        Returns:
            N dicts that `json.dump` and `pycocotools.coco.COCO.loadRes` take: `image_id`,
            `file_name`, `category_id`, `category_name`, `bbox` [x, y, width, height], `score`,
            `area` in pixels of the mask (of the box without masks) and `segmentation`.

        Raises:
            ValueError: a class id has no name or category, `segmentation` is unknown, or
                `tolerance` is negative.
        """
        if not 0 <= tolerance < math.inf:
            raise ValueError(f"tolerance is {tolerance}; it must be a number of pixels from 0")
        if segmentation not in SEGMENTATIONS:
            raise ValueError(
                f"segmentation is {segmentation!r}; it must be one of {', '.join(SEGMENTATIONS)}"
            )
        _check_table("class_names", class_names, self.class_ids)
        _check_table("category_ids", category_ids, self.class_ids)
        outlines, areas = self._outlines(segmentation, tolerance)
        entries = []
        for i, (y1, x1, y2, x2) in enumerate(self.boxes.tolist()):
            k = int(self.class_ids[i])
            entry: dict[str, Any] = {"image_id": _plain_id(image_id)}
            if file_name is not None:
                entry["file_name"] = os.fspath(file_name)
            entry["category_id"] = k if category_ids is None else _plain_id(category_ids[k])
            if class_names is not None:
                entry["category_name"] = str(class_names[k])
            entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            # The shortest text of a float32: 0.9, not 0.8999999761581421.
            entry["score"] = float(str(self.scores[i]))
            entry["area"] = areas[i]
            if outlines[i] is not None:
                entry["segmentation"] = outlines[i]
            entries.append(entry)
        return entries

    def _outlines(self, kind: str, tolerance: float) -> tuple[list[Any], list[Any]]:
        """Return each mask's `segmentation`, None where none is written, and its area."""
        rles = self.rles
        if rles is None or not len(self):
            sides = self.boxes[:, 2:] - self.boxes[:, :2]
            return [None] * len(self), sides.prod(axis=1).tolist()
        areas = rle_area(rles).tolist()
        if kind == "none":
            return [None] * len(rles), areas
        if kind == "polygon":
            from mrcnn.geometry.masks import rle_to_polygons

            return [rle_to_polygons(rle, tolerance) for rle in rles], areas
        return [_plain(rle) for rle in rles], areas


def _plain_id(value: Any) -> Any:
    """Return an id as Python's own type, which JSON holds, where it is one of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def to_coco(
    result: Mapping[str, Any],
    image_id: int | str,
    file_name: str | None = None,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] | Mapping[int, int] | None = None,
    segmentation: str = "rle",
    tolerance: float = 0.0,
) -> list[dict[str, Any]]:
    """Return a result of `MaskRCNN.detect` in COCO's results format.

    Args:
        result: as for `Detections.from_result`.
        image_id: as for `Detections.to_coco`.
        file_name: as for `Detections.to_coco`.
        class_names: as for `Detections.to_coco`.
        category_ids: as for `Detections.to_coco`.
        segmentation: as for `Detections.to_coco`.
        tolerance: as for `Detections.to_coco`.

    Raises:
        ValueError: the result is invalid, a class id has no name or category, `segmentation` is
            unknown, or `tolerance` is negative.
    """
    found = Detections.from_result(result)
    return found.to_coco(image_id, file_name, class_names, category_ids, segmentation, tolerance)


def to_rows(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one flat row for each entry of `to_coco`, with the keys of `CSV_COLUMNS`."""
    rows = []
    for entry in entries:
        box = dict(zip(("x", "y", "width", "height"), entry["bbox"], strict=True))
        rows.append({key: {**entry, **box}.get(key, "") for key in CSV_COLUMNS})
    return rows


def save_json(path: str | os.PathLike[str], entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write COCO entries as a JSON list, one instance per line.

    Args:
        path: the file; missing folders are made. It is replaced whole or not at all.
        entries: as `to_coco` returns them, of any number of images.

    Returns:
        The path.
    """
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    # A file name that is not UTF-8 holds surrogates; `write_text` writes them as JSON's escapes.
    write_text(path, f"[\n{lines}\n]\n" if lines else "[]\n")
    return Path(path)


def save_csv(path: str | os.PathLike[str], entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write COCO entries as CSV with the columns `CSV_COLUMNS`, without outlines.

    Args:
        path: the file; missing folders are made. It is replaced whole or not at all.
        entries: as `to_coco` returns them, of any number of images.

    Returns:
        The path.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_rows(entries))
    write_text(path, text.getvalue())
    return Path(path)


def _numbers(name: str, values: Any, columns: int) -> np.ndarray:
    """Return a finite array [N], or [N, columns] if there are columns."""
    array = np.asarray(values)
    if array.size == 0:
        array = np.zeros((0, columns) if columns else 0, array.dtype)
    rule = f"[N, {columns}]" if columns else "[N]"
    if array.ndim != (2 if columns else 1) or (columns and array.shape[1] != columns):
        raise ValueError(f"{name} has shape {array.shape}; it must be {rule}")
    is_number = array.dtype.kind in "iuf"
    if not is_number or not np.isfinite(array).all():
        # There may be thousands of rows.
        row = int(np.argwhere(~np.isfinite(array))[0, 0]) if is_number else 0
        raise ValueError(f"{name}[{row}] is {array[row].tolist()!r}; it must hold finite numbers")
    return array


def _check_length(name: str, length: int, count: int) -> None:
    """Raise ValueError unless there is one entry for each box."""
    if length != count:
        raise ValueError(
            f"{name} has {length} entries; it must have one for each of the {count} rois"
        )


def _checked_masks(masks: Any, count: int) -> np.ndarray | list[dict[str, Any]] | None:
    """Return masks or run lengths after a check of their form."""
    if masks is None:
        return None
    if isinstance(masks, Sequence) and all(isinstance(one, Mapping) for one in masks):
        _check_length("rles", len(masks), count)
        for i, one in enumerate(masks):
            if not {"size", "counts"} <= one.keys():
                raise ValueError(f"rles[{i}] has {sorted(one)}; it must have size and counts")
        return list(masks)
    array = np.asarray(masks)
    if count == 0 and (array.ndim != 3 or array.shape[2]):
        return []  # an array of any shape holds no mask
    if array.ndim != 3:
        raise ValueError(f"masks has shape {array.shape}; it must be [height, width, {count}]")
    _check_length("masks", array.shape[2], count)
    return array


def _check_table(name: str, table: Any, class_ids: np.ndarray) -> None:
    """Raise ValueError unless the table has an entry for each class id."""
    if table is None:
        return
    known = table if isinstance(table, Mapping) else range(len(table))
    unknown = sorted({k for k in class_ids.tolist() if k not in known})
    if unknown:
        raise ValueError(
            f"class_ids has {unknown[0]}; it must be a class of {name}, which has {len(table)} "
            "entries"
        )


def _corners(box: Sequence[float]) -> list[float]:
    """Turn [x, y, width, height] into [y1, x1, y2, x2]."""
    x, y, width, height = box
    return [y, x, y + height, x + width]


def _plain(rle: Mapping[str, Any]) -> dict[str, Any]:
    """Return run lengths as JSON can hold them: bytes are not JSON."""
    counts = rle["counts"]
    counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": counts}
