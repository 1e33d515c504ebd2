"""Selection of elements by an index tensor, and the index of the largest."""

from __future__ import annotations

import keras
from keras import ops

from mrcnn.layers.types import Tensor


def take_along_axis(values: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Compute `ops.take_along_axis` without 64-bit indices on TensorFlow.

    Keras on TensorFlow casts the indices to int64 and transposes them. oneDNN has no such transpose
    and reports an error on stderr before TensorFlow falls back to its own. Neither the cast nor the
    transpose is needed here.

    Args:
        values: tensor of rank R.
        indices: integer tensor of rank R, 0 or greater; the axes before `axis` broadcast to those
            of `values`, the axes after it have size 1.
        axis: the axis that `indices` refer to, -R..R - 1.

    Returns:
        `values` with `indices.shape[axis]` elements along `axis`.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take_along_axis(values, indices, axis=axis)
    import tensorflow as tf

    values, indices = tf.convert_to_tensor(values), ops.cast(indices, "int32")
    rank = len(values.shape)
    axis %= rank
    first = (..., *[0] * (rank - axis - 1))  # without the axes of size 1 at the end
    indices = indices[first]
    shape = tf.concat([tf.shape(values)[:axis], tf.shape(indices)[axis:]], axis=0)
    return tf.gather(values, tf.broadcast_to(indices, shape), axis=axis, batch_dims=axis)


def last_argmax(values: Tensor) -> Tensor:
    """Return the index of the largest value along the last axis, int32; ties go to the lower one.

    Keras on TensorFlow tells 0 from -0 with bit operations that other runtimes do not have.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.argmax(values, axis=-1), "int32")
    import tensorflow as tf

    return tf.argmax(values, axis=-1, output_type=tf.int32)
