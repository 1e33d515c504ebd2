"""Masks of polygons, boxes and ellipses."""

import numpy as np
import pytest
import skimage.draw

from mrcnn.datasets.rasterize import box_mask, ellipse_mask, polygon_mask, stack_masks
from tests.datasets.made_up import art, box

# Name, xs, ys, image. Whole coordinates are pixel centers, the outline belongs to the shape.
POLYGONS = [
    ("rectangle", [1, 4, 4, 1], [1, 1, 3, 3], ".......\n.####..\n.####..\n.####.."),
    ("triangle", [3, 5, 1], [0, 2, 2], "...#...\n..###..\n.#####."),
    ("point down", [1, 5, 3], [0, 0, 2], ".#####.\n..###..\n...#..."),
    ("bow tie", [0, 4, 0, 4], [0, 0, 4, 4], "#####\n.###.\n..#..\n.###.\n#####"),
    ("between centers", [0.2, 2.8, 2.8, 0.2], [0.2, 0.2, 1.5, 1.5], "....\n.##.\n...."),
    ("smaller than a pixel", [1.2, 1.8, 1.5], [1.2, 1.2, 1.8], "....\n....\n...."),
    ("cut at every edge", [-3, 9, 9, -3], [-3, -3, 9, 9], "###\n###\n###"),
    ("cut on the right", [1, 9, 9, 1], [1, 1, 1, 2], "...\n.##\n.#."),
    ("left of the image", [-5, -2, -2, -5], [0, 0, 2, 2], "...\n...\n..."),
    ("below the image", [0, 2, 2, 0], [5, 5, 8, 8], "...\n...\n..."),
    ("two corners", [0, 2], [0, 2], "...\n...\n..."),
    ("no corner", [], [], "...\n..."),
]


@pytest.mark.parametrize(("name", "xs", "ys", "picture"), POLYGONS, ids=[p[0] for p in POLYGONS])
def test_polygon(name, xs, ys, picture):
    expected = art(picture)
    np.testing.assert_array_equal(polygon_mask(xs, ys, *expected.shape), expected)


def test_polygon_with_centers_at_half():
    # The square 1..3 covers exactly the pixels 1 and 2 where pixel 0 covers 0..1.
    mask = polygon_mask([1, 3, 3, 1], [1, 1, 3, 3], 4, 4, pixel_center=0.5)
    np.testing.assert_array_equal(mask, box(4, 4, 1, 1, 3, 3))


@pytest.mark.parametrize("kind", ["whole", "fractional"])
def test_polygon_equals_skimage(kind):
    rng = np.random.default_rng(5)
    for _ in range(300):
        height, width = rng.integers(5, 40, 2).tolist()
        # Star-shaped, partly outside: outlines as people draw them.
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
        radii = rng.uniform(2, 25, angles.size)
        xs = rng.uniform(0, width) + radii * np.cos(angles)
        ys = rng.uniform(0, height) + radii * np.sin(angles)
        if kind == "whole":
            xs, ys = xs.round(), ys.round()
        expected = np.zeros((height, width), bool)
        expected[skimage.draw.polygon(ys, xs, (height, width))] = True
        different = polygon_mask(xs, ys, height, width) != expected
        # skimage misses single points of an outline by rounding; nothing else may differ.
        for y, x in np.argwhere(different):
            assert not expected[y, x] and _distance_to_outline(x, y, xs, ys) < 1e-9


def _distance_to_outline(x, y, xs, ys):
    start = np.stack([xs, ys], 1)
    step = np.roll(start, -1, 0) - start
    offset = np.array([x, y]) - start
    length = np.maximum((step**2).sum(1), 1e-12)
    share = np.clip((offset * step).sum(1) / length, 0, 1)
    return np.sqrt(((offset - share[:, None] * step) ** 2).sum(1)).min()


@pytest.mark.parametrize(
    ("xs", "ys", "message"),
    [([1, 2, 3], [1, 2], "pairs"), ([1, 2, np.nan], [1, 2, 3], "finite")],
)
def test_polygon_refuses(xs, ys, message):
    with pytest.raises(ValueError, match=message):
        polygon_mask(xs, ys, 4, 4)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((1, 2, 3, 4), box(5, 6, 2, 1, 4, 3)),
        ((3, 4, 1, 2), box(5, 6, 2, 1, 4, 3)),  # corners in the other order
        ((0.6, 0.4, 2.4, 2.6), box(5, 6, 0, 1, 3, 2)),
        ((-4, -4, 99, 99), np.ones((5, 6), bool)),
        ((-4, -4, -1, -1), np.zeros((5, 6), bool)),
        ((2, 2, 2, 4), np.zeros((5, 6), bool)),
    ],
)
def test_box(edges, expected):
    np.testing.assert_array_equal(box_mask(*edges, 5, 6), expected)


def test_circle_and_ellipse():
    circle = art("..#..\n.###.\n#####\n.###.\n..#..")
    np.testing.assert_array_equal(ellipse_mask(2, 2, 2, 2, 5, 5), circle)
    np.testing.assert_array_equal(
        ellipse_mask(2, 2, 2, 1, 5, 5), art(".....\n..#..\n#####\n..#..\n.....")
    )
    # A quarter turn swaps the radii.
    turned = ellipse_mask(2, 2, 2, 1, 5, 5, angle=np.pi / 2)
    np.testing.assert_array_equal(turned, ellipse_mask(2, 2, 1, 2, 5, 5))
    np.testing.assert_array_equal(ellipse_mask(2.5, 2.5, 2, 2, 5, 5, pixel_center=0.5), circle)
    np.testing.assert_array_equal(ellipse_mask(0, 0, 2, 2, 5, 5), np.pad(circle[2:, 2:], (0, 2)))
    assert not ellipse_mask(2, 2, 0, 2, 5, 5).any()
    assert not ellipse_mask(50, 2, 3, 3, 5, 5).any()


def test_ellipse_angle_is_clockwise():
    # At 45 degrees the long axis runs from the upper left to the lower right.
    mask = ellipse_mask(4, 4, 4, 1, 9, 9, angle=np.pi / 4)
    assert mask[2, 2] and mask[6, 6]
    assert not mask[2, 6] and not mask[6, 2]


def test_stack_masks():
    masks = [box(3, 4, 0, 0, 1, 1), box(3, 4, 1, 1, 3, 4)]
    stacked = stack_masks(masks, 3, 4)
    assert stacked.shape == (3, 4, 2) and stacked.dtype == bool
    np.testing.assert_array_equal(stacked[:, :, 1], masks[1])
    assert stacked[:, :, 0].flags.c_contiguous
    assert stack_masks([], 3, 4).shape == (3, 4, 0)
