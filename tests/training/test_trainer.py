"""Training a tiny network for real: losses, stages, resuming, errors, files."""

import json
import os
import time

import keras
import numpy as np
import pytest

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.model import MaskRCNN
from mrcnn.training import trainer
from mrcnn.training.training_model import TrainingModel
from tests.tiny import Squares, tiny_config

HEADS = "mrcnn_class_logits"


@pytest.fixture(autouse=True)
def eager(request, monkeypatch):
    """Steps run without being traced: a few of them are quicker so."""
    compile_model = TrainingModel.compile
    monkeypatch.setattr(
        TrainingModel,
        "compile",
        lambda self, **options: compile_model(self, **{**options, "run_eagerly": True}),
    )
    monkeypatch.setattr(trainer, "_tensorboard", lambda log_dir, verbose: [])


@pytest.fixture
def build(tmp_path):
    def build(**settings):
        keras.utils.set_random_seed(0)
        return MaskRCNN("training", tiny_config(**settings), str(tmp_path))

    return build


def train(model, epochs=1, layers=HEADS, train_data=None, val_data=None, **options):
    options = {"learning_rate": 0.01, "workers": 0, "seed": 0, "verbose": 0, **options}
    return model.train(
        train_data or Squares(), val_data, epochs=epochs, layers=layers, **options
    ).history


def velocities(model):
    return {
        v.name: np.array(v.numpy()) for v in model.keras_model.optimizer.variables if v.ndim > 0
    }


@pytest.mark.slow
def test_loss_goes_down_on_a_fixed_batch(build):
    model = build(STEPS_PER_EPOCH=2)
    history = train(model, epochs=3, layers="all", learning_rate=0.02)
    assert np.isfinite(list(history.values())).all()
    assert history["loss"][-1] < 0.95 * history["loss"][0]
    assert set(history) == {"loss", "wait", *LOSS_NAMES}


def test_stages_do_not_multiply_the_loss(build):
    # Ported networks added the losses anew at every stage, so the total became k times the sum.
    model = build(WEIGHT_DECAY=0.0, LOSS_WEIGHTS={"rpn_bbox_loss": 3.0})
    for epoch, layers in enumerate((HEADS, "heads", "all"), start=1):
        history = train(model, epoch, layers)
        parts = sum(history[name][-1] for name in LOSS_NAMES) + 2 * history["rpn_bbox_loss"][-1]
        assert history["loss"][-1] == pytest.approx(parts, rel=1e-5)
    assert model.epoch == 3


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
    history = train(model)
    assert history["mrcnn_class_loss"][-1] > 0 and history["mrcnn_mask_loss"][-1] > 0


def test_files_of_a_training(build, tmp_path):
    model = build()
    train(model, epochs=2)
    assert sorted(os.listdir(model.log_dir)) == [
        *("config.json", "mask_rcnn_tiny_0001.h5", "mask_rcnn_tiny_0002.h5"),
        "training_state.npz",
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
    path = os.path.join(model.log_dir, trainer.STATE_FILE)
    assert trainer.restore_state(resumed.keras_model, path, 1)
    restored = velocities(resumed)
    assert restored.keys() == saved.keys()
    for name, value in saved.items():
        np.testing.assert_array_equal(restored[name], value)

    history = train(resumed, epochs=2, layers="all")
    assert len(history["loss"]) == 1 and resumed.epoch == 2
    for a, b in zip(straight.keras_model.weights, resumed.keras_model.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("epoch, layers", [(2, HEADS), (1, "mrcnn_bbox_fc")])
def test_state_of_another_epoch_or_of_other_layers_is_left_alone(build, epoch, layers):
    model = build()
    train(model)
    model.set_trainable(layers, verbose=0)
    trainer.compile_model(model.keras_model, model.config, 0.01, 0.9)
    path = os.path.join(model.log_dir, trainer.STATE_FILE)
    assert not trainer.restore_state(model.keras_model, path, epoch)
    assert not any(value.any() for value in velocities(model).values())


def test_nothing_left_to_train(build):
    model = build()
    model.epoch = 5
    assert train(model, epochs=5) == {}
    assert model.epoch == 5


def test_nan_stops_with_the_parts_and_the_pictures(build):
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


def test_nan_names_the_pictures_of_its_own_epoch():
    class Batches:
        def references_of_batch(self, batch, epoch):
            return [f"batch {batch} of {epoch}"]

    callback = trainer.StopOnNonFiniteLoss(Batches())
    callback.on_epoch_begin(3)
    callback.on_train_batch_end(1, {"loss": 1.0})
    with pytest.raises(trainer.NonFiniteLossError, match="batch 2 of 3"):
        callback.on_train_batch_end(2, {"loss": float("inf")})


@pytest.mark.parametrize("tells, wait", [(True, (1 + 4 + 2) / 20), (False, (1 + 1 + 1) / 20)])
def test_wait_is_the_share_of_time_without_data(monkeypatch, tells, wait):
    # (begin, batch ready, end) of three steps in an epoch of 20 seconds; the first is compiled.
    steps = [(1, 7, 9), (10, 13, 15), (16, 17, 19)]
    callback = trainer.LoaderIdleTime()
    callback.set_model(type("Model", (), {})())
    now = {"time": 0}
    monkeypatch.setattr(trainer.time, "time", lambda: now["time"])
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


def test_pictures_without_objects(build):
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
    assert "best.h5" in os.listdir(model.log_dir)


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


def test_learning_rate_schedule(build):
    model = build()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5)
    train(model, learning_rate=schedule)
    assert float(model.keras_model.optimizer.learning_rate) == pytest.approx(0.005)


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
        ({"custom_callbacks": ["worst"]}, "'worst' is not one of"),
        ({"custom_callbacks": ["ap"]}, "needs a validation data set"),
    ):
        with pytest.raises(ValueError, match=words):
            train(model, **options)
    assert not os.path.exists(model.log_dir)


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
    assert "Going on from epoch 1 with the optimizer's state." in out
