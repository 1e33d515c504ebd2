"""Fewer anchor scales than pyramid levels: the last levels have no anchors, as in Matterport's."""

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.geometry.anchors import generate_pyramid_anchors
from tests.tiny import STRIDES, tiny_config, tiny_shapes

SHAPES = tiny_shapes((64, 64))


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_anchors_of_the_first_levels(count):
    scales = (8, 16, 24, 32, 64)
    every = generate_pyramid_anchors(scales, [1], SHAPES, STRIDES, 1)
    some = generate_pyramid_anchors(scales[:count], [1], SHAPES, STRIDES, 1)
    assert len(some) == sum(height * width for height, width in SHAPES[:count])
    np.testing.assert_array_equal(some, every[: len(some)])


def test_a_model_has_an_rpn_output_for_each_anchor():
    from mrcnn.model import MaskRCNN

    config = tiny_config(RPN_ANCHOR_SCALES=(8, 16, 24, 32))
    num_anchors = 3 * sum(height * width for height, width in SHAPES[:4])
    model = MaskRCNN("inference", config, "logs", engine="keras")
    assert model.get_anchors((64, 64, 3)).shape == (num_anchors, 4)
    image = np.zeros((64, 64, 3), np.uint8)
    assert model.detect([image, image], verbose=0)[0]["rois"].shape[1] == 4
    inputs = [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((1, config.IMAGE_META_SIZE), np.float32),
        np.zeros((1, num_anchors, 4), np.float32),
    ]
    outputs = model.keras_model.predict_on_batch(inputs)
    assert [output.shape for output in outputs[-2:]] == [(1, num_anchors, 2), (1, num_anchors, 4)]


def test_more_scales_than_levels_are_refused():
    config = Config()
    config.NUM_CLASSES, config.RPN_ANCHOR_SCALES = 2, (8, 16, 32, 64, 128, 256)
    with pytest.raises(ValueError, match=r"RPN_ANCHOR_SCALES is .* it must have at most 5 values"):
        config.validate()
    with pytest.raises(ValueError, match=r"scales is .* at most one value for each of the 5"):
        generate_pyramid_anchors(range(8, 14), [1], SHAPES, STRIDES, 1)
