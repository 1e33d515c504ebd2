"""Weight files that a model writes hold its settings, its class names and what was held out."""

import json
import os
import shutil

import h5py
import keras
import numpy as np
import pytest

from mrcnn import checkpoints
from mrcnn.checkpoints import HeldOut, describe_weights
from mrcnn.checkpoints.weight_file import read_metadata
from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.parallel_model import ParallelModel
from tests.checkpoints import keras2_reader
from tests.tiny import Squares, randomize, tiny_config
from tests.training.runs import step_eagerly, train


class PetsConfig(Config):
    """A network that a weight file can name: its backbone is no function."""

    NAME = "pets"
    BACKBONE = "squeezenet"
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 1
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    MEAN_PIXEL = np.array([90.0, 100.0, 110.0])
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 16
    RPN_CHANNELS = 16
    MASK_CHANNELS = 16
    TRAIN_ROIS_PER_IMAGE = 12
    POST_NMS_ROIS_TRAINING = 24
    POST_NMS_ROIS_INFERENCE = 24
    FPN_CLASSIF_FC_LAYERS_SIZE = 16
    DETECTION_MIN_CONFIDENCE = 0.05
    DETECTION_NMS_THRESHOLD = 0.4
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1


NAMES = ["BG", "bright", "dark"]
RECORD = HeldOut("data", "/x/data", "coco", "train", 0.2, (3, "a.jpg"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model after one epoch on two squares, which also wrote best.h5."""
    keras.utils.set_random_seed(0)
    model = MaskRCNN("training", PetsConfig(), str(tmp_path_factory.mktemp("logs")))
    randomize(model.keras_model)
    with pytest.MonkeyPatch.context() as patch:
        step_eagerly(patch)
        train(
            *(model, 1, "mrcnn_class_logits"),
            val_data=Squares(),
            custom_callbacks=["best"],
            held_out=RECORD,
        )
    return model


def written(model, name):
    return os.path.join(model.log_dir, name)


@pytest.mark.parametrize("name", ["best.h5", "mask_rcnn_pets_0001.h5"])
def test_a_file_copied_alone_detects_as_it_did(trained, tmp_path, name):
    shutil.copy(written(trained, name), tmp_path / "w.h5")
    # What another training left in the folder of the copy.
    other = Config()
    other.NUM_CLASSES, other.IMAGE_MAX_DIM = 3, 1024
    content = {"config": other.to_dict(), "class_names": ["BG", "yes", "no"]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    found = describe_weights(str(tmp_path / "w.h5"))
    assert (found.epoch, found.held_out, found.guess) == (1, RECORD, None)
    copy = MaskRCNN.from_weights(tmp_path / "w.h5", model_dir=tmp_path)
    assert (copy.class_names, copy.held_out) == (NAMES, RECORD)
    assert copy.config.RPN_ANCHOR_SCALES == (8, 16, 24, 32, 48)
    image = Squares().load_image(0)
    here, there = (m.detect([image])[0] for m in (trained, copy))
    assert len(here["rois"]) > 0
    for key, value in here.items():
        np.testing.assert_array_equal(value, there[key], err_msg=key)


def test_config_json_has_the_same(trained):
    with open(written(trained, "config.json")) as file:
        beside = json.load(file)
    assert beside == read_metadata(written(trained, "mask_rcnn_pets_0001.h5"))
    assert beside["held_out"] == RECORD.to_dict()


def test_every_way_of_saving(trained, tmp_path):
    model = trained.keras_model
    model.save_weights(tmp_path / "a.h5")
    with pytest.raises(FileExistsError, match=r"a\.h5 exists; with overwrite=False it must not"):
        model.save_weights(tmp_path / "a.h5", overwrite=False)
    model.save_weights(tmp_path / "b.weights.h5")
    checkpoints.save_weights(model, tmp_path / "c.h5", dtype="float16")
    ParallelModel(model, 1).save_weights(tmp_path / "d.h5")
    for name in ("a.h5", "b.weights.h5", "c.h5", "d.h5"):
        assert read_metadata(tmp_path / name)["class_names"] == NAMES, name
    model.save_weights(tmp_path / "e.h5")
    checkpoints.save_weights(model, tmp_path / "f.h5", metadata={})
    assert read_metadata(tmp_path / "f.h5") == {}
    # Keras's own format is read by Keras as ever.
    keras.Model.load_weights(model, tmp_path / "b.weights.h5")


def test_the_names_of_a_file_that_is_loaded(trained, tmp_path):
    path = written(trained, "best.h5")
    model = MaskRCNN("inference", PetsConfig(), tmp_path)
    assert (model.class_names, model.held_out) == (None, None)
    model.load_weights(path, by_name=True, exclude=["mrcnn_class_logits", "mrcnn_bbox_fc"])
    assert model.class_names is None  # the classes of other layers
    model.load_weights(path, by_name=True)
    assert (model.class_names, model.held_out) == (NAMES, RECORD)
    model.keras_model.save_weights(tmp_path / "again.h5")
    again = describe_weights(str(tmp_path / "again.h5"))
    assert (again.class_names, again.held_out, again.epoch) == (NAMES, RECORD, None)
    # A file that does not say leaves the names, which the user may have set, and no record.
    checkpoints.save_weights(trained.keras_model, tmp_path / "silent.h5", metadata={})
    model.class_names = ["BG", "x", "y"]
    model.load_weights(tmp_path / "silent.h5", by_name=True)
    assert (model.class_names, model.held_out) == (["BG", "x", "y"], None)


def test_a_broken_json_file_beside_weights_that_load(trained, tmp_path):
    checkpoints.save_weights(trained.keras_model, tmp_path / "w.h5", metadata={})
    (tmp_path / "config.json").write_text("{")
    model = MaskRCNN("inference", PetsConfig(), tmp_path)
    with pytest.warns(UserWarning, match="class names are not taken over: .*config.json is not"):
        report = model.load_weights(tmp_path / "w.h5", by_name=True)
    assert "mrcnn_class_logits" in report.loaded


def test_a_training_forgets_what_another_held_out(trained, tmp_path):
    model = MaskRCNN("training", PetsConfig(), tmp_path)
    model.load_weights(written(trained, "best.h5"), by_name=True)
    assert model.held_out == RECORD
    train(model, 1, "mrcnn_class_logits")
    assert "held_out" not in read_metadata(written(model, "mask_rcnn_pets_0001.h5"))


def test_names_that_do_not_fit_are_not_written(tmp_path):
    model = MaskRCNN("inference", tiny_config(), tmp_path)
    model.class_names = ["BG", "only one"]
    model.keras_model.save_weights(tmp_path / "w.h5")
    content = read_metadata(tmp_path / "w.h5")
    assert "class_names" not in content
    assert content["config"]["BACKBONE"] == "tiny_backbone"


def test_a_model_with_a_function_as_its_backbone_loads_its_own_file(tmp_path):
    model = MaskRCNN("inference", tiny_config(), tmp_path)
    model.class_names = NAMES
    model.keras_model.save_weights(tmp_path / "w.h5")
    other = MaskRCNN("inference", tiny_config(), tmp_path)
    other.load_weights(tmp_path / "w.h5")
    assert other.class_names == NAMES
    with h5py.File(tmp_path / "w.h5") as file:
        assert file["mrcnn_metadata"].dtype == np.uint8


def test_keras_2_reads_the_weights_and_nothing_else(trained, tmp_path):
    path = tmp_path / "w.h5"
    model = trained.keras_model
    model.save_weights(path)
    with h5py.File(path) as file:
        listed = keras2_reader.stored_names(file, "layer_names")
        assert set(file) - set(listed) == {"mrcnn_metadata"}
    parts = {layer.name: layer for layer in model.layers if layer.weights}
    # The nested region proposal network is one layer to Keras 2.
    shapes = {
        name: [tuple(weight.shape) for weight in parts[name].weights]
        for name in listed
        if name in parts
    }
    for load in (keras2_reader.load_by_name, keras2_reader.load_in_order):
        loaded = load(path, shapes)
        assert loaded.keys() == parts.keys()
        for name, values in loaded.items():
            for value, weight in zip(values, parts[name].weights, strict=True):
                np.testing.assert_array_equal(value, np.asarray(weight.numpy()), err_msg=name)
