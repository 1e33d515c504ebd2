"""An optimizer for a model whose variables are on several devices.

Keras 3 on TensorFlow clips the gradients of each device separately and sums them afterwards. Steps
would then depend on how many devices share a batch. Here they are summed first, so every device
clips, and derives its momentum from, the gradient that one device would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.layers.replicas import sum_over_replicas


class SummedGradients:
    """Mix-in ahead of an optimizer's class: gradients are summed over the devices first."""

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        """Sum the gradients, then apply them as the optimizer does."""
        grads = [grad if grad is None else sum_over_replicas(grad) for grad in grads]
        return super().apply(grads, trainable_variables)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        """Return them as they are: Keras would sum them here, a second time."""
        return list(grads_and_vars)


def spread_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    """Return a new optimizer of the same settings, with its variables on all devices.

    Must be called in the scope of those devices, `mrcnn.training.devices.scope`.

    Args:
        optimizer: a Keras optimizer, or what else `compile` accepts as one.
    """
    optimizer = keras.optimizers.get(optimizer)
    kind = type(optimizer)
    if keras.backend.backend() == "tensorflow" and not issubclass(kind, SummedGradients):
        kind = type(kind.__name__, (SummedGradients, kind), {"__module__": kind.__module__})
    return kind.from_config(optimizer.get_config())
