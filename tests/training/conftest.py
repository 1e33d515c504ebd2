"""Fixtures of the tests that train a tiny network."""

import keras
import pytest

from mrcnn.model import MaskRCNN
from mrcnn.training import history
from mrcnn.training.training_model import TrainingModel
from tests.tiny import tiny_config


@pytest.fixture
def eager(monkeypatch):
    """Run steps without tracing them, and draw no curves: a few steps are quicker so."""
    compile_model = TrainingModel.compile
    monkeypatch.setattr(
        TrainingModel,
        "compile",
        lambda self, **options: compile_model(self, **{**options, "run_eagerly": True}),
    )
    # Half a second for the first curves of a process, more than a step takes.
    monkeypatch.setattr(history, "draw_curves", lambda rows, path: None)


@pytest.fixture
def build(tmp_path):
    """Return a function that builds a tiny model, always with the same weights."""

    def build(**settings):
        keras.utils.set_random_seed(0)
        return MaskRCNN("training", tiny_config(**settings), str(tmp_path))

    return build
