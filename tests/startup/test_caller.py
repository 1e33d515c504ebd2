"""Warnings name the first line outside the package, however deep they are issued."""

import warnings

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import load_weights, save_weights
from mrcnn.config import Config
from mrcnn.startup.caller import warn_caller
from tests.checkpoints.fakes import FakeModel, conv


def line_of(function):
    with pytest.warns(UserWarning) as warned:
        function()
    assert [warning.filename for warning in warned] == [__file__]
    return warned[0].lineno


def test_called_directly():
    assert line_of(lambda: warn_caller("text")) == test_called_directly.__code__.co_firstlineno + 1


def test_through_public_functions(tmp_path):
    model = FakeModel([conv("conv1", (1, 1, 3, 2))])
    save_weights(model, tmp_path / "w.h5")
    line_of(lambda: load_weights(model, tmp_path / "w.h5", exclude=["nothing"]))
    line_of(lambda: Config.from_dict({"NUM_CLASS": 2}))
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file["conv1/conv1/bias:0"][:] = np.nan
    line_of(lambda: load_weights(model, tmp_path / "w.h5"))


def test_at_the_top_of_a_program():
    """Where every frame is the package's own, the warning is still issued."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_caller("text", DeprecationWarning)
    assert [str(warning.message) for warning in caught] == ["text"]
    assert caught[0].category is DeprecationWarning
