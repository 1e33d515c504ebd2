"""`take_along_axis` selects what NumPy's does, and keeps its indices in 32 bits."""

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers.indexing import take_along_axis


@pytest.mark.parametrize(
    ("shape", "index_shape", "axis"),
    [
        ((2, 5), (2, 3), 1),
        ((2, 5, 4), (2, 3, 1), 1),
        ((2, 3, 5, 4), (2, 3, 1, 1), 2),
        ((2, 3, 5), (2, 3, 1), -1),
        ((2, 3, 4, 4, 5), (2, 3, 1, 1, 1), 4),
        ((2, 5, 4), (2, 0, 1), 1),
    ],
)
def test_it_selects_what_numpy_selects(shape, index_shape, axis):
    random = np.random.RandomState(0)
    values = random.randn(*shape).astype(np.float32)
    index = random.randint(0, shape[axis], index_shape)
    for kind in ("int32", "int64"):
        found = take_along_axis(ops.convert_to_tensor(values), index.astype(kind), axis)
        expected = np.take_along_axis(values, index, axis)
        np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="reads a TensorFlow graph")
def test_tensorflow_handles_no_64_bit_indices():
    import tensorflow as tf

    signature = [
        tf.TensorSpec((None, None, 3, 4), "float32"),
        tf.TensorSpec((None, None, 1, 1), "int32"),
    ]
    select = tf.function(lambda values, index: take_along_axis(values, index, 2))
    graph = select.get_concrete_function(*signature).graph
    kinds = {tensor.dtype for op in graph.get_operations() for tensor in op.outputs}
    assert tf.int64 not in kinds
    assert graph.outputs[0].shape.as_list() == [None, None, 1, 4]
