"""Which devices train a model together: what `GPU_COUNT` asks for, and what there is.

Training is data-parallel: every device holds all weights and gets an equal part of each batch, and
the gradients are added up before the weights change. TensorFlow does so with
`tf.distribute.MirroredStrategy`, JAX with `keras.distribution.DataParallel`; Keras on torch has one
device. `BATCH_SIZE` is that of all devices together and stays the same however many there are.
"""

import contextlib
import warnings

import keras


def device_names():
    """The devices that training can be spread over, as the backend names them: the GPUs, or where
    there are none the CPUs (one, unless the backend was told to split it).
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]
    if backend == "jax":
        return keras.distribution.list_devices()
    return ["torch's default device"]


def choose(gpu_count, batch_size=None):
    """The distribution of a training over the devices of this machine.

    Args:
        gpu_count: number of devices wanted, at least 1.
        batch_size: pictures of a step on all devices together, `BATCH_SIZE`: every device must get
            equally many. None leaves that to whoever makes the batches.

    Returns:
        A `MirroredStrategy` or a `DataParallel` over at most so many devices; None for one device.
        When they are fewer than asked for, a warning says so.
    """
    if gpu_count == 1:
        return None
    names = device_names()
    count = min(gpu_count, len(names))
    while batch_size and batch_size % count:
        count -= 1
    if count < gpu_count:
        warnings.warn(_why_fewer(gpu_count, batch_size, count, len(names)), stacklevel=2)
    return None if count == 1 else _spread_over(names[:count])


def _spread_over(names):
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=names)
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _why_fewer(gpu_count, batch_size, count, available):
    backend = keras.backend.backend()
    reason = f"{backend} has {available} here"
    if backend == "torch":
        reason = "Keras on torch trains on one; KERAS_BACKEND=tensorflow or jax takes several"
    elif available > count:
        reason += f", and each must get equally many of the {batch_size} pictures of a step"
    pictures = "the whole batch" if batch_size is None else f"BATCH_SIZE = {batch_size}"
    return (
        f"GPU_COUNT = {gpu_count}: must not exceed the number of devices ({reason}). Training on "
        f"{count} with {pictures} all the same; if memory runs out, lower IMAGES_PER_GPU."
    )


def scope(distribution):
    """The context in which a model of this distribution is built, compiled and trained."""
    return contextlib.nullcontext() if distribution is None else distribution.scope()


def current():
    """The distribution of the scope that this is called in, or None."""
    if keras.backend.backend() == "jax":
        return keras.distribution.distribution()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    return None


def is_mirrored(distribution):
    """Whether it is TensorFlow's: one program on every device, not one over all of them."""
    return distribution is not None and keras.backend.backend() == "tensorflow"


def spread_variables(model, distribution):
    """Copy the variables of a model that was built on one device to all devices."""
    with scope(distribution):
        for variable in model.variables:
            # What Keras itself does when it makes a variable. There is no public way to make it
            # anew, and the model's layers must keep the very same objects.
            variable._initialize(keras.ops.convert_to_numpy(variable))
