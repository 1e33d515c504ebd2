"""Losses of semantic segmentation: cross entropy, Dice, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn.layers.types import Tensor

LOSSES = ("cross_entropy", "dice", "cross_entropy+dice")
_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="mrcnn")
class SemanticLoss(keras.losses.Loss):
    """Loss of logits against label maps; void pixels do not count.

    With t the true class (0 or 1) and p the predicted probability of a pixel's class k, w its
    weight, and sums over the pixels of an image that are not void:

    * cross entropy: sum(-w log p of the true class) / sum(w of the true class),
    * Dice: 1 - the mean, weighted by w, of 2 sum(t p) / (sum(t) + sum(p)) over the classes that
      occur in the image (Sudre et al. 2017).

    An image that is void altogether has the loss 0.

    Args:
        num_classes: classes, those of background included.
        kind: one of `LOSSES`.
        class_weights: a weight of at least 0 for each class; None for 1.

    Raises:
        ValueError: an argument breaks its rule.
    """

    def __init__(
        self,
        num_classes: int,
        kind: str = "cross_entropy",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(name="semantic_loss", reduction="sum_over_batch_size")
        if kind not in LOSSES:
            raise ValueError(f"loss is {kind!r}; it must be one of {', '.join(LOSSES)}")
        weights = np.ones(num_classes) if class_weights is None else np.asarray(class_weights)
        if weights.shape != (num_classes,) or not (weights >= 0).all() or not weights.any():
            raise ValueError(
                f"class_weights is {class_weights}; it must have a number of at least 0 for each "
                f"of the {num_classes} classes, and one above 0"
            )
        self.num_classes = num_classes
        self.kind = kind
        self.class_weights = weights.astype(np.float32)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Compute the losses `[B]` of labels `[B, H, W]` and logits `[B, H, W, classes]`."""
        logits = ops.cast(y_pred, "float32")
        # Void is none of the classes: its row is zero.
        numbers = np.arange(self.num_classes, dtype=np.int32)
        labels = ops.expand_dims(ops.cast(y_true, "int32"), -1)
        truth = ops.cast(ops.equal(labels, numbers), "float32")
        losses = 0.0
        if "cross_entropy" in self.kind:
            losses = losses + self._cross_entropy(truth, logits)
        if "dice" in self.kind:
            losses = losses + self._dice(truth, ops.softmax(logits))
        return losses

    def _cross_entropy(self, truth: Tensor, logits: Tensor) -> Tensor:
        weighted = truth * ops.convert_to_tensor(self.class_weights)
        total = ops.sum(weighted, axis=(1, 2, 3))
        return -ops.sum(weighted * ops.log_softmax(logits), axis=(1, 2, 3)) / (total + _EPSILON)

    def _dice(self, truth: Tensor, probabilities: Tensor) -> Tensor:
        valid = ops.sum(truth, axis=-1, keepdims=True)
        common = ops.sum(truth * probabilities, axis=(1, 2))
        of_truth = ops.sum(truth, axis=(1, 2))
        dice = 2 * common / (of_truth + ops.sum(valid * probabilities, axis=(1, 2)) + _EPSILON)
        occurs = ops.cast(of_truth > 0, "float32")
        weights = occurs * ops.convert_to_tensor(self.class_weights)
        return ops.sum(weights * (1 - dice), axis=-1) / (ops.sum(weights, axis=-1) + _EPSILON)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "kind": self.kind,
            "class_weights": self.class_weights.tolist(),
        }
