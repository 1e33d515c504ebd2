"""What a training remembers beside the weights, and in which order files are written."""

import os

import keras
import numpy as np
import pytest

from mrcnn.training import fit_callbacks, state, trainer
from tests.training.runs import HEADS, train, velocities

pytestmark = pytest.mark.usefixtures("eager")

SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.01, 100, 0.5)


def compile_again(model, layers=HEADS, learning_rate=0.01, optimizer=None):
    model.set_trainable(layers, verbose=0)
    trainer.compile_model(model.keras_model, model.config, learning_rate, 0.9, optimizer)
    return model.keras_model


def cut_short(path):
    with open(path, "r+b") as file:
        file.truncate(200)


def to_former_layout(path):
    """The file of earlier versions: one name, and the learning rate among the variables."""
    with np.load(path) as saved:
        arrays = dict(saved)
    former = {"epoch": arrays.pop("epoch")}
    for name, array in arrays.items():
        number, variable = name.split(":", 1)
        former[f"{int(number) + (int(number) > 0)}:{variable}"] = array
    former["1:learning_rate"] = np.float32(0.5)
    os.remove(path)
    np.savez(os.path.join(os.path.dirname(path), "training_state.npz"), **former)


@pytest.mark.parametrize(
    "change, options, outcome",
    [
        (None, {}, "restored"),
        (None, {"learning_rate": SCHEDULE}, "restored"),
        (to_former_layout, {}, "restored"),
        (to_former_layout, {"learning_rate": SCHEDULE}, "restored"),
        (None, {"layers": "mrcnn_bbox_fc"}, "different"),
        (None, {"optimizer": keras.optimizers.Adam(0.1)}, "different"),
        (os.remove, {}, "missing"),
        (cut_short, {}, "damaged"),
    ],
)
def test_restoring(build, change, options, outcome):
    model = build()
    train(model)
    saved = velocities(model)
    assert any(value.any() for value in saved.values())
    path = os.path.join(model.log_dir, "training_state_0001.npz")
    if change:
        change(path)
    keras_model = compile_again(model, **options)
    assert state.restore_state(keras_model, model.log_dir, 1) == outcome
    found = velocities(model)
    if outcome == "restored":
        assert found.keys() == saved.keys()
        for name, value in saved.items():
            np.testing.assert_array_equal(found[name], value)
        assert int(keras_model.optimizer.iterations.numpy()) == 1
        # That of the schedule at step 1, or the number that was asked for: not the saved one.
        expected = 0.01 * 0.5**0.01 if "learning_rate" in options else 0.01
        assert float(keras_model.optimizer.learning_rate) == pytest.approx(expected)
    else:
        assert not any(value.any() for value in found.values())


def test_state_of_another_epoch_is_not_taken(build):
    model = build()
    train(model)
    to_former_layout(os.path.join(model.log_dir, "training_state_0001.npz"))
    assert state.restore_state(compile_again(model), model.log_dir, 2) == "missing"


def test_momentum_is_kept_after_a_schedule(build, capsys):
    model = build()
    train(model, learning_rate=SCHEDULE)
    (before,) = [v for name, v in velocities(model).items() if name.endswith("kernel_momentum")]
    assert before.any()
    # A learning rate of almost zero: the momentum alone moves the weights.
    train(model, epochs=2, learning_rate=1e-12, verbose=2)
    (after,) = [v for name, v in velocities(model).items() if name.endswith("kernel_momentum")]
    np.testing.assert_allclose(after, 0.9 * before, atol=1e-9)
    assert "Continuing from epoch 1 with the optimizer's state." in capsys.readouterr().out


def test_another_stage_says_that_the_state_is_new(build, capsys):
    model = build()
    train(model)
    train(model, epochs=2, layers="mrcnn_bbox_fc", verbose=2)
    assert "Continuing from epoch 1 with a new optimizer state" in capsys.readouterr().out


@pytest.mark.parametrize("change, word", [(os.remove, "missing"), (cut_short, "damaged")])
def test_a_state_that_is_gone_is_warned_of(build, change, word):
    model = build()
    train(model)
    change(os.path.join(model.log_dir, "training_state_0001.npz"))
    resumed = build()
    resumed.load_weights(model.find_last(), by_name=True)
    with pytest.warns(UserWarning, match=f"training_state_0001.npz is {word} in .* starts at zero"):
        train(resumed, epochs=2)


class Recorder:
    """A model whose weight file can fail."""

    variables = weights = ()

    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.optimizer = type("Optimizer", (), {"variables": ()})()

    def save_weights(self, path):
        assert os.path.basename(path).startswith(".tmp-") and str(path).endswith(".h5")
        with open(path, "w") as file:
            file.write("half")
        if self.fail_at:
            raise OSError("disk full")


def files_of(folder):
    return sorted(os.listdir(folder))


def test_every_weight_file_has_its_state_whatever_fails(tmp_path):
    callback = fit_callbacks.Checkpoints(str(tmp_path / "mask_rcnn_{epoch:04d}.h5"), print)
    callback.set_model(Recorder())
    (tmp_path / "training_state.npz").touch()  # of an earlier version
    (
        tmp_path / "training_state_0009.npz"
    ).touch()  # of a later epoch, which is resumed from an earlier one
    callback.on_epoch_end(0)
    expected = ["mask_rcnn_0001.h5", "training_state_0001.npz", "training_state_0009.npz"]
    assert files_of(tmp_path) == expected
    callback.set_model(Recorder(fail_at=2))
    with pytest.raises(OSError, match="disk full"):
        callback.on_epoch_end(1)
    # The state of epoch 2 may be there; that of the newest weights must be.
    assert files_of(tmp_path) == [expected[0], expected[1], "training_state_0002.npz", expected[2]]
    callback.set_model(Recorder())
    callback.on_epoch_end(1)
    assert files_of(tmp_path) == [
        *("mask_rcnn_0001.h5", "mask_rcnn_0002.h5"),
        *("training_state_0002.npz", "training_state_0009.npz"),
    ]


def test_seeded_generators_depend_on_seed_and_epoch_alone(build):
    def states(model):
        return [
            tuple(v.numpy().tolist())
            for v in model.keras_model.variables
            if v.name == "seed_generator_state"
        ]

    one, other = build(), build()
    seen = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (2**40, 0)):
        for model in (one, other):
            state.seed_generators(model.keras_model, seed, epoch)
        assert states(one) == states(other) and len(states(one)) >= 1
        seen.update(states(one))
    assert len(seen) == 4 * len(states(one))
