"""Molding: what Matterport's package computes, from every kind of image, and back."""

import numpy as np
import pytest
import skimage.transform

from mrcnn.detection import molding
from mrcnn.geometry.images import mold_image, molded_floats
from tests.tiny import tiny_config

CONFIG = tiny_config()


def image(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)


def as_matterport_molds(image, side):
    """`mold_inputs` of Matterport's package for one image, by scikit-image and NumPy."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = round(height * scale), round(width * scale)
    resized = image
    if size != (height, width):
        resized = skimage.transform.resize(
            image, size, order=1, mode="constant", cval=0, clip=True, preserve_range=True,
            anti_aliasing=False,
        )  # fmt: skip
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    padded = np.pad(
        resized, [(top, side - size[0] - top), (left, side - size[1] - left), (0, 0)]
    ).astype(image.dtype)
    return padded.astype(np.float32) - CONFIG.MEAN_PIXEL


@pytest.mark.parametrize("height, width", [(64, 64), (48, 60), (128, 100), (30, 64)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_that_was_molded_before_is_molded_again(height, width, dtype):
    molded = (image(height, width) - CONFIG.MEAN_PIXEL).astype(dtype)
    (found,), metas, windows = molding.mold_inputs([molded], CONFIG)
    expected = as_matterport_molds(molded, 64)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.dtype == np.float32
    assert metas[0, 1:4].tolist() == [height, width, 3]
    top, _, bottom, _ = windows[0]
    # As there: the padding is what 0 becomes when the mean is subtracted once.
    if top:
        np.testing.assert_allclose(found[0, 0], -CONFIG.MEAN_PIXEL, rtol=1e-6)
    assert found[top:bottom].min() < -200


@pytest.mark.parametrize(
    "made, expected",
    [
        (lambda x: mold_image(x, CONFIG), True),
        (lambda x: (x - CONFIG.MEAN_PIXEL).astype(np.float16), True),
        (lambda x: x, False),
        (lambda x: x / 255.0, False),
        (lambda x: x.astype(np.float32), False),
        (lambda x: x.astype(np.int16) - 100, False),  # no function here makes these
        (lambda x: mold_image(x, CONFIG) * 10, False),
        (lambda x: np.full((4, 4, 3), np.nan), False),
        (lambda x: np.zeros((0, 4, 3)), False),
        (lambda x: None, False),
    ],
)
def test_what_counts_as_molded(made, expected):
    assert molding.is_molded(made(image(8, 8))) is expected


def test_the_mean_comes_back():
    original = image(20, 30)
    np.testing.assert_array_equal(molding.with_mean(mold_image(original, CONFIG), CONFIG), original)
    assert molding.with_mean(original, CONFIG) is original


def test_inputs_of_8_bits_hold_the_mean():
    (one,) = molding.resize_inputs([image(64, 64)], CONFIG)
    assert one.pixels.dtype == np.uint8
    (molded,), metas, windows = molding.mold_inputs([image(64, 64)], CONFIG)
    np.testing.assert_array_equal(molded_floats(one.pixels, CONFIG), molded)
    np.testing.assert_array_equal(metas[0], one.meta)
    assert tuple(windows[0]) == one.window


@pytest.mark.parametrize("height, width", [(5000, 4), (4, 5000), (1, 100_000), (2000, 3)])
def test_a_side_never_vanishes(height, width):
    (one,) = molding.resize_inputs([np.full((height, width, 3), 200, np.uint8)], CONFIG)
    y1, x1, y2, x2 = one.window
    assert one.pixels.shape == (64, 64, 3)
    assert sorted([y2 - y1, x2 - x1]) == [1, 64]
    assert (one.pixels[y1:y2, x1:x2] == 200).all()


def test_a_box_in_a_window_of_one_pixel_has_the_whole_side():
    meta = (3, 2000, 3), (64, 64, 3), (31, 0, 32, 64)
    detections = np.zeros((2, 6))
    detections[0] = [31 / 63, 16 / 63, 31 / 63, 31 / 63, 1, 0.5]
    boxes, class_ids, _, rows = molding.detection_rows(detections, *meta)
    assert class_ids.tolist() == [1] and rows.tolist() == [0]
    assert boxes[0, [0, 2]].tolist() == [0, 3]
    assert boxes[0, [1, 3]].tolist() == [508, 985]


@pytest.mark.parametrize(
    "made, message",
    [
        (np.zeros((4, 4, 3, 1)), r"images\[1\] is shape \(4, 4, 3, 1\); it must be"),
        (np.zeros((4, 4, 7), np.uint8), r"^images\[1\]: image has 7 channels"),
        (np.zeros((0, 4, 3), np.uint8), r"^images\[1\]: image has shape \(0, 4, 3\)"),
        (np.full((4, 4, 3), 1e6), r"^images\[1\]: image has float64 values from"),
        (np.full((4, 4, 3), -1e6), r"^images\[1\]: image has float64 values from"),
        (np.full((4, 4, 3), np.nan), r"^images\[1\]: image has float64 values from nan"),
        (np.full((4, 4, 3), "x"), r"^images\[1\]: image has shape"),
    ],
)
def test_errors_name_the_image(made, message):
    with pytest.raises(ValueError, match=message):
        molding.resize_inputs([image(8, 8), made], CONFIG)
