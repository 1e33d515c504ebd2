import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import is_keras3_weights_file, save_weights, verify
from tests.checkpoints.fakes import FakeLayer, FakeModel, conv, small_mask_rcnn


def test_what_a_file_says_of_itself(tmp_path):
    path = tmp_path / "mask_rcnn_shapes_0001.h5"
    model = small_mask_rcnn(num_classes=4, pyramid=8, fc=16, anchors=5, channels=3)
    save_weights(model, path)
    info = verify(path)
    assert info.path == str(path)
    assert info.file_format == "keras"
    assert info.backbone == "resnet50"
    assert info.backbone_channels == (4, 4, 4, 4)
    assert info.anchors_per_location == 5
    assert info.has_rpn and info.has_heads
    assert info.num_parameters == sum(v.numpy().size for v in model.weights)
    assert info.layers[0] == ("conv1", (("kernel", (7, 7, 3, 4)), ("bias", (4,))))
    assert [name for name, _ in info.layers][-1] == "mrcnn_mask"
    assert info.config_settings() == {
        "BACKBONE": "resnet50",
        "NUM_CLASSES": 4,
        "TOP_DOWN_PYRAMID_SIZE": 8,
        "FPN_CLASSIF_FC_LAYERS_SIZE": 16,
        "POOL_SIZE": 7,
        "RPN_CHANNELS": 4,
        "IMAGE_CHANNEL_COUNT": 3,
    }
    assert "resnet50 backbone, 4 classes with the background" in info.summary()


def test_a_backbone_alone(tmp_path):
    model = FakeModel([FakeLayer("input"), conv("squeeze_conv1", (3, 3, 3, 8))])
    model.layers.append(conv("fire2_squeeze1x1", (1, 1, 8, 4)))
    save_weights(model, tmp_path / "w.h5")
    info = verify(tmp_path / "w.h5")
    assert (info.backbone, info.has_heads, info.has_rpn) == ("squeezenet", False, False)
    assert info.config_settings() == {"BACKBONE": "squeezenet", "IMAGE_CHANNEL_COUNT": 3}
    assert "no heads" in info.summary()


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_backbones(tmp_path, backbone):
    save_weights(small_mask_rcnn(backbone=backbone), tmp_path / "w.h5")
    assert verify(tmp_path / "w.h5").backbone == backbone


@pytest.mark.parametrize(
    "layers, backbone",
    [
        (["nano1_conv", "nano5_entry"], "nanodet"),
        (["nano1_conv", "nano5_entry", "nano_pan3"], "nanodet_pan"),
        (["lite1_stem_conv", "lite5_block5_project_conv"], "efficientnet_lite0"),
    ],
)
def test_small_backbones(tmp_path, layers, backbone):
    save_weights(FakeModel([conv(name, (3, 3, 3, 2)) for name in layers]), tmp_path / "w.h5")
    info = verify(tmp_path / "w.h5")
    assert info.config_settings() == {"BACKBONE": backbone, "IMAGE_CHANNEL_COUNT": 3}


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet50v2", "convnext_tiny"])
def test_networks_of_keras_applications(tmp_path, backbone):
    """They are recognized by a layer without weights: their own names differ in number only."""
    layers = [FakeLayer(f"{backbone}_pixels"), conv("conv1_conv", (3, 3, 3, 2))]
    layers.append(conv("conv2_block1_preact_bn", (3,)))
    save_weights(FakeModel(layers), tmp_path / "w.h5")
    info = verify(tmp_path / "w.h5")
    assert info.config_settings() == {"BACKBONE": backbone}
    assert [name for name, _ in info.layers] == ["conv1_conv", "conv2_block1_preact_bn"]


def test_another_network_is_described_not_refused(tmp_path):
    save_weights(FakeModel([conv("block1_conv1", (3, 3, 3, 2))]), tmp_path / "vgg.h5")
    info = verify(tmp_path / "vgg.h5")
    assert (info.backbone, info.num_classes, info.num_parameters) == ("other", None, 56)
    assert info.config_settings() == {}


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html>\n<html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04rest of a .keras file", "it is a zip archive"),
        (b"\x00\x01\x02\x03", r"it starts with b'\\x00\\x01\\x02\\x03'"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, message):
    path = tmp_path / "mask_rcnn_coco.h5"
    path.write_bytes(content)
    for function in (verify, is_keras3_weights_file):
        with pytest.raises(ValueError, match=rf"mask_rcnn_coco.h5 \(.*not an HDF5.*{message}"):
            function(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weight file not found: .*none\.h5"):
        verify(tmp_path / "none.h5")
    with pytest.raises(ValueError, match="is a folder"):
        verify(tmp_path)


@pytest.mark.parametrize("keep", [0.99, 0.5, 0.1])
def test_cut_files(tmp_path, keep):
    path = tmp_path / "w.h5"
    save_weights(small_mask_rcnn(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ValueError, match="is cut short"):
        verify(path)


def test_hdf5_that_is_not_of_keras(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"no attribute 'layer_names' \(its groups: images\)"):
        verify(tmp_path / "data.h5")


@pytest.mark.parametrize(
    "broken, message",
    [("bn_conv1", "'bn_conv1' is listed but has no group"), ("conv1/conv1/bias:0", "conv1/bias:0")],
)
def test_listed_but_missing(tmp_path, broken, message):
    path = tmp_path / "w.h5"
    save_weights(small_mask_rcnn(), path)
    with h5py.File(path, "r+") as file:
        del file[broken]
    with pytest.raises(ValueError, match=f"{message}.*damaged"):
        verify(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "is a JSON list; it must be an object")],
)
def test_unreadable_metadata(tmp_path, text, message):
    save_weights(small_mask_rcnn(), tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r+") as file:  # as earlier versions wrote them
        file.attrs["mrcnn_metadata"] = text
    with pytest.raises(ValueError, match=f"mrcnn_metadata of .*{message}"):
        verify(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("settings", "removed", "is_complete", "summary"),
    [
        ({}, [], True, "parameters"),
        ({}, ["mrcnn_mask"], False, "no mask head"),
        ({}, ["rpn_model"], False, "parameters"),
        ({"USE_MASK": False}, ["mrcnn_mask"], True, "no mask head"),
        ({"USE_MASK": False}, ["mrcnn_mask", "rpn_model"], False, "no mask head"),
        ({"USE_MASK": False, "USE_RPN": False}, ["mrcnn_mask", "rpn_model"], True, "no mask head"),
        ({"USE_MASK": False}, ["mrcnn_mask", "mrcnn_bbox_fc"], False, "no heads"),
    ],
)
def test_the_settings_in_a_file_say_what_is_complete(
    settings, removed, is_complete, summary, tmp_path
):
    model = small_mask_rcnn()
    model.layers = [layer for layer in model.layers if layer.name not in removed]
    save_weights(model, tmp_path / "w.h5", metadata={"config": settings} if settings else None)
    info = verify(tmp_path / "w.h5")
    assert info.is_complete == is_complete
    assert summary in info.summary()
