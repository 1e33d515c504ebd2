"""Callbacks: metrics in the logs, the best weights, early stopping, and their names."""

import json

import keras
import numpy as np
import pytest

from mrcnn.training import callbacks as cb
from mrcnn.training.start_average import StartAverage
from tests.evaluation.toys import Detector, Rectangles, result
from tests.tiny import Squares
from tests.training.runs import train

BOX, OTHER = (0, 0, 20, 20), (10, 30, 30, 50)


class Learner(Detector):
    """A detector of which every epoch finds one more of three cats."""

    log_dir = "logs"

    def __init__(self):
        super().__init__([result() for _ in range(3)])

    def learn(self, epoch):
        for image_id in range(min(epoch + 1, 3)):
            self.results[image_id] = result((1, 0.9, BOX))


def cats():
    return Rectangles([[(1, BOX)]] * 3)


def run(callback, epochs, learner=None):
    """The logs of each epoch after the callback has seen them."""
    callback.set_params({"epochs": epochs})
    every_log = []
    for epoch in range(epochs):
        if learner is not None:
            learner.learn(epoch)
        logs = {"loss": 1.0}
        callback.on_epoch_end(epoch, logs)
        every_log.append(logs)
    return every_log


def test_metrics_enter_the_logs(capsys):
    learner, dataset = Learner(), cats()
    callback = cb.ValidationAP(learner, dataset, metric="box_AR100", sheet_images=0)
    logs = run(callback, 3, learner)
    # A third of the cats reaches 34 of COCO's 101 recall values, two thirds 67.
    assert [log["val_mask_ap"] for log in logs] == pytest.approx([34 / 101, 67 / 101, 1.0])
    assert [log["val_box_ar100"] for log in logs] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert set(logs[0]) == {"loss", "val_box_ap", "val_mask_ap", "val_mask_ap50", "val_box_ar100"}
    assert callback.report.mask.AP == 1.0
    assert dataset.masks_loaded == 3  # the truth once, not once an epoch
    assert "Epoch 3 on 3 validation images: val_box_ap: 1.0000" in capsys.readouterr().out


def test_every_and_the_last_epoch():
    callback = cb.ValidationAP(Learner(), cats(), every=2, verbose=0, sheet_images=0)
    computed = ["val_mask_ap" in logs for logs in run(callback, 5)]
    assert computed == [False, True, False, True, True]


def test_max_images_are_spread_evenly():
    learner = Detector([result()] * 9, batch_size=9)
    callback = cb.ValidationAP(learner, Rectangles([[(1, BOX)]] * 9), max_images=3, verbose=0)
    run(callback, 1)
    assert learner.batches == [[0, 4, 8]]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"every": 0}, "every is 0; it must be at least 1"),
        ({"sheet_images": -1}, "sheet_images is -1; it must be at least 0"),
        ({"max_images": 0}, "max_images is 0; it must be at least 1"),
        ({"metric": "mAP"}, "metric is 'mAP'; it must be one of box_AP"),
        ({"dataset": None}, "dataset is None"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        cb.ValidationAP(**{"model": Learner(), "dataset": cats(), **kwargs})


def test_predictions_are_drawn_beside_the_truth(tmp_path):
    import cv2

    learner, dataset = Learner(), cats()
    learner.log_dir = str(tmp_path)
    callback = cb.ValidationAP(learner, dataset, verbose=0, sheet_images=2)
    run(callback, 2, learner)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("validation_0001.jpg", "validation_0002.jpg"),
    ]
    assert len(callback.pairs) == 2 and callback.seconds > 0
    sheet = cv2.imread(str(tmp_path / "validation_0002.jpg"))
    height, width = callback.pairs[0].shape[:2]
    assert sheet.shape == (2 * (height + 8), width, 3)
    # Images 0 and 2: the first cat is found after the first epoch, the last after the third.
    left, right = callback.pairs[1][26:, : width // 2 - 4], callback.pairs[1][26:, width // 2 + 4 :]
    assert len(np.unique(left)) == 1 and len(np.unique(right)) > 1


def test_a_sheet_that_cannot_be_drawn_ends_no_training(tmp_path, caplog):
    dataset = cats()
    learner = Learner()
    learner.log_dir = str(tmp_path)
    callback = cb.ValidationAP(learner, dataset, verbose=0)
    callback.dataset = None
    callback._write_sheet(1)
    assert "validation_0001.jpg could not be drawn" in caplog.text


class Weights:
    """Stands for a Keras model: writes the number of the call as its weights."""

    def __init__(self):
        self.written = []

    def save_weights(self, path):
        self.written.append(path)
        with open(path, "w") as file:
            file.write(str(len(self.written)))


def best_after(path, values, monitor="val_mask_ap", **kwargs):
    callback = cb.BestCheckpoint(path, monitor, verbose=0, **kwargs)
    callback.set_model(Weights())
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {} if value is None else {monitor: value})
    return callback


def test_only_better_weights_are_written(tmp_path):
    path = tmp_path / "log" / "best.h5"
    callback = best_after(path, [0.2, None, 0.1, float("nan"), 0.2, 0.3, 0.25])
    assert len(callback.model.written) == 2
    assert path.read_text() == "2" and callback.best == 0.3
    note = json.loads((tmp_path / "log" / "best.h5.json").read_text())
    assert note == {"file": "best.h5", "monitor": "val_mask_ap", "value": 0.3, "epoch": 6}


@pytest.mark.parametrize(
    ("start", "values", "best_epoch"),
    [(0.5, [0.4, 0.3], 0), (0.5, [0.4, 0.6], 2), (0.0, [0.0], 1), (float("nan"), [0.1], 1)],
)
def test_the_start_counts_where_it_is_measured(tmp_path, start, values, best_epoch):
    callback = cb.BestCheckpoint(tmp_path / "best.h5", verbose=0)
    callback.set_model(Weights())
    callback.on_train_begin({"val_mask_ap": start})
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_mask_ap": value})
    assert json.loads((tmp_path / "best.h5.json").read_text())["epoch"] == best_epoch
    assert callback.has_improved == (best_epoch == len(values))


def test_losses_are_minimized(tmp_path):
    for kwargs, count in (({}, 2), ({"mode": "max"}, 1)):
        path = tmp_path / f"{count}.h5"
        callback = best_after(path, [3, 2, 2.5], "val_loss", **kwargs)
        assert len(callback.model.written) == count


def test_training_goes_on_from_the_best(tmp_path):
    path = tmp_path / "best.h5"
    best_after(path, [0.5])
    assert best_after(path, [0.4]).model.written == []
    assert len(best_after(path, [0.6]).model.written) == 1
    # Another metric, or weights that are gone: no value is known.
    assert len(best_after(path, [0.4], "val_box_ap").model.written) == 1
    path.unlink()
    assert len(best_after(path, [0.1], "val_box_ap").model.written) == 1


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"file": "best.h5", "monitor": 3}'])
def test_a_damaged_note_counts_as_none(tmp_path, note):
    path = tmp_path / "best.h5"
    best_after(path, [0.5])
    (tmp_path / "best.h5.json").write_text(note)
    if "monitor" in note:
        assert len(best_after(path, [0.4]).model.written) == 1
    else:
        with pytest.warns(UserWarning, match="best.h5.json is damaged"):
            assert len(best_after(path, [0.4]).model.written) == 1


def test_file_names_with_epoch_and_figure(tmp_path):
    path = str(tmp_path / "best_{epoch:04d}_{val_mask_ap:.2f}.h5")
    callback = best_after(path, [0.25, 0.5])
    expected = [str(tmp_path / name) for name in ("best_0001_0.25.h5", "best_0002_0.50.h5")]
    assert callback.model.written == expected
    assert (tmp_path / "best_epoch_val_mask_ap.h5.json").is_file()
    assert best_after(path, [0.3]).model.written == []


def test_names_of_logs_that_are_missing_before_the_training(tmp_path):
    best = cb.BestCheckpoint(tmp_path / "{epoch:04d}_{loss:.2f}.h5", verbose=0)
    best.set_model(Weights())
    best.on_train_begin({"val_mask_ap": 0.3})
    assert [name.rsplit("/", 1)[-1] for name in best.model.written] == ["0000_nan.h5"]


def test_bad_checkpoint_arguments():
    with pytest.raises(ValueError, match="mode is 'up'; it must be"):
        cb.BestCheckpoint("a.h5", mode="up")
    with pytest.raises(ValueError, match=r"path is 'a.keras'; it must end in \.h5"):
        cb.BestCheckpoint("a.keras")


class Fit:
    """Fits a tiny model and feeds the logs with given metrics first."""

    def __init__(self, metrics):
        self.metrics = metrics

    def __call__(self, *callbacks):
        class Feed(keras.callbacks.Callback):
            def on_epoch_end(_, epoch, logs=None):
                logs.update({k: v[epoch] for k, v in self.metrics.items() if v[epoch] is not None})

        inputs = keras.Input((2,))
        model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
        epochs = len(next(iter(self.metrics.values())))
        data = np.zeros((2, 2)), np.zeros((2, 1))
        return model.fit(*data, epochs=epochs, verbose=0, callbacks=[Feed(), *callbacks])


@pytest.mark.filterwarnings("error:Early stopping conditioned")
def test_early_stopping_counts_measured_epochs(tmp_path):
    values = [0.1, None, 0.3, None, 0.2, None, 0.25, None, 0.1]
    best = cb.BestCheckpoint(tmp_path / "best.weights.h5", verbose=0)
    stop = cb.EarlyStopping(patience=2, verbose=0)
    history = Fit({"val_mask_ap": values})(best, stop)
    assert len(history.epoch) == 7
    assert stop.best == best.best == 0.3


def test_metrics_reach_keras_own_callbacks_and_history(tmp_path):
    learner = Learner()

    class Learn(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            learner.learn(epoch)

    path = tmp_path / "{val_mask_ap:.2f}.weights.h5"
    keep = keras.callbacks.ModelCheckpoint(
        path, monitor="val_mask_ap", mode="max", save_best_only=True, save_weights_only=True
    )
    history = Fit({"other": [0, 0]})(
        Learn(), cb.ValidationAP(learner, cats(), verbose=0, sheet_images=0), keep
    )
    assert history.history["val_mask_ap"] == pytest.approx([34 / 101, 67 / 101])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.34.weights.h5", "0.66.weights.h5"]


class TestResolve:
    """`resolve_callbacks`."""

    def kinds(self, callbacks, dataset=True):
        found = cb.resolve_callbacks(callbacks, Learner(), cats() if dataset else None)
        return [type(one) for one in found]

    @pytest.mark.parametrize(
        "names, expected",
        [
            (None, []),
            ([], []),
            ("ap", [cb.ValidationAP]),
            (["best"], [cb.ValidationAP, cb.BestCheckpoint]),
            (
                ("early_stopping", "best", "ap", "best"),
                [cb.ValidationAP, cb.EarlyStopping, cb.BestCheckpoint],
            ),
            ("start_average", [cb.ValidationAP, cb.BestCheckpoint, StartAverage]),
            (["best", "start_average"], [cb.ValidationAP, cb.BestCheckpoint, StartAverage]),
        ],
    )
    def test_names(self, names, expected):
        assert self.kinds(names) == expected

    def test_objects_stay_and_validation_goes_first(self):
        own = cb.ValidationAP(Learner(), cats(), every=5)
        logger = keras.callbacks.CSVLogger("x.csv")
        found = cb.resolve_callbacks([logger, "best", own], Learner(), cats())
        assert found[0] is own and found[1] is logger
        assert found[2].path.replace("\\", "/") == "logs/best.h5"
        assert cb.resolve_callbacks(logger, Learner(), None) == [logger]

    def test_errors(self):
        with pytest.raises(
            ValueError, match="'map'; a name must be one of ap, best, early_stopping"
        ):
            self.kinds(["ap", "map"])
        with pytest.raises(ValueError, match="'best', which needs a validation dataset"):
            self.kinds(["best"], dataset=False)


@pytest.mark.usefixtures("eager")
def test_ap_of_all_scores_before_and_after_training(build, capsys):
    model = build(DETECTION_MIN_CONFIDENCE=1.0)
    data = Squares()
    ap = cb.ValidationAP(model, data, min_confidence=0.0, measure_first=True, verbose=0)
    train(model, 1, val_data=data, custom_callbacks=[ap], verbose=1)
    # At the model's own threshold there is nothing.
    assert len(model.detect([data.load_image(0)])[0]["scores"]) == 0
    twin = model.with_min_confidence(0.0)
    assert len(twin.detect([data.load_image(0)])[0]["scores"]) > 0
    assert twin.keras_model is model.keras_model
    assert model.config.DETECTION_MIN_CONFIDENCE == 1.0
    assert ap.report.num_images == data.num_images
    assert set(ap.before) == {"val_box_ap", "val_mask_ap", "val_mask_ap50"}
    assert f"AP before training {ap.before['val_mask_ap']:.3f}\n" in capsys.readouterr().out


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_min_confidence_is_a_share(value):
    with pytest.raises(ValueError, match=f"min_confidence is {value}; it must be from 0 to 1"):
        cb.ValidationAP(None, Squares(), min_confidence=value)
