"""The portable suppression chooses what TensorFlow's own operations choose."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports need Keras on TensorFlow", allow_module_level=True)
import tensorflow as tf

from mrcnn.layers.nms import non_max_suppression_graph
from mrcnn.layers.portable_nms import portable_nms


def random_boxes(count, seed=0):
    """Boxes of two images; some without area, some scores equal, some absent."""
    random = np.random.RandomState(seed)
    corner, sides = random.rand(2, count, 2), 0.3 * random.rand(2, count, 2)
    sides[:, ::17] = 0
    boxes = np.concatenate([corner, corner + sides], -1).astype(np.float32)
    scores = random.rand(2, count).astype(np.float32)
    scores[:, ::5], scores[:, ::7] = 0.5, -1
    return boxes, scores, random.randint(0, 4, (2, count)).astype(np.int32)


# More boxes than a tile of 512 holds; more outputs than boxes.
@pytest.mark.parametrize("count,outputs", [(1300, 60), (600, 600), (40, 100), (1, 3)])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_it_chooses_what_tensorflow_chooses(count, outputs, by_class, threshold):
    boxes, scores, class_ids = random_boxes(count)
    classes = class_ids if by_class else None
    expected = non_max_suppression_graph(boxes, scores, outputs, threshold, classes)
    with portable_nms():
        found = non_max_suppression_graph(
            tf.constant(boxes), tf.constant(scores), outputs, threshold,
            None if classes is None else tf.constant(classes),
        )  # fmt: skip
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (2, outputs)


def test_a_chain_of_boxes_takes_many_rounds():
    # Each box suppresses the next, if it survives: every second one does.
    y = np.arange(64, dtype=np.float32) * 0.01
    boxes = np.stack([y, 0 * y, y + 0.03, 0 * y + 1], axis=-1)[None]
    scores = np.linspace(1, 0.1, 64, dtype=np.float32)[None]
    with portable_nms():
        found = non_max_suppression_graph(tf.constant(boxes), tf.constant(scores), 64, 0.4)
    assert found[0, :32].numpy().tolist() == list(range(0, 64, 2))
    assert (found[0, 32:].numpy() == -1).all()
