"""An optimizer for a model whose variables are on several devices.

Keras 3 on TensorFlow clips the gradients of each device separately and sums them afterwards. Steps
would then depend on how many devices share a batch. Here they are summed first, so every device
clips, and derives its momentum from, the gradient that one device would have had. On JAX, where
each device runs the step on its part of the batch, nothing else sums them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.layers.replicas import sum_over_replicas
from mrcnn.training.schedules import renew_optimizer


class SummedGradients:
    """Mix-in ahead of an optimizer's class: gradients are summed over the devices first."""

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        """Sum the gradients, then apply them as the optimizer does."""
        grads = [grad if grad is None else sum_over_replicas(grad) for grad in grads]
        return super().apply(grads, trainable_variables)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        """Return the gradients unchanged: Keras would sum them a second time."""
        return list(grads_and_vars)


class SummedStatelessGradients:
    """The same for JAX, where Keras calls an optimizer without state of its own."""

    def stateless_apply(
        self, optimizer_variables: Any, grads: Sequence[Any], trainable_variables: Any
    ) -> Any:
        """Sum the gradients, then apply them as the optimizer does."""
        grads = [grad if grad is None else sum_over_replicas(grad) for grad in grads]
        return super().stateless_apply(  # type: ignore[misc]
            optimizer_variables, grads, trainable_variables
        )


def spread_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    """Return a new optimizer of the same settings, with its variables on all devices.

    Must be called in the scope of those devices, `mrcnn.training.devices.scope`.

    Args:
        optimizer: a Keras optimizer, or what else `compile` accepts as one.
    """
    optimizer = keras.optimizers.get(optimizer)
    kind = type(optimizer)
    backend = keras.backend.backend()
    summing = SummedGradients if backend == "tensorflow" else SummedStatelessGradients
    if not issubclass(kind, summing):
        kind = type(kind.__name__, (summing, kind), {"__module__": kind.__module__})
    return renew_optimizer(optimizer, kind)
