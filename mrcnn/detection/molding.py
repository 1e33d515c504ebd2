"""From images to network inputs, and from network outputs back to the pixels of the images.

This module contains the geometry of molding and does not depend on the network. `resize_inputs`
makes inputs that still hold the mean pixel, in 8 bits: a quarter of the memory.
`geometry.images.molded_floats` subtracts it, here for `mold_inputs` and in `Detector` for each
batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mrcnn.config_rules import SIDE_MULTIPLE
from mrcnn.datasets.image_files import read_image
from mrcnn.geometry.boxes import denorm_boxes, norm_boxes
from mrcnn.geometry.images import (
    as_rgb,
    compose_image_meta,
    molded_floats,
    parse_image_meta,
    resize_image,
)
from mrcnn.geometry.masks import paste_masks, paste_rles
from mrcnn.startup.caller import warn_caller

if TYPE_CHECKING:
    from mrcnn.config import Config

# (original_image_shape, image_shape, window), see `places_of`.
Places = Sequence[np.ndarray]


class ResizedImage(NamedTuple):
    """An image of the size that the network takes.

    Attributes:
        pixels: [height, width, channels]; uint8 with the mean pixel, or float without it.
        meta: [12 + num_classes], see `mrcnn.geometry.image_meta`.
        window: (y1, x1, y2, x2) of the image within the padding, in pixels.
    """

    pixels: np.ndarray
    meta: np.ndarray
    window: tuple[int, int, int, int]


def as_list(images: Any) -> list[Any]:
    """Return the images as a list; a single one may come without a list around it."""
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images]
    try:
        return list(images)
    except TypeError:
        raise ValueError(
            f"images is {type(images).__name__}; it must be a list of arrays [height, width] or "
            "[height, width, channels]"
        ) from None


def read_if_path(image: Any, max_pixels: int | None = None) -> Any:
    """Return an image that is given as a path, upright; return anything else unchanged.

    Args:
        image: an array, or the path of an image file.
        max_pixels: limit for the pixels of a file; None for the package's own.
    """
    if isinstance(image, str | os.PathLike):
        options = {} if max_pixels is None else {"max_pixels": max_pixels}
        return read_image(image, exif_orientation=True, **options)
    return image


def is_molded(image: Any) -> bool:
    """Return whether an image has had its mean subtracted: floats of which some are negative.

    No other kind of image has negative values. The range is that of 0..255 minus any mean.
    """
    if not isinstance(image, np.ndarray) or image.dtype.kind != "f" or not image.size:
        return False
    return bool(image.ndim == 3 and -255 <= image.min() < 0 and image.max() <= 255)


def warn_if_molded(images: Iterable[Any]) -> None:
    """Warn of images that were molded before, once for all; the warning names the caller's line."""
    molded = [i for i, image in enumerate(images) if is_molded(image)]
    if molded:
        warn_caller(
            f"images[{molded[0]}] has negative values, so it was molded before (mold_image or "
            "mold_inputs). As in Matterport's package, detect resizes it and subtracts the mean a "
            "second time, which lowers the quality of the detections. Pass the image itself, or "
            "call detect_molded."
        )


def with_mean(image: np.ndarray, config: Config) -> np.ndarray:
    """Return the image itself, and one that was molded before as it was: uint8, 0..255."""
    if not is_molded(image):
        return image
    return np.rint(np.clip(image + np.asarray(config.MEAN_PIXEL), 0, 255)).astype(np.uint8)


def mold_inputs(
    images: Sequence[Any] | np.ndarray, config: Config
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Resize images of any size, pad them and subtract the mean pixel.

    Args:
        images: list of [height, width] or [height, width, channels] images, of 8 or 16 bits.
        config: `Config`.

    Returns:
        molded_images: list of [h, w, channels] float32.
        image_metas: [N, 12 + num_classes].
        windows: [N, (y1, x1, y2, x2)], each image within its padding, in pixels.
    """
    inputs = resize_inputs(images, config)
    molded = for_each_image(lambda one: molded_floats(one.pixels, config), inputs)
    return molded, np.array([one.meta for one in inputs]), np.array([one.window for one in inputs])


def resize_inputs(images: Sequence[Any] | np.ndarray, config: Config) -> list[ResizedImage]:
    """Bring images of any size to the size that the network takes.

    Args:
        images: as for `mold_inputs`.
        config: `Config`.

    Raises:
        ValueError: an image is none, or its size does not suit the settings; with its number.
    """
    names = [f"images[{i}]" for i in range(len(images))]
    return for_each_image(lambda image, name: resize_input(image, config, name), images, names)


def resize_input(image: Any, config: Config, name: str) -> ResizedImage:
    """Bring one image to the size that the network takes; `name` is for error messages."""
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(
            f"{name} is {got}; it must be an array [height, width] or [height, width, channels]"
        )
    channels = int(config.IMAGE_SHAPE[2])
    was_molded = is_molded(image) and image.shape[2] == channels
    try:
        image = image if was_molded else as_rgb(image, channels=channels)
        pixels, window, scale, _, _ = resize_image(
            image,
            min_dim=config.IMAGE_MIN_DIM,
            max_dim=config.IMAGE_MAX_DIM,
            min_scale=config.IMAGE_MIN_SCALE,
            mode=config.IMAGE_RESIZE_MODE,
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    check_sides(pixels.shape, f"{name} in the network")
    active = [0] * config.NUM_CLASSES
    meta = compose_image_meta(0, image.shape, pixels.shape, window, scale, active)
    if was_molded:
        # The second subtraction; see `warn_if_molded`.
        pixels = pixels - np.asarray(config.MEAN_PIXEL)
    return ResizedImage(pixels, meta, window)


def for_each_image(function: Callable[..., Any], *lists: Sequence[Any] | np.ndarray) -> list[Any]:
    """Call a function for each image, in several threads.

    OpenCV and NumPy release the interpreter's lock. On a GPU that detects a batch in a tenth of a
    second, molding and pasting one image after another took longer than the network.

    Args:
        function: takes one element of each list.
        *lists: lists of equal length.

    Returns:
        The results in the order of the images. The first error is raised.
    """
    workers = min(len(lists[0]), os.cpu_count() or 1)
    if workers < 2:
        return [function(*elements) for elements in zip(*lists)]
    with ThreadPoolExecutor(workers, "mrcnn-images") as pool:
        return list(pool.map(function, *lists))


def check_sides(shape: Sequence[int], name: str) -> None:
    """Raise ValueError for a network input whose sides the pyramid cannot halve six times."""
    if any(side == 0 or side % SIDE_MULTIPLE for side in shape[:2]):
        raise ValueError(
            f"{name} has {shape[0]} x {shape[1]} pixels; height and width must be multiples of "
            f'{SIDE_MULTIPLE} (IMAGE_RESIZE_MODE "square" and "pad64" see to that)'
        )


def detection_rows(
    detections: np.ndarray,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Convert the detections of one image to its own pixels.

    Args:
        detections: [N, (y1, x1, y2, x2, class_id, score)] normalized, zero rows at the end.
        original_image_shape: (height, width, channels) of the image.
        image_shape: (height, width, channels) of the network's input.
        window: (y1, x1, y2, x2) of the image in that input, in pixels.

    Returns:
        boxes [n, 4] int32, class_ids [n] int32, scores [n] float32, and the rows [n] of
        `detections` that they come from. Boxes without a pixel are left out.
    """
    ends = np.where(detections[:, 4] == 0)[0]
    count = ends[0] if len(ends) else len(detections)
    y1, x1, y2, x2 = norm_boxes(np.asarray(window), image_shape[:2])
    size = np.array([y2 - y1, x2 - x1, y2 - y1, x2 - x1])
    # In normalized coordinates a window of one pixel has no extent: the side is there as a whole.
    is_flat = size == 0
    boxes = (detections[:count, :4] - np.array([y1, x1, y1, x1])) / np.where(is_flat, 1, size)
    boxes[:, is_flat] = np.array([0, 0, 1, 1])[is_flat]
    boxes = denorm_boxes(boxes, original_image_shape[:2])
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = np.where((sides > 0).all(axis=1))[0]
    class_ids = detections[rows, 4].astype(np.int32)
    scores = detections[rows, 5].astype(np.float32)
    return boxes[rows].astype(np.int32), class_ids, scores, rows


def places_of(image_meta: np.ndarray) -> Places:
    """Return `(original_image_shape, image_shape, window)` of one [12 + num_classes] vector."""
    meta = parse_image_meta(np.asarray(image_meta)[None])
    return [meta[name][0] for name in ("original_image_shape", "image_shape", "window")]


def unmold(
    detections: np.ndarray,
    masks: np.ndarray | None,
    places: Places | Sequence[Sequence[int]],
    probabilities: bool = False,
    rle: bool = False,
) -> dict[str, Any]:
    """Make the result dictionary of one image.

    Args:
        detections: [N, 6], as for `detection_rows`.
        masks: [N, mask height, mask width] probabilities of each detection's own class; None for a
            result without masks.
        places: `(original_image_shape, image_shape, window)`, see `places_of`.
        probabilities: also give `mask_probs`.
        rle: give the masks as run lengths; no array of the image's size is made.

    Returns:
        A dict with `rois` [n, (y1, x1, y2, x2)] int32 in pixels, `class_ids` [n] int32, `scores`
        [n] float32, `masks` [height, width, n] bool (with `rle` instead `rles`, a list of n run
        lengths, see `mrcnn.geometry.rle`) and, if asked for, `mask_probs` [height, width, n]
        float32, 0 outside of the box. n may be 0.
    """
    boxes, class_ids, scores, rows = detection_rows(detections, *places)
    result: dict[str, Any] = {"rois": boxes, "class_ids": class_ids, "scores": scores}
    if masks is None:
        return result
    height, width = (int(side) for side in places[0][:2])
    if rle:
        result["rles"] = paste_rles(masks[rows], boxes, (height, width))
    elif probabilities:
        result["mask_probs"] = paste_masks(masks[rows], boxes, (height, width), threshold=None)
        result["masks"] = result["mask_probs"] >= 0.5
    else:
        result["masks"] = paste_masks(masks[rows], boxes, (height, width))
    return result
