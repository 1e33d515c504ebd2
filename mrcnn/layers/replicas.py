"""Values that a training step on several devices shares between them.

TensorFlow's `MirroredStrategy` runs the same function once for each device ("replica"), on that
device's part of the batch, and `run_on_replicas` does the same on JAX. Values of the whole batch
(how many anchors count, the random numbers) are combined here, so that losses, gradients and
choices are those of one device with the whole batch. On torch and on one device these functions do
nothing.

JAX could partition one program over the devices instead. It then gathers the feature pyramid of
the whole batch on every device for ROIAlign, twice a step: 89 MB an image of 1024 x 1024.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from mrcnn.layers.types import Tensor


@dataclass(frozen=True)
class _JaxReplicas:
    """What TensorFlow's replica context offers, inside of `run_on_replicas`."""

    num_replicas_in_sync: int
    axis: str

    @property
    def replica_id_in_sync_group(self) -> Tensor:
        import jax

        return jax.lax.axis_index(self.axis)

    def all_reduce(self, reduction: str, tensor: Tensor) -> Tensor:
        import jax

        del reduction  # TensorFlow has others, which are not used
        return jax.lax.psum(tensor, self.axis)


_jax_replicas: contextvars.ContextVar[_JaxReplicas | None] = contextvars.ContextVar(
    "mrcnn_jax_replicas", default=None
)


def run_on_replicas(step: Callable[..., Any], distribution: Any) -> Callable[..., Any]:
    """Return a step of JAX that runs once for each device, on its part of the batch.

    Args:
        step: function `(state, batch) -> (logs, state)`, whose results are the same on all devices.
        distribution: a `keras.distribution.DataParallel`.

    Returns:
        A function of the same arguments and results. JAX before 0.6 has no `jax.shard_map`; there
        it is `step` itself, which JAX partitions.
    """
    import jax

    if not hasattr(jax, "shard_map"):
        return step
    mesh, axis = distribution.device_mesh.backend_mesh, distribution.batch_dim_name

    def run(state: Any, batch: Any) -> Any:
        token = _jax_replicas.set(_JaxReplicas(mesh.size, axis))
        try:
            return step(state, batch)
        finally:
            _jax_replicas.reset(token)

    whole, part = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(axis)
    return jax.shard_map(
        run, mesh=mesh, in_specs=(whole, part), out_specs=(whole, whole), check_vma=False
    )


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


def num_joined() -> int:
    """Return over how many devices `mean_if_joined` averages: all on JAX, otherwise 1."""
    replicas = _jax_replicas.get()
    return replicas.num_replicas_in_sync if replicas else 1


def mean_if_joined(tensor: Tensor) -> Tensor:
    """Average a tensor over all devices, with gradient, on JAX; otherwise return it unchanged.

    For what TensorFlow computes on each device alone (the statistics of a batch) or averages itself
    (metrics).
    """
    replicas = _jax_replicas.get()
    if replicas is None:
        return tensor
    return replicas.all_reduce("SUM", tensor) / replicas.num_replicas_in_sync


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
    first = context.replica_id_in_sync_group * num_rows
    if isinstance(context, _JaxReplicas):
        return keras.ops.take(rows, first + keras.ops.arange(num_rows), axis=0)
    return rows[first:][:num_rows]


def _context() -> Any:
    """Return the replica context where there are several replicas, otherwise None."""
    if keras.backend.backend() != "tensorflow":
        return _jax_replicas.get()
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
