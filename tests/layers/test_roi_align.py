"""ROIAlign against a `crop_and_resize` written out in NumPy."""

import numpy as np
import pytest

from mrcnn.layers.roi_align import PyramidROIAlign, bilinear_crops, log2_graph, roi_levels
from tests.layers.arrays import image_meta, numpy, tensor


def slow_crop(image, box, crop_shape):
    """One box of one map `[h, w, channels]`, sample by sample."""
    height, width, channels = image.shape
    crop = np.zeros((*crop_shape, channels), np.float32)

    def position(low, high, size, i, count):
        if count == 1:
            return 0.5 * (low + high) * (size - 1)
        return low * (size - 1) + i * (high - low) * (size - 1) / (count - 1)

    for row in range(crop_shape[0]):
        y = position(box[0], box[2], height, row, crop_shape[0])
        for column in range(crop_shape[1]):
            x = position(box[1], box[3], width, column, crop_shape[1])
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            top, left = int(np.floor(y)), int(np.floor(x))
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            below = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            crop[row, column] = above * (1 - y + top) + below * (y - top)
    return crop


def crops(image, boxes, crop_shape):
    """`bilinear_crops` of one map."""
    height, width, channels = image.shape
    ones = np.ones(len(boxes), np.int32)
    return numpy(
        bilinear_crops(
            tensor(image.reshape(-1, channels)),
            tensor(ones * 0, "int32"),
            tensor(ones * height, "int32"),
            tensor(ones * width, "int32"),
            tensor(boxes),
            crop_shape,
        )
    )


IMAGE = np.random.RandomState(0).rand(5, 9, 2).astype(np.float32)  # not square
BOXES = np.array(
    [
        [0, 0, 1, 1],
        [0.25, 0.1, 0.6, 0.95],
        [0.5, 0.5, 0.5, 0.5],  # a point
        [-0.5, -0.3, 0.5, 0.7],  # partly outside
        [1.5, 1.5, 2, 2],  # outside
        [0.9, 0.8, 0.2, 0.1],  # upside down
        [0, 0, 0, 0],
    ]
)


@pytest.mark.parametrize("crop_shape", [(1, 1), (1, 3), (2, 2), (7, 4)])
def test_crops(crop_shape):
    found = crops(IMAGE, BOXES, crop_shape)
    expected = [slow_crop(IMAGE, box, crop_shape) for box in BOXES]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_whole_map_at_its_own_size_is_the_map():
    np.testing.assert_allclose(crops(IMAGE, BOXES[:1], (5, 9))[0], IMAGE, atol=1e-6)


def test_bool_table_gives_shares():
    mask = np.array([[0, 1], [0, 1]], bool).reshape(-1, 1)
    found = bilinear_crops(
        tensor(mask, bool),
        *(tensor([n], "int32") for n in (0, 2, 2)),
        tensor([[0, 0, 1, 1]]),
        (1, 3),
    )
    np.testing.assert_allclose(numpy(found)[0, 0, :, 0], [0, 0.5, 1])


@pytest.mark.parametrize("x, expected", [(1.0, 0.0), (8.0, 3.0), (0.25, -2.0)])
def test_log2(x, expected):
    assert numpy(log2_graph(tensor(x))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "side, level",
    [(0, 2), (10, 2), (56, 2), (112, 3), (224, 4), (300, 4), (448, 5), (1024, 5)],
)
def test_level_of_a_square(side, level):
    box = tensor([[[0, 0, side / 1024, side / 1024]]])
    assert numpy(roi_levels(box, tensor(1024.0 * 1024))).item() == level


@pytest.mark.parametrize(
    "side, level", [(112, 2), (114, 3), (225, 3), (227, 4), (452, 4), (453, 5)]
)
def test_level_with_another_canonical_size(side, level):
    box = tensor([[[0, 0, side / 1024, side / 1024]]])
    assert numpy(roi_levels(box, tensor(1024.0 * 1024), 320)).item() == level


def pyramid(height, width, batch, dtype="float32"):
    random = np.random.RandomState(1)
    return [
        random.rand(batch, height // stride, width // stride, 3).astype(dtype)
        for stride in (4, 8, 16, 32)
    ]


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float16", 5e-3)])
def test_each_box_is_cut_from_its_level_and_image(dtype, tolerance):
    height, width, batch = 512, 256, 2
    maps = pyramid(height, width, batch, dtype)
    sides = [(20, 20), (150, 90), (400, 200), (512, 256)]
    random = np.random.RandomState(2)
    boxes = np.zeros((batch, len(sides), 4), np.float32)
    scale = [height, width, height, width]
    for image in range(batch):
        for i, (h, w) in enumerate(sides):
            y, x = random.uniform(0, height - h), random.uniform(0, width - w)
            # The image's last row is sampled at the border, where rounding decides.
            boxes[image, i] = 0.998 * np.array([y, x, y + h, x + w]) / scale
    layer = PyramidROIAlign([7, 5])
    inputs = [tensor(boxes), image_meta(height, width, batch=batch)]
    found = layer([*inputs, *(tensor(m, dtype) for m in maps)])
    assert tuple(found.shape) == (batch, len(sides), 7, 5, 3)
    levels = numpy(roi_levels(tensor(boxes), tensor(float(height * width))))
    assert sorted(set(levels.ravel())) == [2, 3, 4, 5]
    for image in range(batch):
        for i in range(len(sides)):
            expected = slow_crop(maps[levels[image, i] - 2][image], boxes[image, i], (7, 5))
            np.testing.assert_allclose(numpy(found)[image, i], expected, atol=tolerance)


def test_a_box_to_the_border_takes_the_last_row():
    maps = [np.ones_like(m) for m in pyramid(64, 64, 1)]
    boxes = tensor([[[0, 0, 1, 1], [0.3, 0.3, 1.0000001, 1.0000001]]])
    pooled = PyramidROIAlign([7, 7])([boxes, image_meta(64, 64), *map(tensor, maps)])
    assert (numpy(pooled) == 1).all()


def test_config_round_trip():
    layer = PyramidROIAlign([7, 7], name="align")
    again = PyramidROIAlign.from_config(layer.get_config())
    assert (again.pool_shape, again.name) == ((7, 7), "align")
