"""The small layers between the large ones."""

import keras
import numpy as np

from mrcnn.geometry.anchors import anchors_for_image
from mrcnn.geometry.boxes import norm_boxes
from mrcnn.layers import adapters
from tests.layers.arrays import image_meta, numpy, tensor
from tests.tiny import tiny_config

DETECTIONS = [[[0.1, 0.2, 0.3, 0.4, 2, 0.9], [0.5, 0.6, 0.7, 0.8, 1, 0.6]]]


def test_anchors_are_repeated_for_each_image():
    layer = adapters.Anchors((8, 16), [4, 8], [1], [[2, 4], [1, 2]], [4, 8])
    found = numpy(layer(np.zeros((3, 8, 16, 3), np.float32)))
    assert found.shape == (3, 2 * 4 + 1 * 2, 4)
    # The second cell of the first level, in pixels (-2, 2, 2, 6).
    np.testing.assert_allclose(found[:, 1], [[-2 / 7, 2 / 15, 1 / 7, 5 / 15]] * 3, rtol=1e-6)
    assert tuple(layer(keras.Input((8, 8, 3))).shape) == (None, 10, 4)


def test_anchors_of_a_config():
    config = tiny_config()
    layer = adapters.Anchors.from_settings(config, name="anchors")
    expected = norm_boxes(anchors_for_image(config, config.IMAGE_SHAPE), (64, 64))
    np.testing.assert_array_equal(layer.anchors, expected)
    again = adapters.Anchors.from_config(layer.get_config())
    np.testing.assert_array_equal(again.anchors, expected)
    assert again.get_config() == layer.get_config()


def test_norm_boxes_takes_the_size_of_the_image():
    layer = adapters.NormBoxes()
    found = layer([np.array([[[0, 0, 64, 32]]], np.float32), np.zeros((1, 64, 32, 3))])
    np.testing.assert_allclose(numpy(found), [[[0, 0, 1, 1]]])


def test_active_class_ids():
    found = adapters.ActiveClassIds()(image_meta(64, 64, num_classes=4, batch=2))
    assert numpy(found).tolist() == [[1] * 4] * 2
    assert tuple(adapters.ActiveClassIds()(keras.Input((16,))).shape) == (None, 4)


def test_parts_of_detections():
    boxes = numpy(adapters.DetectionBoxes()(tensor(DETECTIONS)))
    np.testing.assert_allclose(boxes, [[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]])
    assert numpy(adapters.DetectionClassIds()(tensor(DETECTIONS))).tolist() == [[2, 1]]
    detections = keras.Input((None, 6))
    assert tuple(adapters.DetectionBoxes()(detections).shape) == (None, None, 4)
    assert tuple(adapters.DetectionClassIds()(detections).shape) == (None, None)


def test_class_masks_picks_the_channel():
    masks = np.zeros((1, 2, 4, 4, 3), np.float32)
    masks[0, 0, ..., 2], masks[0, 1, ..., 1] = 7, 8
    found = numpy(adapters.ClassMasks()([masks, np.array([[2.0, 1.0]], np.float32)]))
    assert found.shape == (1, 2, 4, 4) and (found[0, 0] == 7).all() and (found[0, 1] == 8).all()
