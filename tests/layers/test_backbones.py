"""Backbones and the pyramid: strides, widths, names, and errors."""

import keras
import numpy as np
import pytest

from mrcnn.config_rules import BACKBONES
from mrcnn.layers.backbones import (
    backbone_graph,
    efficientnet_lite0_graph,
    nanodet_graph,
    nanodet_pan_graph,
    resnet_graph,
    squeezenet_graph,
)
from mrcnn.layers.backbones.nanodet import (
    BilinearDoubleSides,
    LargerObjects,
    NanoDet,
    NanoDetReadings,
    PadEdges,
    StrongerEvidence,
    double_anchor_density,
    large_object_graph,
)
from mrcnn.layers.fpn import DoubleSides, fpn_graph
from mrcnn.layers.rpn import build_rpn_model
from tests.tiny import randomize, shapes_only, tiny_backbone, tiny_config


def image():
    return keras.Input((128, 192, 3))


def shapes(maps):
    return [None if m is None else tuple(m.shape[1:]) for m in maps]


@pytest.mark.parametrize("stage5", [True, False])
def test_resnet50(stage5):
    with shapes_only():
        stages = resnet_graph(image(), "resnet50", stage5=stage5, train_bn=False)
    last = (4, 6, 2048) if stage5 else None
    expected = [(32, 48, 64), (32, 48, 256), (16, 24, 512), (8, 12, 1024), last]
    assert shapes(stages) == expected
    names = [stage._keras_history.operation.name for stage in stages[1:4]]
    assert names == ["res2c_out", "res3d_out", "res4f_out"]


def test_resnet101_has_23_blocks_in_stage_4():
    inputs = image()
    with shapes_only():
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


@pytest.mark.parametrize(
    "build, channels",
    [
        (nanodet_graph, (32, 64, 128, 256, 512)),
        (nanodet_pan_graph, (32, 64, 341, 469, 725)),
        (efficientnet_lite0_graph, (16, 24, 40, 112, 320)),
    ],
)
def test_small_backbones(build, channels):
    first = (64, 96) if build is efficientnet_lite0_graph else (32, 48)
    sides = [first, (32, 48), (16, 24), (8, 12), (4, 6)]
    assert shapes(build(image())) == [(*side, width) for side, width in zip(sides, channels)]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_builds(name):
    with shapes_only():
        stages = backbone_graph(image(), tiny_config(BACKBONE=name))
    assert [stage.shape[1:3] for stage in stages] == [(32, 48), (16, 24), (8, 12), (4, 6)]


def features(name, mean_pixel, pixels):
    inputs = keras.Input((None, None, pixels.shape[-1]))
    config = tiny_config(BACKBONE=name, MEAN_PIXEL=np.array(mean_pixel), TRAIN_BN=False)
    model = keras.Model(inputs, backbone_graph(inputs, config))
    randomize(model)
    return [keras.ops.convert_to_numpy(x) for x in model(pixels - np.array(mean_pixel))]


@pytest.mark.parametrize("name", ["nanodet_pan", "efficientnet_lite0", "mobilenet_v2"])
def test_features_do_not_depend_on_the_mean_pixel(name):
    pixels = np.random.RandomState(0).randint(0, 256, (1, 64, 64, 3)).astype(np.float32)
    some = features(name, [123.7, 116.8, 103.9], pixels)
    others = features(name, [0.0, 0.0, 50.0], pixels)
    for stage, other in zip(some, others):
        np.testing.assert_allclose(stage, other, atol=2e-5 * np.abs(stage).max())


@pytest.mark.parametrize("name", ["nanodet", "efficientnet_lite0"])
@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(name, channels):
    pixels = np.ones((1, 64, 64, channels), np.float32)
    assert features(name, [0.0] * channels, pixels)[0].shape[:3] == (1, 16, 16)


def moving_means(train_bn):
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, efficientnet_lite0_graph(inputs, train_bn=train_bn))
    model(np.full((2, 64, 64, 3), 50.0, np.float32), training=True)
    return [np.asarray(w).any() for w in model.weights if w.name == "moving_mean"]


def test_batch_statistics_are_frozen():
    assert not any(moving_means(False)) and any(moving_means(None))


def test_padded_edges_make_the_maximum_of_pytorch():
    x = np.array([[-5, -4, -8, -9], [-1, -2, -7, -6]] * 2, np.float32)
    padded = PadEdges()(x[None, ..., None])
    maxima = keras.layers.MaxPooling2D(3, 2)(padded)
    assert keras.ops.convert_to_numpy(maxima)[0, ..., 0].tolist() == [[-1, -2], [-1, -2]]
    assert PadEdges()(keras.Input((None, 4, 5))).shape == (None, None, 6, 5)


def test_bilinear_doubling():
    x = np.array([[0, 4], [8, 12]], np.float32)[None, ..., None]
    rows = [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]
    doubled = BilinearDoubleSides()(keras.ops.array(x))
    assert keras.ops.convert_to_numpy(doubled)[0, ..., 0].tolist() == rows
    assert BilinearDoubleSides()(keras.Input((None, 4, 5))).shape == (None, None, 8, 5)


def test_readings():
    raw = np.zeros((1, 1, 1, 124), np.float32)
    raw[..., :80] = -7
    raw[..., :3] = [-9, -4, 1.5]
    raw[..., 80:91] = [0] * 10 + [50]  # left: surely 10 cells
    raw[..., 91 + 4] = 50  # top: surely 4 cells; right and bottom: 5 on the average
    out = keras.ops.convert_to_numpy(NanoDetReadings()(keras.ops.array(raw)))[0, 0, 0]
    assert out.shape == (85,) and out[:4].tolist() == [0, 3, 8.5, 0]
    # Of an anchor of 5 cells: 9 cells high, its middle half a cell lower; 15 wide, 2.5 to the left.
    expected = [0.5 / 5, -2.5 / 5, np.log(9 / 5), np.log(15 / 5), 8.5]
    np.testing.assert_allclose(out[80:], expected, rtol=1e-5)


def test_a_box_without_size_has_a_finite_code():
    raw = np.zeros((1, 1, 1, 124), np.float32)
    raw[..., [80, 91, 102, 113]] = 200  # surely 0 cells to each side
    out = keras.ops.convert_to_numpy(NanoDetReadings()(keras.ops.array(raw)))[0, 0, 0]
    np.testing.assert_allclose(out[80:84], [0, 0, -np.log(16), -np.log(16)], atol=1e-6)


def test_stronger_evidence_is_that_of_the_classes_only():
    own, above = np.zeros((2, 1, 1, 1, 213), np.float32)
    own[..., 130], above[..., [0, 130, 131, 212]] = 3, 2
    out = keras.ops.convert_to_numpy(StrongerEvidence()([own, above])).ravel()
    assert np.flatnonzero(out).tolist() == [130, 131] and out[[130, 131]].tolist() == [3, 2]


def test_boxes_stay_where_they_are_for_anchors_of_half_the_size():
    rng = np.random.RandomState(0)
    readings = rng.uniform(-1, 1, (1, 2, 3, 85)).astype(np.float32)
    out = keras.ops.convert_to_numpy(double_anchor_density(keras.ops.array(readings)))
    assert out.shape == (1, 4, 6, 85)
    np.testing.assert_allclose(out[0, 3, 2, :80], readings[0, 1, 1, :80])
    np.testing.assert_allclose(
        boxes_of(out, 32), boxes_of(readings, 64).repeat(2, 1).repeat(2, 2), rtol=1e-5, atol=1e-3
    )


def boxes_of(readings, stride):
    """Return the boxes `(y, x, h, w)` in pixels of `NanoDetReadings` at a stride."""
    rows, columns = np.mgrid[: readings.shape[1], : readings.shape[2]]
    centers = (np.stack([rows, columns], axis=-1) + 0.5) * stride
    code, anchor = readings[..., 80:84], 5 * stride
    return np.concatenate([centers + code[..., :2] * anchor, np.exp(code[..., 2:]) * anchor], -1)


@pytest.mark.parametrize(
    "number, objectness, taken",
    [(7, 4.1, True), (7, 2.1, True), (7, 1.9, False), (8, 4.1, True), (8, 3.9, False)],
)
def test_boxes_of_larger_objects(number, objectness, taken):
    """The larger box counts for more where both levels see class 7."""
    own, large = np.zeros((1, 2, 2, 85), np.float32), np.zeros((1, 1, 1, 85), np.float32)
    own[..., [7, 84]], own[..., 80] = 4, 0.25
    large[..., [number, 84]], large[..., 9] = objectness, 1
    out = keras.ops.convert_to_numpy(LargerObjects()([own, large]))
    assert (out[..., 84] == max(4, np.float32(objectness))).all() and (out[..., 9] == 1).all()
    expected = [0.1, 0.1, np.log(2), np.log(2)] if taken else [0.25, 0, 0, 0]
    np.testing.assert_allclose(out[0, 0, 0, 80:84], expected, rtol=1e-5)


def test_large_objects_are_read_off_the_image_at_half_its_size():
    network, small, large = NanoDet(), keras.Input((64, 128, 3)), keras.Input((128, 256, 3))
    said = network.head(network.pan(*network.trunk(small)[2:])[2], 5)
    readings = [NanoDetReadings()(said), large_object_graph(network, large)]
    model = keras.Model([small, large], readings)
    randomize(model)
    assert len(model.weights) == 2 * 30  # both share the convolutions
    pixels = np.random.RandomState(0).uniform(-2, 2, (1, 64, 128, 3)).astype(np.float32)
    doubled = pixels.repeat(2, axis=1).repeat(2, axis=2)
    expected, out = model.predict_on_batch([pixels, doubled])
    assert out.shape == (1, 2, 4, 85)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_levels_add_up_to_what_the_detector_says():
    inputs = image()
    c3, c4, c5 = nanodet_pan_graph(inputs)[2:]
    model = keras.Model(inputs, [c3, c4, c5])
    randomize(model)
    said = [
        model.get_layer(f"nano_head{level}_{name}").output
        for level, name in ((3, "strongest"), (4, "strongest"), (5, "said"))
    ]
    pixels = np.random.RandomState(0).uniform(-100, 100, (1, *inputs.shape[1:])).astype(np.float32)
    maps = [keras.ops.convert_to_numpy(x) for x in keras.Model(inputs, [c3, c4, c5, *said])(pixels)]
    total = 0
    for change, value in zip(maps[2::-1], maps[:2:-1]):
        if np.ndim(total):
            total = total.repeat(2, axis=1).repeat(2, axis=2)
        total = total + change[..., -213:]
        np.testing.assert_allclose(total, value, atol=1e-4 * np.abs(value).max())


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
