"""oneDNN transposes floats alone, and TensorFlow reports any other type on stderr as an error."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("reads TensorFlow's graphs", allow_module_level=True)

import tensorflow as tf

from mrcnn import graphs
from tests.tiny import tiny_config


def transposed_types(model, training=False):
    """Names of the types of all transposes in the graph of a Keras model."""
    signature = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    run = tf.function(lambda *inputs: model(inputs, training=training), autograph=False)
    graph = run.get_concrete_function(*signature).graph
    inner = [function.graph for function in graph._functions.values()]
    return {
        op.get_attr("T").name
        for one in (graph, *inner)
        for op in one.get_operations()
        if op.type == "Transpose"
    }


@pytest.fixture(scope="module")
def shared():
    return graphs.SharedLayers(tiny_config())


@pytest.mark.parametrize("make", [graphs.detection_graph, graphs.mask_graph])
def test_of_detection(make, shared):
    assert transposed_types(make(shared)) <= {"float32"}


def test_of_training(shared):
    model = graphs.training_graph(shared)
    assert transposed_types(model, training=True) <= {"float32"}
