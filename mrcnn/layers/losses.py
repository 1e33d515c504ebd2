"""The five losses of Mask R-CNN. Each is a float32 scalar, 0 where nothing can be learned.

RPN: Ren et al. 2015 (Faster R-CNN), equation 1. Heads: He et al. 2017 (Mask R-CNN), section 3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.nms import gather_rows
from mrcnn.layers.replicas import num_replicas, sum_over_replicas
from mrcnn.layers.types import Shape, Tensor

_EPSILON = 1e-7


def _mean_where(values: Tensor, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average the values where `wanted` is 1 and not 0; 0 when there are none.

    `weights`, of the first axes of `values`, are factors of the values. Values of weight 0 do not
    count; those of a small weight count as one value each, so that they lower the mean.

    When several devices share a batch, the sum is divided by the number wanted on all of them: the
    average of their results is then the mean over the batch, also where one has few and another
    many.
    """
    if weights is not None:
        (weights,) = _float32(weights)
        missing = len(values.shape) - len(weights.shape)
        weights = ops.reshape(weights, (*ops.shape(weights), *([1] * missing)))
        wanted = wanted * ops.cast(weights > 0, "float32")
        values = values * weights
    count = ops.maximum(sum_over_replicas(ops.sum(wanted)), 1.0)
    return ops.sum(values * wanted) / (count / num_replicas())


def _float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(ops.cast(t, "float32") for t in tensors)


def smooth_l1_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Compute the smooth L1 loss of each element (Fast R-CNN, equation 3).

    Returns:
        The shape of the arguments: quadratic below a difference of 1, linear above.
    """
    difference = ops.abs(y_true - y_pred)
    return ops.where(difference < 1.0, 0.5 * difference * difference, difference - 0.5)


def _sparse_cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """Compute `-log softmax(logits)[label]` from labels `[...]` and logits `[..., classes]`."""
    shifted = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    log_sum = ops.log(ops.sum(ops.exp(shifted), axis=-1))
    index = ops.expand_dims(labels, -1)
    return log_sum - ops.squeeze(take_along_axis(shifted, index, axis=-1), -1)


def rpn_class_loss_graph(rpn_match: Tensor, rpn_class_logits: Tensor) -> Tensor:
    """Compute the loss of foreground against background, over the anchors that are not neutral.

    Args:
        rpn_match: `[batch, anchors, 1]`: 1 positive, -1 negative, 0 neutral.
        rpn_class_logits: `[batch, anchors, (bg, fg)]`.
    """
    match = ops.squeeze(rpn_match, -1)
    (logits,) = _float32(rpn_class_logits)
    # Two classes need no softmax: -log p = softplus(other - own).
    margin = logits[..., 1] - logits[..., 0]
    loss = ops.softplus(ops.where(match == 1, -margin, margin))
    return _mean_where(loss, ops.cast(match != 0, "float32"))


def rpn_bbox_loss_graph(
    config: Any, target_bbox: Tensor, rpn_match: Tensor, rpn_bbox: Tensor
) -> Tensor:
    """Compute the loss of the box deltas of the positive anchors.

    Args:
        config: unused; part of Matterport's signature.
        target_bbox: `[batch, max positives, 4]`: row i belongs to the i-th positive anchor.
        rpn_match: `[batch, anchors, 1]`.
        rpn_bbox: `[batch, anchors, 4]` in standard deviations.
    """
    del config
    positive = ops.squeeze(rpn_match, -1) == 1
    target_bbox, rpn_bbox = _float32(target_bbox, rpn_bbox)
    # Positives are few among 260,000 anchors: fetch the i-th positive for each target row.
    num_targets = target_bbox.shape[1]
    num_anchors = rpn_bbox.shape[1]
    if num_anchors is None:
        num_anchors = ops.shape(rpn_bbox)[1]
    position = ops.arange(num_anchors, 0, -1, dtype="int32")
    first, rows = ops.top_k(ops.where(positive, position, 0), num_targets)
    rows = ops.where(first > 0, ops.cast(rows, "int32"), -1)
    loss = smooth_l1_loss(target_bbox, gather_rows(rpn_bbox, rows))
    wanted = ops.cast(ops.expand_dims(rows >= 0, -1), "float32") * ops.ones_like(loss)
    return _mean_where(loss, wanted)


def mrcnn_class_loss_graph(
    target_class_ids: Tensor,
    pred_class_logits: Tensor,
    active_class_ids: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Compute the classification loss of the ROIs.

    A ROI whose predicted class does not exist in its image's dataset (`active_class_ids` 0) does
    not count.

    Args:
        target_class_ids: `[batch, N]`, 0 for background and padding.
        pred_class_logits: `[batch, N, num_classes]`.
        active_class_ids: `[batch, num_classes]` of 0 and 1. Matterport's package used the first
            image's row for the whole batch; here each image has its own.
        weights: `[batch, N]`, factor of each ROI's loss; 0 leaves it out. None for 1.
    """
    (logits,) = _float32(pred_class_logits)
    labels = ops.cast(target_class_ids, "int32")
    active = ops.cast(active_class_ids, "float32")
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    predicted_active = take_along_axis(active, predicted, axis=1)
    return _mean_where(_sparse_cross_entropy(labels, logits), predicted_active, weights)


def _of_target_class(predictions: Tensor, target_class_ids: Tensor) -> Tensor:
    """Take each ROI's own class: `[batch, N, ...]` from `[batch, N, num_classes, ...]`."""
    extra_axes = len(predictions.shape) - 3
    index = ops.reshape(target_class_ids, (*ops.shape(target_class_ids), 1, *([1] * extra_axes)))
    return ops.squeeze(take_along_axis(predictions, index, axis=2), axis=2)


def mrcnn_bbox_loss_graph(
    target_bbox: Tensor,
    target_class_ids: Tensor,
    pred_bbox: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Compute the loss of the box deltas of the positive ROIs.

    Args:
        target_bbox: `[batch, N, (dy, dx, log(dh), log(dw))]`.
        target_class_ids: `[batch, N]`; above 0 is positive.
        pred_bbox: `[batch, N, num_classes, 4]`.
        weights: `[batch, N]`, factor of each ROI's loss; 0 leaves it out. None for 1.
    """
    target_bbox, pred_bbox = _float32(target_bbox, pred_bbox)
    class_ids = ops.maximum(ops.cast(target_class_ids, "int32"), 0)
    loss = smooth_l1_loss(target_bbox, _of_target_class(pred_bbox, class_ids))
    positive = ops.cast(ops.expand_dims(target_class_ids > 0, -1), "float32")
    return _mean_where(loss, positive * ops.ones_like(loss), weights)


def mrcnn_mask_loss_graph(
    target_masks: Tensor,
    target_class_ids: Tensor,
    pred_masks: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Compute the binary cross-entropy of the positive ROIs' masks, on their own class's channel.

    Args:
        target_masks: `[batch, N, height, width]` of 0 and 1.
        target_class_ids: `[batch, N]`; above 0 is positive.
        pred_masks: `[batch, N, height, width, num_classes]` probabilities.
        weights: `[batch, N]`, factor of each ROI's loss; 0 leaves it out, as for an object
            without a mask. None for 1.
    """
    target_masks, pred_masks = _float32(target_masks, pred_masks)
    class_ids = ops.maximum(ops.cast(target_class_ids, "int32"), 0)
    index = ops.reshape(class_ids, (*ops.shape(class_ids), 1, 1, 1))
    masks = ops.squeeze(take_along_axis(pred_masks, index, axis=4), axis=4)
    masks = ops.clip(masks, _EPSILON, 1.0 - _EPSILON)
    loss = -(target_masks * ops.log(masks) + (1.0 - target_masks) * ops.log(1.0 - masks))
    positive = ops.cast(target_class_ids > 0, "float32")
    positive = ops.reshape(positive, (*ops.shape(positive), 1, 1))
    return _mean_where(loss, positive * ops.ones_like(loss), weights)


# The functions of the five losses, by the names of their layers.
LOSS_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "rpn_class_loss": rpn_class_loss_graph,
    "rpn_bbox_loss": functools.partial(rpn_bbox_loss_graph, None),
    "mrcnn_class_loss": mrcnn_class_loss_graph,
    "mrcnn_bbox_loss": mrcnn_bbox_loss_graph,
    "mrcnn_mask_loss": mrcnn_mask_loss_graph,
}


@keras.saving.register_keras_serializable(package="mrcnn")
class LossLayer(keras.layers.Layer):
    """A loss as a layer, so that its value is an output of the model.

    Args:
        loss: name of the loss in `LOSS_FUNCTIONS`; also the layer's name, unless `name` is given.
        **kwargs: as for `keras.layers.Layer`.

    Call with the list of the function's tensors (`rpn_bbox_loss`: without the config; the three
    losses of the heads also with weights). Returns a float32 scalar.

    Raises:
        ValueError: `loss` is not the name of a loss.
    """

    def __init__(self, loss: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", "name": loss, **kwargs})
        if loss not in LOSS_FUNCTIONS:
            raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(LOSS_FUNCTIONS)}")
        self.loss = loss

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        return LOSS_FUNCTIONS[self.loss](*inputs)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return ()

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        return keras.KerasTensor((), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": self.loss}
