"""TensorBoard's event files, read back with TensorBoard's own reader."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mrcnn.training import tensorboard_logs
from tests.tiny import Squares
from tests.training.runs import train


class Validation:
    monitor = "val_mask_ap"
    pairs = (np.full((20, 30, 3), 200, np.uint8), np.zeros((10, 10, 3), np.uint8))


def read(folder):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(folder))
    events.Reload()
    return events


def epochs(folder, numbers, validation=None):
    callback = tensorboard_logs.TensorBoardLogs(str(folder), validation)
    for number in numbers:
        logs = {"loss": number / 2, "val_rpn_class_loss": 0.5, "val_mask_ap": 0.25, "wait": 0.1,
                "learning_rate": 0.01, "val_box_ap": float("nan"), "own": "text"}  # fmt: skip
        callback.on_epoch_end(number - 1, logs)
    callback.on_train_end()


def test_figures_and_images(tmp_path):
    pytest.importorskip("tensorboard")
    epochs(tmp_path, [1, 2], Validation())
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == [
        *("learning_rate", "train/loss", "validation/mask_ap", "validation/rpn_class_loss", "wait")
    ]
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 1.0)]
    assert sorted(events.Tags()["images"]) == ["validation/0", "validation/1"]
    image = events.Images("validation/0")[-1]
    assert (image.step, image.width, image.height) == (2, 30, 20)


def test_epochs_that_are_repeated_replace_the_earlier_ones(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    now = iter(range(1000, 2000))
    monkeypatch.setattr(tensorboard_logs.time, "time", lambda: float(next(now)))
    epochs(tmp_path, [1, 2, 3])
    epochs(tmp_path, [2])
    assert [e.step for e in read(tmp_path).Scalars("train/loss")] == [1, 2]


def test_tensorflow_is_not_imported():
    pytest.importorskip("tensorboard")
    code = (
        "import sys\n"
        "from tensorboard.compat.proto.event_pb2 import Event, SessionLog\n"
        "from tensorboard.compat.proto.summary_pb2 import Summary\n"
        "from tensorboard.summary.writer.record_writer import RecordWriter\n"
        "RecordWriter(open(sys.argv[1], 'wb')).write(Event(step=1).SerializeToString())\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'tensorflow'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.devnull], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("eager")
def test_without_tensorboard_a_line_names_the_extra(build, monkeypatch, capsys):
    monkeypatch.setattr(tensorboard_logs, "is_installed", lambda: False)
    model = build()
    train(model, verbose=1)
    assert 'TensorBoard logs need `pip install "mrcnn-keras3[tensorboard]"`' in (
        capsys.readouterr().out
    )
    train(model, 2, verbose=0)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("eager")
def test_a_training_writes_them(build):
    pytest.importorskip("tensorboard")
    model = build()
    train(model, 2, val_data=Squares(), custom_callbacks=["ap"])
    events = read(model.log_dir)
    assert {"train/loss", "train/mrcnn_mask_loss", "validation/mask_ap", "learning_rate"} <= set(
        events.Tags()["scalars"]
    )
    assert [e.step for e in events.Scalars("validation/mask_ap")] == [1, 2]
    assert events.Tags()["images"] == ["validation/0", "validation/1"]
