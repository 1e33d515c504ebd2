"""Fixtures of the tests that train a tiny network."""

import keras
import pytest

from mrcnn.model import MaskRCNN
from mrcnn.training import history
from tests.tiny import tiny_config
from tests.training.runs import step_eagerly


@pytest.fixture
def eager(monkeypatch):
    """Run steps without tracing them, and draw no curves: a few steps are quicker so."""
    step_eagerly(monkeypatch)
    # Half a second for the first curves of a process, more than a step takes.
    monkeypatch.setattr(history, "draw_curves", lambda rows, path: None)


@pytest.fixture
def build(tmp_path):
    """Return a function that builds a tiny model, always with the same weights."""

    def build(**settings):
        keras.utils.set_random_seed(0)
        return MaskRCNN("training", tiny_config(**settings), str(tmp_path))

    return build
