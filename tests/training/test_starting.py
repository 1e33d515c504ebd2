"""Where a training starts from: backbones of keras.applications, and labels without masks."""

import json

import numpy as np
import pytest

from mrcnn.checkpoints import known, save_weights
from mrcnn.config import Config
from mrcnn.layers.backbones import applications
from mrcnn.training.starting import (
    configure_for_datasets,
    find_starting_point,
    imagenet_weights,
    learn_masks_where_there_are,
)
from tests.checkpoints.fakes import FakeLayer, FakeModel, conv
from tests.tiny import Squares


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """What Keras was asked for; its files have one layer, as far as we read them here."""
    asked = []

    def save(name, path):
        asked.append(name)
        layers = [FakeLayer(f"{name}_pixels"), conv("Conv1", (3, 3, 3, 2))]
        save_weights(FakeModel(layers), path)

    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))
    monkeypatch.setattr(applications, "save_imagenet_weights", save)
    monkeypatch.setattr(known, "get_imagenet_weights", lambda: "resnet50.h5")
    return asked


def test_imagenet_weights_of_a_backbone(downloads, tmp_path):
    for _ in range(2):
        start = find_starting_point("imagenet", backbone="mobilenet_v2")
    assert downloads == ["mobilenet_v2"]  # once
    assert start.weights == str(tmp_path / "mobilenet_v2_imagenet_notop.h5")
    assert (start.config.BACKBONE, start.class_names) == ("mobilenet_v2", None)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("squeezenet", "weights is imagenet, the default with a backbone; with squeezenet it must"),
        ("nanodet_pan", r"it must be none or a weight file \(or small\): ImageNet's"),
        ("resnet101", "for resnet50 and the networks of keras.applications"),
        ("resnet5", "BACKBONE is 'resnet5'; it must be one of 'resnet50'"),
    ],
)
def test_nothing_is_downloaded_for_a_backbone_without_values(backbone, message, monkeypatch):
    monkeypatch.setattr(known, "get_imagenet_weights", lambda: pytest.fail("downloaded"))
    with pytest.raises(ValueError, match=message):
        find_starting_point("imagenet", backbone=backbone)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "nanodet", lambda image: None])
def test_other_backbones_take_those_of_resnet50(downloads, backbone):
    assert imagenet_weights(backbone) == "resnet50.h5"
    assert downloads == []


def test_a_file_of_keras_needs_the_name_of_its_network(tmp_path):
    path = tmp_path / "mobilenet.h5"
    save_weights(FakeModel([conv("Conv1", (3, 3, 3, 2))]), path)
    start = find_starting_point(str(path), backbone="mobilenet_v2")
    assert (start.config.BACKBONE, start.weights) == ("mobilenet_v2", str(path))
    for backbone in (None, "resnet50"):
        with pytest.raises(ValueError, match="holds no complete Mask R-CNN"):
            find_starting_point(str(path), backbone=backbone)


def test_keras_cannot_download(tmp_path, monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure")

    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))
    monkeypatch.setattr(applications.keras.applications, "MobileNetV2", fail)
    with pytest.raises(OSError, match="cannot fetch the ImageNet weights of mobilenet_v2: URL"):
        imagenet_weights("mobilenet_v2")
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_in_the_settings_must_be_that_of_the_weights(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"BACKBONE": "nanodet_pan"}))
    assert find_starting_point("small", config_path=path).config.BACKBONE == "nanodet_pan"
    path.write_text(json.dumps({"BACKBONE": "squeezenet"}))
    with pytest.raises(ValueError, match="is 'squeezenet'; it must be nanodet_pan, that of the w"):
        find_starting_point("small", config_path=path)
    assert find_starting_point("none", config_path=path).config.BACKBONE == "squeezenet"


@pytest.mark.parametrize("gpu_count", [1, 2])
def test_the_number_of_devices_is_that_of_the_settings(gpu_count):
    config = Config()
    config.GPU_COUNT, config.IMAGES_PER_GPU = gpu_count, 2
    configure_for_datasets(config, Squares((((8, 8, 24, 1),),) * 8))
    assert (config.BATCH_SIZE, config.STEPS_PER_EPOCH) == (2 * gpu_count, 4 // gpu_count)


class Boxes(Squares):
    """Squares of which some have a box alone.

    Args:
        flags: for each image what `image_has_masks` returns.
    """

    def __init__(self, *flags):
        super().__init__((((8, 8, 24, 1), (36, 30, 20, 2)),) * len(flags))
        self.flags = flags

    def image_has_masks(self, image_id):
        flags = self.flags[image_id]
        return None if flags is None else np.array(flags, bool)


@pytest.mark.parametrize(
    ("flags", "note"),
    [
        ([None, None], None),
        ([None, [True, False]], "1 object with a box but no mask: masks are learned from the"),
        ([[False, False], [True, False]], "3 objects with a box but no mask"),
        ([[False, False], []], "no object has a mask, only boxes: the mask head is not trained"),
        ([[], []], None),
    ],
)
def test_masks_are_learned_where_there_are_some(flags, note):
    config = Config()
    notes = learn_masks_where_there_are(config, Boxes(*flags))
    assert config.PARTIAL_LABELS == (note is not None)
    assert [note in one for one in notes] == ([True] if note else [])
    faster = Config()
    faster.USE_MASK = False
    assert learn_masks_where_there_are(faster, Boxes(*flags)) == []
    assert not faster.PARTIAL_LABELS
