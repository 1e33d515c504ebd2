"""Molding and pasting inside of the graph against those of `detect`."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports need Keras on TensorFlow", allow_module_level=True)
import tensorflow as tf

from mrcnn.detection.molding import detection_rows, mold_inputs
from mrcnn.exports.graph import _rows_with_pixels
from mrcnn.exports.molding_graph import mold
from mrcnn.exports.pasting_graph import image_boxes, paste
from mrcnn.geometry.masks import paste_masks
from tests.tiny import tiny_config


@pytest.mark.parametrize("size", [(40, 50), (64, 64), (500, 333), (129, 128), (300, 3), (1, 1)])
@pytest.mark.parametrize(
    "min_dim,max_dim,min_scale", [(64, 64, 0), (64, 128, 0), (None, 128, 0), (64, 192, 1.5)]
)
def test_molding(size, min_dim, max_dim, min_scale):
    config = tiny_config(IMAGE_MIN_DIM=min_dim, IMAGE_MAX_DIM=max_dim, IMAGE_MIN_SCALE=min_scale)
    image = np.random.RandomState(0).randint(20, 256, (*size, 3)).astype(np.uint8)
    (expected,), (meta,), (window,) = mold_inputs([image], config)
    found = mold(tf.constant(image[None]), config)
    difference = np.abs(found.images[0].numpy() - expected)
    # Sums of float32 that lie just below a whole number.
    assert difference.max() < 1.01 and (difference > 0.01).mean() < 1e-3
    assert [int(side) for side in found.window] == window.tolist()
    np.testing.assert_array_equal(np.delete(found.image_meta[0], 11), np.delete(meta, 11))


@pytest.mark.parametrize("size", [(50, 60), (200, 31)])
def test_pasting(size):
    random = np.random.RandomState(1)
    low = random.randint(0, 15, (8, 2))
    boxes = np.concatenate([low, low + random.randint(1, 16, (8, 2))], axis=1).astype(np.int32)
    boxes[0] = 0, 0, *size
    masks = random.rand(8, 28, 28).astype(np.float32)
    masks[1] = 0.5 + 0.5 * masks[1]
    expected = paste_masks(masks, boxes, size).transpose(2, 0, 1)
    found = paste(tf.constant(masks[None]), tf.constant(boxes[None]), size)
    assert found.dtype == tf.uint8
    assert (found[0].numpy() != expected).sum() <= 2
    assert (found[0, 1].numpy().sum()) == (boxes[1, 2:] - boxes[1, :2]).prod()


def test_pasting_across_tiles():
    """Boxes that begin, end or lie within tiles of 64 pixels, in a batch with empty rows."""
    size = (150, 210)
    first = [(0, 0, 150, 210), (63, 64, 65, 128), (64, 63, 128, 65), (10, 130, 40, 140)]
    second = [(149, 209, 150, 210), (0, 0, 0, 0), (70, 70, 70, 90), (20, 192, 150, 210)]
    boxes = np.array([first, second], np.int32)
    masks = np.random.RandomState(3).rand(2, 4, 28, 28).astype(np.float32)
    found = paste(tf.constant(masks), tf.constant(boxes), size).numpy()
    assert found.shape == (2, 4, *size)
    for image in range(2):
        expected = paste_masks(masks[image], boxes[image], size).transpose(2, 0, 1)
        assert (found[image] != expected).sum() <= 4
        assert found[image].any(axis=(1, 2)).tolist() == expected.any(axis=(1, 2)).tolist()


def test_pasting_without_objects():
    found = paste(tf.zeros((1, 1, 28, 28)), tf.zeros((1, 1, 4), tf.int32), (70, 80)).numpy()
    assert found.shape == (1, 1, 70, 80) and not found.any()


@pytest.mark.parametrize("window", [(0, 8, 64, 56), (10, 0, 11, 64), (0, 0, 64, 64)])
def test_boxes_in_pixels(window):
    random = np.random.RandomState(2)
    corners = random.rand(6, 2, 2)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    boxes[2, 2] = boxes[2, 0]  # without a pixel
    detections = np.column_stack([boxes, [1, 2, 1, 1, 2, 0], np.linspace(0.9, 0.1, 6)])
    detections[5] = 0
    rois, _, _, rows = detection_rows(
        detections.astype(np.float32), (90, 70, 3), (64, 64, 3), window
    )
    tensor = tf.constant(detections[None], tf.float32)
    found = image_boxes(tensor, tuple(map(tf.constant, window)), 64, (90, 70))
    found_rows, count = _rows_with_pixels(tensor, found)
    assert count.numpy().tolist() == [len(rows)]
    assert found_rows.numpy()[0, : len(rows)].tolist() == rows.tolist()
    np.testing.assert_array_equal(found[0].numpy()[rows], rois)
