"""Large pictures in overlapping tiles: where they lie, and how what they show becomes one result.

An object on the border of a tile is found in parts. Two detections of different tiles are parts of
one object when, in the strip that both tiles show, their masks agree. Nothing here is as large as
the picture: masks are kept within their boxes.
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
    """Where the tiles lie: they cover the picture, and neighbours share `overlap` pixels or more.

    Args:
        height, width: of the picture in pixels.
        tile: side of a tile in pixels; a smaller picture is one smaller tile.
        overlap: pixels that neighbours share at least, 0 to `tile - 1`.

    Returns:
        `(y1, x1, y2, x2)` of each, row by row.

    Raises:
        ValueError: for sides or an overlap that cannot be.
    """
    if tile < 1:
        raise ValueError(f"tile is {tile}; it must be a number of pixels of at least 1")
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap is {overlap}; it must lie in 0 .. tile - 1 = {tile - 1}")

    def starts(side):
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
    """What one tile shows of an object.

    Attributes:
        tile: the tile's number.
        box: `(y1, x1, y2, x2)` in pixels of the picture.
        mask: `[y2 - y1, x2 - x1]` bool.
        class_id, score: of the detection.
    """

    tile: int
    box: Box
    mask: np.ndarray
    class_id: int
    score: float


def parts_of(result: Mapping[str, Any], tile: int, window: Sequence[int]) -> list[Part]:
    """The detections of a tile, in pixels of the picture."""
    parts = []
    for i, (y1, x1, y2, x2) in enumerate(np.asarray(result["rois"]).tolist()):
        mask = np.array(result["masks"][y1:y2, x1:x2, i])
        if mask.any():
            box = (y1 + window[0], x1 + window[1], y2 + window[0], x2 + window[1])
            class_id, score = int(result["class_ids"][i]), float(result["scores"][i])
            parts.append(Part(tile, box, mask, class_id, score))
    return parts


def merge(
    parts: Iterable[Part], windows: Sequence[Box], size: tuple[int, int], iou: float, rle: bool
) -> dict[str, Any]:
    """One result from the parts of all tiles.

    Args:
        parts: of all tiles.
        windows: the tiles, from `tile_windows`.
        size: `(height, width)` of the picture.
        iou: agreement of two masks, in the strip that both tiles show, from which they are one.
        rle: give run lengths instead of masks.

    Returns:
        As `MaskRCNN.detect`, best first. A merged object has the best score of its parts.
    """
    objects = [_union(group) for group in _groups(list(parts), windows, iou)]
    objects.sort(key=lambda part: -part.score)
    result = {
        "rois": np.array([part.box for part in objects], np.int32).reshape(-1, 4),
        "class_ids": np.array([part.class_id for part in objects], np.int32),
        "scores": np.array([part.score for part in objects], np.float32),
    }
    if rle:
        result["rles"] = [encode_part(part.mask, part.box[:2], size) for part in objects]
        return result
    result["masks"] = empty_masks(*size, len(objects))
    for i, part in enumerate(objects):
        y1, x1, y2, x2 = part.box
        result["masks"][y1:y2, x1:x2, i] = part.mask
    return result


def _groups(parts: list[Part], windows: Sequence[Box], iou: float) -> list[list[Part]]:
    """Parts of one object together; what is one with the same part is one."""
    leader = list(range(len(parts)))

    def find(i):
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
    """Intersection over union of two masks within the strip that both tiles show."""
    strip = _common(windows[one.tile], windows[other.tile])
    first, second = _count(one, strip), _count(other, strip)
    shared = _common(one.box, other.box)
    both = np.count_nonzero(_cut(one, shared) & _cut(other, shared))
    union = first + second - both
    return both / union if union else 0.0


def _common(one: Sequence[int], other: Sequence[int]) -> Box:
    """The intersection of two boxes; without area where they do not meet."""
    y1, x1 = max(one[0], other[0]), max(one[1], other[1])
    return y1, x1, max(y1, min(one[2], other[2])), max(x1, min(one[3], other[3]))


def _cut(part: Part, box: Sequence[int]) -> np.ndarray:
    y1, x1, y2, x2 = _common(part.box, box)
    top, left = part.box[:2]
    return part.mask[y1 - top : y2 - top, x1 - left : x2 - left]


def _count(part: Part, box: Sequence[int]) -> int:
    return int(np.count_nonzero(_cut(part, box)))


def _union(group: list[Part]) -> Part:
    """One part from several."""
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
