"""Networks of keras.applications as backbones: where they are cut, and that they stay the same."""

import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.checkpoints import load_weights, save_weights, verify
from mrcnn.config_rules import APPLICATIONS
from mrcnn.layers.backbones import backbone_graph
from mrcnn.layers.backbones.applications import application_graph, find_stages
from mrcnn.layers.normalization import BatchNorm
from tests.tiny import randomize, tiny_config


def build(name, **arguments):
    image = keras.Input((None, None, 3), name="input_image")
    return keras.Model(image, application_graph(image, name, train_bn=False, **arguments))


@pytest.fixture(scope="module")
def mobilenet():
    return build("mobilenet_v2")


def test_names_exist_in_keras():
    for name, function in APPLICATIONS.items():
        assert callable(getattr(keras.applications, function)), name


def test_mobilenet(mobilenet):
    names = [output._keras_history.operation.name for output in mobilenet.outputs]
    assert names == [
        "block_3_expand_relu",
        "block_6_expand_relu",
        "block_13_expand_relu",
        "out_relu",
    ]
    assert [output.shape[-1] for output in mobilenet.outputs] == [144, 192, 576, 1280]
    norms = [x for x in mobilenet.layers if isinstance(x, layers.BatchNormalization)]
    assert len(norms) == 52 and all(isinstance(layer, BatchNorm) for layer in norms)


def test_a_saved_file_names_its_backbone(mobilenet, tmp_path):
    save_weights(mobilenet, tmp_path / "w.h5")
    assert verify(tmp_path / "w.h5").backbone == "mobilenet_v2"


@pytest.mark.parametrize(
    "name, preprocessing",
    [
        ("mobilenet_v2", "mobilenet_v2"),
        pytest.param("densenet121", "densenet", marks=pytest.mark.slow),
        pytest.param("resnet50v2", "resnet_v2", marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_keras(tmp_path, name, preprocessing):
    """A file with Keras' names, loaded by name, gives what Keras' own network computes."""
    original = getattr(keras.applications, APPLICATIONS[name])(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    randomize(original)
    save_weights(original, tmp_path / "w.h5")
    model = build(name, mean_pixel=[123.7, 116.8, 103.9])
    report = load_weights(model, tmp_path / "w.h5")
    assert not report.missing_in_file and not report.unused_in_file

    pixels = np.random.RandomState(1).randint(0, 256, (1, 64, 64, 3)).astype(np.float32)
    scale = getattr(keras.applications, preprocessing).preprocess_input
    expected = original(scale(pixels.copy()))
    last = model((pixels - [123.7, 116.8, 103.9]).astype(np.float32))[-1]
    expected, last = map(keras.ops.convert_to_numpy, (expected, last))
    np.testing.assert_allclose(last, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, channels",
    [
        ("mobilenet", [128, 256, 512, 1024]),
        ("mobilenet_v3_small", [72, 96, 288, 576]),
        ("efficientnet_b0", [144, 240, 672, 1280]),
        ("efficientnet_v2_b0", [32, 192, 672, 1280]),
        ("resnet50v2", [256, 512, 1024, 2048]),
        ("densenet121", [128, 256, 512, 1024]),
        ("convnext_tiny", [96, 192, 384, 768]),
    ],
)
def test_others(name, channels):
    image = keras.Input((None, None, 3))
    stages = backbone_graph(image, tiny_config(BACKBONE=name))
    assert [stage.shape[-1] for stage in stages] == channels
    maps = keras.Model(image, stages)(np.zeros((1, 128, 192, 3), np.float32))
    assert [tuple(x.shape[1:3]) for x in maps] == [(32, 48), (16, 24), (8, 12), (4, 6)]


@pytest.mark.slow
def test_layer_names_do_not_depend_on_what_was_built_before():
    """Keras numbers unnamed layers through the whole session; files are loaded by name."""
    first, second = build("convnext_tiny"), build("convnext_tiny")
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


def test_own_weights_are_copied(tmp_path):
    original = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=1.0)
    randomize(original)
    path = tmp_path / "mobilenet.weights.h5"
    original.save_weights(path)
    model = build("mobilenet_v2", weights=path)
    for layer in model.layers:
        if layer.weights:
            for ours, theirs in zip(
                layer.get_weights(), original.get_layer(layer.name).get_weights()
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_four_channels():
    with pytest.raises(
        ValueError, match="IMAGE_CHANNEL_COUNT is 4; it must be 3 with BACKBONE 'mob"
    ):
        application_graph(keras.Input((None, None, 4)), "mobilenet_v2")


def test_a_network_without_a_stride(monkeypatch):
    def tiny(include_top, weights, input_shape):
        image = keras.Input(input_shape)
        return keras.Model(image, layers.Conv2D(2, 3, 4, padding="same")(image))

    monkeypatch.setattr(keras.applications, "MobileNetV2", tiny)
    with pytest.raises(
        ValueError, match=r"has maps of strides \[4\]; it must have those of \[4, 8"
    ):
        build("mobilenet_v2")


def conv(x, name, strides=1):
    return layers.Conv2D(2, 3, strides, padding="same", name=name)(x)


def test_a_residual_block_is_not_cut():
    image = keras.Input((64, 64, 3))
    before = conv(image, "before", 4)
    inside = conv(before, "inside")
    after = layers.Add(name="sum")([conv(inside, "inside2"), before])
    # The way past the block reduces, and so does the block: its inside has stride 4 as well.
    wide = conv(after, "late_inside")
    down = layers.Add(name="down")([conv(wide, "a", 2), layers.MaxPooling2D(2, name="b")(after)])
    model = keras.Model(image, down)
    found = {stride: model.operations[i].name for stride, i in find_stages(model).items()}
    assert found == {4: "sum", 8: "down"}
