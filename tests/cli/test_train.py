"""`mrcnn train` with a fake model: what it starts from, what it is given, what it refuses."""

import json
import re

import cv2
import numpy as np
import pytest

from mrcnn import checkpoints
from mrcnn.checkpoints import HeldOut, LoadReport
from mrcnn.checkpoints.description import CLASS_LAYERS
from mrcnn.cli.train import last_checkpoint, next_step
from mrcnn.datasets import open_dataset
from mrcnn.loading.named_augmentation import LIGHT, flip_left_right
from mrcnn.model_training import describe_results, experiment_name
from mrcnn.training.options import TrainOptions
from mrcnn.training.parts import open_parts
from mrcnn.training.starting import hold_out
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
    callbacks = options.pop("custom_callbacks")
    assert options == {
        "augmentation": flip_left_right,
        "optimizer": None,
        "keep": 1,
        "seed": 5,
        "verbose": 1,
        "heading": False,
    }
    assert [type(one).__name__ for one in callbacks] == ["LambdaCallback", "ValidationAP", "str"]
    assert callbacks[1].image_ids == [0, 1] and callbacks[2] == "best"
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
    assert options["custom_callbacks"][2:] == ["best", "early_stopping"]


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


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({"loaded": ("a", "b")}, "all 2 layers"),
        ({"loaded": ("a",)}, "all 1 layer"),
        # Those are taken over class by class, which other lines are about.
        ({"loaded": ("a",), "excluded": ("mrcnn_mask", "mrcnn_bbox_fc")}, "all 3 layers"),
        (
            {"loaded": ("a", "b"), "missing_in_file": ("c",), "unused_in_file": ("d",)},
            "2 layers; the other 1 start from random values",
        ),
    ],
)
def test_load_report_is_shown(run, fake_model, weights, monkeypatch, report, text):
    monkeypatch.setattr(fake_model, "report", LoadReport("pets.h5", **report))
    lines = run(*SHAPES, "--weights", weights)[1].splitlines()
    assert f"Weights  pets.h5: {text}" in lines


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "layers heads, sgd, learning rate 0.001, augmentation flips"),
        (
            ("--schedule", "cosine", "--warmup", "1", "--optimizer", "adam", "--augment", "none"),
            "layers heads, adam, learning rate 0.0001 (cosine, warm-up of 1 epoch), augmentation "
            "none",
        ),
        (
            ("--warmup", "2.5", "--learning-rate", "0.5", "--layers", "4+"),
            "layers 4+, sgd, learning rate 0.5 (warm-up of 2.5 epochs), augmentation flips",
        ),
    ],
)
def test_the_options_are_shown_in_plain_words(run, fake_model, words, text):
    lines = run(*SHAPES, "--weights", "none", *words)[1].splitlines()
    assert f"Training {text}" in lines and "Weights  none: random values" in lines


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
    assert fake_model.built == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", 100], "IMAGE_MAX_DIM is 100; it must be a multiple of 64"),
        (["--augment", "colours"], "augmentation is 'colours'; it must be none, flips, light, str"),
        (["--schedule", "linear"], "schedule is 'linear'; it must be constant, step or cosine"),
        (["--optimizer", "lion"], "optimizer is 'lion'; it must be sgd, adam or adamw"),
        (["--warmup", 11], "warmup is 11; it must be at most epochs, 10"),
        (["--keep", "0"], "keep is '0'; it must be a number of at least 1, or all"),
        (["--keep", "some"], "keep is 'some'; it must be a number of at least 1, or all"),
        (["--precision", "int8"], "PRECISION is 'int8'; it must be"),
        (["--best", "--val-fraction", 0], "--best needs images to validate on; there are none"),
        (
            ["--early-stopping", "--no-ap"],
            "early stopping needs AP; it must not be switched off",
        ),
        (["--backbone", "vgg"], "BACKBONE is 'vgg'; it must be one of"),
    ],
)
def test_wrong_settings_stop_before_a_model_is_built(run, fake_model, words, message):
    code, _, err = run(*SHAPES, "--weights", "none", *words)
    assert code == 2
    assert message in err
    assert fake_model.built == []


def test_a_wrong_word_is_found_before_weights_are_fetched(run, fake_model, monkeypatch):
    monkeypatch.setattr("mrcnn.checkpoints.known._download", None)
    code, _, err = run(*SHAPES, "--weights", "coco", "--rename", "cat")
    assert code == 2 and err.startswith("mrcnn: error: --rename is 'cat'; it must be NEW=OLD")


@pytest.mark.parametrize("option", [None, "--early-stopping", "--best", "--no-ap"])
def test_validation_images_without_objects(run, fake_model, tmp_path, option):
    for part, images in (("train", ["a"]), ("val", ["b", "c"])):
        folder = tmp_path / "data" / part
        folder.mkdir(parents=True)
        points = [[2, 2], [20, 2], [20, 20]]
        for name in images:
            cv2.imwrite(str(folder / f"{name}.png"), np.full((32, 32, 3), 90, np.uint8))
            shapes = [{"label": "cat", "points": points, "shape_type": "polygon"}]
            content = {
                "shapes": shapes if part == "train" else [],
                "imagePath": f"{name}.png",
                "imageHeight": 32,
                "imageWidth": 32,
            }
            (folder / f"{name}.json").write_text(json.dumps(content))
    words = ("train", tmp_path / "data", "--weights", "none", *([option] if option else []))
    code, out, err = run(*words)
    reason = "cannot be measured: no object in 2 validation images\n"
    if option in ("--early-stopping", "--best"):
        needs = "early stopping" if option == "--early-stopping" else option
        assert (code, err) == (2, f"mrcnn: error: {needs} needs AP; it {reason}")
    else:
        assert code == 0 and (f"Note     AP {reason}" in out) == (option is None)


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


def test_classes_of_the_weights_are_named(run, fake_model, weights):
    describe(weights.with_suffix(".json"), ["BG", "Circle", "square", "pyramid"])
    code, out, _ = run(*SHAPES, "--weights", weights, "--rename", "triangle = Pyramid")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("Classes")] == [
        "Classes  known to the weights: square",
        "Classes  known under another name: circle (in the weights: Circle), triangle (in the "
        "weights: pyramid)",
    ]
    describe(weights.with_suffix(".json"), ["BG", "cat"])
    assert (
        "Classes  new to the weights: square, circle, triangle"
        in (run(*SHAPES, "--weights", weights)[1])
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rename", "circle"], "--rename is 'circle'; it must be NEW=OLD"),
        (["--rename", "=cat"], "--rename is '=cat'; it must be NEW=OLD"),
        (["--rename", "circle=cat", "--rename", "circle=dog"], "--rename is 'circle=dog'; it must"),
        (["--rename", "cirkle=cat"], "rename has 'cirkle'; it must be a class of the dataset"),
        (["--rename", "circle=cta"], "the weights: cat, dog; the nearest is 'cat'"),
        (["--rename", "circle=cat", "--weights", "none"], "given with weights without classes"),
    ],
)
def test_renames_that_are_refused(run, fake_model, weights, words, message):
    code, _, err = run(*SHAPES, "--weights", weights, *words)
    assert code == 2
    assert message in err
    assert fake_model.built == []


def test_resume_renames_nothing(run, fake_model, tmp_path):
    checkpoint(tmp_path / "logs", "shapes20260101T1200", 1)
    code, _, err = run(*SHAPES, "--resume", "--rename", "circle=square")
    assert code == 2
    assert "must not be given when a training is resumed" in err


def test_a_split_too_long_to_store_is_made_all_the_same(monkeypatch):
    data = open_dataset("10", format="shapes")
    monkeypatch.setattr("mrcnn.files.reading.MAX_JSON_BYTES", 100)
    with pytest.warns(UserWarning, match="2 images are held out .*; their list is too long"):
        train, val, record = hold_out(data, 0.2, dataset="10", format="shapes")
    assert (train.num_images, val.num_images, record) == (8, 2, None)


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


def test_options_of_the_optimization(run, fake_model):
    code, _, _ = run(
        *(*SHAPES, "--weights", "none", "--steps", 4, "--epochs", 5, "--schedule", "cosine"),
        *("--warmup", 1.5, "--optimizer", "adamw", "--accumulate", 2, "--precision", "bfloat16"),
        *("--no-ap", "--keep", "all", "--augment", "light"),
    )
    assert code == 0
    (model,) = fake_model.built
    assert (model.config.ACCUMULATE_STEPS, model.config.PRECISION) == (2, "bfloat16")
    *_, rate, _, _, options = model.trained[0]
    assert rate.get_config() == {
        "kind": "cosine",
        "learning_rate": 0.0001,
        "total_steps": 20,
        "warmup_steps": 6,
    }
    optimizer = options["optimizer"]
    assert type(optimizer).__name__ == "AdamW" and optimizer.gradient_accumulation_steps == 2
    assert optimizer._learning_rate is rate
    assert options["augmentation"] is LIGHT and options["keep"] is None
    assert [type(one).__name__ for one in options["custom_callbacks"]] == ["LambdaCallback"]


def saved_options(folder, **changes):
    """Write the options of a training as it does itself."""
    values = TrainOptions(
        val=None, val_fraction=0.5, layers="4+", epochs=7, steps=3, learning_rate=0.02,
        schedule="step", warmup=1.0, optimizer="sgd", augment="none", seed=4, ap=True,
        ap_images=1, early_stopping=False, keep="2",
    )  # fmt: skip
    values.save(folder)
    if changes:
        path = folder / "training.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_options_are_saved_when_the_training_begins(run, fake_model, tmp_path):
    assert run(*SHAPES, "--weights", "none", "--seed", 3, "--warmup", 2)[0] == 0
    model = fake_model.built[0]
    model.log_dir = str(tmp_path)  # as it is chosen in the last moment
    model.trained[0][-1]["custom_callbacks"][0].on_train_begin(None)
    saved = json.loads((tmp_path / "training.json").read_text())
    assert (saved["seed"], saved["warmup"], saved["learning_rate"]) == (3, 2.0, 0.001)


def test_resume_takes_over_the_options(run, fake_model, tmp_path):
    path = checkpoint(tmp_path / "logs", "shapes20260101T1200", 2)
    saved_options(path.parent)
    assert run(*SHAPES, "--resume", "--layers", "heads")[0] == 0
    ((train, val, rate, epochs, layers, options),) = fake_model.built[0].trained
    assert (train.num_images, val.num_images, epochs, layers) == (5, 5, 7, "heads")
    assert rate.get_config() == {
        "kind": "step",
        "learning_rate": 0.02,
        "total_steps": 21,
        "warmup_steps": 3,
    }
    assert (options["seed"], options["keep"], options["augmentation"]) == (4, 2, None)


@pytest.mark.parametrize("finished", [7, 9])
def test_nothing_left_to_train(run, fake_model, tmp_path, finished):
    path = checkpoint(tmp_path / "logs", "shapes20260101T1200", finished)
    saved_options(path.parent)
    code, out, _ = run(*SHAPES, "--resume")
    assert code == 0 and fake_model.built == []
    assert out.startswith(f"Already at epoch {finished} of 7: nothing to do")
    assert run(*SHAPES, "--resume", "--epochs", 10)[0] == 0
    assert fake_model.built[0].trained[0][3] == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "7"}, "epochs in logs/.*/training.json is '7'; it must be int"),
        ({"epochs": True}, "epochs in .* is True; it must be int"),
        ({"ap": 1}, "ap in .* is 1; it must be bool"),
        ({"seed": 1.5}, r"seed in .* is 1.5; it must be int \| None"),
        ({"augment": None}, "augment in .* is None; it must be str"),
        ({"layers": 5}, r"layers in .* is 5; it must be str \| None"),
        ({"augment": "/x/my.py"}, "--augment is not given; it must be given again: .*/x/my.py"),
        ({"schedule": "linear"}, "schedule is 'linear'; it must be constant, step or cosine"),
    ],
)
def test_saved_options_that_were_changed(run, fake_model, tmp_path, changes, message):
    path = checkpoint(tmp_path / "logs", "shapes20260101T1200", 2)
    saved_options(path.parent, **changes)
    code, _, err = run(*SHAPES, "--resume")
    assert code == 2 and fake_model.built == []
    assert re.search(message, err)


def test_quiet_prints_nothing(run, fake_model):
    code, out, err = run(*SHAPES, "--weights", "none", "--quiet")
    assert (code, out, err) == (0, "", "")
    assert fake_model.built[0].trained[0][-1]["verbose"] == 0
    code, out, err = run(*SHAPES, "--weights", "none", "--quiet", "--keep", "x")
    assert (code, out) == (2, "") and "keep is 'x'" in err


def test_the_best_epoch_is_named_in_the_end(tmp_path):
    (tmp_path / "best.h5.json").write_text('{"epoch": 3, "value": 0.31249}')
    assert describe_results(str(tmp_path)) == (
        f"Weights and logs are in {tmp_path}\nBest     {tmp_path}/best.h5, epoch 3: AP 0.312"
    )
    (tmp_path / "curves.png").touch()
    assert describe_results(str(tmp_path)).endswith(f"\nCurves   {tmp_path}/curves.png")
    note = {"epoch": 3, "value": 0.31249, "trained_share": 0.25}
    (tmp_path / "best.h5.json").write_text(json.dumps(note))
    assert "best.h5, mean of the start and epoch 3 (25%): AP 0.312\n" in describe_results(
        str(tmp_path)
    )


@pytest.mark.parametrize(
    ("dataset", "format", "has_best", "words"),
    [
        ("photos", None, True, "photos --weights {}/best.h5"),
        ("my photos", None, False, "'my photos' --weights {}"),
        ("10", "shapes", True, "10 --format shapes --weights {}/best.h5"),
    ],
)
def test_the_next_step(tmp_path, dataset, format, has_best, words):
    if has_best:
        (tmp_path / "best.h5").touch()
    expected = f"Next: mrcnn evaluate {words.format(tmp_path)} --report report"
    assert next_step(str(tmp_path), dataset, format) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), 0.02),
        (("--optimizer", "sgd"), 0.02),
        (("--optimizer", "adam"), 0.0001),  # 0.02 was that of sgd
        (("--optimizer", "adam", "--learning-rate", 0.5), 0.5),
    ],
)
def test_another_optimizer_has_its_own_learning_rate(run, fake_model, tmp_path, words, expected):
    path = checkpoint(tmp_path / "logs", "shapes20260101T1200", 2)
    saved_options(path.parent, schedule="constant", warmup=0.0)
    assert run(*SHAPES, "--resume", *words)[0] == 0
    assert fake_model.built[0].trained[0][2] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("saved", "words", "epochs"),
    [
        ("1", (), [5]),
        ("2", (), [4, 5]),
        ("2", ("--keep", 1), [5]),
        ("1", ("--keep", 3), [3, 4, 5]),
        ("1", ("--keep", "all"), [2, 3, 4, 5]),
        ("all", (), [2, 3, 4, 5]),
        ("all", ("--keep", 1), [2, 3, 4, 5]),  # the earlier ones were to be kept
    ],
)
def test_a_training_resumed_often_keeps_no_more(
    run, fake_model, tmp_path, monkeypatch, saved, words, epochs
):
    folder = tmp_path / "logs" / "shapes20260101T1200"
    for epoch in (2, 3, 4):
        checkpoint(tmp_path / "logs", folder.name, epoch)
    saved_options(folder, keep=saved)
    monkeypatch.setattr(
        fake_model, "log_dir", property(lambda model: str(folder), lambda *_: None), raising=False
    )
    assert run(*SHAPES, "--resume", *words)[0] == 0
    write_weight_file(folder / "mask_rcnn_other.h5")
    write_weight_file(folder / "mask_rcnn_shapes_0005.h5")
    for callback in fake_model.built[0].trained[0][-1]["custom_callbacks"]:
        if type(callback).__name__ == "LambdaCallback":
            callback.on_epoch_end(4, {})
    files = sorted(path.name for path in folder.glob("*.h5"))
    assert files == ["mask_rcnn_other.h5", *(f"mask_rcnn_shapes_000{e}.h5" for e in epochs)]


@pytest.mark.parametrize(
    "content",
    ['{"epoch": 3', "[]", "{}", '{"epoch": 3, "value": null}', '{"epoch": 3, "value": "x"}'],
)
def test_a_damaged_note_about_the_best_weights_ends_no_training(tmp_path, content):
    (tmp_path / "best.h5.json").write_text(content)
    assert describe_results(str(tmp_path)) == f"Weights and logs are in {tmp_path}"


def test_a_missing_settings_file_names_the_option(run, fake_model, weights, tmp_path):
    words = ("--config", tmp_path / "none.json")
    for command in (SHAPES, ("check", tmp_path), ("evaluate", tmp_path), ("detect", tmp_path)):
        more = ("--weights", weights) if command[0] in ("evaluate", "detect") else ()
        code, _, err = run(*command, *more, *words)
        assert code == 2
        assert err == f"mrcnn: error: --config: settings file not found: {tmp_path}/none.json\n"
    code, _, err = run(*SHAPES, "--config", tmp_path)
    assert code == 2 and f"--config: {tmp_path} is a folder; it must be a settings file" in err
