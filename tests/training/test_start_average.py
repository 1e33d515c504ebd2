"""Means of the weights of a training and those of its start."""

import json

import numpy as np
import pytest

from mrcnn.training import callbacks as cb
from mrcnn.training.start_average import StartAverage, mean_weights
from mrcnn.training.validation import Validation
from tests.tiny import Squares
from tests.training.runs import train


class Number:
    """A model of one weight, which its files hold as text."""

    def __init__(self, value):
        self.value = np.float32(value)

    def get_weights(self):
        return [np.array(self.value)]

    def set_weights(self, weights):
        (self.value,) = weights

    def save_weights(self, path):
        with open(path, "w") as file:
            file.write(str(float(self.value)))

    def load_weights(self, path):
        self.value = np.float32(open(path).read())


class Nearness(Validation):
    """A figure that is 1 where the weight is the best one, and less elsewhere."""

    monitor, label = "val_mask_ap", "AP"

    def __init__(self, model, best):
        super().__init__()
        self.measured, self.best, self.drawn = model, best, []

    def measure(self, finished, draw=True):
        self.drawn += [finished] if draw else []
        return None, {self.monitor: 1 - abs(float(self.measured.value) - self.best) / 10}


@pytest.fixture
def parts(tmp_path):
    """Return a function that makes the callback for a model, its measurement and best weights."""

    def make(value, best):
        model = Number(value)
        model.log_dir = str(tmp_path)
        checkpoint = cb.BestCheckpoint(tmp_path / "best.h5", verbose=0)
        average = StartAverage(model, Nearness(model, best), checkpoint)
        for one in (checkpoint, average):
            one.set_model(model)
        return model, checkpoint, average

    return make


def run(average, values, first_epoch=0, end=True):
    """Train: the weight has a value after each epoch."""
    average.on_train_begin()
    for epoch, value in enumerate(values, first_epoch):
        average.on_epoch_begin(epoch)
        average.trained.value = np.float32(value)
        average.on_epoch_end(epoch)
    if end:
        average.on_train_end()


def test_mean_weights():
    start = [np.float32([0, 2]), np.int32(4)]
    end = [np.float32([4, 2]), np.int32(8)]
    mean = mean_weights(start, end, 0.25)
    assert mean[0].tolist() == [1, 2] and mean[1] == 5
    assert [one.dtype for one in mean] == [np.float32, np.int32]


def test_the_best_mean_is_kept(parts, tmp_path, capsys):
    model, checkpoint, average = parts(2.0, best=7.0)
    checkpoint.best = 0.8  # of an epoch before
    run(average, [4.0, 10.0])
    assert average.figures == pytest.approx({0.25: 0.7, 0.5: 0.9, 0.75: 0.9})
    assert (tmp_path / "best.h5").read_text() == "6.0"
    note = json.loads((tmp_path / "best.h5.json").read_text())
    assert note["trained_share"] == 0.5 and note["epoch"] == 2
    assert note["value"] == pytest.approx(0.9)
    assert model.value == 10.0 and average.validation.drawn == []
    out = capsys.readouterr().out
    assert out.startswith("Measuring AP of means of the first and the last weights\n")
    assert "1/4 trained AP 0.700, 1/2 trained AP 0.900 (best), 3/4 trained AP 0.900\n" in out


def test_better_weights_of_an_epoch_stay(parts, tmp_path):
    _, checkpoint, average = parts(2.0, best=7.0)
    checkpoint.best = 0.95
    run(average, [10.0])
    assert not (tmp_path / "best.h5").exists() and checkpoint.best == 0.95


def test_a_training_that_goes_on_has_the_same_start(parts):
    _, _, average = parts(2.0, best=7.0)
    run(average, [4.0], end=False)
    model, _, average = parts(4.0, best=7.0)
    run(average, [10.0], first_epoch=1)
    assert average.figures == pytest.approx({0.25: 0.7, 0.5: 0.9, 0.75: 0.9})
    assert model.value == 10.0


@pytest.mark.parametrize("content", [None, "no number"])
def test_without_the_file_of_the_start_there_are_no_means(parts, tmp_path, content):
    model, _, average = parts(4.0, best=7.0)
    if content is None:
        run(average, [10.0], first_epoch=1)
    else:
        (tmp_path / "start.h5").write_text(content)
        with pytest.warns(UserWarning, match=r"start\.h5 cannot be read, so no means are measured"):
            run(average, [10.0], first_epoch=1)
    assert average.figures == {} and model.value == 10.0


def test_no_epoch_no_means(parts):
    _, _, average = parts(2.0, best=7.0)
    run(average, [])
    assert average.figures == {}


def test_several_processes_have_no_means(monkeypatch):
    monkeypatch.setattr("mrcnn.training.hosts.count", lambda: 2)
    with pytest.raises(ValueError, match="has 'start_average' in 2 processes; it must be left out"):
        cb.check_callbacks(["ap", "start_average"], Squares())


@pytest.mark.usefixtures("eager")
def test_of_a_network(build, tmp_path):
    """The files of a training hold the start, the last weights and the best of five."""
    model, data = build(), Squares()
    before = [np.array(weight) for weight in model.keras_model.get_weights()]
    ap = cb.ValidationAP(model, data, min_confidence=0.0, measure_first=True, verbose=0)
    train(model, 1, val_data=data, custom_callbacks=[ap, "best", "start_average"])
    last = [np.array(weight) for weight in model.keras_model.get_weights()]
    assert any((first != end).any() for first, end in zip(before, last))
    model.keras_model.load_weights(f"{model.log_dir}/start.h5")
    for first, read in zip(before, model.keras_model.get_weights()):
        np.testing.assert_array_equal(first, read)
