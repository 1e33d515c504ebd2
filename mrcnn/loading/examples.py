"""Prepare one image for training, and stack several to a batch.

`data_generator` and `TrainingBatches` both consist of these two steps.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.geometry.anchors import anchors_for_image
from mrcnn.geometry.images import mold_image
from mrcnn.loading.detection_targets import build_detection_targets, generate_random_rois
from mrcnn.loading.image_gt import load_ground_truth
from mrcnn.loading.randomness import RandomSource, sample
from mrcnn.loading.rpn_targets import build_rpn_targets

logger = logging.getLogger("mrcnn.loading")


@dataclass(frozen=True)
class ExampleSettings:
    """Settings of loading images for training.

    Attributes:
        augment: mirror half of the images (deprecated, as in Matterport's package).
        augmentation: see `apply_augmentation`; None for none.
        no_augmentation_sources: sources, or one, whose images are not augmented.
        random_rois: number of random ROIs for each image; 0 for none.
        detection_targets: also make the targets of the heads for the random ROIs.
    """

    augment: bool = False
    augmentation: Any = None
    no_augmentation_sources: Sequence[str] | str | None = ()
    random_rois: int = 0
    detection_targets: bool = False

    def is_augmented(self, source: str) -> bool:
        """Return whether images of a source are augmented."""
        sources = self.no_augmentation_sources or ()
        return source not in ((sources,) if isinstance(sources, str) else sources)


@dataclass(frozen=True)
class Example:
    """An image with its ground truth and targets. N instances, A anchors.

    Attributes:
        image: [height, width, channels] uint8, not yet molded.
        image_meta: [META].
        rpn_match: [A] int32. 1 positive, -1 negative, 0 neutral; None without RPN.
        rpn_bbox: [RPN_TRAIN_ANCHORS_PER_IMAGE, 4] float64 deltas; None without RPN.
        class_ids: [N] int32.
        boxes: [N, (y1, x1, y2, x2)] int32 pixels.
        masks: [mask height, mask width, N] bool.
        weights: [N, (label, mask)] float32.
        rpn_rois: [random_rois, 4] int32 pixels, or None; without RPN the proposals,
            [POST_NMS_ROIS_TRAINING, 4] float32.
        detection: (rois, class ids, deltas, masks) of `build_detection_targets`, or None.
    """

    image: np.ndarray
    image_meta: np.ndarray
    rpn_match: np.ndarray | None
    rpn_bbox: np.ndarray | None
    class_ids: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    weights: np.ndarray
    rpn_rois: np.ndarray | None = None
    detection: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None


def anchors_of(config: Any) -> np.ndarray:
    """Return the anchors [A, (y1, x1, y2, x2)] of the training images, in pixels, read-only."""
    # build_rpn_targets recognizes an array of its own that cannot change without comparing it.
    anchors = np.array(anchors_for_image(config, config.IMAGE_SHAPE))
    anchors.flags.writeable = False
    return anchors


def make_example(
    dataset: Any,
    config: Any,
    image_id: int,
    anchors: np.ndarray,
    settings: ExampleSettings,
    rng: RandomSource = None,
) -> Example:
    """Load an image and make its targets, also where it has no instances.

    Args:
        dataset: a prepared Dataset.
        config: the Config of the model.
        image_id: number of the image.
        anchors: [A, 4] pixels, from `anchors_of(config)`.
        settings: how it is loaded.
        rng: source of all draws: a Generator, a RandomState, or None for the global ones.

    Raises:
        ValueError: the image does not fit the configuration, see also `load_image_gt`.
    """
    info = dataset.image_info[image_id]
    is_augmented = settings.is_augmented(info["source"])
    image, image_meta, class_ids, boxes, masks, weights, proposals = load_ground_truth(
        dataset,
        config,
        image_id,
        augment=settings.augment,
        augmentation=settings.augmentation if is_augmented else None,
        # Masks that are not trained on serve for their boxes alone.
        use_mini_mask=config.USE_MINI_MASK or not config.USE_MASK,
        rng=rng,
    )
    if tuple(image.shape) != tuple(config.IMAGE_SHAPE):
        raise ValueError(
            f"the image has the shape {image.shape} after resizing; in training it must be "
            f"IMAGE_SHAPE, {tuple(int(side) for side in config.IMAGE_SHAPE)}. IMAGE_RESIZE_MODE is "
            f"{config.IMAGE_RESIZE_MODE!r}; 'square' and 'crop' give every image the same size"
        )
    num_ignored = 0
    if config.PARTIAL_LABELS and not info.get("exhaustive", True):
        class_ids, boxes, masks, weights = _ignore_whole_image(
            image.shape, class_ids, boxes, masks, weights
        )
        num_ignored = 1
    rpn_match = rpn_bbox = rpn_rois = detection = None
    if config.USE_RPN:
        rpn_match, rpn_bbox = build_rpn_targets(image.shape, anchors, class_ids, boxes, config, rng)
    if settings.random_rois:
        rpn_rois = generate_random_rois(image.shape, settings.random_rois, class_ids, boxes, rng)
        if settings.detection_targets:
            detection = build_detection_targets(rpn_rois, class_ids, boxes, masks, config, rng)
    elif proposals is not None:
        rpn_rois = _stack_proposals(boxes[class_ids > 0], proposals, config.POST_NMS_ROIS_TRAINING)
    if len(class_ids) > config.MAX_GT_INSTANCES:
        _warn_of_left_out(config.MAX_GT_INSTANCES)
        others = np.arange(num_ignored, len(class_ids))
        keep = sample(rng, others, config.MAX_GT_INSTANCES - num_ignored)
        keep = np.concatenate([np.arange(num_ignored), keep])
        class_ids, boxes, masks = class_ids[keep], boxes[keep], masks[:, :, keep]
        weights = weights[keep]
    return Example(
        image,
        image_meta,
        rpn_match,
        rpn_bbox,
        class_ids,
        boxes,
        masks,
        weights,
        rpn_rois,
        detection,
    )


def _stack_proposals(objects: np.ndarray, proposals: np.ndarray, count: int) -> np.ndarray:
    """Return the boxes that the heads are trained on: [count, 4] float32 pixels.

    As in the original program of Fast R-CNN, the objects' own boxes are among them, here first.
    Then come the proposals in their order, as far as there is room, and boxes of the first pixel
    fill the rest: normalized, these are the zero rows that mark padding.
    """
    rois = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
    boxes = np.concatenate([objects, proposals])[:count]
    rois[: len(boxes)] = boxes
    return rois


def _ignore_whole_image(
    image_shape: Sequence[int],
    class_ids: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Put a box to be ignored before the instances of an image that is not exhaustively annotated.

    It is three times as large as the image, so that it holds the anchors that reach beyond.
    """
    height, width = image_shape[:2]
    box = np.array([[-height, -width, 2 * height, 2 * width]], boxes.dtype)
    no_mask = np.zeros((*masks.shape[:2], 1), masks.dtype)
    return (
        np.concatenate([np.array([-1], class_ids.dtype), class_ids]),
        np.concatenate([box, boxes]),
        np.concatenate([no_mask, masks], axis=2),
        np.concatenate([np.ones((1, 2), weights.dtype), weights]),
    )


@functools.cache  # once, not for every image
def _warn_of_left_out(limit: int) -> None:
    logger.warning(
        "MAX_GT_INSTANCES is %d and there are images with more instances: the heads are trained on "
        "a random choice of that number, with the others as background. Raise it if memory allows: "
        "config.MAX_GT_INSTANCES = %d in Python, or --config FILE of mrcnn train, with "
        '{"MAX_GT_INSTANCES": %d} in the file',
        *(limit, 2 * limit, 2 * limit),
    )


def stack_examples(
    examples: Sequence[Example], config: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Stack examples to a batch, in the order of the training model's inputs.

    Args:
        examples: b examples.
        config: MAX_GT_INSTANCES, MEAN_PIXEL, PARTIAL_LABELS, USE_RPN and USE_MASK are read.

    Returns:
        inputs: images [B, H, W, C] float32, molded; image_metas [B, META]; rpn_match
            [B, A, 1] int32; rpn_bbox [B, RPN_TRAIN_ANCHORS_PER_IMAGE, 4]; gt_class_ids
            [B, MAX_GT_INSTANCES] int32; gt_boxes [B, MAX_GT_INSTANCES, 4] int32 pixels;
            gt_masks [B, mask height, mask width, MAX_GT_INSTANCES] bool; all zero padded.
            Without USE_RPN the third and fourth, without USE_MASK the masks are left out.
            With PARTIAL_LABELS, also gt_weights [B, MAX_GT_INSTANCES, (label, mask)] float32.
            With random ROIs, also rpn_rois [B, count, 4] int32, or without USE_RPN the proposals
            [B, POST_NMS_ROIS_TRAINING, 4] float32. With detection targets also rois
            [B, TRAIN_ROIS_PER_IMAGE, 4].
        outputs: with detection targets class ids [B, TRAIN_ROIS_PER_IMAGE, 1], deltas
            [B, TRAIN_ROIS_PER_IMAGE, NUM_CLASSES, 4], masks [B, TRAIN_ROIS_PER_IMAGE,
            height, width, NUM_CLASSES]; otherwise empty.
    """
    first = examples[0]
    count = len(examples)
    num_gt = config.MAX_GT_INSTANCES
    images = np.empty((count, *first.image.shape), np.float32)
    class_ids = np.zeros((count, num_gt), np.int32)
    boxes = np.zeros((count, num_gt, 4), np.int32)
    masks = np.zeros((count, *first.masks.shape[:2], num_gt), first.masks.dtype)
    weights = np.zeros((count, num_gt, 2), np.float32)
    for index, example in enumerate(examples):
        mold_image(example.image, config, out=images[index])
        size = len(example.class_ids)
        class_ids[index, :size] = example.class_ids
        boxes[index, :size] = example.boxes
        masks[index, :, :, :size] = example.masks
        weights[index, :size] = example.weights
    inputs = [images, np.stack([example.image_meta for example in examples])]
    if config.USE_RPN:
        inputs.append(np.stack([np.asarray(example.rpn_match)[:, None] for example in examples]))
        inputs.append(np.stack([np.asarray(example.rpn_bbox) for example in examples]))
    inputs += [class_ids, boxes]
    if config.USE_MASK:
        inputs.append(masks)
    if config.PARTIAL_LABELS:
        inputs.append(weights)
    outputs: list[np.ndarray] = []
    if first.rpn_rois is not None:
        inputs.append(np.stack([np.asarray(example.rpn_rois) for example in examples]))
    if first.detection is not None:
        detections = [example.detection for example in examples if example.detection is not None]
        rois, roi_class_ids, deltas, roi_masks = (np.stack(parts) for parts in zip(*detections))
        inputs.append(rois)
        outputs = [roi_class_ids[..., np.newaxis], deltas, roi_masks]
    return inputs, outputs
