"""From pictures to network inputs and from network outputs back to pictures.

Used by `MaskRCNN`; knows the geometry of molding and unmolding and nothing of the network.
"""

import os
import pathlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mrcnn.config import SIDE_MULTIPLE
from mrcnn.datasets.image_files import IMAGE_EXTENSIONS, read_image
from mrcnn.geometry.boxes import denorm_boxes, norm_boxes
from mrcnn.geometry.images import (
    as_rgb,
    compose_image_meta,
    mold_image,
    parse_image_meta,
    resize_image,
)
from mrcnn.geometry.masks import paste_masks, paste_rles
from mrcnn.geometry.spacing import evenly_spaced

# More do not make a quantised network better, and each costs a run in float32.
CALIBRATION_IMAGES = 64


def as_list(images):
    """The pictures as a list; a single one may come without a list around it."""
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images]
    try:
        return list(images)
    except TypeError:
        raise ValueError(
            f"images is {type(images).__name__}; it must be a list of arrays [height, width] or "
            "[height, width, channels]"
        ) from None


def calibration_images(source):
    """At most `CALIBRATION_IMAGES` pictures, evenly spread over what there is.

    Args:
        source: a folder, a list of paths or arrays, or a prepared `Dataset`.

    Returns:
        list of `[height, width, channels]` arrays.

    Raises:
        ValueError: where there is no picture.
    """
    if isinstance(source, str | os.PathLike):
        folder = pathlib.Path(source)
        if not folder.is_dir():
            raise ValueError(f"calibration is {str(source)!r}; it must be a folder of pictures")
        source = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS)
    read = read_if_path
    if hasattr(source, "load_image"):
        read, source = source.load_image, source.image_ids
    source = list(source)
    if not source:
        raise ValueError("calibration holds no picture")
    count = min(len(source), CALIBRATION_IMAGES)
    return [read(source[i]) for i in evenly_spaced(len(source) - 1, count)]


def read_if_path(image):
    """A picture that is given as a path, upright; anything else as it is."""
    if isinstance(image, str | os.PathLike):
        return read_image(image, exif_orientation=True)
    return image


def mold_inputs(images, config, keep_bytes=False):
    """Resize, pad and mean-subtract pictures of any size.

    Args:
        images: list of `[height, width]` or `[height, width, channels]` pictures, 8 or 16 bit.
        config: `Config`.
        keep_bytes: leave the mean in pictures of 8 bits. Engines subtract it themselves, a batch at
            a time and on the GPU, to which a quarter of the memory travels then.

    Returns:
        molded_images: list of `[h, w, channels]` float32, with `keep_bytes` some of them uint8.
        image_metas: `[N, 12 + num_classes]`.
        windows: `[N, (y1, x1, y2, x2)]`, where each picture lies in its frame, in pixels.
    """
    molded = each_picture(
        lambda i, image: _mold(i, image, config, keep_bytes), range(len(images)), images
    )
    molded_images, image_metas, windows = zip(*molded) if molded else ((), (), ())
    return list(molded_images), np.array(image_metas), np.array(windows)


def _mold(i, image, config, keep_bytes):
    """Network input, image meta and window of the picture with number i."""
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(
            f"images[{i}] is {got}; it must be an array [height, width] or [height, width, "
            "channels]"
        )
    image = as_rgb(image, channels=config.IMAGE_SHAPE[2])
    molded, window, scale, _, _ = resize_image(
        image,
        min_dim=config.IMAGE_MIN_DIM,
        max_dim=config.IMAGE_MAX_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        mode=config.IMAGE_RESIZE_MODE,
    )
    check_sides(molded.shape, f"images[{i}] in the network")
    active = np.zeros([config.NUM_CLASSES], np.int32)
    meta = compose_image_meta(0, image.shape, molded.shape, window, scale, active)
    if not (keep_bytes and molded.dtype == np.uint8):
        molded = mold_image(molded, config)
    return molded, meta, window


def each_picture(function, *lists):
    """`function` on the pictures, several at a time: OpenCV and NumPy let other threads go on.

    On a GPU that detects a batch in a tenth of a second, molding and pasting one picture after
    another on the CPU took longer than the network.

    Args:
        function: takes one element of each list.
        lists: of equal length.

    Returns:
        list of the results in order. The first error is raised.
    """
    workers = min(len(lists[0]), os.cpu_count() or 1)
    if workers < 2:
        return [function(*elements) for elements in zip(*lists)]
    with ThreadPoolExecutor(workers, "mrcnn-pictures") as pool:
        return list(pool.map(function, *lists))


def check_sides(shape, what):
    """Raise ValueError for a network input whose sides the pyramid cannot halve six times."""
    if any(side == 0 or side % SIDE_MULTIPLE for side in shape[:2]):
        raise ValueError(
            f"{what} has {shape[0]} x {shape[1]} pixels; height and width must be multiples of "
            f'{SIDE_MULTIPLE} (IMAGE_RESIZE_MODE "square" and "pad64" see to that)'
        )


def detection_rows(detections, original_image_shape, image_shape, window):
    """Detections of one picture in its own pixels.

    Args:
        detections: `[N, (y1, x1, y2, x2, class_id, score)]` normalised, zero rows at the end.
        original_image_shape: `(height, width, channels)` of the picture.
        image_shape: `(height, width, channels)` of the network's input.
        window: `(y1, x1, y2, x2)` of the picture in that input, pixels.

    Returns:
        boxes `[n, 4]` int32, class_ids `[n]` int32, scores `[n]` float32, and the rows `[n]` of
        `detections` that they came from (boxes without a pixel are left out).
    """
    ends = np.where(detections[:, 4] == 0)[0]
    count = ends[0] if len(ends) else len(detections)
    window = norm_boxes(np.asarray(window), image_shape[:2])
    y1, x1, y2, x2 = window
    size = np.array([y2 - y1, x2 - x1, y2 - y1, x2 - x1])
    boxes = (detections[:count, :4] - np.array([y1, x1, y1, x1])) / size
    boxes = denorm_boxes(boxes, original_image_shape[:2])
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = np.where((sides > 0).all(axis=1))[0]
    class_ids = detections[rows, 4].astype(np.int32)
    scores = detections[rows, 5].astype(np.float32)
    return boxes[rows].astype(np.int32), class_ids, scores, rows


def places_of(image_meta):
    """`(original_image_shape, image_shape, window)` out of one `[12 + num_classes]` image meta."""
    meta = parse_image_meta(np.asarray(image_meta)[None])
    return [meta[name][0] for name in ("original_image_shape", "image_shape", "window")]


def unmold(detections, masks, places, probabilities=False, rle=False):
    """The result dictionary of one picture.

    Args:
        detections: `[N, 6]` as above.
        masks: `[N, mask height, mask width]` probabilities of each detection's own class.
        places: `(original_image_shape, image_shape, window)`, see `places_of`.
        probabilities: also give `mask_probs`.
        rle: give the masks as run lengths; no frame of the picture's size is made.

    Returns:
        dict with `rois` `[n, (y1, x1, y2, x2)]` int32 pixels, `class_ids` `[n]` int32, `scores`
        `[n]` float32, `masks` `[height, width, n]` bool (with `rle` instead `rles`, a list of n
        run lengths, see `mrcnn.geometry.rle`) and on demand `mask_probs` `[height, width, n]`
        float32 (0 outside the box). n may be 0.
    """
    boxes, class_ids, scores, rows = detection_rows(detections, *places)
    result = {"rois": boxes, "class_ids": class_ids, "scores": scores}
    shape = tuple(int(v) for v in places[0][:2])
    if rle:
        result["rles"] = paste_rles(masks[rows], boxes, shape)
    elif probabilities:
        result["mask_probs"] = paste_masks(masks[rows], boxes, shape, threshold=None)
        result["masks"] = result["mask_probs"] >= 0.5
    else:
        result["masks"] = paste_masks(masks[rows], boxes, shape)
    return result
