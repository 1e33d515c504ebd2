"""Large images in overlapping tiles: where the tiles lie, and how their results become one.

An object on the border of a tile is found in parts. Two detections of different tiles are parts of
one object when their masks agree in the strip that both tiles show. Masks are kept within their
boxes, so no array here has the size of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.geometry.masks import empty_masks
from mrcnn.geometry.rle import encode_part
from mrcnn.geometry.spacing import evenly_spaced

Box = tuple[int, int, int, int]


def tile_windows(height: int, width: int, tile: int, overlap: int) -> list[Box]:
    """Cover an image with tiles of which neighbors share `overlap` pixels or more.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        tile: side of a tile in pixels; a smaller image is one smaller tile.
        overlap: smallest number of pixels that neighbors share, 0 to `tile - 1`.

    Returns:
        `(y1, x1, y2, x2)` of each tile in pixels, row by row.

    Raises:
        ValueError: `tile` is below 1, or `overlap` is not in its range.
    """
    if tile < 1:
        raise ValueError(f"tile is {tile}; it must be a number of pixels of at least 1")
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap is {overlap}; it must lie in 0 .. tile - 1 = {tile - 1}")

    def starts(side: int) -> list[int]:
        if side <= tile:
            return [0]
        count = -(-(side - overlap) // (tile - overlap))
        # Evenly, so that no last tile is a sliver.
        return evenly_spaced(side - tile, count)

    return [
        (y, x, min(y + tile, height), min(x + tile, width))
        for y in starts(height)
        for x in starts(width)
    ]


@dataclass
class Part:
    """The part of an object that one tile shows.

    Attributes:
        tile: number of the tile.
        box: `(y1, x1, y2, x2)` in pixels of the image.
        mask: [y2 - y1, x2 - x1] bool; all of it where detections have no masks.
        class_id: class of the detection.
        score: score of the detection, 0..1.
    """

    tile: int
    box: Box
    mask: np.ndarray
    class_id: int
    score: float


def parts_of(result: Mapping[str, Any], tile: int, window: Sequence[int]) -> list[Part]:
    """Return the detections of a tile as parts, in pixels of the image.

    Args:
        result: result of `MaskRCNN.detect` for the tile.
        tile: number of the tile.
        window: `(y1, x1, ...)` of the tile in the image, in pixels.
    """
    parts = []
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(result["rois"]).tolist()):
        if "masks" in result:
            mask = np.array(result["masks"][y1:y2, x1:x2, i])
        else:
            mask = np.ones((y2 - y1, x2 - x1), bool)
        if mask.any():
            box = (y1 + window[0], x1 + window[1], y2 + window[0], x2 + window[1])
            class_id, score = int(result["class_ids"][i]), float(result["scores"][i])
            parts.append(Part(tile, box, mask, class_id, score))
    return parts


def merge_parts(
    parts: Iterable[Part],
    windows: Sequence[Box],
    size: tuple[int, int],
    iou: float,
    rle: bool,
    with_masks: bool = True,
) -> dict[str, Any]:
    """Make one result from the parts of all tiles.

    Args:
        parts: parts of all tiles.
        windows: the tiles, from `tile_windows`.
        size: `(height, width)` of the image in pixels.
        iou: intersection over union of two masks, in the strip that both tiles show, from which
            they belong to one object; 0..1.
        rle: return run lengths instead of masks.
        with_masks: whether the detections have masks; else the result has none.

    Returns:
        A result as of `MaskRCNN.detect`, best first. A merged object has the best score of its
        parts.
    """
    objects = [_union(group) for group in _groups(list(parts), windows, iou)]
    objects.sort(key=lambda part: -part.score)
    result: dict[str, Any] = {
        "rois": np.array([part.box for part in objects], np.int32).reshape(-1, 4),
        "class_ids": np.array([part.class_id for part in objects], np.int32),
        "scores": np.array([part.score for part in objects], np.float32),
    }
    if not with_masks:
        return result
    if rle:
        result["rles"] = [encode_part(part.mask, part.box[:2], size) for part in objects]
        return result
    result["masks"] = empty_masks(*size, len(objects))
    for i, part in enumerate(objects):
        y1, x1, y2, x2 = part.box
        result["masks"][y1:y2, x1:x2, i] = part.mask
    return result


def _groups(parts: list[Part], windows: Sequence[Box], iou: float) -> list[list[Part]]:
    """Group the parts of each object; two parts that belong to a third belong together."""
    leader = list(range(len(parts)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    boxes = np.array([part.box for part in parts], np.int64).reshape(-1, 4)
    classes = np.array([part.class_id for part in parts])
    tiles = np.array([part.tile for part in parts])
    for i, part in enumerate(parts):
        later = np.arange(len(parts)) > i
        near = (boxes[:, :2] < boxes[i, 2:]).all(axis=1) & (boxes[i, :2] < boxes[:, 2:]).all(axis=1)
        for j in np.flatnonzero(later & near & (classes == part.class_id) & (tiles != part.tile)):
            if _agreement(part, parts[j], windows) >= iou:
                leader[find(int(j))] = find(i)
    groups: dict[int, list[Part]] = {}
    for i, part in enumerate(parts):
        groups.setdefault(find(i), []).append(part)
    return list(groups.values())


def _agreement(one: Part, other: Part, windows: Sequence[Box]) -> float:
    """Return the intersection over union of two masks within the strip that both tiles show."""
    strip = _common(windows[one.tile], windows[other.tile])
    first, second = _count(one, strip), _count(other, strip)
    shared = _common(one.box, other.box)
    both = np.count_nonzero(_cut(one, shared) & _cut(other, shared))
    union = first + second - both
    return float(both / union) if union else 0.0


def _common(one: Sequence[int], other: Sequence[int]) -> Box:
    """Return the intersection of two boxes; it has no area if they do not meet."""
    y1, x1 = max(one[0], other[0]), max(one[1], other[1])
    return y1, x1, max(y1, min(one[2], other[2])), max(x1, min(one[3], other[3]))


def _cut(part: Part, box: Sequence[int]) -> np.ndarray:
    """Return the mask of a part within a box."""
    y1, x1, y2, x2 = _common(part.box, box)
    top, left = part.box[:2]
    return part.mask[y1 - top : y2 - top, x1 - left : x2 - left]


def _count(part: Part, box: Sequence[int]) -> int:
    """Return the number of pixels of a part within a box."""
    return int(np.count_nonzero(_cut(part, box)))


def _union(group: list[Part]) -> Part:
    """Make one part from several."""
    best = max(group, key=lambda part: part.score)
    if len(group) == 1:
        return best
    corners = np.array([part.box for part in group])
    y1, x1 = corners[:, :2].min(axis=0).tolist()
    y2, x2 = corners[:, 2:].max(axis=0).tolist()
    mask = np.zeros((y2 - y1, x2 - x1), bool)
    for part in group:
        top, left, bottom, right = part.box
        mask[top - y1 : bottom - y1, left - x1 : right - x1] |= part.mask
    return Part(best.tile, (y1, x1, y2, x2), mask, best.class_id, best.score)
