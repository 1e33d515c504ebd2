"""Load one image of a dataset with its ground truth, resized and augmented."""

from __future__ import annotations

import functools
import logging
import random
from typing import Any

import numpy as np

from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.geometry.images import as_rgb, compose_image_meta, resize_image
from mrcnn.geometry.masks import minimize_mask, resize_mask
from mrcnn.geometry.proposals import (
    check_proposals,
    clip_proposals,
    flip_boxes,
    move_proposals,
)
from mrcnn.loading.augmentation import apply_augmentation, apply_with_boxes
from mrcnn.loading.randomness import RandomSource, check_rng, integers, seed_from
from mrcnn.loading.resized_masks import ResizedMasks

logger = logging.getLogger("mrcnn.loading")


def load_image_gt(
    dataset: Any,
    config: Any,
    image_id: int,
    augment: bool = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
    rng: RandomSource = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load an image and its instances, as the network is trained on them.

    Instances without a visible pixel, before or after resizing, cropping and
    augmenting, are left out. An image without instances is fine.

    Args:
        dataset: a prepared Dataset.
        config: the image settings are read: IMAGE_MIN_DIM, IMAGE_MIN_SCALE, IMAGE_MAX_DIM,
            IMAGE_RESIZE_MODE, IMAGE_SHAPE (its channels) and MINI_MASK_SHAPE.
        image_id: number of the image.
        augment: deprecated, use `augmentation`. Mirrors every second image left to right.
        augmentation: imgaug augmenter, Albumentations transform or function
            `f(image, mask) -> (image, mask)`; see `apply_augmentation`.
        use_mini_mask: return masks cropped to their boxes and resized to
            `config.MINI_MASK_SHAPE`.
        rng: source of the draws: a Generator, a RandomState, or None for the global ones
            (Python's `random`, and the augmentation library's own).

    Returns:
        image: [height, width, channels], as `dataset.load_image` gives it, usually
            uint8 RGB; resized. Where the number of channels is not that of IMAGE_SHAPE, it is
            converted as `detect` does: gray, RGB and RGBA into each other, as uint8.
        image_meta: [1 + 3 + 3 + 4 + 1 + num_classes], see `compose_image_meta`.
        class_ids: [N] int32. Negative for a crowd.
        bbox: [N, (y1, x1, y2, x2)] int32 pixels of `image`.
        mask: [height, width, N] bool, or [*MINI_MASK_SHAPE, N] with `use_mini_mask`.

    Raises:
        ValueError: what the dataset gives does not fit together (sizes, counts, channels,
            class ids); the message names the image.
    """
    return load_ground_truth(dataset, config, image_id, augment, augmentation, use_mini_mask, rng)[
        :5
    ]


def load_ground_truth(
    dataset: Any,
    config: Any,
    image_id: int,
    augment: bool = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
    rng: RandomSource = None,
) -> tuple[
    np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None
]:
    """Load an image and its instances with their weights, and without RPN its proposals.

    Args:
        dataset: a prepared Dataset.
        config: as for `load_image_gt`; with `PARTIAL_LABELS` the dataset's `load_label_weights` is
            called, without `USE_RPN` its `load_proposals`.
        image_id: number of the image.
        augment: as for `load_image_gt`.
        augmentation: as for `load_image_gt`.
        use_mini_mask: as for `load_image_gt`.
        rng: as for `load_image_gt`.

    Returns:
        The five results of `load_image_gt`, weights [N, (label, mask)] float32, and proposals
        [M, (y1, x1, y2, x2)] float32 pixels of `image`, None with `USE_RPN`.

    Raises:
        ValueError: as for `load_image_gt`, or a weight is negative or not finite, or there are no
            proposals, or wrong ones.
    """
    check_rng(rng)
    loaded, mask, class_ids = _read(dataset, image_id, config)
    weights = _read_weights(dataset, image_id, config, len(class_ids))
    proposals = _read_proposals(dataset, image_id, config, loaded.shape)
    image, window, scale, padding, crop = _resize(loaded, config, rng)
    if proposals is not None:
        proposals = _resized(proposals, loaded.shape, scale, window, crop)
    flip = augment and _draw_flip(rng)
    if augment:
        _warn_about_augment()
    if flip:
        image = np.ascontiguousarray(np.fliplr(image))
        proposals = None if proposals is None else flip_boxes(proposals, image.shape[1])

    mini_shape = tuple(config.MINI_MASK_SHAPE[:2]) if use_mini_mask else None
    if mini_shape is not None and augmentation is None:
        masks = ResizedMasks(mask, scale, padding, crop)
        if flip:
            masks.flip()
        visible, boxes = _visible(masks.boxes())
        mask = masks.minimized(visible, boxes, mini_shape)
    else:
        mask = resize_mask(mask, scale, padding, crop)
        mask = mask[:, ::-1] if flip else mask
        if augmentation is not None:
            # An augmentation may write to what it is given, but not to the dataset's array.
            image = image.copy() if image is loaded else image
            if proposals is None:
                image, mask = apply_augmentation(augmentation, image, mask, rng)
            else:
                image, mask, proposals = apply_with_boxes(augmentation, image, mask, proposals, rng)
        visible, boxes = _visible(extract_bboxes(mask))
        mask = mask if len(visible) == mask.shape[2] else mask[:, :, visible]
        mask = mask if mini_shape is None else minimize_mask(boxes, mask, mini_shape)

    class_ids = class_ids[visible]
    _check_class_ids(class_ids, dataset, image_id)
    active_class_ids = _active_class_ids(dataset, image_id)
    image_meta = compose_image_meta(
        image_id, loaded.shape, image.shape, window, scale, active_class_ids.tolist()
    )
    if proposals is not None:
        proposals = clip_proposals(proposals, image.shape)
    return image, image_meta, class_ids, boxes, mask, weights[visible], proposals


def describe_image(dataset: Any, image_id: int) -> str:
    """Describe an image: number, source, id and file."""
    info = dataset.image_info[image_id]
    words = f"image {image_id} (source {info.get('source')!r}, id {info.get('id')!r}"
    if info.get("path") is not None:
        words += f", path {str(info['path'])!r}"
    return words + ")"


def _read(dataset: Any, image_id: int, config: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image, masks [height, width, N] bool and class ids [N] int32, checked."""
    image = _with_channels(
        np.asarray(dataset.load_image(image_id)), int(config.IMAGE_SHAPE[2]), dataset, image_id
    )
    mask, class_ids = dataset.load_mask(image_id)
    mask, class_ids = np.asarray(mask), np.asarray(class_ids)
    if class_ids.size == 0 and mask.size == 0:
        # No instances: the shapes of empty arrays are ignored.
        return image, np.zeros((*image.shape[:2], 0), bool), np.zeros(0, np.int32)
    if mask.ndim != 3 or mask.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"{describe_image(dataset, image_id)}: load_mask gave the shape {mask.shape}; it must "
            f"be [height, width, instances] at the size of the image, {image.shape[:2]}"
        )
    if class_ids.shape != (mask.shape[2],):
        raise ValueError(
            f"{describe_image(dataset, image_id)}: load_mask gave {mask.shape[2]} masks and "
            f"class ids of the shape {class_ids.shape}; there must be one for each mask"
        )
    return image, mask.astype(bool, copy=False), class_ids.astype(np.int32)


def _read_weights(dataset: Any, image_id: int, config: Any, count: int) -> np.ndarray:
    """Return the weights [count, (label, mask)] float32 of the instances, checked; 1 for all."""
    weights = None
    if getattr(config, "PARTIAL_LABELS", False):
        weights = dataset.load_label_weights(image_id)
    if weights is None:
        return np.ones((count, 2), np.float32)
    weights = np.asarray(weights, np.float32)
    if weights.shape != (count, 2):
        raise ValueError(
            f"{describe_image(dataset, image_id)}: load_label_weights gave the shape "
            f"{weights.shape}; it must be {(count, 2)}, a weight of the label and one of the mask "
            "for each instance of load_mask"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(
            f"{describe_image(dataset, image_id)}: load_label_weights gave "
            f"{weights.min():g} to {weights.max():g}; weights must be finite numbers of at least 0"
        )
    return weights


def _read_proposals(
    dataset: Any, image_id: int, config: Any, image_shape: tuple[int, ...]
) -> np.ndarray | None:
    """Return the proposals [M, 4] float32 pixels of the image, checked; None with an RPN."""
    if getattr(config, "USE_RPN", True):
        return None
    place = describe_image(dataset, image_id)
    proposals = dataset.load_proposals(image_id)
    if proposals is None:
        raise ValueError(
            f"{place}: load_proposals gave None; it must give boxes [N, 4] where USE_RPN is False: "
            "set the dataset's `proposals`, for example to mrcnn.family.find_proposals(dataset)"
        )
    return check_proposals(proposals, image_shape, f"{place}: load_proposals")


def _resized(
    proposals: np.ndarray, shape: tuple[int, ...], scale: float, window: Any, crop: Any
) -> np.ndarray:
    """Return proposals as they lie in the resized image; arguments as of `resize_image`."""
    if crop is not None:
        full = [max(1, round(side * scale)) for side in shape[:2]]
        return move_proposals(proposals, shape, full, (-crop[0], -crop[1]))
    y1, x1, y2, x2 = window
    return move_proposals(proposals, shape, (y2 - y1, x2 - x1), (y1, x1))


def _with_channels(image: np.ndarray, channels: int, dataset: Any, image_id: int) -> np.ndarray:
    """Return an image [height, width, channels], converted where it has another number of them."""
    if image.ndim == 3 and image.shape[2] == channels and 0 not in image.shape:
        return image
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"{describe_image(dataset, image_id)}: load_image gave the shape {image.shape}; it "
            "must be [height, width, channels]"
        )
    try:
        return as_rgb(image, channels)
    except ValueError as error:
        raise ValueError(
            f"{describe_image(dataset, image_id)}: load_image gave the shape {image.shape}, which "
            f"does not fit the {channels} channels of IMAGE_SHAPE: {error}"
        ) from error


def _visible(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the boxes that have an area, and those boxes."""
    visible = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    return visible, boxes[visible]


def _check_class_ids(class_ids: np.ndarray, dataset: Any, image_id: int) -> None:
    """Raise ValueError for ids that are no rows of the heads' outputs: losses would be nan."""
    size = np.abs(class_ids)
    wrong = class_ids[(size == 0) | (size >= dataset.num_classes)]
    if len(wrong):
        raise ValueError(
            f"{describe_image(dataset, image_id)}: class ids {sorted(set(wrong.tolist()))} are "
            f"out of range; they must be 1 to {dataset.num_classes - 1}, or negative for a crowd; "
            "0 is the background"
        )


def _resize(image: np.ndarray, config: Any, rng: RandomSource) -> tuple[Any, ...]:
    return resize_image(
        image,
        min_dim=config.IMAGE_MIN_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        max_dim=config.IMAGE_MAX_DIM,
        mode=config.IMAGE_RESIZE_MODE,
        rng=None if rng is None else random.Random(seed_from(rng)),
    )


@functools.cache
def _warn_about_augment() -> None:
    """Warn once, not for every image."""
    logger.warning("augment = True is deprecated; use augmentation, which does more")


def _draw_flip(rng: RandomSource) -> bool:
    # Without rng, Python's random decides, like Matterport's flip.
    return bool(random.randint(0, 1) if rng is None else integers(rng, 0, 2))


def _active_class_ids(dataset: Any, image_id: int) -> np.ndarray:
    """Return [num_classes] int32: 1 for the classes that the image's source can label."""
    source = dataset.image_info[image_id]["source"]
    active = np.zeros(dataset.num_classes, np.int32)
    if source not in dataset.source_class_ids:
        raise ValueError(
            f"{describe_image(dataset, image_id)}: no class has been added for this source; "
            f"there are classes of {sorted(dataset.source_class_ids)}"
        )
    active[dataset.source_class_ids[source]] = 1
    return active
