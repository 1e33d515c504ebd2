"""What a step that runs on several devices shares between them.

TensorFlow's `MirroredStrategy` runs the same function once for each device ("replica"), on that
device's part of the batch. Where a value belongs to the whole batch (how many anchors count, the
random numbers) it is put together here, so that losses, gradients and choices are those of one
device with the whole batch. JAX partitions one program over the devices by itself; there, on torch
and on one device these functions do nothing.
"""

import keras


def num_replicas():
    """How many devices the current step runs on: 1 outside of a distributed step."""
    context = _context()
    return context.num_replicas_in_sync if context else 1


def sum_over_replicas(tensor):
    """The sum of a tensor over all devices, on each of them. It passes no gradient on."""
    context = _context()
    if context is None:
        return tensor
    return context.all_reduce("SUM", keras.ops.stop_gradient(tensor))


def rows_of_replica(make_rows, num_rows):
    """This device's part of something with one row for each picture of the whole batch.

    Args:
        make_rows: function from the number of rows, those of all devices, to `[rows, ...]`.
        num_rows: pictures on one device, an int or a scalar tensor.

    Returns:
        `[num_rows, ...]`.
    """
    context = _context()
    if context is None:
        return make_rows(num_rows)
    rows = make_rows(num_rows * context.num_replicas_in_sync)
    return rows[context.replica_id_in_sync_group * num_rows :][:num_rows]


def _context():
    """TensorFlow's replica context where there are several, otherwise None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
