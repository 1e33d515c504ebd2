"""`mrcnn train` with a fake model: what it starts from, what it is given, what it refuses."""

import json
import types

import numpy as np
import pytest

from mrcnn import checkpoints
from mrcnn.checkpoints import HeldOut
from mrcnn.checkpoints.description import CLASS_LAYERS
from mrcnn.cli.train import experiment_name, last_checkpoint, open_parts
from mrcnn.training.starting import flip_left_right
from tests.checkpoints.test_description import info
from tests.fake_model import describe
from tests.weight_files import write_weight_file

SHAPES = ("train", "10", "--format", "shapes")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_other_classes_leaves_the_heads_random(run, fake_model, weights):
    code, out, _ = run(
        *(*SHAPES, "--weights", weights, "--output", "runs", "--batch-size", 3),
        *("--epochs", 4, "--layers", "4+", "--learning-rate", 0.01, "--seed", 5),
    )
    assert code == 0
    (model,) = fake_model.built
    assert model.mode == "training"
    assert model.model_dir == "runs"
    assert model.loaded == [(str(weights), True, CLASS_LAYERS), "new log dir"]
    config = model.config
    assert (config.NAME, config.NUM_CLASSES, config.BACKBONE) == ("shapes", 4, "squeezenet")
    assert (config.BATCH_SIZE, config.STEPS_PER_EPOCH, config.VALIDATION_STEPS) == (3, 3, 1)
    ((train, val, rate, epochs, layers, options),) = model.trained
    assert (train.num_images, val.num_images) == (8, 2)
    assert (rate, epochs, layers) == (0.01, 4, "4+")
    held_out = options.pop("held_out")
    assert (held_out.dataset, held_out.format, held_out.val_fraction) == ("10", "shapes", 0.2)
    assert list(held_out.ids) == [info["id"] for info in val.image_info]
    assert options == {
        "augmentation": flip_left_right,
        "custom_callbacks": None,
        "seed": 5,
        "verbose": 2,  # the output is no terminal
    }
    assert "8 images to train on, 2 to validate on, classes: square, circle, triangle" in out
    assert "Weights and logs are in runs/run" in out


def test_from_the_same_classes_keeps_the_heads(run, fake_model, weights):
    describe(weights.with_suffix(".json"), ["BG", "square", "circle", "triangle"])
    assert run(*SHAPES, "--weights", weights)[0] == 0
    assert fake_model.built[0].loaded[0] == (str(weights), True, None)


def test_from_nothing(run, fake_model):
    code, _, _ = run(
        *(*SHAPES, "--weights", "none", "--image-size", 128, "--steps", 7),
        *("--augment", "none", "--name", "My shapes!", "--best", "--early-stopping"),
    )
    assert code == 0
    model = fake_model.built[-1]
    assert model.loaded == []
    assert model.config.BACKBONE == "resnet50"
    assert model.config.IMAGE_SHAPE.tolist() == [128, 128, 3]
    assert model.config.STEPS_PER_EPOCH == 7
    assert model.config.NAME == "my_shapes"
    options = model.trained[0][-1]
    assert options["augmentation"] is None
    assert options["custom_callbacks"] == ["best", "early_stopping"]


def test_from_a_backbone(run, fake_model, weights, monkeypatch):
    weights.with_suffix(".json").unlink()
    backbone = info(str(weights), backbone="resnet50", has_rpn=False, has_heads=False)
    monkeypatch.setattr(checkpoints, "verify", lambda path: backbone)
    assert run(*SHAPES, "--weights", weights)[0] == 0
    model = fake_model.built[0]
    assert model.config.BACKBONE == "resnet50"
    assert model.loaded[0] == (str(weights), True, None)
    code, _, err = run(*SHAPES, "--weights", weights, "--backbone", "resnet101")
    assert code == 2
    assert "backbone is resnet101; it must be resnet50, that of the weights" in err


def test_load_report_is_shown(run, fake_model, weights, monkeypatch):
    report = types.SimpleNamespace(summary=lambda: "12 layers loaded")
    monkeypatch.setattr(fake_model, "report", report)
    assert "Weights   12 layers loaded" in run(*SHAPES, "--weights", weights)[1]


def checkpoint(folder, run_name, epoch, classes=("square", "circle", "triangle")):
    path = folder / run_name / f"mask_rcnn_shapes_{epoch:04d}.h5"
    write_weight_file(path)
    describe(path.parent / "config.json", ["BG", *classes])
    return path


def test_resume_goes_on_from_the_newest_checkpoint(run, fake_model, tmp_path):
    checkpoint(tmp_path / "logs", "shapes20260101T1200", 9)
    checkpoint(tmp_path / "logs", "shapes20260201T1200", 1)
    newest = checkpoint(tmp_path / "logs", "shapes20260201T1200", 2)
    (tmp_path / "logs" / "shapes20260301T1200").mkdir()  # broken off before its first epoch
    (newest.parent / "mask_rcnn_shapes_0003.h5").touch()  # cut short
    checkpoint(tmp_path / "logs", "shapes_big20260301T1200", 3)
    with pytest.warns(UserWarning, match="0003.h5 is not a complete weight file"):
        code, out, _ = run(*SHAPES, "--resume")
    assert code == 0
    assert f"Continuing from {newest.relative_to(tmp_path)}" in out
    assert fake_model.built[0].loaded == [(str(newest.relative_to(tmp_path)), True, None)]
    with pytest.warns(UserWarning, match="0003.h5"):
        assert last_checkpoint(tmp_path / "logs", "shapes") == newest


def test_resume_refuses_other_classes_and_nothing(run, fake_model, tmp_path):
    code, _, err = run(*SHAPES, "--resume")
    assert code == 2
    assert err.startswith("mrcnn: error: no checkpoint of a training 'shapes' in 'logs': ")
    checkpoint(tmp_path / "logs", "shapes20260101T1200", 1, ["cat"])
    code, _, err = run(*SHAPES, "--resume")
    assert code == 2
    assert "cannot resume" in err
    assert fake_model.built[0].trained == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", 100], "IMAGE_MAX_DIM is 100; it must be a multiple of 64"),
        (["--augment", "colours"], "--augment is 'colours'; it must be flips or none"),
        (["--best", "--val-fraction", 0], "need images to validate on"),
        (["--backbone", "vgg"], "BACKBONE is 'vgg'; it must be one of"),
    ],
)
def test_wrong_settings_stop_before_a_model_is_built(run, fake_model, words, message):
    code, _, err = run(*SHAPES, "--weights", "none", *words)
    assert code == 2
    assert message in err
    assert fake_model.built == []


def test_open_parts_prefers_the_datasets_own_validation_part(tmp_path):
    from tests.cli.test_check_info import via_folder

    data = via_folder.__wrapped__(tmp_path)
    train, val, _ = open_parts(str(data), None, None, 0.2)
    assert (train.num_images, val.num_images) == (2, 1)
    _, other, _ = open_parts(str(data / "train"), None, str(data / "val"), 0.2)
    assert other.num_images == 1
    train, val, _ = open_parts(str(data / "train"), None, None, 0.5)
    assert (train.num_images, val.num_images) == (1, 1)
    train, val, _ = open_parts(str(data / "val"), None, None, 0.5)
    assert (train.num_images, val) == (1, None)


def test_resume_holds_out_the_same_images_of_a_dataset_that_grew(run, fake_model, tmp_path):
    path = checkpoint(tmp_path / "logs", "shapes20260101T1200", 1)
    content = json.loads((path.parent / "config.json").read_text())
    record = HeldOut("10", "10", "shapes", None, 0.2, (3, 7, 99))
    content["held_out"] = record.to_dict()
    (path.parent / "config.json").write_text(json.dumps(content))

    def held_out(*words):
        code, _, err = run("train", *words, "--format", "shapes", "--name", "shapes")
        assert code == 0, err
        train, val, *_, options = fake_model.built[-1].trained[0]
        ids = [info["id"] for info in val.image_info]
        assert list(options["held_out"].ids) == ids
        assert not set(ids) & {info["id"] for info in train.image_info}
        assert train.num_images + val.num_images == int(words[0])
        return ids

    assert held_out(15, "--resume") == [3, 7]
    # The next stage of training starts from the same weights, with the same images or others.
    assert held_out(10, "--weights", path) == [3, 7]
    assert len(held_out(10, "--weights", path, "--val-fraction", 0.5)) == 5
    assert len(held_out(15, "--weights", path)) == 3


@pytest.mark.parametrize(
    ("name", "dataset", "format", "expected"),
    [
        (None, "data/Balloons (2)", None, "balloons_2"),
        ("Größe 1", "x", None, "gr_e_1"),
        (None, "500", "shapes", "shapes"),
        (None, "none", None, "training"),
    ],
)
def test_experiment_name(tmp_path, name, dataset, format, expected):
    (tmp_path / "data" / "Balloons (2)").mkdir(parents=True)
    assert experiment_name(name, dataset, format) == expected


def test_flip_mirrors_image_and_masks_together():
    image = np.arange(12).reshape(2, 2, 3)
    mask = np.array([[[True], [False]], [[False], [False]]])

    class Rng:
        value = 0.0

        def random(self):
            return self.value

    flipped, moved = flip_left_right(image, mask, Rng())
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(moved[0, :, 0], [False, True])
    Rng.value = 0.5
    assert flip_left_right(image, mask, Rng())[0] is image
    assert flip_left_right(image, mask)[0].shape == image.shape
