"""Run-length encoded masks in COCO's two forms, and COCO's `segmentation`.

Pixels are read column by column; runs of zeros and ones follow each other, zeros first. A mask is
encoded from the part of the image where it can have pixels, its box for instance; pixels of the
frame around it are never read and need not exist.

Run lengths from files are validated before anything is allocated or handed to C code: pycocotools
decodes lengths that do not add up into uninitialized memory and crashes on sizes of 1e9 x 1e9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.geometry.boxes import extract_bboxes

__all__ = [
    "RleMasks",
    "decode_part",
    "decode_rle",
    "encode_masks",
    "encode_part",
    "encode_rle",
    "polygons_to_mask",
    "read_counts",
    "read_polygons",
    "read_size",
    "rle_area",
    "rle_box",
    "segmentation_to_rle",
]

MAX_MASK_PIXELS = 2**31
# pycocotools allocates some 100 bytes for each pixel of an outline.
MAX_OUTLINE = 2_000_000
# Polygons are clipped this far outside the image, where clipping changes no pixel inside it.
_MARGIN = 4096
_MAX_COORDINATE = 1e9
# A compressed length is a signed number in groups of 5 bits; 13 of them hold 64 bits.
_MAX_GROUPS = 12


def encode_rle(mask: np.ndarray, compressed: bool = True) -> Any:
    """Encode masks as COCO's run lengths.

    Args:
        mask: [height, width], or [height, width, instances]; anything but zero is inside.
        compressed: runs packed into a string (through pycocotools) or a list of lengths.

    Returns:
        `{"size": [height, width], "counts": str or list of int}`, ready for JSON; a list
        of these, one for each instance, where the mask has three axes.

    Raises:
        ValueError: the mask has neither two nor three axes.
    """
    mask = np.asarray(mask)
    if mask.ndim not in (2, 3):
        raise ValueError(
            f"mask has shape {mask.shape}; it must be [height, width] or [height, width, instances]"
        )
    masks = mask if mask.ndim == 3 else mask[..., None]
    rles = []
    for index, (y1, x1, y2, x2) in enumerate(extract_bboxes(masks).tolist()):
        part = masks[y1:y2, x1:x2, index]
        rles.append(encode_part(part, (y1, x1), masks.shape[:2], compressed))
    return rles if mask.ndim == 3 else rles[0]


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """Encode the masks of one image as `pycocotools.mask.encode` does.

    Args:
        masks: [height, width, instances]; anything but zero is inside.

    Returns:
        A dict `{"size": [height, width], "counts": bytes}` for each instance, equal to those of
        pycocotools.

    Raises:
        ValueError: `masks` has another rank.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks has shape {masks.shape}; it must be [height, width, instances]")
    return [rle | {"counts": rle["counts"].encode()} for rle in encode_rle(masks)]


def encode_part(
    part: np.ndarray, corner: tuple[int, int], size: tuple[int, ...], compressed: bool = True
) -> dict[str, Any]:
    """Encode a mask of which only a part is given.

    Args:
        part: [rows, columns], zero is outside; may be empty.
        corner: (y, x) of its upper left pixel in the frame.
        size: (height, width) of the frame, zero around the part.
        compressed: as in `encode_rle`.

    Returns:
        As `encode_rle` for a mask of two axes.
    """
    height, width = int(size[0]), int(size[1])
    ends = _changes(part, corner, height)
    total = height * width
    if len(ends) and ends[-1] == total:
        ends = ends[:-1]
    counts = np.diff(ends, prepend=0, append=total)
    if not compressed:
        return {"size": [height, width], "counts": counts.tolist()}
    return {"size": [height, width], "counts": _pack(counts, height, width).decode("ascii")}


def _pack(counts: np.ndarray, height: int, width: int) -> bytes:
    """Run lengths, which are known to be valid, as pycocotools' string."""
    from pycocotools import mask as coco_mask

    runs = {"size": [height, width], "counts": counts.astype(np.uint32)}
    return coco_mask.frPyObjects(runs, height, width)["counts"]


def _changes(part: np.ndarray, corner: tuple[int, int], height: int) -> np.ndarray:
    """Where runs of ones begin and end, in turn, in a frame read column by column."""
    import cv2  # here: evaluation reads run lengths without it

    rows, columns = part.shape
    if part.size == 0:
        return np.zeros(0, np.int64)
    part = np.ascontiguousarray(part)
    part = part.view(np.uint8) if part.dtype == bool else (part != 0).view(np.uint8)
    # A zero above each column, and one at the very end, separate the runs of the columns.
    line = np.zeros(columns * (rows + 1) + 1, np.uint8)
    line[:-1].reshape(columns, rows + 1)[:, 1:] = cv2.transpose(part).reshape(columns, rows)
    column, row = np.divmod(np.flatnonzero(line[1:] != line[:-1]), rows + 1)
    ends = (int(corner[1]) + column) * height + int(corner[0]) + row
    if rows == height:
        # A run at the foot of one column continues at the head of the next.
        joined = np.flatnonzero(ends[1:-1:2] == ends[2::2]) * 2 + 1
        ends = np.delete(ends, np.concatenate([joined, joined + 1]))
    return ends


def read_counts(rle: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """Read the run lengths of a mask, validated.

    Args:
        rle: `{"size": [height, width], "counts": ...}` with counts a string or bytes
            (compressed) or a list of lengths.

    Returns:
        counts: [runs] int64, lengths of runs of zeros and ones in turn.
        size: (height, width) in pixels.

    Raises:
        ValueError: a key is missing, a value has another form, a length is negative, or the
            lengths do not add up to the size.
    """
    if not isinstance(rle, Mapping) or "counts" not in rle:
        raise ValueError("rle has no counts; it must be a dict of size and counts")
    height, width = read_size(rle)
    packed = rle["counts"]
    if isinstance(packed, str | bytes):
        counts = _unpack(packed)
    else:
        counts = _read_lengths(packed)
    if counts.size and counts.min() < 0:
        raise ValueError(f"rle counts hold {counts.min()}; a length must not be negative")
    # Lengths below 2**53 may still overflow 64 bits together.
    total = int(counts.sum()) if counts.size < 1024 else sum(counts.tolist())
    if total != height * width:
        raise ValueError(
            f"rle counts add up to {total} pixels; they must add up to {height} x {width} = "
            f"{height * width}"
        )
    return counts, (height, width)


def read_size(rle: Mapping[str, Any]) -> tuple[int, int]:
    """Return the (height, width) of run lengths in pixels.

    Raises:
        ValueError: "size" is missing, or not two whole numbers of a possible size.
    """
    size = rle.get("size")
    try:
        height, width = (int(side) for side in size)  # type: ignore[union-attr]
        fits = height > 0 and width > 0 and height * width <= MAX_MASK_PIXELS
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits or isinstance(size, str | bytes):
        value = repr(size)[:60] if "size" in rle else "missing"
        raise ValueError(
            f"rle size is {value}; it must be [height, width] in pixels, at most "
            f"{MAX_MASK_PIXELS} together"
        )
    return height, width


def _read_lengths(values: Any) -> np.ndarray:
    """Return a list of lengths as int64, also where they are written as text or as 1.0."""
    try:
        counts = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        counts = np.full(1, np.nan)
    whole = counts.ndim == 1 and np.isfinite(counts).all() and (counts == np.rint(counts)).all()
    if (
        not whole
        or not isinstance(values, Sequence | np.ndarray)
        or np.abs(counts).max(initial=0) > 2**53
    ):
        raise ValueError("rle counts hold something else than whole numbers; they must be lengths")
    return counts.astype(np.int64)


def _unpack(packed: str | bytes) -> np.ndarray:
    """Return the lengths in a compressed string, [runs] int64.

    Each character holds 5 bits of a number, lowest first, and whether more follow; from the
    fourth number on it is the difference to the one two places before.
    """
    data = packed.encode("utf-8", "replace") if isinstance(packed, str) else packed
    bits = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((bits & 0x20) == 0)
    groups = np.diff(ends, prepend=-1)
    if (
        not bits.size
        or bits.min() < 0
        or bits.max() > 63
        or not ends.size
        or ends[-1] != bits.size - 1
        or groups.max() > _MAX_GROUPS
    ):
        raise ValueError("rle counts is a text that pycocotools does not write")
    starts = ends - groups + 1
    position = np.arange(bits.size) - np.repeat(starts, groups)
    values = np.add.reduceat((bits & 0x1F) << (5 * position), starts)
    values -= np.where(bits[ends] & 0x10, np.int64(1) << (5 * groups), 0)
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values


def decode_rle(rle: Any) -> np.ndarray:
    """Decode what `encode_rle` encodes.

    Args:
        rle: `{"size": [height, width], "counts": ...}` with counts a string or bytes
            (compressed) or a list of lengths; or a sequence of these of one size.

    Returns:
        [height, width] bool; [height, width, instances] for a sequence.

    Raises:
        ValueError: the lengths do not add up to the size, or `rle` is empty.
    """
    if not isinstance(rle, Mapping):
        if len(rle) == 0:
            raise ValueError("rle is an empty sequence; the size of its masks is not known")
        return np.stack([decode_rle(one) for one in rle], axis=-1)
    counts, (height, width) = read_counts(rle)
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def decode_part(rle: Mapping[str, Any], box: Sequence[int]) -> np.ndarray:
    """Decode a part of a mask: `decode_rle(rle)[y1:y2, x1:x2]` without an array of its size.

    Args:
        rle: as for `decode_rle`.
        box: (y1, x1, y2, x2) in pixels, within the mask.

    Returns:
        [y2 - y1, x2 - x1] bool.

    Raises:
        ValueError: the lengths do not add up to the size, or the box reaches out of the mask.
    """
    counts, (height, width) = read_counts(rle)
    y1, x1, y2, x2 = (int(value) for value in box)
    if not (0 <= y1 <= y2 <= height and 0 <= x1 <= x2 <= width):
        raise ValueError(
            f"box is {[y1, x1, y2, x2]}; it must lie within the mask of {height} x {width} pixels"
        )
    rows, columns = y2 - y1, x2 - x1
    column, top, bottom = _column_runs(counts, height, x1, x2)
    # The same runs in a frame of the size of the part; those above and below it become empty.
    starts = column * rows + np.clip(top - y1, 0, rows)
    stops = column * rows + np.clip(bottom - y1, 0, rows)
    ends = np.stack([starts, stops], axis=1).ravel()
    lengths = np.diff(ends, prepend=0, append=rows * columns)
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape((rows, columns), order="F")


def rle_box(rle: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return the (y1, x1, y2, x2) around the pixels of a mask; zeros where it has none.

    Args:
        rle: as for `decode_rle`.

    Raises:
        ValueError: the lengths do not add up to the size.
    """
    counts, (height, width) = read_counts(rle)
    column, top, bottom = _column_runs(counts, height, 0, width)
    used = top < bottom
    if not used.any():
        return 0, 0, 0, 0
    columns = column[used]
    y1, y2 = int(top[used].min()), int(bottom[used].max())
    return y1, int(columns[0]), y2, int(columns[-1]) + 1


def _column_runs(
    counts: np.ndarray, height: int, x1: int, x2: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs of ones in the columns x1 to x2, cut at the ends of the columns.

    Returns:
        The column of each, counted from x1, its first row and the row after its last one, all
        [runs] int64 in the order of reading.
    """
    ends = np.cumsum(counts)
    starts, stops = ends[:-1:2], ends[1::2]
    first = np.searchsorted(stops, x1 * height, side="right")
    last = np.searchsorted(starts, x2 * height, side="left")
    starts = np.clip(starts[first:last] - x1 * height, 0, None)
    stops = np.clip(stops[first:last] - x1 * height, None, (x2 - x1) * height)
    left = starts // height
    touched = np.maximum((stops - 1) // height - left + 1, 0)
    run = np.repeat(np.arange(len(starts)), touched)
    column = left[run] + np.arange(len(run)) - np.repeat(np.cumsum(touched) - touched, touched)
    top = np.maximum(starts[run] - column * height, 0)
    return column, top, np.minimum(stops[run] - column * height, height)


def rle_area(rles: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the number of pixels of each mask, [instances] int64, without decoding any."""
    return np.array([read_counts(rle)[0][1::2].sum() for rle in rles], np.int64)


def segmentation_to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Return COCO's `segmentation`, in any of its forms, as compressed run lengths.

    Args:
        segmentation: polygons in pixels as `read_polygons` takes them, uncompressed run lengths
            (`counts` a list), or compressed ones (`counts` str or bytes).
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        `{"size": [height, width], "counts": bytes or str}`.

    Raises:
        ValueError: the form is none of these, a polygon has fewer than three points, or run
            lengths are invalid or for another size than the image.
    """
    if isinstance(segmentation, list):
        polygons = read_polygons(segmentation)
        if not polygons or any(len(polygon) < 3 for polygon in polygons):
            raise ValueError("segmentation needs polygons of at least 3 points (6 numbers)")
        mask = polygons_to_mask(polygons, height, width)
        return encode_masks(mask[..., None])[0]
    if not isinstance(segmentation, Mapping) or "counts" not in segmentation:
        raise ValueError("segmentation must be a list of polygons or a dict of counts and size")
    size = read_size(segmentation)
    if size != (height, width):
        raise ValueError(
            f"segmentation size is {list(size)}; it must be the image's {[height, width]} "
            "(height, width)"
        )
    counts, _ = read_counts(segmentation)
    packed = segmentation["counts"]
    if isinstance(packed, str | bytes):
        return {"size": [height, width], "counts": packed}
    return {"size": [height, width], "counts": _pack(counts, height, width)}


def read_polygons(segmentation: Any) -> list[np.ndarray]:
    """Read the polygons of a COCO `segmentation` in any nesting that tools write.

    Args:
        segmentation: `[[x1, y1, x2, y2, ...], ...]` as COCO defines it, or one flat list of
            numbers, lists of points `[x, y]` or `{"x": x, "y": y}`, or any of these in further
            lists; numbers may be written as text.

    Returns:
        A list of polygons, each [points, (x, y)] float64; those without a number are left out.

    Raises:
        ValueError: something is no number, not finite or beyond 1e9, numbers are no pairs, or
            lists are nested more than 8 deep.
    """
    polygons: list[np.ndarray] = []
    _collect_polygons(segmentation, polygons, 8)
    return polygons


def _collect_polygons(value: Any, polygons: list[np.ndarray], depth: int) -> None:
    if not isinstance(value, list | tuple | np.ndarray) or depth == 0:
        raise ValueError("segmentation holds something else than lists of numbers")
    if len(value) == 0:
        return
    if isinstance(value[0], Mapping):
        value = [
            [point.get("x"), point.get("y")] if isinstance(point, Mapping) else point
            for point in value
        ]
    nested = [isinstance(item, list | tuple | np.ndarray) for item in value]
    if not any(nested):
        polygons.append(_points(value))
    elif all(nested) and all(_is_point(item) for item in value):
        polygons.append(_points([number for item in value for number in item]))
    else:
        for item in value:
            _collect_polygons(item, polygons, depth - 1)


def _is_point(item: Sequence[Any]) -> bool:
    return len(item) == 2 and not any(isinstance(n, list | tuple | Mapping) for n in item)


def _points(numbers: Sequence[Any]) -> np.ndarray:
    try:
        values = np.asarray(numbers, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("segmentation holds something that is no number") from error
    if not np.isfinite(values).all() or np.abs(values).max() > _MAX_COORDINATE:
        raise ValueError(
            "segmentation holds a number that is not finite or beyond "
            f"{_MAX_COORDINATE:.0e}; coordinates must be pixels"
        )
    if values.size % 2:
        raise ValueError(f"segmentation holds {values.size} numbers; they must be pairs of x and y")
    return values.reshape(-1, 2)


def polygons_to_mask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Draw the union of polygons as pycocotools does, in the part of the image they reach.

    pycocotools rounds to fifths of a pixel, so moving everything by whole pixels has no effect,
    and the result is that of drawing in the whole image, in a fraction of the time. Polygons that
    reach far outside the image are clipped first.

    Args:
        polygons: each [points, (x, y)], finite, at least three points.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        [height, width] bool.

    Raises:
        ValueError: an outline is longer than `MAX_OUTLINE` pixels.
    """
    mask = np.zeros((height, width), bool)
    inside = [_clip_far(polygon, height, width) for polygon in polygons]
    inside = [polygon for polygon in inside if len(polygon) >= 3]
    if not inside:
        return mask
    corners = np.concatenate(inside)
    left, top = np.floor(np.clip(corners.min(0) - 1, 0, [width, height])).astype(int).tolist()
    right, bottom = np.ceil(np.clip(corners.max(0) + 2, 0, [width, height])).astype(int).tolist()
    if left >= right or top >= bottom:
        return mask
    from pycocotools import mask as coco_mask

    # COCO writes two decimals; without them restored 23.3 would be 23.299999999999997, on
    # the other side of a rounding.
    moved = [(polygon - [left, top]).round(6).ravel().tolist() for polygon in inside]
    encoded = coco_mask.frPyObjects(moved, bottom - top, right - left)
    mask[top:bottom, left:right] = coco_mask.decode(coco_mask.merge(encoded))
    return mask


def _clip_far(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Clip a polygon [points, 2] at `_MARGIN` pixels outside the image."""
    polygon = np.asarray(polygon, np.float64)
    for axis, side in ((0, width), (1, height)):
        polygon = _clip_below(polygon, axis, -_MARGIN)
        polygon = -_clip_below(-polygon, axis, -(side + _MARGIN))
    length = np.abs(polygon - np.roll(polygon, 1, axis=0)).max(axis=1, initial=0).sum()
    if length > MAX_OUTLINE:
        raise ValueError(
            f"the outline of a polygon is {length:.0f} pixels long; it must be at most "
            f"{MAX_OUTLINE}"
        )
    return polygon


def _clip_below(polygon: np.ndarray, axis: int, limit: float) -> np.ndarray:
    """Clip a polygon to coordinates of at least `limit` (Sutherland and Hodgman)."""
    if not len(polygon) or polygon[:, axis].min() >= limit:
        return polygon
    points = []
    for a, b in zip(np.roll(polygon, 1, axis=0), polygon, strict=True):
        if (a[axis] < limit) != (b[axis] < limit):
            points.append(a + (b - a) * ((limit - a[axis]) / (b[axis] - a[axis])))
        if b[axis] >= limit:
            points.append(b)
    return np.array(points).reshape(-1, 2)


class RleMasks:
    """Run lengths that can be sliced like masks [height, width, N]: `masks[y1:y2, x1:x2, index]`.

    Only the part that is asked for is decoded.
    """

    def __init__(self, rles: list[dict[str, Any]], size: tuple[int, ...]) -> None:
        """Wrap run lengths.

        Args:
            rles: as from `encode_rle`, all of one size.
            size: (height, width) in pixels, used where there are none.
        """
        self.rles = rles
        self.shape = (*(rles[0]["size"] if rles else size), len(rles))
        self.ndim = 3

    def __getitem__(self, where: tuple[slice, slice, int]) -> np.ndarray:
        """Return [rows, columns] bool of one mask; the slices must have no step."""
        *slices, index = where
        if any(one.step not in (None, 1) for one in slices):
            raise ValueError(f"slices are {slices}; they must have no step")
        (y1, y2, _), (x1, x2, _) = (
            one.indices(side) for one, side in zip(slices, self.shape[:2], strict=True)
        )
        return decode_part(self.rles[index], (y1, x1, max(y1, y2), max(x1, x2)))
