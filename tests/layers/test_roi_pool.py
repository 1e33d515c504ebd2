"""RoIPool against the rule of the Fast R-CNN paper written out in NumPy."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.geometry.boxes import norm_boxes
from mrcnn.layers.roi_pool import ROIMaxPool, pool_bins, roi_max_pool, round_half_away
from tests.layers.arrays import image_meta, numpy, tensor


def slow_round(x):
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def slow_pool(image, box, scale, pool_shape):
    """One box (y1, x1, y2, x2), its last pixels included, bin by bin."""
    height, width, channels = image.shape
    pooled = np.zeros((*pool_shape, channels), np.float32)
    y1, x1, y2, x2 = (slow_round(corner * scale) for corner in box)
    rows, columns = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    for row in range(pool_shape[0]):
        top = y1 + math.floor(row * rows / pool_shape[0])
        bottom = y1 + math.ceil((row + 1) * rows / pool_shape[0])
        for column in range(pool_shape[1]):
            left = x1 + math.floor(column * columns / pool_shape[1])
            right = x1 + math.ceil((column + 1) * columns / pool_shape[1])
            cells = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            if cells.size:
                pooled[row, column] = cells.max(axis=(0, 1))
    return pooled


def random_boxes(rng, count, side):
    """Boxes of whole pixels within an image, from one pixel to all of it; last pixels included."""
    corners = np.sort(rng.integers(0, side, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.5, 1), (1.5, 2), (2.5, 3), (0.49, 0), (-0.5, -1), (-1.5, -2), (-0.4, 0), (0, 0), (3, 3)],
)
def test_halves_are_rounded_away_from_zero(value, rounded):
    assert numpy(round_half_away(tensor([value]))).tolist() == [rounded]


@pytest.mark.parametrize(
    ("pixels", "count", "size", "bins"),
    [
        ((8, 47), 2, 40, [(1, 3), (2, 4)]),  # 0.5 and 2.94: cells 1 to 3, the middle one in both
        ((0, 15), 1, 40, [(0, 2)]),  # 0.94 is rounded to 1
        ((0, 7), 2, 40, [(0, 1), (0, 1)]),  # one cell in both bins
        ((0, 0), 3, 40, [(0, 1)] * 3),
        ((0, 63), 2, 4, [(0, 3), (2, 4)]),  # cells 0 to 4 of which the last does not exist
        ((60, 63), 2, 4, [(4, 4), (4, 4)]),  # only that cell: empty
        ((40, 20), 2, 40, [(3, 4), (3, 4)]),  # upside down: one cell
        ((0, 111), 7, 40, [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7), (6, 8)]),
    ],
)
def test_bins_of_a_box(pixels, count, size, bins):
    low, high = (tensor([[pixel / 16]]) for pixel in pixels)
    starts, ends = pool_bins(low, high, count, size)
    assert list(zip(numpy(starts)[0, 0].tolist(), numpy(ends)[0, 0].tolist())) == bins


def test_the_maximum_of_overlapping_bins():
    row = np.array([9, 1, 5, 2, 7, 0], np.float32).reshape(1, 1, 6, 1)
    pooled = roi_max_pool(tensor(row), tensor([[[0, 8, 15, 47]]]), (1 / 16, 1 / 16), (1, 2))
    assert numpy(pooled).ravel().tolist() == [5, 5]  # cells 1, 2 and 2, 3
    row[..., 2, :] = -3
    pooled = roi_max_pool(tensor(row), tensor([[[0, 8, 15, 47]]]), (1 / 16, 1 / 16), (1, 2))
    assert numpy(pooled).ravel().tolist() == [1, 2]


def test_negative_values_are_pooled_and_empty_bins_are_zero():
    rows = np.full((1, 4, 4, 1), -5, np.float32)
    boxes = tensor([[[0, 0, 63, 63], [0, 60, 63, 63]]])
    pooled = numpy(roi_max_pool(tensor(rows), boxes, (1 / 16, 1 / 16), (2, 2)))
    assert pooled[0, 0].ravel().tolist() == [-5] * 4
    assert pooled[0, 1].ravel().tolist() == [0] * 4


@pytest.mark.parametrize("shape", [(16, 16), (5, 9), (1, 1), (33, 2), (12, 40)])
@pytest.mark.parametrize("pool_shape", [(7, 7), (1, 1), (2, 3), (14, 14)])
def test_equals_the_slow_rule(shape, pool_shape):
    rng = np.random.default_rng(7)
    maps = rng.normal(size=(2, *shape, 3)).astype(np.float32)
    boxes = np.stack([random_boxes(rng, 25, 16 * max(shape)) for _ in range(2)])
    limits = np.array([*shape, *shape], np.float32) * 16 - 1
    boxes = np.minimum(boxes, limits)
    boxes[:, 0] = [0, 0, *limits[:2]]  # the whole image
    pooled = numpy(roi_max_pool(tensor(maps), tensor(boxes), (1 / 16, 1 / 16), pool_shape))
    slow = [[slow_pool(m, box, 1 / 16, pool_shape) for box in b] for m, b in zip(maps, boxes)]
    np.testing.assert_array_equal(pooled, slow)


def test_layer_takes_normalized_boxes_of_whole_pixels():
    """Every half cell of an image of 1024 pixels: float32 must not move one to the cell before."""
    starts = np.arange(8, 1008, 16)
    boxes = np.stack([starts * 0, starts, starts * 0 + 16, starts + 16], axis=1)
    maps = np.arange(64, dtype=np.float32).reshape(1, 1, 64, 1).repeat(64, axis=1)
    normalized = norm_boxes(boxes, (1024, 1024)).astype(np.float32)[None]
    layer = ROIMaxPool([1, 1])
    pooled = numpy(layer([tensor(normalized), image_meta(1024, 1024), tensor(maps)]))
    # From 16 k + 8 to 16 k + 23, that is from cell k + 0.5 to k + 1.44: cell k + 1 alone.
    assert pooled.ravel().tolist() == np.arange(1, 64).tolist()[: len(starts)]


def gradients(loss_of, value):
    """d loss / d value on each backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.Variable(value)
        with tf.GradientTape() as tape:
            loss = loss_of(tf.convert_to_tensor(x))
        return tf.convert_to_tensor(tape.gradient(loss, x)).numpy()
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(loss_of)(value))
    import torch

    x = torch.tensor(value, requires_grad=True)
    loss_of(x).backward()
    return x.grad.numpy()


def test_gradient_goes_to_the_maximum_of_each_bin():
    row = np.array([9, 1, 5, 2, 7, 0], np.float32).reshape(1, 1, 6, 1)
    boxes = tensor([[[0, 8, 15, 47], [0, 0, 15, 79]]])  # cells 1 to 3, and 0 to 5

    def loss_of(x):
        weights = tensor([1, 10, 100, 1000])
        pooled = ops.reshape(roi_max_pool(x, boxes, (1 / 16, 1 / 16), (1, 2)), (-1,))
        return ops.sum(pooled * weights)

    # Both bins of the first box have their maximum in cell 2; those of the second in 0 and 4.
    assert gradients(loss_of, row).ravel().tolist() == [100, 0, 11, 0, 1000, 0]


def test_in_a_model_of_any_image_size(tmp_path):
    feature_map = keras.Input((None, None, 2))
    boxes, meta = keras.Input((None, 4)), keras.Input((15,))
    layer = ROIMaxPool([2, 2], name="pool")
    model = keras.Model([boxes, meta, feature_map], layer([boxes, meta, feature_map]))
    assert model.output_shape == (None, None, 2, 2, 2)
    model.save(tmp_path / "m.keras")
    copies = [model, keras.models.clone_model(model), keras.saving.load_model(tmp_path / "m.keras")]
    rng = np.random.default_rng(0)
    for side in (128, 320):
        maps = rng.normal(size=(1, side // 16, side // 16, 2)).astype(np.float32)
        pixels = random_boxes(rng, 9, side)
        inputs = [pixels[None] / (side - 1), numpy(image_meta(side, side)), maps]
        slow = [slow_pool(maps[0], box, 1 / 16, (2, 2)) for box in pixels]
        for copy in copies:
            np.testing.assert_array_equal(copy.predict(inputs, verbose=0)[0], slow)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_keeps_the_type_of_the_map(dtype):
    maps = ops.cast(tensor(np.ones((1, 4, 4, 2))), dtype)
    pooled = ROIMaxPool([2, 2])([tensor([[[0, 0, 1, 1]]]), image_meta(64, 64), maps])
    assert keras.backend.standardize_dtype(pooled.dtype) == dtype
    assert numpy(ops.cast(pooled, "float32")).min() == 1
