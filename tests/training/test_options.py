"""The options of a training: which values are refused, and how."""

import keras
import numpy as np
import pytest

import mrcnn
from mrcnn.config import Config
from mrcnn.datasets import Dataset
from mrcnn.model_training import plan_training
from mrcnn.training.options import TrainOptions
from mrcnn.training.schedules import make_optimizer

OPTIONS = {
    "val": None,
    "val_fraction": 0.2,
    "layers": None,
    "epochs": 10,
    "steps": None,
    "learning_rate": None,
    "schedule": "constant",
    "warmup": 0.0,
    "optimizer": "sgd",
    "augment": "flips",
    "seed": None,
    "ap": True,
    "ap_images": 50,
    "early_stopping": False,
    "keep": "1",
}


@pytest.mark.parametrize(
    "changes",
    [{}, {"epochs": np.int64(3), "seed": 0, "steps": 1}, {"learning_rate": 1, "val_fraction": 0}],
)
def test_values_that_are_allowed(changes):
    TrainOptions(**{**OPTIONS, **changes}).check()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("epochs", -1, "a whole number of at least 1"),
        ("epochs", 1.5, "a whole number of at least 1"),
        ("epochs", "3", "a whole number of at least 1"),
        ("epochs", True, "a whole number of at least 1"),
        ("epochs", float("inf"), "a whole number of at least 1"),
        ("epochs", None, "a whole number of at least 1"),
        ("steps", 0, "a whole number of at least 1"),
        ("steps", 1.5, "a whole number of at least 1"),
        ("ap_images", 0, "a whole number of at least 1"),
        ("seed", -1, "a whole number from 0 to"),
        ("seed", "x", "a whole number from 0 to"),
        ("val_fraction", 0.95, "a number from 0 to 0.9"),
        ("val_fraction", None, "a number from 0 to 0.9"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("learning_rate", -1.0, "a number above 0"),
        ("learning_rate", 0, "a number above 0"),
        ("warmup", "x", "a number of epochs of at least 0"),
        ("augment", None, "a word or the path of a Python file"),
        ("schedule", "linear", "constant, step or cosine"),
    ],
)
def test_values_that_are_refused(name, value, rule):
    with pytest.raises(ValueError, match=rf"{name} is {value!r}; it must be {rule}"):
        TrainOptions(**{**OPTIONS, name: value}).check()


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.1])
def test_rates_that_no_optimizer_takes(rate):
    with pytest.raises(ValueError, match=r"learning_rate is .*; it must be a number of at least 0"):
        make_optimizer("sgd", Config(), rate)


@pytest.mark.parametrize("rate", [1, np.float32(1), True + 0])
def test_a_whole_number_is_a_rate(rate):
    rate = float(keras.ops.convert_to_numpy(make_optimizer("adam", Config(), rate).learning_rate))
    assert rate == 1.0


def test_names_are_given_as_a_dict():
    with pytest.raises(ValueError, match=r"rename is \['square=person'\]; it must be a dict"):
        mrcnn.train("6", format="shapes", rename=["square=person"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": None}, "dataset is None; it must be a path, or a Dataset after"),
        ({"dataset": [1]}, r"dataset is \[1\]; it must be a path"),
        (
            {"dataset": Dataset()},
            "dataset is .*; it must be a path, or a Dataset after its prepare",
        ),
        ({"val": 2.5}, "val is 2.5; it must be a path"),
        ({"weights": 3}, "weights is 3; it must be the path of a file"),
        ({"config": {"NAME": "a"}}, r"config is .*; it must be the path of a file"),
    ],
)
def test_arguments_of_the_wrong_type(arguments, message):
    with pytest.raises(ValueError, match=message):
        mrcnn.train(**{"dataset": "6", "format": "shapes", **arguments})


def test_a_backbone_of_a_model_that_has_none():
    options = TrainOptions(**OPTIONS)
    with pytest.raises(ValueError, match="backbone is resnet50; it must not be given"):
        plan_training("6", "none", options, model="unet", backbone="resnet50", rename={})
