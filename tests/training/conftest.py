"""Fixtures of the tests that train a tiny network."""

import keras
import pytest

from mrcnn.model import MaskRCNN
from mrcnn.training import trainer
from mrcnn.training.training_model import TrainingModel
from tests.tiny import tiny_config


@pytest.fixture
def eager(monkeypatch):
    """Run steps without tracing them: a few of them are quicker so."""
    compile_model = TrainingModel.compile
    monkeypatch.setattr(
        TrainingModel,
        "compile",
        lambda self, **options: compile_model(self, **{**options, "run_eagerly": True}),
    )
    monkeypatch.setattr(trainer, "_tensorboard", lambda log_dir, verbose: [])


@pytest.fixture
def build(tmp_path):
    """Return a function that builds a tiny model, always with the same weights."""

    def build(**settings):
        keras.utils.set_random_seed(0)
        return MaskRCNN("training", tiny_config(**settings), str(tmp_path))

    return build
