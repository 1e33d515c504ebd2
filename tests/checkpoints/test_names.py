import pytest

from mrcnn.checkpoints.names import (
    expects_weights,
    from_keras_applications,
    from_keras_squeezenet,
    is_keras_resnet,
    is_keras_squeezenet,
    matterport_layer_names,
)


@pytest.mark.parametrize(
    "backbone, mode, count, num_weighted",
    [
        ("resnet50", "inference", 224, 131),
        ("resnet50", "training", 237, 131),
        ("resnet101", "inference", 394, 233),
        ("resnet101", "training", 407, 233),
    ],
)
def test_counts(backbone, mode, count, num_weighted):
    names = matterport_layer_names(backbone, mode)
    assert len(names) == len(set(names)) == count
    assert sum(map(expects_weights, names)) == num_weighted


def test_beginning_and_end():
    names = matterport_layer_names("resnet50", "inference")
    assert names[:3] == ["input_image", "zero_padding2d_1", "conv1"]
    assert names[names.index("res3a_branch2c") :][:6] == [
        *("res3a_branch2c", "res3a_branch1", "bn3a_branch2c", "bn3a_branch1", "add_4", "res3a_out")
    ]
    assert names[-3:] == ["activation_40", "mrcnn_mask_deconv", "mrcnn_mask"]
    assert matterport_layer_names("resnet101", "inference")[-3] == "activation_74"


def test_without_stage5():
    names = matterport_layer_names("resnet50", "inference", stage5=False)
    assert not [name for name in names if name.startswith("res5")]
    assert names[-3] == "activation_34"  # three blocks of two activations fewer


@pytest.mark.parametrize(
    "backbone, mode, message",
    [("vgg16", "inference", "backbone is 'vgg16'"), ("resnet50", "predict", "mode is 'predict'")],
)
def test_refuses_unknown(backbone, mode, message):
    with pytest.raises(ValueError, match=message):
        matterport_layer_names(backbone, mode)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("conv1_conv", "conv1"),
        ("conv1_bn", "bn_conv1"),
        ("conv2_block1_0_conv", "res2a_branch1"),
        ("conv2_block1_0_bn", "bn2a_branch1"),
        ("conv4_block23_3_conv", "res4w_branch2c"),
        ("conv5_block3_1_bn", "bn5c_branch2a"),
        ("conv2_block1_add", "conv2_block1_add"),
        ("predictions", "predictions"),
    ],
)
def test_from_keras_applications(name, expected):
    assert from_keras_applications(name) == expected


def test_keras_applications_names_are_those_of_the_backbone():
    blocks = {2: 3, 3: 4, 4: 23, 5: 3}
    theirs = {"conv1_conv", "conv1_bn"}
    for stage, count in blocks.items():
        for block in range(1, count + 1):
            positions = (0, 1, 2, 3) if block == 1 else (1, 2, 3)
            theirs |= {
                f"conv{stage}_block{block}_{position}_{kind}"
                for position in positions
                for kind in ("conv", "bn")
            }
    ours = {
        name
        for name in matterport_layer_names("resnet101", "inference")
        if expects_weights(name) and name.startswith(("conv", "bn", "res"))
    }
    assert set(map(from_keras_applications, theirs)) == ours


def test_from_keras_squeezenet():
    assert from_keras_squeezenet("conv1") == "squeeze_conv1"
    assert from_keras_squeezenet("fire9/expand3x3") == "fire9_expand3x3"
    assert from_keras_squeezenet("fire9/relu_expand3x3") == "fire9/relu_expand3x3"
    assert is_keras_squeezenet(["conv1", "fire2/squeeze1x1"])
    assert not is_keras_squeezenet(["squeeze_conv1", "fire2_squeeze1x1"])  # files of our own


@pytest.mark.parametrize(
    "names, expected",
    [
        (["conv1_conv", "conv1_bn", "conv2_block1_1_conv"], True),  # ResNet-50
        (["conv1_conv", "conv2_block1_preact_bn", "conv2_block1_1_conv"], False),  # ResNet-50 V2
        (["conv1_conv", "conv1_bn", "conv2_block1_1_conv", "pool2_bn"], False),  # DenseNet
        (["conv1", "bn_conv1"], False),
    ],
)
def test_is_keras_resnet(names, expected):
    assert is_keras_resnet(names) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("nano1_conv", "nano2_entry", "nano5_block3_conv2", "nano_pan4", "nano_head3_out"),
        *("lite1_stem_bn", "lite1_block1_depthwise_conv", "lite4_block6_project_bn"),
    ],
)
def test_small_backbones_hold_weights(name):
    assert expects_weights(name)


@pytest.mark.parametrize("name", ["nano1_pool", "nano5_out", "nano_pixels", "lite4_block2_add"])
def test_layers_of_small_backbones_without_weights(name):
    assert not expects_weights(name)
