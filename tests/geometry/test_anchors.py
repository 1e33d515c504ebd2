"""Anchors: sizes, places, order."""

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.geometry.anchors import (
    anchors_for_image,
    compute_backbone_shapes,
    generate_anchors,
    generate_pyramid_anchors,
)


def test_centers_and_sizes():
    anchors = generate_anchors(8, [0.25, 1], shape=(2, 3), feature_stride=16, anchor_stride=1)
    assert anchors.shape == (2 * 3 * 2, 4) and anchors.dtype == np.float64
    # Ratio is width / height: 0.25 is twice as tall and half as wide.
    assert anchors[0].tolist() == [-8, -2, 8, 2]
    assert anchors[1].tolist() == [-4, -4, 4, 4]
    assert anchors[2].tolist() == [-8, 14, 8, 18]  # next column
    assert anchors[6].tolist() == [8, -2, 24, 2]  # next row


def test_scale_varies_faster_than_ratio():
    anchors = generate_anchors([4, 8], [1, 4], (1, 1), 4, 1)
    sizes = (anchors[:, 2:] - anchors[:, :2]).tolist()
    assert sizes == [[4, 4], [8, 8], [2, 8], [4, 16]]


@pytest.mark.parametrize(("stride", "count"), [(1, 35), (2, 12), (3, 6), (10, 1)])
def test_anchor_stride(stride, count):
    assert len(generate_anchors(8, [1], (5, 7), 4, stride)) == count


def test_pyramid_is_the_levels_in_turn():
    shapes = np.array([[4, 4], [2, 2]])
    anchors = generate_pyramid_anchors((8, 16), [1], shapes, [4, 8], 1)
    np.testing.assert_array_equal(anchors[:16], generate_anchors(8, [1], (4, 4), 4, 1))
    np.testing.assert_array_equal(anchors[16:], generate_anchors(16, [1], (2, 2), 8, 1))


def test_the_coco_set_up_has_261888_anchors():
    config = Config()
    assert anchors_for_image(config, config.IMAGE_SHAPE).shape == (261888, 4)


def test_anchors_of_an_image():
    config = Config()
    config.RPN_ANCHOR_RATIOS, config.RPN_ANCHOR_STRIDE = (1,), 2
    anchors = anchors_for_image(config, (64, 128, 3))
    assert len(anchors) == 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2 + 1 * 1
    assert anchors[1].tolist() == [-16, -8, 16, 24]  # P2: 32 pixels, at every second cell of 4
    assert anchors[-1].tolist() == [-256, -256, 256, 256]


@pytest.mark.parametrize("sequence", [list, tuple, np.array])
def test_levels_without_a_scale_have_no_anchors(sequence):
    config = Config()
    whole = anchors_for_image(config, (128, 64, 3))
    config.RPN_ANCHOR_SCALES = sequence([32, 64, 128, 256])
    config.RPN_ANCHOR_RATIOS = sequence([0.5, 1, 2])
    config.BACKBONE_STRIDES = sequence([4, 8, 16, 32, 64])
    anchors = anchors_for_image(config, (128, 64, 3))
    np.testing.assert_array_equal(anchors, whole[: -2 * 1 * 3])


@pytest.mark.parametrize(
    "shapes, strides", [([[4, 4], [2, 2]], [4, 8, 16]), ([[4, 4], [2, 2], [1, 1]], [4, 8])]
)
def test_a_scale_needs_a_level(shapes, strides):
    with pytest.raises(ValueError, match=r"scales is \[8, 16, 32\]; it must have at most one"):
        generate_pyramid_anchors((8, 16, 32), [1], shapes, strides, 1)


def test_backbone_shapes_are_rounded_up():
    shapes = compute_backbone_shapes(Config(), (130, 64, 3))
    assert shapes.tolist() == [[33, 16], [17, 8], [9, 4], [5, 2], [3, 1]]


def test_backbone_shapes_of_a_function():
    config = Config()
    config.BACKBONE = lambda image, **_: None
    config.COMPUTE_BACKBONE_SHAPE = lambda shape: [[shape[0], 1]] * 5
    assert compute_backbone_shapes(config, (7, 8)).tolist() == [[7, 1]] * 5
