"""Backbones and the pyramid: strides, widths, names, and errors."""

import keras
import numpy as np
import pytest

from mrcnn.layers.backbones import backbone_graph, resnet_graph, squeezenet_graph
from mrcnn.layers.fpn import DoubleSides, fpn_graph
from mrcnn.layers.rpn import build_rpn_model
from tests.tiny import tiny_backbone, tiny_config


def image():
    return keras.Input((128, 192, 3))


def shapes(maps):
    return [None if m is None else tuple(m.shape[1:]) for m in maps]


@pytest.mark.parametrize("stage5", [True, False])
def test_resnet50(stage5):
    stages = resnet_graph(image(), "resnet50", stage5=stage5, train_bn=False)
    last = (4, 6, 2048) if stage5 else None
    expected = [(32, 48, 64), (32, 48, 256), (16, 24, 512), (8, 12, 1024), last]
    assert shapes(stages) == expected
    names = [stage._keras_history.operation.name for stage in stages[1:4]]
    assert names == ["res2c_out", "res3d_out", "res4f_out"]


def test_resnet101_has_23_blocks_in_stage_4():
    inputs = image()
    *_, c4, c5 = resnet_graph(inputs, "resnet101", stage5=False)
    assert c5 is None
    names = {layer.name for layer in keras.Model(inputs, c4).layers}
    assert "res4w_branch2c" in names and "res4x_branch2c" not in names


@pytest.mark.parametrize("architecture", ["resnet18", None])
def test_unknown_architecture(architecture):
    with pytest.raises(ValueError, match=r"must be one of \['resnet101', 'resnet50'\]"):
        resnet_graph(image(), architecture)


def test_squeezenet():
    expected = [(32, 48, 64), (32, 48, 128), (16, 24, 256), (8, 12, 512), (4, 6, 512)]
    assert shapes(squeezenet_graph(image())) == expected
    assert shapes(backbone_graph(image(), tiny_config(BACKBONE="squeezenet"))) == expected[1:]


def test_a_function_gets_matterports_arguments():
    given = {}

    def backbone(input_image, **arguments):
        given.update(arguments)
        return tiny_backbone(input_image, **arguments)

    stages = backbone_graph(image(), tiny_config(BACKBONE=backbone, TRAIN_BN=None))
    assert given == {"stage5": True, "train_bn": None}
    assert shapes(stages) == [(32, 48, 8), (16, 24, 8), (8, 12, 8), (4, 6, 8)]


def test_a_function_that_returns_too_few_maps():
    config = tiny_config(BACKBONE=lambda x, stage5, train_bn: [x, x, x, x])
    with pytest.raises(ValueError, match="returned 4 feature maps"):
        backbone_graph(image(), config)


def test_doubled_sides_repeat_every_cell():
    x = np.random.RandomState(0).rand(2, 3, 4, 5).astype(np.float32)
    layer = DoubleSides(name="up")
    expected = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(keras.ops.array(x))), expected)
    assert layer(keras.Input((None, 4, 5))).shape == (None, None, 8, 5)
    assert DoubleSides.from_config(layer.get_config()).name == "up"


def test_pyramid():
    stages = squeezenet_graph(image())
    pyramid = fpn_graph(stages[1:], 16)
    sides = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert shapes(pyramid) == [(*side, 16) for side in sides]
    names = [level._keras_history.operation.name for level in pyramid]
    assert names == ["fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5", "fpn_p6"]


@pytest.mark.parametrize("stride, anchors", [(1, 4 * 6 * 3), (2, 2 * 3 * 3)])
def test_rpn(stride, anchors):
    model = build_rpn_model(stride, 3, 16, channels=8)
    outputs = model(keras.Input((4, 6, 16)))
    assert [tuple(x.shape[1:]) for x in outputs] == [(anchors, 2), (anchors, 2), (anchors, 4)]
    names = [layer.name for layer in model.layers if layer.weights]
    assert names == ["rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"]
