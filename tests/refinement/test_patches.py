"""Boundary pixels, patch centers, cutting out and merging back: exact small cases."""

import numpy as np
import pytest

from mrcnn.refinement import patches
from mrcnn.refinement.recipes import Scale


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


BOUNDARIES = [
    ("dot", mask_of("...", ".#.", "..."), None, [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)]),
    ("empty", mask_of("...", "..."), None, []),
    ("full", mask_of("##", "##"), None, []),
    ("full, nothing outside", mask_of("##", "##"), False, [(0, 0), (0, 1), (1, 0), (1, 1)]),
    ("full, object outside", mask_of("##", "##"), True, []),
    ("edge at the border", mask_of("#..", "#.."), None, [(0, 0), (0, 1), (1, 0), (1, 1)]),
    ("diagonal neighbours do not count", mask_of("#.", ".."), None, [(0, 0), (0, 1), (1, 0)]),
    # All the background pixels of a 2 x 3 image touch the padding of ones.
    (
        "background against ones",
        mask_of("#..", "#.."),
        True,
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)],
    ),
]


@pytest.mark.parametrize(
    ("mask", "outside", "expected"),
    [case[1:] for case in BOUNDARIES],
    ids=[case[0] for case in BOUNDARIES],
)
def test_boundary_pixels(mask, outside, expected):
    assert [tuple(point) for point in patches.boundary_pixels(mask, outside)] == expected


@pytest.mark.parametrize(
    ("stride", "max_points", "expected"),
    [
        (1, None, [0, 1, 2, 3, 4, 5]),
        # Cells 0..2 and 3..5: the middles are 1 and 4.
        (3, None, [1, 4]),
        # One cell: 0..5, its middle lies between 2 and 3, the first is taken.
        (6, None, [2]),
        (1, 2, [1, 4]),
    ],
)
def test_thin_points_keeps_the_middle_of_each_cell(stride, max_points, expected):
    points = np.stack([np.zeros(6, int), np.arange(6)], axis=1)
    assert patches.thin_points(points, stride, max_points)[:, 1].tolist() == expected


def test_thin_points_of_nothing_is_nothing():
    assert patches.thin_points(np.zeros((0, 2), int), 4, 2).shape == (0, 2)


def test_extract_patches_pads_each_channel():
    picture = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    cut = patches.extract_patches(picture, np.array([[0, 0], [1, 2]]), 2, (-1, -2))
    # A patch of side 2 on (0, 0) covers rows and columns -1 and 0.
    assert cut[0].tolist() == [[[-1, -2], [-1, -2]], [[-1, -2], [0, 1]]]
    assert cut[1].tolist() == [[[2, 3], [4, 5]], [[8, 9], [10, 11]]]


def test_extract_patches_rejects_far_centres():
    with pytest.raises(ValueError, match="outside the image"):
        patches.extract_patches(np.zeros((4, 4, 1)), np.array([[0, 40]]), 4)


def test_patch_weights_fall_exponentially():
    weights = patches.patch_weights(4, 2.0)
    assert weights.shape == (4, 4)
    np.testing.assert_allclose(weights[2, 2], 1.0)
    np.testing.assert_allclose(weights[2, 0], np.exp(-1.0))
    np.testing.assert_allclose(weights[3, 3], np.exp(-np.sqrt(2) / 2))


def test_merging_is_the_weighted_average_with_the_original():
    weights = np.array([[1.0, 0.5], [0.5, 0.25]], np.float32)
    predictions = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 0.0)])
    # Centers (1, 1) and (1, 2): patches on columns 0-1 and 1-2 of rows 0-1.
    centers = np.array([[1, 1], [1, 2]])
    total, weight = patches.sum_patches(predictions, centers, weights, (2, 4))
    assert total.tolist() == [[1.0, 0.5, 0.0, 0.0], [0.5, 0.25, 0.0, 0.0]]
    assert weight.tolist() == [[1.0, 1.5, 0.5, 0.0], [0.5, 0.75, 0.25, 0.0]]
    original = np.full((2, 4), 0.4, np.float32)
    merged = patches.blend(original, total, weight, original_weight=1.0, patch_weight=0.5)
    np.testing.assert_allclose(merged[0], [0.9 / 1.5, 0.65 / 1.75, 0.4 / 1.25, 0.4], rtol=1e-6)


def test_merging_drops_what_falls_outside():
    predictions, weights = np.ones((1, 4, 4)), np.ones((4, 4), np.float32)
    total, weight = patches.sum_patches(predictions, np.array([[0, 0]]), weights, (3, 3))
    assert total.sum() == weight.sum() == 4  # rows and columns 0 and 1


def test_blend_keeps_the_original_without_patches():
    original = np.array([[0.0, 0.3, 1.0]], np.float32)
    nothing = np.zeros_like(original)
    np.testing.assert_allclose(patches.blend(original, nothing, nothing, 0.0, 1.0), original)


def test_object_box_is_exclusive_below_right():
    probability = np.zeros((6, 8), np.float32)
    probability[2:4, 3:7] = 0.2
    probability[0, 0] = 0.05
    assert patches.object_box(probability) == (2, 3, 4, 7)
    assert patches.object_box(np.zeros((4, 4))) is None


@pytest.mark.parametrize(
    ("box", "scale", "region", "shape", "centre"),
    [
        # Factor 2 (20 pixels become 40): half a patch of 32 is 8 image pixels.
        ((40, 40, 50, 60), Scale(40, "boundary"), (32, 32, 58, 68), (52, 72), (26, 36)),
        # Around the middle (45, 50), reach 8.
        ((40, 40, 50, 60), Scale(40, "object"), (37, 42, 53, 58), (32, 32), (16, 16)),
        # Cut off by the image.
        ((0, 0, 10, 20), Scale(20, "boundary"), (0, 0, 26, 36), (26, 36), (5, 10)),
        # The image's own resolution is the whole image.
        ((0, 0, 10, 20), Scale(None, "boundary"), (0, 0, 100, 100), (100, 100), (5, 10)),
    ],
)
def test_view_of_a_box(box, scale, region, shape, centre):
    view = patches.View.around(box, (100, 100, 3), scale, 32)
    assert (view.region, view.shape, view.box_center) == (region, shape, centre)


@pytest.mark.parametrize("object_size", [24, 200])
def test_view_round_trip(object_size):
    rows, columns = np.mgrid[0:90, 0:120]
    smooth = np.sin(rows / 15) * np.cos(columns / 20)
    view = patches.View.around((20, 30, 60, 100), smooth.shape, Scale(object_size), 32)
    y1, x1, y2, x2 = view.region
    restored = view.restore(view.crop(smooth))
    assert restored.shape == (y2 - y1, x2 - x1)
    # The border is where resampling clamps.
    difference = np.abs(restored - smooth[y1:y2, x1:x2])[3:-3, 3:-3]
    assert difference.max() < 0.04


def test_a_big_object_has_a_bounded_number_of_patches():
    scale = Scale(object_size=256, centers="boundary", stride=16, max_patches=24)
    rows, columns = np.mgrid[0:1024, 0:1024]
    disc = (np.hypot(rows - 512, columns - 512) < 480).astype(np.float32)
    view = patches.View.around(patches.object_box(disc), disc.shape, scale, 64)
    centers = patches.patch_centers(view, view.crop(disc), scale)
    assert 12 <= len(centers) <= 24
    radius = np.hypot(*(centers - view.box_center).T)
    # 480 pixels at 256 / 959 view pixels per image pixel.
    np.testing.assert_allclose(radius, 128, atol=2)
