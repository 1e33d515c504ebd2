"""The progress line and the line of each epoch."""

import contextlib
import io
import sys
import types

import keras
import pytest

from mrcnn.training import progress
from tests.tiny import Squares
from tests.training.runs import train

NAN = float("nan")
RUNNING = ("2/10", "17/120", 1.23456, 0.3125, 5.25, 754.0, 0.034)
FINISHED = ("2/10", 1.23456, 1.5, "AP 0.312 (best) in 0:12", 5.25, 3754.0, 0.034)


@pytest.mark.parametrize(
    "width, text",
    [
        (119, "Epoch 2/10  step 17/120  loss 1.2346  AP 0.312  5.2 images/s  12:34 left  "
              "3% of the time waiting for data"),
        (90, "Epoch 2/10  step 17/120  loss 1.2346  AP 0.312  5.2 images/s  12:34 left  wait 3%"),
        (79, "2/10  17/120  loss 1.2346  AP 0.312  5.2/s  12:34 left  wait 3%"),
        (59, "2/10  17/120  loss 1.2346  AP 0.312  5.2/s  12:34 left"),
        (50, "2/10  17/120  loss 1.2346  AP 0.312  12:34 left"),
        (40, "2/10  17/120  loss 1.2346  12:34 left"),
        (26, "2/10  17/120  loss 1.2346"),
        (9, "2/10  17/"),
    ],
)  # fmt: skip
def test_the_line_is_fitted_to_the_width(width, text):
    assert progress.fitted(progress.progress_variants(*RUNNING), width) == text
    assert len(text) <= width


@pytest.mark.parametrize(
    "width, text",
    [
        (1000, "Epoch 2/10  loss 1.2346  val_loss 1.5000  AP 0.312 (best) in 0:12  5.2 images/s  "
               "1:02:34  3% of the time waiting for data"),
        (99, "Epoch 2/10  loss 1.2346  val_loss 1.5000  AP 0.312 (best) in 0:12  5.2 images/s  "
             "1:02:34  wait 3%"),
        (92, "Epoch 2/10  loss 1.2346  val_loss 1.5000  AP 0.312 (best)  5.2 images/s  1:02:34  "
             "wait 3%"),
        (79, "Epoch 2/10  loss 1.2346  val_loss 1.5000  AP 0.312 (best)  5.2/s  1:02:34"),
        (66, "2/10  loss 1.2346  val_loss 1.5000  AP 0.312 (best)  1:02:34"),
    ],
)  # fmt: skip
def test_the_line_of_an_epoch(width, text):
    assert progress.fitted(progress.epoch_variants(*FINISHED), width) == text


def test_figures_that_are_unknown_are_left_out():
    line = progress.fitted(
        progress.progress_variants("1/3", "0/5", NAN, NAN, NAN, NAN, NAN), width=119
    )
    assert line == "Epoch 1/3  step 0/5"
    line = progress.fitted(progress.epoch_variants("1/3", 2.0, NAN, "", NAN, 5.0, NAN), 119)
    assert line == "Epoch 1/3  loss 2.0000  0:05"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 60 columns, to be made stdout."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    return Terminal()


@pytest.mark.usefixtures("eager")
def test_a_training_in_a_terminal(build, terminal):
    model = build(STEPS_PER_EPOCH=2)
    with contextlib.redirect_stdout(terminal):
        train(model, 2, val_data=Squares(), custom_callbacks=["best"], verbose=1)
    frames = terminal.getvalue().replace("\n", "\r").split("\r")
    begin = next(i for i, frame in enumerate(frames) if frame.startswith("Epoch 1/2"))
    frames = [frame.rstrip() for frame in frames[begin:] if frame.strip()]
    assert all(len(frame) <= 59 for frame in frames)
    assert frames[0] == "Epoch 1/2  step 0/2"
    assert frames[1].startswith("Epoch 1/2  step 1/2  loss ")
    assert "left" in frames[2] and "/s" in frames[2]
    assert "Epoch 1/2  validation, step 1" in frames
    assert "Epoch 1/2  measuring AP on 2 validation images" in frames
    finished = [line for line in terminal.getvalue().split("\n") if "val_loss" in line]
    assert len(finished) == 2
    # What the screen shows in the end: the line of the epoch alone.
    assert finished[0].split("\r")[-1].startswith("1/2  loss ")
    assert "AP 0.000" in finished[0].split("\r")[-1] and "(best)" in finished[0]


@pytest.mark.usefixtures("eager")
def test_elsewhere_each_epoch_has_a_plain_line(build, capsys):
    model = build()
    train(model, 2, val_data=Squares(), custom_callbacks=["best"], verbose=1)
    out = capsys.readouterr().out
    assert "\r" not in out
    lines = [line for line in out.splitlines() if line.startswith("Epoch")]
    assert [line.split("  ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert "of the time waiting for data" in lines[0] and "AP 0.000 (best) in 0:0" in lines[0]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("callbacks", [["best", "early_stopping"], None])
def test_verbose_0_is_silent(build, capsys, callbacks):
    train(build(), 2, val_data=Squares(), custom_callbacks=callbacks, verbose=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("eager")
def test_an_error_does_not_end_in_the_middle_of_the_line(build, terminal):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(terminal):
        train(build(), custom_callbacks=[Interrupt()], verbose=1)
    assert "Epoch 1/1  step 0/1" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize(
    "verbose, is_terminal, live", [(1, True, True), (1, False, False), (2, True, False)]
)
def test_where_the_line_is_rewritten(monkeypatch, verbose, is_terminal, live):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal() if is_terminal else io.StringIO())
    assert progress.is_live(verbose) == live
    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert progress.is_live(verbose) == (verbose == 1)
