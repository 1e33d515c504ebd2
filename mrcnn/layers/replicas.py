"""Values that a training step on several devices shares between them.

TensorFlow's `MirroredStrategy` runs the same function once for each device ("replica"), on that
device's part of the batch. Values of the whole batch (how many anchors count, the random numbers)
are combined here, so that losses, gradients and choices are those of one device with the whole
batch. JAX partitions one program over the devices itself; there, on torch and on one device
these functions do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mrcnn.layers.types import Tensor


def num_replicas() -> int:
    """Return how many devices the current step runs on: 1 outside of a distributed step."""
    context = _context()
    return context.num_replicas_in_sync if context else 1


def sum_over_replicas(tensor: Tensor) -> Tensor:
    """Sum a tensor over all devices. Each of them gets the sum, which has no gradient."""
    context = _context()
    if context is None:
        return tensor
    return context.all_reduce("SUM", keras.ops.stop_gradient(tensor))


def rows_of_replica(make_rows: Callable[[Any], Tensor], num_rows: Any) -> Tensor:
    """Take this device's part of a tensor with one row for each image of the whole batch.

    Args:
        make_rows: function from the number of rows of all devices to `[rows, ...]`.
        num_rows: images on one device, an int or a scalar tensor.

    Returns:
        `[num_rows, ...]`.
    """
    context = _context()
    if context is None:
        return make_rows(num_rows)
    rows = make_rows(num_rows * context.num_replicas_in_sync)
    return rows[context.replica_id_in_sync_group * num_rows :][:num_rows]


def _context() -> Any:
    """Return TensorFlow's replica context where there are several replicas, otherwise None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
