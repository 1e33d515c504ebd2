"""Operations that OpenVINO computes otherwise than TensorFlow unless they are rewritten."""

import importlib.util

import keras
import numpy as np
import pytest

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs openvino: pip install openvino", allow_module_level=True)
if keras.backend.backend() != "tensorflow":
    pytest.skip("OpenVINO reads Keras on TensorFlow", allow_module_level=True)

import openvino as ov
import tensorflow as tf

from mrcnn.engines.conversion import read_function
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.nms import gather_rows, non_max_suppression_graph
from mrcnn.layers.portable_nms import portable_nms


def convert(function, *inputs, batch=None):
    """Return the OpenVINO model of a function of arrays, and what that computes.

    With a known `batch` OpenVINO computes some operations in another way.
    """
    names = [f"in_{number}" for number in range(len(inputs))]
    signature = [
        tf.TensorSpec((batch, *x.shape[1:]), x.dtype, name=name) for name, x in zip(names, inputs)
    ]
    run = tf.function(function, input_signature=signature, autograph=False)
    model = read_function(run.get_concrete_function())
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    by_name = dict(zip(names, inputs))
    found = compiled({tensor: by_name[tensor.get_any_name()] for tensor in compiled.inputs})
    return model, found[0]


# 8 to 64 bytes a row, and rows on either side of that.
@pytest.mark.parametrize("width", [1, 2, 4, 6, 8, 16, 17, 64])
@pytest.mark.parametrize("batch,count", [(1, 16), (1, 300), (3, 20)])
@pytest.mark.parametrize("is_known", [False, True])
def test_rows_of_a_batch(width, batch, count, is_known):
    values = np.arange(batch * 1100 * width, dtype=np.float32).reshape(batch, 1100, width)
    indices = np.random.RandomState(0).randint(-1, 1100, (batch, count)).astype(np.int32)
    model, found = convert(gather_rows, values, indices, batch=batch if is_known else None)
    expected = np.take_along_axis(values, np.maximum(indices, 0)[..., None], axis=1)
    np.testing.assert_array_equal(found, expected * (indices >= 0)[..., None])
    gathers = [op for op in model.get_ordered_ops() if op.get_type_name() == "Gather"]
    assert [op.get_attributes()["batch_dims"] for op in gathers] == [0] * len(gathers)


@pytest.mark.parametrize("rank", [2, 3])
def test_elements_of_a_batch(rank):
    values = np.random.RandomState(0).rand(*(2, 30, 5)[:rank]).astype(np.float32)
    indices = np.array([[29, 0, 7], [1, 1, 28]], np.int32).reshape(2, 3, *[1] * (rank - 2))
    _, found = convert(lambda x, i: take_along_axis(x, i, axis=1), values, indices)
    np.testing.assert_array_equal(found, np.take_along_axis(values, indices, axis=1))


@pytest.mark.parametrize("count,outputs", [(400, 60), (1100, 300), (2000, 1000)])
@pytest.mark.parametrize("batch", [None, 1, 2])
def test_suppression_of_many_boxes(count, outputs, batch):
    random = np.random.RandomState(0)
    shape = (batch or 2, count, 2)
    corner, sides = random.rand(*shape), 0.02 + 0.15 * random.rand(*shape)
    boxes = np.concatenate([corner, corner + sides], -1).astype(np.float32)
    scores = random.rand(*shape[:2]).astype(np.float32)
    expected = non_max_suppression_graph(boxes, scores, outputs, 0.7)
    with portable_nms():
        _, found = convert(
            lambda b, s: non_max_suppression_graph(b, s, outputs, 0.7), boxes, scores, batch=batch
        )
    np.testing.assert_array_equal(found, expected)
