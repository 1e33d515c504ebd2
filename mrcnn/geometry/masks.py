"""Instance masks: resized, shrunk to their boxes, put back, outlined.

Masks are [height, width, instances] bool. Arrays made here store one instance after the other in
memory, so that work on one of them touches little memory; the order of the axes is the usual one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from mrcnn.geometry.boxes import extract_bboxes, mask_box
from mrcnn.geometry.images import resize
from mrcnn.geometry.interpolation import Taps, linear_taps, nearest_indices
from mrcnn.geometry.rle import decode_part, encode_part, rle_box


def empty_masks(height: int, width: int, count: int, dtype: Any = bool) -> np.ndarray:
    """Return zeros [height, width, count], each instance contiguous in memory."""
    return np.zeros((count, height, width), dtype).transpose(1, 2, 0)


def sized_masks(masks: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return the masks of an image without objects with its size, all others as they are.

    `Dataset.load_mask` returns masks of the shape (0, 0, 0) where there is no object.

    Args:
        masks: [height, width, instances].
        size: (height, width) of the image in pixels.
    """
    masks = np.asarray(masks)
    return empty_masks(size[0], size[1], 0) if masks.shape == (0, 0, 0) else masks


def resize_mask(
    mask: np.ndarray,
    scale: float,
    padding: Sequence[Sequence[int]],
    crop: Sequence[int] | None = None,
) -> np.ndarray:
    """Resize masks the way `resize_image` resized their image.

    Args:
        mask: [height, width, instances].
        scale: factor given by resize_image.
        padding: [(top, bottom), (left, right), (0, 0)] given by resize_image.
        crop: (y, x, height, width) given by resize_image; padding is ignored then.

    Returns:
        [height, width, instances] of the same dtype. Each pixel takes the value of the
        nearest one, as `scipy.ndimage.zoom(order=0)` does.
    """
    rows, columns = (nearest_indices(mask.shape[axis], scale) for axis in (0, 1))
    if crop is not None:
        y, x, crop_height, crop_width = (int(value) for value in crop)
        rows, columns = rows[y : y + crop_height], columns[x : x + crop_width]
        padding = ((0, 0), (0, 0))
    (top, bottom), (left, right) = padding[0], padding[1]
    resized = empty_masks(
        top + len(rows) + bottom, left + len(columns) + right, mask.shape[2], mask.dtype
    )
    for index, (y1, x1, y2, x2) in enumerate(extract_bboxes(mask)):
        # Indices do not fall, so the box of the result is a range as well.
        first, last = np.searchsorted(rows, (y1, y2))
        start, stop = np.searchsorted(columns, (x1, x2))
        part = mask[y1:y2, x1:x2, index].take(columns[start:stop] - x1, axis=1)
        resized[top + first : top + last, left + start : left + stop, index] = part[
            rows[first:last] - y1
        ]
    return resized


def minimize_mask(bbox: np.ndarray, mask: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """Crop each mask to its box and bring it to a small common size, to save memory.

    Args:
        bbox: [instances, (y1, x1, y2, x2)] pixels; further columns are ignored.
        mask: [height, width, instances].
        mini_shape: (height, width) of the result.

    Returns:
        [mini height, mini width, instances] bool.

    Raises:
        ValueError: A box has no area within the image.
    """
    height, width = (int(side) for side in mini_shape[:2])
    minis = empty_masks(height, width, mask.shape[2])
    for index in range(mask.shape[2]):
        y1, x1, y2, x2 = (int(value) for value in bbox[index][:4])
        part = mask[y1:y2, x1:x2, index]
        if part.size == 0:
            raise ValueError(
                f"bbox[{index}] is {[y1, x1, y2, x2]}; it must have an area within the mask of "
                f"{mask.shape[0]} x {mask.shape[1]} pixels: remove empty masks first"
            )
        minis[..., index] = _resize_bool(part, (height, width))
    return minis


def expand_mask(bbox: np.ndarray, mini_mask: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Put mini masks back into the frame of the image: undo `minimize_mask`.

    Args:
        bbox: [instances, (y1, x1, y2, x2)] pixels; further columns are ignored.
        mini_mask: [mini height, mini width, instances].
        image_shape: (height, width, ...) of the image.

    Returns:
        [height, width, instances] bool, False outside the boxes.
    """
    masks = empty_masks(int(image_shape[0]), int(image_shape[1]), mini_mask.shape[2])
    for index in range(mini_mask.shape[2]):
        y1, x1, y2, x2 = (int(value) for value in bbox[index][:4])
        if y2 > y1 and x2 > x1:
            masks[y1:y2, x1:x2, index] = _resize_bool(mini_mask[..., index], (y2 - y1, x2 - x1))
    return masks


def _resize_bool(mask: np.ndarray, output_shape: tuple[int, int]) -> np.ndarray:
    """Resize [height, width] bilinearly, True above one half. The sums are exact."""
    mask = mask.view(np.uint8) if mask.dtype == bool else (mask != 0).view(np.uint8)
    if mask.shape == output_shape:
        return mask != 0
    ys, xs = (linear_taps(mask.shape[axis], output_shape[axis]) for axis in (0, 1))
    # Shrink first: rows when there are fewer of them afterwards, else columns.
    if output_shape[0] < mask.shape[0]:
        sums = _blend_columns(_blend_rows(mask, ys), xs)
    else:
        sums = _blend_rows(_blend_columns(mask, xs), ys)
    inside = sums > ys.denominator * xs.denominator // 2
    # Like scikit-image, stay within the range of the input: a full mask stays full.
    if not inside.all() and mask.all():
        inside[...] = True
    return inside


def _blend_rows(values: np.ndarray, taps: Taps) -> np.ndarray:
    blended = values[taps.lower] * taps.lower_weight.astype(np.int32)[:, None]
    blended += values[taps.upper] * taps.upper_weight.astype(np.int32)[:, None]
    return blended


def _blend_columns(values: np.ndarray, taps: Taps) -> np.ndarray:
    blended = values.take(taps.lower, axis=1) * taps.lower_weight.astype(np.int32)
    blended += values.take(taps.upper, axis=1) * taps.upper_weight.astype(np.int32)
    return blended


def mask_scores(mask_probs: np.ndarray) -> np.ndarray:
    """Return how sure predicted masks are (Wang et al. 2020, SOLO, https://arxiv.org/abs/1912.04488).

    Args:
        mask_probs: [N, mask height, mask width] probabilities.

    Returns:
        [N] float32, the mean of the probabilities of at least one half; 0 where there is none.
    """
    inside = mask_probs >= 0.5
    count = np.maximum(inside.sum(axis=(1, 2)), 1)
    return (np.where(inside, mask_probs, 0).sum(axis=(1, 2)) / count).astype(np.float32)


def unmold_mask(mask: np.ndarray, bbox: Sequence[int], image_shape: Sequence[int]) -> np.ndarray:
    """Put one predicted mask into the frame of the image.

    Args:
        mask: [mask height, mask width] probabilities.
        bbox: (y1, x1, y2, x2) pixels, within the image.
        image_shape: (height, width, ...) of the image.

    Returns:
        [height, width] bool: probability of at least one half.
    """
    y1, x1, y2, x2 = (int(value) for value in bbox[:4])
    full = np.zeros((int(image_shape[0]), int(image_shape[1])), bool)
    if y2 > y1 and x2 > x1:
        full[y1:y2, x1:x2] = resize(mask, (y2 - y1, x2 - x1)) >= 0.5
    return full


def paste_masks(
    mask_probs: np.ndarray,
    boxes: np.ndarray,
    image_shape: Sequence[int],
    threshold: float | None = 0.5,
) -> np.ndarray:
    """Put all predicted masks of an image into its frame, as `unmold_mask` does for one.

    Args:
        mask_probs: [N, mask height, mask width] probabilities.
        boxes: [N, (y1, x1, y2, x2)] pixels; what lies outside the image is cut off.
        image_shape: (height, width, ...) of the image.
        threshold: pixels of at least this probability belong to the mask. None keeps the
            probabilities.

    Returns:
        [height, width, N] bool, or float32 probabilities where threshold is None; 0
        outside the boxes.

    Raises:
        ValueError: the numbers of masks and boxes differ.
    """
    _require_pairs(mask_probs, boxes)
    height, width = int(image_shape[0]), int(image_shape[1])
    dtype = np.float32 if threshold is None else bool
    pasted = empty_masks(height, width, len(boxes), dtype)
    for index, mask, box, inside in _placed(mask_probs, boxes, (height, width)):
        top, left, bottom, right = inside
        _fill(mask, box, inside, threshold, out=pasted[top:bottom, left:right, index])
    return pasted


def paste_rles(
    mask_probs: np.ndarray,
    boxes: np.ndarray,
    image_shape: Sequence[int],
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """Encode the masks of `paste_masks` as run lengths, without an array of the image's size.

    Args:
        mask_probs: [N, mask height, mask width] probabilities.
        boxes: [N, (y1, x1, y2, x2)] pixels; what lies outside the image is cut off.
        image_shape: (height, width, ...) of the image.
        threshold: pixels of at least this probability belong to the mask.

    Returns:
        N compressed run lengths, equal to `encode_rle(paste_masks(...))`.

    Raises:
        ValueError: the numbers of masks and boxes differ.
    """
    _require_pairs(mask_probs, boxes)
    size = (int(image_shape[0]), int(image_shape[1]))
    empty = encode_part(np.zeros((0, 0), bool), (0, 0), size)
    rles = [dict(empty) for _ in boxes]
    for index, mask, box, inside in _placed(mask_probs, boxes, size):
        rles[index] = encode_part(_fill(mask, box, inside, threshold), inside[:2], size)
    return rles


def _require_pairs(mask_probs: np.ndarray, boxes: np.ndarray) -> None:
    if len(mask_probs) != len(boxes):
        raise ValueError(
            f"mask_probs has {len(mask_probs)} masks for {len(boxes)} boxes; there must be one for "
            "each"
        )


def _placed(
    mask_probs: np.ndarray, boxes: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray, list[int], tuple[int, int, int, int]]]:
    """Yield index, mask, box, and the box cut to the frame, of each mask with pixels in it."""
    height, width = size
    for index, box in enumerate(np.asarray(boxes).reshape(-1, 4).astype(np.int64).tolist()):
        y1, x1, y2, x2 = box
        inside = max(y1, 0), max(x1, 0), min(y2, height), min(x2, width)
        if inside[0] < inside[2] and inside[1] < inside[3]:
            yield index, np.ascontiguousarray(mask_probs[index], np.float32), box, inside


def _fill(
    mask: np.ndarray,
    box: Sequence[int],
    inside: Sequence[int],
    threshold: float | None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Enlarge a mask to its box and cut it to the frame: bool, or the probabilities."""
    y1, x1, y2, x2 = box
    top, left, bottom, right = inside
    if threshold is not None and mask.min() >= threshold:
        # Like scikit-image, stay within the range of the input: it matters for the edges.
        out = np.empty((bottom - top, right - left), bool) if out is None else out
        out[...] = True
        return out
    probs = _resize_probabilities(mask, (y2 - y1, x2 - x1))
    probs = probs[top - y1 : bottom - y1, left - x1 : right - x1]
    if threshold is None:
        return np.clip(probs, mask.min(), mask.max(), out=out)
    return np.greater_equal(probs, threshold, out=out)


def _resize_probabilities(mask: np.ndarray, output_shape: tuple[int, int]) -> np.ndarray:
    """Resize [height, width] bilinearly in float32 through OpenCV, with zeros outside.

    OpenCV repeats the border pixels instead. Both are equal up to a factor, for the rows
    and columns nearer to the edge than the center of the outermost pixel.
    """
    resized = cv2.resize(mask, output_shape[::-1], interpolation=cv2.INTER_LINEAR)
    resized = resized.reshape(output_shape)
    for axis, lines in enumerate((resized, resized.T)):  # two views of the same memory
        taps = linear_taps(mask.shape[axis], output_shape[axis])
        for edge in taps.faded():
            inside = taps.lower_weight[edge] + taps.upper_weight[edge]
            lines[edge] *= (inside / taps.denominator).astype(np.float32)[:, None]
    return resized


def mask_to_polygons(mask: np.ndarray, tolerance: float = 0.0) -> list[list[float]]:
    """Convert the outlines of a mask to COCO polygons.

    Args:
        mask: [height, width].
        tolerance: pixels by which a simplified outline may be off; 0 keeps every corner.

    Returns:
        For each separate part [x1, y1, x2, y2, ...] in pixels, where (0, 0) is the upper
        left corner of the image. Holes are not kept: polygons of COCO cannot have any.

    Raises:
        ValueError: the mask does not have two axes.
    """
    if np.ndim(mask) != 2:
        raise ValueError(f"mask has shape {np.shape(mask)}; it must be [height, width]")
    # OpenCV's outlines run through the centers of border pixels. In an image twice as large
    # these show which edge of the original pixel is meant.
    mask = np.asarray(mask)
    inside = mask if mask.dtype == bool else mask != 0
    box = mask_box(inside)
    if box is None:
        return []
    y1, x1, y2, x2 = box
    part = inside[y1:y2, x1:x2].view(np.uint8)
    enlarged = part.repeat(2, axis=0).repeat(2, axis=1)
    outlines, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for outline in outlines:
        points = _outer_corners(outline[:, 0, :]) + np.array([x1, y1])
        if tolerance > 0:
            simple = cv2.approxPolyDP(points.astype(np.float32), tolerance, True)[:, 0, :]
            # A part that is thinner than the tolerance would be a line, or a point.
            points = simple if len(simple) >= 3 else points
        if len(points) >= 3:
            polygons.append([float(value) for value in points.ravel()])
    return polygons


def rle_to_polygons(rle: Mapping[str, Any], tolerance: float = 0.0) -> list[list[float]]:
    """Convert a run-length encoded mask to COCO polygons; only its box is decoded.

    Args:
        rle: as for `mrcnn.geometry.rle.decode_rle`.
        tolerance: as for `mask_to_polygons`.

    Returns:
        As `mask_to_polygons` of the decoded mask.

    Raises:
        ValueError: the lengths do not add up to the size.
    """
    y1, x1, y2, x2 = rle_box(rle)
    polygons = mask_to_polygons(decode_part(rle, (y1, x1, y2, x2)), tolerance)
    return [(np.array(one) + np.resize([x1, y1], len(one))).tolist() for one in polygons]


def rles_to_masks(rles: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Decode the run lengths of one image.

    Args:
        rles: N, as for `mrcnn.geometry.rle.decode_rle`; N may be 0.
        size: (height, width) of the image in pixels.

    Returns:
        [height, width, N] bool.

    Raises:
        ValueError: the lengths do not add up to the size, or are of another size.
    """
    masks = empty_masks(size[0], size[1], len(rles))
    for index, rle in enumerate(rles):
        if tuple(rle["size"]) != tuple(size):
            raise ValueError(
                f"rles[{index}] has the size {list(rle['size'])}; it must be {list(size)} "
                "(height, width)"
            )
        y1, x1, y2, x2 = rle_box(rle)
        masks[y1:y2, x1:x2, index] = decode_part(rle, (y1, x1, y2, x2))
    return masks


def _outer_corners(points: np.ndarray) -> np.ndarray:
    """Compute the corners of pixels from an outline in the image enlarged twofold.

    A point in the first half of a pixel represents its near edge, one in the second half
    for its far edge. The two points of a step around an inner corner become one.
    """
    corners = (points + 1) // 2
    return corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
