"""Predictions beside the ground truth of the same image, as one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.drawing.labels import instance_captions
from mrcnn.drawing.rendering import draw_instances

TITLES = ("Prediction", "Ground truth")
# Pixels: the strip of the titles, the space between the images, the height of the letters.
_TITLE_HEIGHT = 26
_GAP = 8
_LETTERS = 16
_BACKGROUND = 255
_INK = 40
# Largest share of its box that a label may have the area of.
_MAX_LABEL = 0.5


def side_by_side(
    image: np.ndarray,
    prediction: Mapping[str, Any],
    ground_truth: Mapping[str, Any],
    class_names: Sequence[str],
    *,
    max_side: int = 640,
) -> np.ndarray:
    """Draw predicted instances at the left and the true ones at the right, with a title each.

    Args:
        image: [H, W, channels], as for `draw_instances`; of more than 4 channels the first 3 are
            drawn.
        prediction: a result of `MaskRCNN.detect`: `rois` [N, (y1, x1, y2, x2)] in pixels,
            `class_ids` [N], `scores` [N], and `masks` [H, W, N] bool or `rles`, or neither.
        ground_truth: the same without `scores`; `rois` may be missing where there are `masks`. A
            negative class id marks a crowd of its class, as in Matterport's datasets.
        class_names: names by class id, the background first.
        max_side: side in pixels. Before the instances are drawn, a larger image is shrunk to it
            and a smaller one is enlarged by the largest whole factor that stays within it, so that
            lines and labels are legible and hide little.

    Returns:
        [height, width, 3] uint8 RGB: both drawings, a strip above them for the titles, and a gap
        between them. Labels have no class names where there is one class; those larger than half
        of their box are left out.

    Raises:
        ValueError: `max_side` is below 32, or the instances do not fit the image.

    Example:
        >>> image = np.zeros((64, 96, 3), np.uint8)
        >>> truth = {"rois": np.array([[20, 30, 40, 60]]), "class_ids": np.array([1])}
        >>> found = {**truth, "scores": np.array([0.9])}
        >>> side_by_side(image, found, truth, ["BG", "cat"]).shape
        (410, 1160, 3)
    """
    import cv2

    if max_side < 32:
        raise ValueError(f"max_side is {max_side}; it must be at least 32 pixels")
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] > 4:
        image = image[..., :3]
    height, width = image.shape[:2]
    size = fitting_size((height, width), max_side)
    instances = [_with_boxes(one, (height, width)) for one in (prediction, ground_truth)]
    if size != (height, width):
        method = cv2.INTER_AREA if size < (height, width) else cv2.INTER_LINEAR
        image = cv2.resize(_drawable(image), size[::-1], interpolation=method)
        instances = [_resize(one, (height, width), size) for one in instances]
    columns = []
    for one in instances:
        captions = _scores_alone(one) if len(class_names) <= 2 else None
        columns.append(
            draw_instances(
                image, one, class_names=class_names, captions=captions, max_label=_MAX_LABEL
            )
        )
    return columns_with_titles(columns)


def fitting_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return the (height, width) that an image of a size is drawn at; see `side_by_side`."""
    scale = max_side / max(size)
    scale = int(scale) if scale > 1 else scale
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def columns_with_titles(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return a prediction and the ground truth [H, W, 3] side by side, with their titles."""
    strip = np.full((_TITLE_HEIGHT, images[0].shape[1], 3), _BACKGROUND, np.uint8)
    columns = [np.vstack([_write(strip, title), one]) for title, one in zip(TITLES, images)]
    gap = np.full((len(columns[0]), _GAP, 3), _BACKGROUND, np.uint8)
    return np.hstack([columns[0], gap, columns[1]])


def _drawable(image: np.ndarray) -> np.ndarray:
    """Return an image of any common kind as [H, W, 3] uint8."""
    from mrcnn.geometry.images import as_rgb

    return as_rgb(image)


def _with_boxes(instances: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return the instances in the form that `draw_instances` takes."""
    from mrcnn.geometry.boxes import extract_bboxes

    class_ids = np.abs(np.asarray(instances["class_ids"], np.int64))
    complete = {**instances, "class_ids": class_ids}
    if "rois" not in instances:
        masks = instances.get("masks")
        if masks is None:
            raise ValueError(
                f"ground_truth has the keys {sorted(instances)}; it must have 'rois' or 'masks'"
            )
        # A dataset gives an image without objects masks of any size.
        complete["rois"] = extract_bboxes(np.asarray(masks)) if len(class_ids) else []
    shape = np.shape(complete["masks"]) if complete.get("masks") is not None else None
    if not len(class_ids):
        complete["masks"] = np.zeros((*size, 0), bool)
        complete.pop("rles", None)
    elif shape is not None and (len(shape) != 3 or shape[:2] != size):
        raise ValueError(
            f"masks have the shape {shape}; it must be [H, W, N] with (H, W) of the image, {size}"
        )
    return complete


def _resize(
    instances: Mapping[str, Any], size: tuple[int, int], new_size: tuple[int, int]
) -> dict[str, Any]:
    """Return the boxes and masks of instances in an image of `size` for one of `new_size`."""
    scale = np.array(new_size) / size
    boxes = np.asarray(instances["rois"], float).reshape(-1, 4) * np.tile(scale, 2)
    low, high = np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])
    resized = {**instances, "rois": np.concatenate([low, high], axis=1)}
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(new_size, size, strict=True)
    )
    rles = resized.pop("rles", None)
    if rles is not None:
        masks = np.zeros((*new_size, len(rles)), bool)
        for index, rle in enumerate(rles):
            _sample_rle(rle, rows, columns, masks[..., index])
        resized["masks"] = masks
    elif resized.get("masks") is not None:
        resized["masks"] = np.asarray(resized["masks"])[np.ix_(rows, columns)]
    return resized


def _scores_alone(instances: Mapping[str, Any]) -> list[str]:
    """Return captions without class names; empty ones without scores."""
    return instance_captions(None, None, instances.get("scores"), len(instances["class_ids"]))


def _sample_rle(
    rle: Mapping[str, Any], rows: np.ndarray, columns: np.ndarray, out: np.ndarray
) -> None:
    """Write the pixels of a mask at some rows and columns to `out`; only its box is decoded."""
    from mrcnn.geometry.rle import decode_part, rle_box

    y1, x1, y2, x2 = rle_box(rle)
    of_rows, of_columns = (
        slice(*np.searchsorted(places, limits))
        for places, limits in ((rows, (y1, y2)), (columns, (x1, x2)))
    )
    part = decode_part(rle, (y1, x1, y2, x2))
    out[of_rows, of_columns] = part[np.ix_(rows[of_rows] - y1, columns[of_columns] - x1)]


def _write(strip: np.ndarray, text: str) -> np.ndarray:
    """Return a copy of an image with dark letters at its left."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(strip)
    font = ImageFont.load_default(_LETTERS)
    place = (4, strip.shape[0] // 2)
    ImageDraw.Draw(canvas).text(place, text, fill=(_INK,) * 3, font=font, anchor="lm")
    return np.asarray(canvas)
