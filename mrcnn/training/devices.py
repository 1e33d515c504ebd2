"""The devices that train a model together: `GPU_COUNT` of those that the machine has.

Training is data-parallel: every device holds all weights and gets an equal part of each batch, and
the gradients are summed before the weights change. TensorFlow does so with
`tf.distribute.MirroredStrategy`, JAX with `keras.distribution.DataParallel`; Keras on torch uses
one device. `BATCH_SIZE` is that of all devices together and does not depend on their number. On
several hosts (`mrcnn.training.hosts`) all devices of all hosts take part.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from mrcnn.training import hosts

# A `tf.distribute.Strategy` or a `keras.distribution.Distribution`.
Distribution = Any


def device_names() -> list[str]:
    """Return the devices that training can be spread over, as the backend names them.

    These are the GPUs, or where there are none the CPUs (one, unless the backend was set to
    split it).
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]
    if backend == "jax":
        return list(keras.distribution.list_devices())
    return ["torch's default device"]


def select_devices(gpu_count: int, batch_size: int | None = None) -> Distribution | None:
    """Return the distribution of a training over the devices of this machine.

    Args:
        gpu_count: number of devices wanted, at least 1.
        batch_size: number of images of a step on all devices together, `BATCH_SIZE`: every device
            must get an equal number. None leaves that to whoever makes the batches.

    Returns:
        A `MirroredStrategy` or a `DataParallel` over at most `gpu_count` devices; None for one
        device. A warning is issued if there are fewer than `gpu_count`.

    Raises:
        ValueError: on several hosts, the batch cannot be divided equally among all devices.
    """
    if hosts.count() > 1:
        names = device_names()
        if batch_size is not None and batch_size % len(names):
            raise ValueError(
                f"BATCH_SIZE is {batch_size}; it must be a multiple of {len(names)}, the number of "
                f"devices of all {hosts.count()} processes"
            )
        return _spread_over(names)
    if gpu_count == 1:
        return None
    names = device_names()
    count = min(gpu_count, len(names))
    while batch_size and batch_size % count:
        count -= 1
    if count < gpu_count:
        warnings.warn(_why_fewer(gpu_count, batch_size, count, len(names)), stacklevel=2)
    return None if count == 1 else _spread_over(names[:count])


def _spread_over(names: Sequence[str]) -> Distribution:
    if keras.backend.backend() == "jax":
        # Hosts load their own shares of a batch.
        return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _why_fewer(gpu_count: int, batch_size: int | None, count: int, available: int) -> str:
    backend = keras.backend.backend()
    reason = f"{backend} has {available} here"
    if backend == "torch":
        reason = "Keras on torch trains on one; KERAS_BACKEND=tensorflow or jax uses several"
    elif available > count:
        reason += f", and each must get an equal part of the {batch_size} images of a step"
    batch = "the whole batch" if batch_size is None else f"BATCH_SIZE = {batch_size}"
    return (
        f"GPU_COUNT is {gpu_count}; it must not exceed the number of devices ({reason}). Training "
        f"on {count} with {batch}; if memory runs out, lower IMAGES_PER_GPU."
    )


def scope(distribution: Distribution | None) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a model of this distribution is built, compiled and trained."""
    return contextlib.nullcontext() if distribution is None else distribution.scope()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Compute without the other hosts inside the block, also within `scope`.

    What Keras makes in the scope of several hosts, all of them must make together.
    """
    if hosts.count() == 1:
        yield
        return
    outer = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(outer)


def current() -> Distribution | None:
    """Return the distribution of the scope that this is called in, or None."""
    if keras.backend.backend() == "jax":
        return keras.distribution.distribution()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    return None


def is_mirrored(distribution: Distribution | None) -> bool:
    """Return whether it is TensorFlow's: one program on every device, not one over all of them."""
    return distribution is not None and keras.backend.backend() == "tensorflow"


def spread_variables(model: keras.Model, distribution: Distribution | None) -> None:
    """Copy the variables of a model that was built on one device to all devices."""
    with scope(distribution):
        for variable in model.variables:
            # Keras itself does this when it makes a variable. No public function initializes a
            # variable again, and the layers of the model must keep the same objects.
            variable._initialize(keras.ops.convert_to_numpy(variable))
