"""Which layers learn: Matterport's patterns on a ResNet-50 graph, and on SqueezeNet's."""

import keras
import pytest

from mrcnn.layers.backbones import backbone_graph, resnet_graph, squeezenet_graph
from mrcnn.layers.fpn import fpn_graph
from mrcnn.layers.rpn import build_rpn_model
from mrcnn.training.layer_selection import layer_regex, layers_with_weights, set_trainable
from tests.tiny import shapes_only, tiny_config

HEADS = [
    *("fpn_c5p5", "fpn_c4p4", "fpn_c3p3", "fpn_c2p2", "fpn_p5", "fpn_p2", "fpn_p3", "fpn_p4"),
    *("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred", "mrcnn_mask"),
]


def stage(number, blocks):
    """Names of a ResNet stage's layers with weights."""
    names = []
    for block in blocks:
        branches = ["2a", "2b", "2c", "1"] if block == "a" else ["2a", "2b", "2c"]
        for branch in branches:
            names += [f"res{number}{block}_branch{branch}", f"bn{number}{block}_branch{branch}"]
    return names


STEM = ["conv1", "bn_conv1"]
STAGES = {2: stage(2, "abc"), 3: stage(3, "abcd"), 4: stage(4, "abcdef"), 5: stage(5, "abc")}
EVERYTHING = [*STEM, *STAGES[2], *STAGES[3], *STAGES[4], *STAGES[5], *HEADS]


def network(stages_of):
    """Backbone, pyramid, RPN as a nested model, and one layer of a head."""
    with shapes_only():
        image = keras.Input((64, 64, 3))
        pyramid = fpn_graph(stages_of(image)[1:], 4)
        outputs = build_rpn_model(1, 3, 4, channels=4)(pyramid[0])
        mask = keras.layers.Conv2D(2, 1, name="mrcnn_mask")(pyramid[1])
        return keras.Model(image, [*outputs, mask, *pyramid])


@pytest.fixture(scope="module")
def resnet():
    return network(lambda image: resnet_graph(image, "resnet50", stage5=True))


@pytest.fixture(scope="module")
def squeezenet():
    return network(squeezenet_graph)


def learning(model):
    return {layer.name for layer in layers_with_weights(model) if layer.trainable}


@pytest.mark.parametrize(
    "layers, expected",
    [
        ("heads", HEADS),
        ("roi_heads", ["mrcnn_mask"]),
        ("5+", STAGES[5] + HEADS),
        ("4+", STAGES[4] + STAGES[5] + HEADS),
        ("3+", STAGES[3] + STAGES[4] + STAGES[5] + HEADS),
        ("all", EVERYTHING),
        ("rpn_.*", ["rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"]),
        (r"(conv1)|(bn2c_branch2[ab])", ["conv1", "bn2c_branch2a", "bn2c_branch2b"]),
        ("res2a_branch2a", ["res2a_branch2a"]),  # the whole name, not a part of it
    ],
)
def test_patterns(resnet, layers, expected):
    found = set_trainable(resnet, layers)
    assert len(found) == len(set(found)) == len(expected)
    assert set(found) == set(expected) == learning(resnet)
    # Every weight of those layers, and no other, can change.
    names = {variable.path.split("/")[-2] for variable in resnet.trainable_variables}
    assert names == set(expected)


@pytest.mark.parametrize(
    "layers, first",
    [("heads", "fire10"), ("5+", "fire10"), ("4+", "fire6"), ("3+", "fire4"), ("all", "fire2")],
)
def test_patterns_of_squeezenet(squeezenet, layers, first):
    fires = [name for name in set_trainable(squeezenet, layers) if name.startswith("fire")]
    numbers = {int(name.split("_")[0].removeprefix("fire")) for name in fires}
    assert numbers == set(range(int(first.removeprefix("fire")), 12))
    assert ("squeeze_conv1" in learning(squeezenet)) == (layers == "all")


def named(backbone):
    config = tiny_config(BACKBONE=backbone, TRAIN_BN=False)
    return network(lambda image: [None, *backbone_graph(image, config)])


@pytest.mark.parametrize("backbone, extra", [("nanodet", 0), ("nanodet_pan", 9)])
def test_patterns_of_nanodet(backbone, extra):
    model = named(backbone)
    # Convolutions: 1 in the stem, then 4, 6, 6 and 8 in the stages; 9 in the neck and head.
    for layers, count in (("heads", 0), ("5+", 8), ("4+", 14), ("3+", 20), ("all", 25)):
        names = [name for name in set_trainable(model, layers) if name.startswith("nano")]
        assert len(names) == count + (extra if count else 0)
        stages = {name[4] for name in names} - {"_"}
        assert stages == set(
            {"heads": "", "all": "12345"}.get(layers, "345"["345".find(layers[0]) :])
        )


def test_patterns_of_efficientnet_lite():
    model = named("efficientnet_lite0")
    for layers, stages in (
        ("heads", ""),
        ("5+", "5"),
        ("4+", "45"),
        ("3+", "345"),
        ("all", "12345"),
    ):
        names = [name for name in set_trainable(model, layers) if name.startswith("lite")]
        assert {name[4] for name in names} == set(stages)


def test_stages_of_keras_applications():
    model = named("mobilenet_v2")
    expected = {"3+": range(3, 17), "4+": range(6, 17), "5+": range(13, 17), "heads": ()}
    for layers, blocks in expected.items():
        selected = set(set_trainable(model, layers))
        assert set(HEADS) <= selected
        # Each stage begins within a block: its expansion belongs to the stage before.
        for block in range(1, 17):
            assert (f"block_{block}_depthwise" in selected) == (block in blocks)
            assert (f"block_{block}_expand" in selected) == (
                block in blocks and block != min(blocks)
            )
        assert ("Conv_1" in selected) == bool(blocks)
    assert learning(model) == selected == set(HEADS)


def test_no_match_changes_nothing(resnet):
    set_trainable(resnet, "5+")
    with pytest.raises(ValueError, match=r"layers is 'head', which matches none .* 118 layers"):
        set_trainable(resnet, "head")
    assert learning(resnet) == {*STAGES[5], *HEADS}


@pytest.mark.parametrize("layers", ["(", None, 3, ["heads"]])
def test_what_is_no_pattern(layers):
    with pytest.raises(ValueError, match=r"must be one of .* or a regular expression"):
        layer_regex(layers)
