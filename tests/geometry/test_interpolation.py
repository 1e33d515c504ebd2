"""Exact resampling against fractions worked out one by one, and against scipy."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.ndimage

from mrcnn.geometry.interpolation import (
    linear_taps,
    nearest_indices,
    resize_linear,
    resize_linear_uint8,
)


def exact_line(values, output_size):
    """Linear interpolation with zeros outside, in fractions."""
    size = len(values)
    result = []
    for output in range(output_size):
        position = (output + Fraction(1, 2)) * size / output_size - Fraction(1, 2)
        lower = position.numerator // position.denominator
        weight = position - lower
        at = [int(values[i]) if 0 <= i < size else 0 for i in (lower, lower + 1)]
        result.append(at[0] * (1 - weight) + at[1] * weight)
    return result


SIZES = [(4, 8), (8, 4), (5, 7), (7, 5), (6, 6), (1, 5), (5, 1), (10, 3), (3, 64), (427, 100)]


@pytest.mark.parametrize(("size", "output_size"), SIZES)
def test_taps_are_exact(size, output_size):
    values = np.random.default_rng(size).integers(0, 256, size)
    taps = linear_taps(size, output_size)
    sums = values[taps.lower] * taps.lower_weight + values[taps.upper] * taps.upper_weight
    result = [Fraction(int(total), taps.denominator) for total in sums]
    assert result == exact_line(values, output_size)


def test_taps_of_several_inputs_at_once():
    sizes = np.array([[3], [6], [11]])
    together = linear_taps(sizes, 6)
    for row, size in enumerate((3, 6, 11)):
        alone = linear_taps(size, 6)
        np.testing.assert_array_equal(together.lower[row], alone.lower)
        np.testing.assert_array_equal(together.upper[row], alone.upper)
        weight = together.upper_weight[row] * alone.denominator
        np.testing.assert_array_equal(weight, alone.upper_weight * together.denominator)


@pytest.mark.parametrize("shape", [(9, 14), (5, 4), (16, 16), (1, 1), (40, 3)])
def test_both_resizes_are_the_floor_of_the_fractions(shape):
    image = np.random.default_rng(1).integers(0, 256, (8, 7, 2), dtype=np.uint8)
    expected = np.zeros((*shape, 2))
    for channel in range(2):
        rows = [exact_line(line, shape[1]) for line in image[..., channel]]
        for x in range(shape[1]):
            column = [row[x] for row in rows]
            # The same rule once more, on fractions: scale up to whole numbers first.
            factor = 2 * shape[1]
            whole = exact_line([value * factor for value in column], shape[0])
            expected[:, x, channel] = [float(value / factor) for value in whole]
    np.testing.assert_allclose(resize_linear(image, shape), expected, rtol=0, atol=1e-11)
    floor = np.maximum(np.floor(expected + 1e-11), image.min())
    np.testing.assert_array_equal(resize_linear_uint8(image, shape), floor)


def test_flat_images_stay_flat_inside():
    """In floating point 200 came out as 199 in places."""
    image = np.full((33, 47, 3), 200, np.uint8)
    assert (resize_linear_uint8(image, (101, 83)) == 200).all()


@pytest.mark.parametrize("shape", [(100, 130), (1300, 1700)])
def test_sums_do_not_overflow(shape):
    image = np.full((97, 89, 1), 255, np.uint8)
    assert (resize_linear_uint8(image, shape) == 255).all()


def test_crop_and_out_are_parts_of_the_whole():
    image = np.random.default_rng(2).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    whole = resize_linear_uint8(image, (80, 96))
    part = resize_linear_uint8(image, (80, 96), crop=(7, 11, 40, 35))
    np.testing.assert_array_equal(part, whole[7:47, 11:46])
    frame = np.zeros((90, 100, 3), np.uint8)
    resize_linear_uint8(image, (80, 96), out=frame[5:85, 2:98])
    np.testing.assert_array_equal(frame[5:85, 2:98], whole)
    assert frame.sum() == whole.sum()


def test_nearest_indices_are_those_of_scipy():
    """Up to the one place where scipy loses the last sample to rounding."""
    rng = np.random.default_rng(5)
    compared = 0
    for size in rng.integers(2, 700, 200).tolist():
        scale = float(rng.uniform(0.2, 3))
        indices = nearest_indices(size, scale)
        if len(indices) < 2:
            continue
        line = scipy.ndimage.zoom(np.arange(1, size + 1), scale, order=0)
        lost = line == 0
        assert not lost[:-1].any()
        np.testing.assert_array_equal(indices[~lost], line[~lost] - 1)
        assert indices[-1] == size - 1
        compared += 1
    assert compared > 150


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        (5, 1, [0, 1, 2, 3, 4]),
        (1, 3, [0, 0, 0]),
        (7, 0.1, [0]),
        (4, 0.1, [0]),
        (0, 2, []),
        (4, 2, [0, 0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_nearest_indices(size, scale, expected):
    assert nearest_indices(size, scale).tolist() == expected
