"""`history.csv` and `curves.png`."""

import csv
import math
import os

import pytest

from mrcnn.training import history
from mrcnn.training.curves import draw_curves
from tests.training.runs import train


class Times:
    images_per_second = 2.5


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_survive_the_file(tmp_path):
    path = tmp_path / "history.csv"
    rows = [{"epoch": 1.0, "loss": 2.5}, {"epoch": 2.0, "loss": math.nan, "val_mask_ap": 0.25}]
    history.write_history(path, rows)
    assert path.read_text() == "epoch,loss,val_mask_ap\n1,2.5,\n2,,0.25\n"
    assert history.read_history(path) == [rows[0], {"epoch": 2.0, "val_mask_ap": 0.25}]
    assert history.read_history(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    "text",
    ["loss\n1\n", "epoch,loss\n,1\n", "epoch;loss\n1;2\n", "epoch,loss\n1,2,3\n", "epoch\nx\n",
     "epoch,loss\n1\n"],
)  # fmt: skip
def test_a_file_that_is_no_history_is_kept_under_another_name(tmp_path, caplog, text):
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"history.csv (is no table of numbers|has a row without)"):
        history.read_history(path)
    callback = history.HistoryFile(str(tmp_path), Times())
    callback.on_epoch_begin(3)
    callback.on_epoch_end(3, {"loss": 1.5})
    assert (tmp_path / "history.csv.bak").read_text() == text
    assert [row["epoch"] for row in rows_of(path)] == ["4"]
    assert "it is kept as history.csv.bak" in caplog.text


@pytest.mark.usefixtures("eager")
def test_a_resumed_training_continues_the_table(build):
    model = build()
    train(model, epochs=2)
    path = os.path.join(model.log_dir, "history.csv")
    before = rows_of(path)
    assert [row["epoch"] for row in before] == ["1", "2"]
    assert {"loss", "rpn_class_loss", "learning_rate", "wait", "images_per_second", "seconds"} <= (
        before[0].keys()
    )
    assert float(before[0]["learning_rate"]) == pytest.approx(0.01)
    # From the first epoch again: the second is repeated.
    resumed = build()
    resumed.load_weights(model.checkpoint_path.format(epoch=1), by_name=True)
    with pytest.warns(UserWarning, match="training_state_0001.npz is missing"):
        train(resumed, epochs=3, learning_rate=0.02)
    after = rows_of(path)
    assert [row["epoch"] for row in after] == ["1", "2", "3"]
    assert after[0] == before[0] and float(after[1]["learning_rate"]) == pytest.approx(0.02)


def test_logs_that_are_no_numbers_are_left_out(tmp_path):
    assert history.as_numbers({"a": "x", "b": None, "c": [1, 2], "d": 3, "e": "4"}) == {
        "d": 3.0,
        "e": 4.0,
    }
    assert history.as_numbers(None) == {}


def epochs(*names):
    return [{"epoch": float(i), **{name: 0.5 / i for name in names}} for i in (1, 2, 3)]


@pytest.mark.parametrize(
    "rows, size",
    [
        (epochs("loss"), (1100, 400)),
        (epochs("loss", "learning_rate", "rpn_class_loss"), (1100, 800)),
        (epochs("loss", "val_loss", "learning_rate", "val_mask_ap"), (1100, 800)),
        ([{"epoch": 1.0, "loss": math.nan}], (1100, 400)),
    ],
)
def test_curves(tmp_path, rows, size):
    from PIL import Image

    draw_curves(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == size
        assert len(image.convert("RGB").getcolors(10**6)) > 5


def test_drawing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    drawn, now = [], {"time": 0.0}

    def draw(rows, path):
        drawn.append(len(rows))
        now["time"] += 1.0

    monkeypatch.setattr(history, "draw_curves", draw)
    monkeypatch.setattr(history.time, "perf_counter", lambda: now["time"])
    callback = history.HistoryFile(str(tmp_path), Times())
    for epoch in range(5):
        callback.on_epoch_begin(epoch)
        now["time"] += 9.0
        callback.on_epoch_end(epoch, {"loss": 1.0})
    # A second of drawing allows the next one 20 seconds later.
    assert drawn == [1, 4]
    callback.on_train_end()
    assert drawn == [1, 4, 5]
    callback.on_train_end()
    assert drawn == [1, 4, 5]


def test_curves_that_cannot_be_drawn_end_no_training(tmp_path, monkeypatch, caplog):
    def fail(rows, path):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(history, "draw_curves", fail)
    callback = history.HistoryFile(str(tmp_path), Times())
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 1.0})
    assert "curves.png could not be drawn: no fonts" in caplog.text
    assert len(rows_of(tmp_path / "history.csv")) == 1


def test_ap_before_the_training_is_epoch_0(tmp_path):
    class Validation:
        before = {"val_mask_ap": 0.25}  # noqa: RUF012

    callback = history.HistoryFile(str(tmp_path), Times(), Validation())
    for epoch in range(2):
        callback.on_train_begin()  # a second time, as a resumed training: the rows stay
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": 1.0, "val_mask_ap": 0.5})
    rows = history.read_history(tmp_path / "history.csv")
    assert [(row["epoch"], row["val_mask_ap"]) for row in rows] == [(0, 0.25), (1, 0.5), (2, 0.5)]


@pytest.mark.parametrize(("aps", "best"), [([0.9, 0.2, 0.4, 0.3], 2.0), ([0.9], None), ([], None)])
def test_the_best_epoch_is_marked(tmp_path, monkeypatch, aps, best):
    from matplotlib.axes import Axes

    marks = []
    monkeypatch.setattr(Axes, "axvline", lambda axes, x, **style: marks.append((x, style["label"])))
    rows = [{"epoch": float(i), "val_mask_ap": ap} for i, ap in enumerate(aps)]  # epoch 0: before
    draw_curves(rows or [{"epoch": 1.0, "loss": 1.0}], tmp_path / "curves.png")
    assert marks == ([] if best is None else [(best, "best, epoch 2")])
