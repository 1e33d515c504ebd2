"""Resizing by mode, mean pixel, image_meta, and images of every kind as RGB."""

import random

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.geometry.images import (
    as_rgb,
    mold_image,
    molded_floats,
    resize,
    resize_image,
    unmold_image,
)


def make_image(height, width, channels=3, dtype=np.uint8):
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(1, 256, (height, width, channels)).astype(dtype)


# label, image (h, w), min_dim, max_dim, min_scale, mode -> shape, window, scale
MODES = [
    ("none", (33, 47), 64, 64, 2, "none", (33, 47), (0, 0, 33, 47), 1),
    ("square up", (40, 80), 64, 128, 0, "square", (128, 128), (32, 0, 96, 128), 1.6),
    ("square capped", (50, 100), 100, 128, 0, "square", (128, 128), (32, 0, 96, 128), 1.28),
    ("square down", (200, 100), 64, 128, 0, "square", (128, 128), (0, 32, 128, 96), 0.64),
    ("square as it is", (101, 70), 64, 128, 0, "square", (128, 128), (13, 29, 114, 99), 1),
    ("square full", (100, 128), 64, 128, 0, "square", (128, 128), (14, 0, 114, 128), 1),
    ("no min_dim", (20, 30), None, 64, None, "square", (64, 64), (22, 17, 42, 47), 1),
    ("min_scale", (20, 30), None, 64, 2, "square", (64, 64), (12, 2, 52, 62), 2),
    ("pad64", (100, 130), 64, None, 0, "pad64", (128, 192), (14, 31, 114, 161), 1),
    ("pad64 up", (32, 50), 64, 64, 0, "pad64", (64, 128), (0, 14, 64, 114), 2),
    ("pad64 exact", (64, 128), 64, None, 0, "pad64", (64, 128), (0, 0, 64, 128), 1),
    ("crop", (90, 100), 64, None, 0, "crop", (64, 64), (0, 0, 64, 64), 1),
    ("crop up", (32, 100), 64, None, 0, "crop", (64, 64), (0, 0, 64, 64), 2),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.uint16])
@pytest.mark.parametrize(
    ("label", "size", "min_dim", "max_dim", "min_scale", "mode", "shape", "window", "scale"),
    MODES,
    ids=[case[0] for case in MODES],
)
def test_resize_image(label, size, min_dim, max_dim, min_scale, mode, shape, window, scale, dtype):
    image = make_image(*size, dtype=dtype)
    before = image.copy()
    result, found_window, found_scale, padding, crop = resize_image(
        image, min_dim, max_dim, min_scale, mode
    )
    assert result.shape == (*shape, 3) and result.dtype == dtype
    assert found_window == window and found_scale == scale
    y1, x1, y2, x2 = window
    assert padding == [(y1, shape[0] - y2), (x1, shape[1] - x2), (0, 0)]
    inside = result[y1:y2, x1:x2]
    assert result.sum(dtype=np.float64) == inside.sum(dtype=np.float64)
    assert (inside > 0).all()
    assert (crop is not None) == (mode == "crop")
    if scale == 1:
        assert type(found_scale) is int
        y, x = crop[:2] if crop else (0, 0)
        height, width = inside.shape[:2]
        np.testing.assert_array_equal(inside, image[y : y + height, x : x + width])
    np.testing.assert_array_equal(image, before)


def test_integers_are_rounded_down_and_floats_are_not():
    image = make_image(30, 40)
    whole = resize_image(image, 64, 128)[0]
    exact = resize_image(image.astype(np.float64), 64, 128)[0]
    np.testing.assert_array_equal(whole, np.floor(exact + 1e-9))
    assert (exact % 1 > 0).any()
    sixteen = resize_image(image.astype(np.uint16), 64, 128)[0]
    np.testing.assert_array_equal(sixteen, whole)


def test_crop_draws_from_random_and_cuts_the_resized_image():
    image = make_image(50, 90)
    whole = resize_image(image, 64, 128, mode="pad64")
    y1, x1, y2, x2 = whole[1]
    random.seed(3)
    result, _, scale, _, crop = resize_image(image, 64, mode="crop")
    random.seed(3)
    assert crop == (random.randint(0, 0), random.randint(0, round(90 * 1.28) - 64), 64, 64)
    assert scale == whole[2] == 1.28
    y, x, height, width = crop
    resized = whole[0][y1:y2, x1:x2]
    np.testing.assert_array_equal(result, resized[y : y + height, x : x + width])


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_any_number_of_channels(channels):
    result, *others = resize_image(make_image(30, 40, channels), 64, 128)
    assert result.shape == (128, 128, channels)
    first, *others_of_first = resize_image(make_image(30, 40, channels)[..., 0], 64, 128)
    assert first.shape == (128, 128)
    np.testing.assert_array_equal(first, result[..., 0])
    assert others_of_first == others


WRONG = [
    ({"mode": "squre"}, "'squre'"),
    ({"mode": "square", "max_dim": None}, "max_dim is None"),
    ({"mode": "pad64", "min_dim": 100}, "min_dim is 100; it must be a multiple of 64"),
    ({"mode": "pad64", "min_dim": None}, "min_dim is None"),
    ({"mode": "crop", "min_dim": None}, "min_dim is None"),
    ({"image": np.zeros((0, 5, 3), np.uint8)}, r"\(0, 5, 3\)"),
    ({"image": np.zeros((2, 5, 5, 3), np.uint8)}, r"\(2, 5, 5, 3\)"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[case[1] for case in WRONG])
def test_wrong_arguments_are_named(changes, message):
    arguments = {"image": make_image(30, 40), "min_dim": 64, "max_dim": 128} | changes
    with pytest.raises(ValueError, match=message):
        resize_image(**arguments)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("shape", [(20, 31), (7, 5), (11, 13)])
@pytest.mark.parametrize("preserve_range", [True, False])
def test_resize_is_that_of_scikit_image(dtype, shape, preserve_range):
    from skimage.transform import resize as expected_resize

    image = make_image(11, 13).astype(dtype)
    arguments = {"order": 1, "mode": "constant", "anti_aliasing": False}
    # A bool image is not interpolated by newer releases unless it is brought to floats.
    source = image.astype(float) if image.dtype == bool else image
    expected = expected_resize(source, shape, preserve_range=preserve_range, **arguments)
    result = resize(image, shape, preserve_range=preserve_range)
    assert result.dtype == (np.float32 if dtype == np.float32 else np.float64)
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "arguments", [{"order": 0}, {"anti_aliasing": True}, {"mode": "edge"}, {"cval": 0.5}]
)
def test_other_ways_to_resize_go_to_scikit_image(arguments):
    from skimage.transform import resize as expected_resize

    image = np.random.default_rng(0).random((12, 10))
    defaults = {"order": 1, "mode": "constant", "anti_aliasing": False}
    expected = expected_resize(image, (7, 9), **(defaults | arguments))
    np.testing.assert_array_equal(resize(image, (7, 9), **arguments), expected)


def test_mold_and_unmold():
    config = Config()
    config.MEAN_PIXEL = np.array([100.0, 50.0, 25.0])
    image = np.uint8([[[100, 60, 20], [0, 255, 25]]])
    molded = mold_image(image, config)
    assert molded.dtype == np.float32
    assert molded.tolist() == [[[0, 10, -5], [-100, 205, 0]]]
    restored = unmold_image(molded, config)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, image)


GREY = np.uint8([[0, 128, 255]])
RGB = np.uint8([[[10, 20, 30], [255, 0, 0], [255, 255, 255]]])
ALPHA = np.uint8([[[7], [8], [9]]])

GREY_ALPHA = np.concatenate([GREY[..., None], ALPHA], axis=2)
RGBA = np.concatenate([RGB, ALPHA], axis=2)

KINDS = [
    ("grey", GREY, np.repeat(GREY[..., None], 3, 2)),
    ("grey with an axis", GREY[..., None], np.repeat(GREY[..., None], 3, 2)),
    ("grey and alpha", GREY_ALPHA, np.repeat(GREY[..., None], 3, 2)),
    ("rgba", RGBA, RGB),
    ("16 bit", RGB.astype(np.uint16) * 257, RGB),
    ("32 bit", RGB.astype(np.uint32) * 16843009, RGB),
    ("16 bit rounds", np.uint16([[257 * 3 + 128, 257 * 3 + 129]]), np.uint8([[[3] * 3, [4] * 3]])),
    ("float of 0..1", RGB / 255, RGB),
    ("float32 of 0..1", (RGB / 255).astype(np.float32), RGB),
    ("float of 0..255", RGB.astype(float), RGB),
    ("int64", RGB.astype(np.int64), RGB),
    ("bool", GREY > 100, np.uint8([[[0] * 3, [255] * 3, [255] * 3]])),
    ("nothing", np.zeros((0, 3, 3)), np.zeros((0, 3, 3), np.uint8)),
]  # fmt: skip


@pytest.mark.parametrize(("label", "image", "expected"), KINDS, ids=[case[0] for case in KINDS])
def test_as_rgb(label, image, expected):
    result = as_rgb(image)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


def test_as_rgb_of_the_right_kind_is_the_same_array():
    assert as_rgb(RGB) is RGB
    five = np.zeros((4, 4, 5), np.uint8)
    assert as_rgb(five, channels=5) is five


def test_as_rgb_to_grey():
    # 0.299, 0.587 and 0.114 of red, green and blue
    assert as_rgb(RGB, channels=1).tolist() == [[[18], [76], [255]]]
    assert as_rgb(RGBA, channels=1).tolist() == [[[18], [76], [255]]]
    assert as_rgb(GREY, channels=1).tolist() == [[[0], [128], [255]]]


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        (np.full((2, 2), -1.0), 3, "from -1.0 to -1.0"),
        (np.full((2, 2), 300, np.int32), 3, "from 300 to 300"),
        (np.full((2, 2), np.nan), 3, "from nan to nan"),
        (np.zeros((2, 2, 5), np.uint8), 3, "5 channels"),
        (RGB, 4, "3 channels; it must have 4"),
        (np.zeros(5), 3, r"\(5,\)"),
        (np.array([["a"]]), 3, "<U1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_as_rgb_refuses(image, channels, message):
    with pytest.raises(ValueError, match=message):
        as_rgb(image, channels)


def test_molded_floats_subtracts_the_mean_from_bytes_alone():
    config = Config()
    image = np.random.RandomState(0).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    molded = mold_image(image, config)
    np.testing.assert_array_equal(molded_floats(image, config), molded)
    assert molded_floats(molded, config) is molded
    assert molded_floats(molded.astype(np.float64), config).dtype == np.float32
