"""Training a tiny network for real: losses, stages, resuming, errors, files."""

import json
import os
import random
import time

import keras
import numpy as np
import pytest

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.datasets.dataset import Dataset
from mrcnn.loading import TrainingBatches
from mrcnn.training import fit_callbacks, state, trainer
from mrcnn.training.schedules import NamedSchedule, make_optimizer
from mrcnn.training.training_model import TrainingModel
from tests.tiny import Squares, tiny_config
from tests.training.runs import HEADS, train, velocities

pytestmark = pytest.mark.usefixtures("eager")
LONG = pytest.mark.long


@pytest.mark.slow
def test_loss_goes_down_on_a_fixed_batch(build):
    model = build(STEPS_PER_EPOCH=2)
    history = train(model, epochs=3, layers="all", learning_rate=0.02)
    assert np.isfinite(list(history.values())).all()
    assert history["loss"][-1] < 0.95 * history["loss"][0]
    assert set(history) == {"loss", "wait", "learning_rate", *LOSS_NAMES}


def test_stages_do_not_multiply_the_loss(build):
    # Ported networks added the losses again at every stage, so the total became k times the sum.
    model = build(WEIGHT_DECAY=0.0, LOSS_WEIGHTS={"rpn_bbox_loss": 3.0})
    for epoch, layers in enumerate((HEADS, "heads", "all"), start=1):
        history = train(model, epoch, layers)
        parts = sum(history[name][-1] for name in LOSS_NAMES) + 2 * history["rpn_bbox_loss"][-1]
        assert history["loss"][-1] == pytest.approx(parts, rel=1e-5)
    assert model.epoch == 3


@pytest.mark.parametrize("workers", [pytest.param(0, marks=LONG), 2])
def test_batches_come_in_the_order_of_the_seed(build, monkeypatch, workers):
    seen = {"train_step": [], "test_step": []}

    def record(name):
        step = getattr(TrainingModel, name)

        def recording(self, *args):
            metas = keras.ops.convert_to_numpy(args[-1][0][1])
            seen[name].append(metas[:, 0].astype(int).tolist())
            return step(self, *args)

        monkeypatch.setattr(TrainingModel, name, recording)

    record("train_step")
    record("test_step")
    data, val_data = Squares([()] * 7), Squares([()] * 5)
    model = build(STEPS_PER_EPOCH=3, VALIDATION_STEPS=2)
    for epochs in (2, 3):  # the second call resumes
        train(model, epochs, train_data=data, val_data=val_data, workers=workers, seed=3)
    for name, dataset, steps in (("train_step", data, 3), ("test_step", val_data, 2)):
        batches = TrainingBatches(dataset, model.config, steps=steps, seed=3)
        order = [batches.image_ids_of_batch(i, epoch) for epoch in range(3) for i in range(steps)]
        assert seen[name] == order, name


def test_a_seed_repeats_a_training(build, monkeypatch):
    def weights_after(seed, number):
        # Boxes from outside: random weights propose none that overlap an object.
        model = build(NAME=f"run{number}", USE_RPN_ROIS=False, TRAIN_ROIS_PER_IMAGE=6)
        # What another process would have: other global generators, others in the layers.
        random.seed(number)
        np.random.seed(number)
        for variable in model.keras_model.variables:
            if variable.name == "seed_generator_state":
                variable.assign(np.array([number, 0], str(variable.dtype)))
        train(model, layers="all", seed=seed, workers=2)
        return np.concatenate([w.ravel() for w in model.keras_model.get_weights()])

    one, other, another = weights_after(5, 1), weights_after(5, 2), weights_after(6, 3)
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - another).max() > 1e-5
    # The layers' own generators have their part in it.
    monkeypatch.setattr(fit_callbacks.SeededGenerators, "on_epoch_begin", lambda *args: None)
    assert np.abs(one - weights_after(5, 4)).max() > 1e-5


def test_frozen_layers_stay_and_the_others_move(build):
    model = build()
    before = {v.path: np.array(v.numpy()) for v in model.keras_model.weights}
    train(model)
    changed = {v.path for v in model.keras_model.weights if (before[v.path] != v.numpy()).any()}
    assert {path.split("/")[0] for path in changed} == {HEADS}


def test_accumulated_gradients_move_the_weights_by_their_average(build):
    model = build(ACCUMULATE_STEPS=2, GRADIENT_CLIP_NORM=None)
    trainer.compile_model(model.keras_model, model.config, learning_rate=0.1, momentum=0.0)
    variables = model.keras_model.trainable_variables
    before = [np.array(v.numpy()) for v in variables]
    for factor, moved in ((1.0, 0.0), (3.0, 0.2)):
        gradients = [factor * keras.ops.ones(v.shape) for v in variables]
        model.keras_model.optimizer.apply(gradients, variables)
        for old, variable in zip(before, variables, strict=True):
            np.testing.assert_allclose(old - variable.numpy(), moved, atol=1e-6)


def test_heads_on_rois_that_are_not_the_rpns(build):
    model = build(USE_RPN_ROIS=False)
    # With seed 0 no random box of the first batch overlaps an object by half.
    history = train(model, seed=1)
    assert history["mrcnn_class_loss"][-1] > 0 and history["mrcnn_mask_loss"][-1] > 0


def test_files_of_a_training(build, tmp_path):
    model = build()
    train(model, epochs=2)
    files = [
        name for name in sorted(os.listdir(model.log_dir)) if not name.startswith("events.out")
    ]
    assert files == [
        *("config.json", "history.csv", "mask_rcnn_tiny_0001.h5", "mask_rcnn_tiny_0002.h5"),
        "training_state_0002.npz",
    ]
    description = json.loads((tmp_path / model.log_dir / "config.json").read_text())
    assert description["class_names"] == ["BG", "bright", "dark"]
    assert description["config"]["TRAIN_ROIS_PER_IMAGE"] == 12
    assert model.find_last() == model.checkpoint_path.format(epoch=2)


@pytest.mark.slow
def test_resuming_equals_never_stopping(build):
    settings = {"TRAIN_BN": None}  # batch statistics have a memory too
    straight = build(NAME="straight", **settings)
    train(straight, epochs=2, layers="all")
    model = build(**settings)
    train(model, epochs=1, layers="all")
    saved = velocities(model)
    assert any(value.any() for value in saved.values())

    resumed = build(**settings)
    resumed.load_weights(model.find_last(), by_name=True)
    assert (resumed.epoch, resumed.log_dir) == (1, model.log_dir)
    trainer.compile_model(resumed.keras_model, resumed.config, 0.01, 0.9)
    assert state.restore_state(resumed.keras_model, model.log_dir, 1) == "restored"
    restored = velocities(resumed)
    assert restored.keys() == saved.keys()
    for name, value in saved.items():
        np.testing.assert_array_equal(restored[name], value)

    history = train(resumed, epochs=2, layers="all")
    assert len(history["loss"]) == 1 and resumed.epoch == 2
    for a, b in zip(straight.keras_model.weights, resumed.keras_model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "keep, epochs",
    [
        (None, [1, 2, 3]),
        (1, [3]),
        pytest.param(2, [2, 3], marks=LONG),
        pytest.param(9, [1, 2, 3], marks=LONG),
    ],
)
def test_weight_files_that_are_kept(build, keep, epochs):
    model = build()
    train(model, epochs=3, keep=keep, val_data=Squares(), custom_callbacks=["best"])
    files = [name for name in sorted(os.listdir(model.log_dir)) if name.endswith(".h5")]
    assert files == ["best.h5", *(f"mask_rcnn_tiny_{epoch:04d}.h5" for epoch in epochs)]


def test_files_of_other_trainings_are_never_removed(build):
    other = build()
    train(other, epochs=2)
    model = build()
    model.load_weights(other.find_last(), by_name=True)
    own = os.path.join(model.log_dir, "mask_rcnn_own_0001.h5")
    open(own, "w").close()
    train(model, epochs=4, keep=1)
    files = [name for name in sorted(os.listdir(model.log_dir)) if name.endswith(".h5")]
    # The one resumed from, 2, and what was there before; of its own two the last.
    assert files == ["mask_rcnn_own_0001.h5", *(f"mask_rcnn_tiny_000{i}.h5" for i in (1, 2, 4))]


def schedule():
    return keras.optimizers.schedules.CosineDecay(0.05, 10)


def warm_cosine():
    return NamedSchedule("cosine", 0.05, total_steps=2, warmup_steps=1)


def adamw():
    return make_optimizer("adamw", tiny_config(), warm_cosine())


@pytest.mark.parametrize(
    "settings, learning_rate, optimizer",
    [
        pytest.param({"ACCUMULATE_STEPS": 2}, lambda: 0.05, lambda: None, marks=LONG),
        ({"PRECISION": "float16"}, lambda: 0.05, lambda: None),
        pytest.param({}, schedule, lambda: None, marks=LONG),
        pytest.param({}, warm_cosine, lambda: None, marks=LONG),
        ({"ACCUMULATE_STEPS": 2}, warm_cosine, lambda: None),
        ({}, warm_cosine, adamw),
        pytest.param({}, lambda: 0.05, lambda: keras.optimizers.Adam(0.01), marks=LONG),
    ],
)
def test_resuming_with_other_optimizers(build, settings, learning_rate, optimizer):
    results = []
    for stops in ((2,), (1, 2)):
        for epochs in stops:
            model = build(NAME=f"stops{len(stops)}", STEPS_PER_EPOCH=1, **settings)
            if epochs > stops[0]:
                model.load_weights(model.find_last(), by_name=True)
            train(model, epochs, learning_rate=learning_rate(), optimizer=optimizer())
        results.append(model.keras_model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("epochs", [5, 3])
def test_nothing_left_to_train(build, capsys, epochs):
    model = build()
    model.epoch = 5
    with pytest.warns(
        UserWarning, match=f"already at epoch 5 of {epochs}: nothing to do"
    ) as caught:
        assert train(model, epochs=epochs, verbose=1) == {}
    assert os.path.basename(caught[0].filename) == "runs.py"  # the line that called `train`
    assert model.epoch == 5
    assert "Starting" not in capsys.readouterr().out and not os.path.exists(model.log_dir)


def test_nan_stops_with_the_parts_and_the_images(build):
    model = build(IMAGES_PER_GPU=1, STEPS_PER_EPOCH=2)
    logits = model.keras_model.get_layer("mrcnn_class_logits")
    logits.set_weights([np.full_like(w, np.nan) for w in logits.get_weights()])
    with pytest.raises(trainer.NonFiniteLossError) as raised:
        train(model)
    text = str(raised.value)
    assert "step 0 of epoch 1" in text and "mrcnn_class_loss=nan" in text
    assert "rpn_class_loss=0." in text  # the others are finite
    assert "picture0" in text or "picture1" in text
    assert not os.path.exists(model.checkpoint_path.format(epoch=1))
    assert model.epoch == 0


def test_nan_names_the_images_of_its_own_epoch():
    class Batches:
        def references_of_batch(self, batch, epoch):
            return [f"batch {batch} of {epoch}"]

    callback = fit_callbacks.StopOnNonFiniteLoss(Batches())
    callback.on_epoch_begin(3)
    callback.on_train_batch_end(1, {"loss": 1.0})
    with pytest.raises(trainer.NonFiniteLossError, match="batch 2 of 3"):
        callback.on_train_batch_end(2, {"loss": float("inf")})


@pytest.mark.parametrize("tells, wait", [(True, (1 + 4 + 2) / 20), (False, (1 + 1 + 1) / 20)])
def test_wait_is_the_share_of_time_without_data(monkeypatch, tells, wait):
    # (begin, batch ready, end) of three steps in an epoch of 20 seconds; the first is compiled.
    steps = [(1, 7, 9), (10, 13, 15), (16, 17, 19)]
    callback = fit_callbacks.StepTimes()
    callback.set_model(type("Model", (), {})())
    now = {"time": 0}
    monkeypatch.setattr(fit_callbacks.time, "time", lambda: now["time"])
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    for begin, ready, end in steps:
        now["time"] = begin
        callback.on_train_batch_begin(0)
        callback.model.data_ready_time = ready if tells else None
        now["time"] = end
        callback.on_train_batch_end(0)
    now["time"], logs = 20, {}
    callback.on_epoch_end(0, logs)
    assert logs["wait"] == pytest.approx(wait)


def test_the_step_notes_when_it_had_its_batch(build):
    model = build()
    before = time.time()
    train(model)
    ready = model.keras_model.data_ready_time
    if keras.backend.backend() == "tensorflow":
        assert before < ready < time.time()
    else:
        assert ready is None


def test_images_without_objects(build):
    model = build()
    history = train(model, layers="all", train_data=Squares([()] * 2))
    assert np.isfinite(list(history.values())).all()
    assert history["rpn_class_loss"][0] > 0
    assert history["mrcnn_mask_loss"] == [0] and history["mrcnn_bbox_loss"] == [0]


@pytest.mark.parametrize("steps, validated", [(1, True), (0.5, True), (0, False), (None, False)])
def test_validation_steps(build, steps, validated):
    history = train(build(VALIDATION_STEPS=steps), val_data=Squares())
    assert ("val_loss" in history) == validated


def test_without_validation_data(build):
    assert "val_loss" not in train(build(VALIDATION_STEPS=5))


def test_a_fraction_of_a_step_is_a_step(build):
    model = build(STEPS_PER_EPOCH=1.5)
    train(model)
    assert int(model.keras_model.optimizer.iterations.numpy()) == 2


def test_callbacks_by_name(build):
    model = build(STEPS_PER_EPOCH=1)
    data = Squares()
    callbacks = ["early_stopping", "ap", "best"]
    history = train(model, val_data=data, custom_callbacks=callbacks)
    assert {"val_mask_ap", "val_box_ap", "val_mask_ap50", "val_loss"} <= set(history)
    assert 0 <= history["val_mask_ap"][0] <= 1
    assert {"best.h5", "validation_0001.jpg"} <= set(os.listdir(model.log_dir))


@pytest.mark.slow
def test_epoch_after_stopping_early(build):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    model = build()
    train(model, epochs=9, custom_callbacks=[Stop()])
    assert model.epoch == 2
    # A stage that follows begins where this one ended.
    assert len(train(model, epochs=3)["loss"]) == 1


def test_epoch_after_an_interruption(build):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    model = build()
    with pytest.raises(KeyboardInterrupt):
        train(model, epochs=3, custom_callbacks=[Interrupt()])
    assert model.epoch == 1


@pytest.mark.slow
def test_an_optimizer_may_serve_two_stages(build):
    model = build()
    adam = keras.optimizers.Adam(0.001)
    train(model, 1, HEADS, optimizer=adam)
    assert model.keras_model.optimizer is adam
    train(model, 2, "mrcnn_bbox_fc", optimizer=adam)
    assert isinstance(model.keras_model.optimizer, keras.optimizers.Adam)
    assert float(model.keras_model.optimizer.learning_rate) == pytest.approx(0.001)


def test_learning_rate_schedule(build, capsys):
    model = build()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5)
    train(model, learning_rate=schedule, verbose=2)
    assert float(model.keras_model.optimizer.learning_rate) == pytest.approx(0.005)
    text = "LR=ExponentialDecay(initial_learning_rate=0.01, decay_steps=1, decay_rate=0.5, "
    assert text in capsys.readouterr().out


class OwnSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Without `get_config`."""

    def __call__(self, step):
        return 0.1


@pytest.mark.parametrize(
    "learning_rate, optimizer, text",
    [
        (0.001, None, "0.001"),
        (1, None, "1"),
        (np.float32(0.02), None, "0.02"),
        (OwnSchedule(), None, "OwnSchedule"),
        (
            keras.optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.2, 0.3]),
            None,
            "PiecewiseConstantDecay(boundaries=[10, 20], values=[0.1, 0.2, 0.3])",
        ),
        (
            keras.optimizers.schedules.CosineDecay(0.1, 1000),
            None,
            "CosineDecay(initial_learning_rate=0.1, decay_steps=1000, alpha=0, warmup_steps=0)",
        ),
        (0.001, keras.optimizers.Adam(0.003), "0.003"),
        (
            0.001,
            keras.optimizers.SGD(keras.optimizers.schedules.InverseTimeDecay(0.1, 5, 0.5)),
            "InverseTimeDecay(initial_learning_rate=0.1, decay_steps=5, decay_rate=0.5, "
            "staircase=False)",
        ),
    ],
)
def test_learning_rate_in_words(learning_rate, optimizer, text):
    assert trainer.describe_learning_rate(learning_rate, optimizer) == text


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(build, precision):
    model = build(PRECISION=precision)
    history = train(model, layers="all")
    assert np.isfinite(list(history.values())).all()
    optimizer = model.keras_model.optimizer
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (precision == "float16")


def test_bad_input_is_found_before_anything_changes(build):
    model = build()
    for options, words in (
        ({"layers": "head"}, "matches none"),
        ({"custom_callbacks": ["worst"]}, "'worst'; a name must be one of"),
        ({"custom_callbacks": ["ap"]}, "needs a validation dataset"),
        ({"train_data": Squares(())}, "train_dataset has no images"),
        ({"train_data": Dataset()}, "train_dataset has no images"),
        ({"train_data": Unnamed()}, "train_dataset has no classes besides the background"),
        ({"val_data": Squares(())}, "val_dataset has no images"),
        (
            {"val_data": Swapped()},
            r"val_dataset has the classes \['BG', 'dark', 'bright'\]; they must be .* "
            r"\['BG', 'bright', 'dark'\]",
        ),
        ({"keep": 0}, "keep is 0; it must be at least 1, or None for all"),
        ({"augmentation": "colors"}, "augmentation is 'colors'; it must be none, flips, light"),
        ({"on_error": "ignore"}, 'on_error is .ignore.; it must be "skip" or "raise"'),
    ):
        with pytest.raises(ValueError, match=words):
            train(model, **options)
    assert not os.path.exists(model.log_dir)


class Swapped(Squares):
    """The classes in another order."""

    def prepare(self, class_map=None):
        self.class_info[1:] = self.class_info[:0:-1]
        super().prepare(class_map)


class Unnamed(Dataset):
    """Images, but no class."""

    def __init__(self):
        super().__init__()
        self.add_image("squares", 0, "0.png")
        self.prepare()


class ResourceExhaustedError(Exception):
    """Called as TensorFlow's is."""


@pytest.mark.parametrize(
    "error, advised",
    [
        (ResourceExhaustedError("OOM when allocating tensor"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("something else"), False),
    ],
)
def test_advice_when_memory_runs_out(build, monkeypatch, caplog, error, advised):
    def fit(*args, **options):
        raise error

    model = build()
    monkeypatch.setattr(model.keras_model, "fit", fit)
    with pytest.raises(type(error)):
        train(model)
    assert ("IMAGES_PER_GPU = 2" in caplog.text) == advised


def test_verbose_says_where_it_goes(build, capsys):
    model = build()
    train(model)
    assert capsys.readouterr().out == ""
    train(model, epochs=2, verbose=2)
    out = capsys.readouterr().out
    assert "Starting at epoch 1. LR=0.01" in out
    assert f"Checkpoint Path: {model.checkpoint_path}" in out
    assert "Continuing from epoch 1 with the optimizer's state." in out
    train(model, epochs=3, verbose=2, heading=False)
    out = capsys.readouterr().out
    assert "Epoch 3/3" in out and "LR=" not in out and "Checkpoint Path" not in out
