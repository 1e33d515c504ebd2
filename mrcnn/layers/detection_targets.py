"""DetectionTargetLayer: choose proposals to train the heads on, and compute their targets.

Everything has a fixed size: positives come first, negatives next, zero rows fill the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.boxes import box_refinement_graph, is_real_box, overlaps_graph
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.nms import gather_rows
from mrcnn.layers.replicas import rows_of_replica
from mrcnn.layers.roi_align import bilinear_crops
from mrcnn.layers.types import Shape, Tensor

POSITIVE_IOU = 0.5
CROWD_IOU = 0.001
# With `PARTIAL_LABELS`: share of a proposal's area inside of an ignored box from which on it is not
# background.
IGNORED_SHARE = 0.5


def max_positives(rois_per_image: int, positive_ratio: float) -> int:
    """Return how many of an image's ROIs may be positive at most."""
    return int(rois_per_image * positive_ratio)


def _target_settings(config: Any) -> dict[str, Any]:
    """Return the keyword arguments of `DetectionTargetLayer` from a `Config`."""
    return {
        "rois_per_image": int(config.TRAIN_ROIS_PER_IMAGE),
        "positive_ratio": float(config.ROI_POSITIVE_RATIO),
        "bbox_std_dev": tuple(float(v) for v in config.BBOX_STD_DEV),
        "mask_shape": tuple(int(side) for side in config.MASK_SHAPE),
        "use_mini_mask": bool(config.USE_MINI_MASK),
        "partial_labels": bool(getattr(config, "PARTIAL_LABELS", False)),
        "with_masks": bool(getattr(config, "USE_MASK", True)),
    }


@keras.saving.register_keras_serializable(package="mrcnn")
class DetectionTargetLayer(keras.layers.Layer):
    """Subsample the proposals and compute the targets of the class, box and mask heads.

    A proposal is positive when it overlaps an object by at least 0.5, negative below that unless it
    lies on a crowd (a ground-truth box with a negative class id). At most `positive_ratio` of the
    `rois_per_image` are positive, and negatives keep that ratio: an image without positives gets
    no negatives either, as in Matterport's package.

    With `partial_labels` a negative class id marks any box to be ignored, and a proposal lies on it
    when half of the proposal's area does.

    Args:
        config: `Config`, read for the seven last arguments; they are ignored then.
        seed: of the random choice; None for another one each time.
        rois_per_image: `TRAIN_ROIS_PER_IMAGE`, ROIs to choose for each image.
        positive_ratio: `ROI_POSITIVE_RATIO`, above 0 and at most 1.
        bbox_std_dev: `BBOX_STD_DEV`, four standard deviations of the deltas.
        mask_shape: `MASK_SHAPE`, (height, width) of a target mask.
        use_mini_mask: `USE_MINI_MASK`, whether masks are cropped to their objects' boxes.
        partial_labels: `PARTIAL_LABELS`.
        with_masks: `USE_MASK`, whether there are masks and targets for them.
        **kwargs: as for `keras.layers.Layer`.

    Call with `[proposals, gt_class_ids, gt_boxes, gt_masks]`: proposals
    `[batch, N, (y1, x1, y2, x2)]` normalized, `gt_class_ids` `[batch, G]` int (0 is padding, below
    0 a crowd), `gt_boxes` `[batch, G, 4]` normalized, `gt_masks` `[batch, h, w, G]` bool, either
    mini masks or whole frames. With weights as a fifth tensor, `[batch, G, 2]` (of a label, and of
    its mask besides), the two last results are returned as well, and positives of objects with a
    mask are chosen before the others. Without masks, the fourth tensor is missing, and so are
    `target_mask` and `target_mask_weights` of the results.

    Returns, with T = `rois_per_image`:
        rois: `[batch, T, (y1, x1, y2, x2)]` normalized.
        target_class_ids: `[batch, T]` int32, 0 for negatives and padding.
        target_bbox: `[batch, T, (dy, dx, log(dh), log(dw))]` in standard deviations.
        target_mask: `[batch, T, mask height, mask width]` float32, 0 or 1.
        target_weights: `[batch, T]` float32, the weight of the label of a positive's object; 1
            for negatives and padding.
        target_mask_weights: `[batch, T]` float32, that weight times the weight of the mask;
            likewise.
    """

    def __init__(
        self,
        config: Any = None,
        seed: int | None = None,
        *,
        rois_per_image: int = 200,
        positive_ratio: float = 0.33,
        bbox_std_dev: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
        mask_shape: Sequence[int] = (28, 28),
        use_mini_mask: bool = True,
        partial_labels: bool = False,
        with_masks: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if config is not None:
            self._settings = _target_settings(config)
        else:
            self._settings = {
                "rois_per_image": rois_per_image,
                "positive_ratio": positive_ratio,
                "bbox_std_dev": tuple(bbox_std_dev),
                "mask_shape": tuple(mask_shape),
                "use_mini_mask": use_mini_mask,
                "partial_labels": partial_labels,
                "with_masks": with_masks,
            }
        self.rois_per_image = self._settings["rois_per_image"]
        self.max_positives = max_positives(self.rois_per_image, self._settings["positive_ratio"])
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        proposals, gt_class_ids, gt_boxes, *rest = inputs
        with_masks = self._settings["with_masks"]
        gt_masks, gt_weights = rest[: int(with_masks)], rest[int(with_masks) :]
        gt_class_ids = ops.cast(gt_class_ids, "int32")
        positive, negative, overlaps = _match(
            proposals, gt_class_ids, gt_boxes, self._settings["partial_labels"]
        )
        preferred = _has_mask(gt_weights[0], overlaps) if gt_weights and with_masks else None
        chosen, is_positive = self._sample(positive, negative, preferred)

        rois = gather_rows(proposals, chosen)
        overlaps = gather_rows(overlaps, ops.where(is_positive, chosen, -1))
        assigned = ops.cast(ops.argmax(overlaps, axis=-1), "int32")
        assigned = ops.where(is_positive, assigned, -1)

        class_ids = gather_rows(ops.expand_dims(gt_class_ids, -1), assigned)[..., 0]
        std_dev = ops.convert_to_tensor(self._settings["bbox_std_dev"], "float32")
        matched_boxes = gather_rows(gt_boxes, assigned)
        deltas = box_refinement_graph(rois, matched_boxes) / std_dev
        deltas = ops.where(ops.expand_dims(is_positive, -1), deltas, 0.0)
        # The deltas keep their gradient: in Matterport's training the box loss reaches the RPN
        # through the proposals in its targets, and so it does here.
        targets = [ops.stop_gradient(rois), class_ids, deltas]
        if with_masks:
            masks = self._mask_targets(targets[0], matched_boxes, assigned, is_positive, *gt_masks)
            targets.append(ops.stop_gradient(masks))
        if gt_weights:
            weights = _weights_of(gt_weights[0], assigned)
            targets += weights if with_masks else weights[:1]
        return tuple(targets)

    def _sample(
        self, positive: Tensor, negative: Tensor, preferred: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Choose random positives, then random negatives in proportion.

        Args:
            positive: `[batch, N]` bool.
            negative: `[batch, N]` bool.
            preferred: `[batch, N]` bool, positives to choose before the others; None for none.

        Returns:
            chosen: `[batch, T]` int32 rows of the proposals, -1 for padding.
            is_positive: `[batch, T]` bool.
        """
        num_rois = self.rois_per_image
        num_candidates = positive.shape[1]
        limit = min(self.max_positives, num_candidates)

        def make_noise(num_images: Tensor) -> Tensor:
            return keras.random.uniform((num_images, num_candidates), seed=self.seed_generator)

        noise = rows_of_replica(make_noise, ops.shape(positive)[0])
        first = noise if preferred is None else noise + ops.cast(preferred, "float32")
        priority, positive_rows = ops.top_k(ops.where(positive, first, -1.0), limit)
        take_positive = priority >= 0
        num_positive = ops.sum(ops.cast(take_positive, "float32"), axis=1, keepdims=True)
        # The float32 product, cut off, is the original's count.
        ratio = np.float32(1.0 / self._settings["positive_ratio"])
        num_negative = ops.cast(ratio * num_positive, "int32") - ops.cast(num_positive, "int32")

        limit = min(num_rois, num_candidates)
        priority, negative_rows = ops.top_k(ops.where(negative, noise, -1.0), limit)
        take_negative = ops.logical_and(
            priority >= 0, ops.arange(limit, dtype="int32")[None, :] < num_negative
        )

        rows = ops.concatenate([positive_rows, negative_rows], axis=1)
        taken = ops.concatenate([take_positive, take_negative], axis=1)
        rows = ops.where(taken, ops.cast(rows, "int32"), -1)
        missing = max(num_rois - rows.shape[1], 0)
        rows = ops.pad(rows, [[0, 0], [0, missing]], constant_values=-1)
        # Close the gaps: rows that are taken move to the front, in order.
        order = np.arange(rows.shape[1], 0, -1, dtype=np.int32)
        _, front = ops.top_k(ops.where(rows >= 0, order, 0), num_rois)
        chosen = take_along_axis(rows, ops.cast(front, "int32"), axis=1)
        position = ops.arange(num_rois, dtype="int32")[None, :]
        return chosen, position < ops.cast(num_positive, "int32")

    def _mask_targets(
        self,
        rois: Tensor,
        gt_boxes: Tensor,
        assigned: Tensor,
        is_positive: Tensor,
        gt_masks: Tensor,
    ) -> Tensor:
        """Cut each positive ROI's part out of its object's mask: `[batch, T, h, w]` of 0 and 1."""
        limit = min(self.max_positives, rois.shape[1])
        rois, gt_boxes = rois[:, :limit], gt_boxes[:, :limit]
        boxes = _relative_boxes(rois, gt_boxes) if self._settings["use_mini_mask"] else rois
        batch_size, height, width = (ops.shape(gt_masks)[axis] for axis in range(3))
        num_objects = ops.shape(gt_masks)[3]
        # The masks of an image are interleaved. To transpose them would take a copy, and oneDNN has
        # no transpose for bool and reports that on stderr.
        table = ops.reshape(gt_masks, (-1, 1))
        image = ops.expand_dims(ops.arange(batch_size, dtype="int32"), -1)
        assigned = ops.maximum(assigned[:, :limit], 0)
        size = ops.ones_like(assigned)
        crops = bilinear_crops(
            table,
            image * (height * width * num_objects) + assigned,
            size * height,
            size * width,
            boxes,
            self._settings["mask_shape"],
            step=num_objects,
        )
        masks = ops.round(crops[..., 0])
        keep = ops.reshape(is_positive[:, :limit], (-1, limit, 1, 1))
        masks = ops.where(keep, masks, 0.0)
        missing = self.rois_per_image - limit
        return ops.pad(masks, [[0, 0], [0, missing], [0, 0], [0, 0]])

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> tuple[Shape, ...]:
        batch_size, num_rois = input_shape[0][0], self.rois_per_image
        num_masks = int(self._settings["with_masks"])
        has_weights = len(input_shape) > 3 + num_masks
        return (
            (batch_size, num_rois, 4),
            (batch_size, num_rois),
            (batch_size, num_rois, 4),
            *[(batch_size, num_rois, *self._settings["mask_shape"])] * num_masks,
            *([(batch_size, num_rois)] * (1 + num_masks) if has_weights else []),
        )

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> tuple[keras.KerasTensor, ...]:
        shapes = self.compute_output_shape([x.shape for x in inputs])
        dtypes = ("float32", "int32", *["float32"] * (len(shapes) - 2))
        return tuple(keras.KerasTensor(s, dtype=d) for s, d in zip(shapes, dtypes))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed, **self._settings}


def _has_mask(gt_weights: Tensor, overlaps: Tensor) -> Tensor:
    """Return `[batch, N]` bool: whether the object that a proposal overlaps most has a mask.

    Such positives come first, so that the mask head is not applied to objects without a mask
    instead.
    """
    nearest = ops.cast(ops.argmax(overlaps, axis=-1), "int32")
    return gather_rows(ops.cast(gt_weights, "float32"), nearest)[..., 1] > 0


def _weights_of(gt_weights: Tensor, assigned: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of the label and of the mask of the assigned objects, `[batch, T]` each.

    Args:
        gt_weights: `[batch, G, (label, mask)]`.
        assigned: `[batch, T]` int32, the object of each positive; -1 elsewhere, where both are 1.
    """
    weights = gather_rows(ops.cast(gt_weights, "float32"), assigned)
    weights = ops.where(ops.expand_dims(assigned >= 0, -1), weights, 1.0)
    return weights[..., 0], weights[..., 0] * weights[..., 1]


def _match(
    proposals: Tensor, gt_class_ids: Tensor, gt_boxes: Tensor, partial_labels: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Compare proposals and objects.

    Returns:
        positive, negative: `[batch, N]` bool.
        overlaps: `[batch, N, G]` with objects that are no crowds, -1 elsewhere.
    """
    overlaps = overlaps_graph(proposals, gt_boxes)
    real_gt = is_real_box(gt_boxes)
    is_object = ops.expand_dims(ops.logical_and(real_gt, gt_class_ids > 0), 1)
    is_crowd = ops.expand_dims(ops.logical_and(real_gt, gt_class_ids < 0), 1)
    overlaps_objects = ops.where(is_object, overlaps, -1.0)
    best = ops.max(overlaps_objects, axis=-1)
    limit = CROWD_IOU
    if partial_labels:
        # intersection = IoU * union and union = areas / (1 + IoU)
        areas = ops.expand_dims(_areas(proposals), -1)
        overlaps = overlaps / (1.0 + overlaps) * (areas + ops.expand_dims(_areas(gt_boxes), 1))
        overlaps = overlaps / ops.where(areas > 0.0, areas, 1.0)
        limit = IGNORED_SHARE
    on_crowd = ops.max(ops.where(is_crowd, overlaps, 0.0), axis=-1) >= limit
    real = is_real_box(proposals)
    positive = ops.logical_and(real, best >= POSITIVE_IOU)
    negative = ops.logical_and(real, best < POSITIVE_IOU)
    negative = ops.logical_and(negative, ops.logical_not(on_crowd))
    return positive, negative, overlaps_objects


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _relative_boxes(rois: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return ROIs in coordinates of their object's box, where the mini mask fills 0..1."""
    origin = ops.concatenate([gt_boxes[..., :2], gt_boxes[..., :2]], axis=-1)
    size = gt_boxes[..., 2:] - gt_boxes[..., :2]
    size = ops.concatenate([size, size], axis=-1)
    return (rois - origin) / ops.where(size > 0.0, size, 1.0)
