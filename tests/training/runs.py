"""Short trainings of a tiny model."""

import numpy as np

from mrcnn.training.training_model import TrainingModel
from tests.tiny import Squares

# The one layer that most tests train.
HEADS = "mrcnn_class_logits"


def step_eagerly(patch):
    """Run the steps of trainings without tracing them: a few are quicker so.

    Args:
        patch: a `pytest.MonkeyPatch`.
    """
    compile_model = TrainingModel.compile
    patch.setattr(
        TrainingModel,
        "compile",
        lambda self, **options: compile_model(self, **{**options, "run_eagerly": True}),
    )


def train(model, epochs=1, layers=HEADS, train_data=None, val_data=None, **options):
    """Train and return the history of the losses."""
    options = {"learning_rate": 0.01, "workers": 0, "seed": 0, "verbose": 0, **options}
    return model.train(
        train_data or Squares(), val_data, epochs=epochs, layers=layers, **options
    ).history


def velocities(model):
    """Return the arrays of the optimizer's state by name."""
    return {
        v.name: np.array(v.numpy()) for v in model.keras_model.optimizer.variables if v.ndim > 0
    }
