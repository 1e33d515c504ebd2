"""Boundary IoU: bands counted by hand, and the definition followed literally."""

import numpy as np
import pytest

from mrcnn.evaluation.boundary import boundary_iou, mask_to_boundary


def literal_boundary(mask, distance):
    """A pixel of the mask with background, or the border, within `distance` of it."""
    padded = np.pad(mask, distance)
    height, width = mask.shape
    side = 2 * distance + 1
    inside = np.ones_like(mask)
    for dy in range(side):
        for dx in range(side):
            inside &= padded[dy : dy + height, dx : dx + width]
    return mask & ~inside


@pytest.mark.parametrize("ratio, width", [(0.001, 1), (0.02, 1), (0.1, 3), (0.2, 6)])
def test_band_of_a_square(ratio, width):
    # 20 x 20 pixels: the diagonal is 28.28, so 0.1 of it rounds to 3.
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    boundary = mask_to_boundary(mask, ratio)
    assert boundary.sum() == 16**2 - (16 - 2 * width) ** 2
    np.testing.assert_array_equal(boundary, literal_boundary(mask, width))


def test_border_of_the_picture_is_an_outline():
    boundary = mask_to_boundary(np.ones((6, 8), bool), 0.1)
    expected = np.ones((6, 8), bool)
    expected[1:-1, 1:-1] = False
    np.testing.assert_array_equal(boundary, expected)


def test_many_masks_at_once():
    # More than OpenCV's channels.
    rng = np.random.default_rng(1)
    masks = rng.random((30, 40, 600)) > rng.random(600) * 0.2
    boundaries = mask_to_boundary(masks, 0.04)
    for index in (0, 63, 64, 127, 128, 511, 512, 599):
        np.testing.assert_array_equal(
            boundaries[..., index], literal_boundary(masks[..., index], 2)
        )


def test_boundary_iou_of_shifted_squares():
    true = np.zeros((20, 20), bool)
    true[2:18, 2:18] = True
    predicted = np.roll(true, 1, axis=1)
    # Bands one pixel wide of 60 pixels: the two horizontal sides share 15 pixels each.
    assert boundary_iou(predicted, true) == pytest.approx(30 / 90)
    assert boundary_iou(true, true) == 1.0


def test_empty_masks_and_stacks():
    true = np.zeros((8, 8, 3), bool)
    true[2:6, 2:6, 1:] = True
    predicted = true.copy()
    predicted[..., 1] = False
    np.testing.assert_array_equal(boundary_iou(predicted, true), [1.0, 0.0, 1.0])
    assert boundary_iou(true[..., :0], true[..., :0]).shape == (0,)


@pytest.mark.parametrize(
    "mask, ratio, message",
    [
        (np.ones((4, 4), bool), 0, "dilation_ratio is 0; it must be above 0"),
        (np.ones(4, bool), 0.02, r"\[H, W\]"),
        (np.array([[0.2, 0.9]]), 0.02, "must be bool"),
    ],
)
def test_bad_input(mask, ratio, message):
    with pytest.raises(ValueError, match=message):
        mask_to_boundary(mask, ratio)
    with pytest.raises(ValueError, match="it must be that of the true one"):
        boundary_iou(np.ones((4, 4), bool), np.ones((4, 5), bool))
