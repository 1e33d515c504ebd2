"""`mrcnn.train` with a fake model: a whole training in one call."""

import json

import pytest

import mrcnn
from mrcnn.checkpoints.description import CLASS_LAYERS
from mrcnn.datasets import open_dataset
from tests.fake_model import describe, fake_model, weights  # noqa: F401


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shapes(count="10"):
    return open_dataset(count, format="shapes")


@pytest.mark.parametrize("dataset", ["10", 10])
def test_it_is_what_the_command_does(fake_model, weights, capsys, dataset):  # noqa: F811
    model = mrcnn.train(
        *(dataset, weights),
        format="shapes",
        epochs=3,
        layers="4+",
        batch_size=3,
        seed=5,
        early_stopping=True,
        optimizer="adam",
    )
    assert model is fake_model.built[0]
    assert model.loaded == [(str(weights), True, CLASS_LAYERS), "new log dir"]
    config = model.config
    # Not the steps of the settings that came with the weights.
    assert (config.NAME, config.NUM_CLASSES, config.STEPS_PER_EPOCH) == ("shapes", 4, 3)
    ((train, val, rate, epochs, layers, options),) = model.trained
    assert (train.num_images, val.num_images, rate, epochs, layers) == (8, 2, 0.0001, 3, "4+")
    assert (options["keep"], options["seed"], options["verbose"]) == (1, 5, 1)
    assert options["held_out"].dataset == "10"
    callback = options["custom_callbacks"][1]
    assert (callback.min_confidence, callback.measure_first) == (0.0, False)
    assert options["custom_callbacks"][2:] == ["best", "early_stopping"]
    out = capsys.readouterr().out
    assert out.startswith("Dataset  8 images to train on, 2 to validate on, classes: square, ")
    assert "Weights and logs are in logs/run\n" in out


def test_prepared_datasets(fake_model, weights, capsys):  # noqa: F811
    describe(weights.with_suffix(".json"), ["BG", "square", "circle", "triangle"])
    mrcnn.train(shapes(), weights, val=shapes("3"), verbose=0, keep="all", name="My shapes!")
    assert capsys.readouterr() == ("", "")
    train, val, *_, options = fake_model.built[0].trained[0]
    assert (train.num_images, val.num_images, options["held_out"]) == (10, 3, None)
    assert options["keep"] is None
    assert fake_model.built[0].config.NAME == "my_shapes"
    # The weights know the classes: their AP says whether the training helps.
    assert options["custom_callbacks"][1].measure_first
    assert options["custom_callbacks"][2:] == ["best", "start_average"]
    mrcnn.train(shapes(), weights, average=False, verbose=0)
    train, val, *_, options = fake_model.built[1].trained[0]
    assert (train.num_images, val.num_images, options["held_out"]) == (8, 2, None)
    assert options["custom_callbacks"][2:] == ["best"]


def test_the_options_are_saved(fake_model, weights, tmp_path):  # noqa: F811
    model = mrcnn.train(shapes(), weights, val=shapes("3"), verbose=0, warmup=1)
    model.log_dir = str(tmp_path)
    model.trained[0][-1]["custom_callbacks"][0].on_train_begin(None)
    saved = json.loads((tmp_path / "training.json").read_text())
    assert (saved["val"], saved["warmup"], saved["keep"]) == (None, 1, "1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "linear"}, "schedule is 'linear'; it must be constant, step or cosine"),
        ({"keep": 0}, "keep is '0'; it must be a number of at least 1, or all"),
        ({"warmup": 11}, "warmup is 11; it must be at most epochs, 10"),
        ({"augment": "colours"}, "augmentation is 'colours'; it must be none"),
        ({"early_stopping": True, "val_fraction": 0}, "early stopping needs images to validate"),
        ({"image_size": 100}, "IMAGE_MAX_DIM is 100; it must be a multiple of 64"),
        ({"rename": {"circle": "cta"}}, "the nearest is 'cat'"),
        ({"weights": "none", "backbone": "vgg"}, "BACKBONE is 'vgg'; it must be one of"),
    ],
)
def test_arguments_that_are_refused(fake_model, weights, options, message):  # noqa: F811
    with pytest.raises(ValueError) as error:
        mrcnn.train(shapes(), **{"weights": weights, "verbose": 0, **options})
    assert message in str(error.value)
    assert fake_model.built == []


@pytest.mark.parametrize("seed, expected", [(None, []), (0, [0]), (5, [5])])
def test_the_seed_is_for_random_weights_too(fake_model, weights, monkeypatch, seed, expected):  # noqa: F811
    seeds = []
    monkeypatch.setattr("keras.utils.set_random_seed", seeds.append)
    mrcnn.train(shapes(), weights, verbose=0, seed=seed)
    assert seeds == expected
