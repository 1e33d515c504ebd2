"""A tiny model, and its exports, each made once."""

import importlib.util

import numpy as np
import pytest

from tests.fake_model import run  # noqa: F401

NAMES = {"saved_model": "model", "onnx": "m.onnx", "openvino": "m.xml", "litert": "m.tflite"}


def is_installed(name):
    from mrcnn.exports.formats import FORMATS

    one = FORMATS[name]
    return all(importlib.util.find_spec(package) for package in (*one.writes_with, one.runs_with))


def images(count=3, size=(50, 81)):
    """Images of one size, which is not square."""
    random = np.random.RandomState(4)
    return [random.randint(0, 256, (*size, 3)).astype(np.uint8) for _ in range(count)]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    from mrcnn.model import MaskRCNN
    from tests.tiny import randomize, tiny_config

    model = MaskRCNN("inference", tiny_config(), str(tmp_path_factory.mktemp("logs")))
    randomize(model.keras_model)
    model.class_names = ["BG", "bright", "dark"]
    return model


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """A function that exports to a format once and returns the report."""
    from mrcnn.exports import export

    folder, reports = tmp_path_factory.mktemp("exports"), {}

    def get(name):
        if not is_installed(name):
            pytest.skip(f"the packages of {name} are not installed")
        if name not in reports:
            reports[name] = export(model, folder / NAMES[name], name, image=images(1)[0])
        return reports[name]

    return get
