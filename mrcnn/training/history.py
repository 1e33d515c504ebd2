"""The figures of every epoch as a table, `history.csv`, and drawn, `curves.png`."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.files.atomic import write_text
from mrcnn.files.names import printable
from mrcnn.training.curves import draw_curves
from mrcnn.training.fit_callbacks import StepTimes
from mrcnn.training.validation import Validation

HISTORY_FILE = "history.csv"
CURVES_FILE = "curves.png"
# Share of a training's time that drawing may take: with epochs of a second not each is drawn.
_DRAWING_SHARE = 0.05

# The figures of one epoch by name; "epoch" is its number, from 1.
Row = dict[str, float]
logger = logging.getLogger("mrcnn.training")


def read_history(path: str | os.PathLike[str]) -> list[Row]:
    """Read the epochs of a `history.csv`; an empty list where there is no such file.

    Raises:
        ValueError: the file is no table with a column `epoch` and numbers.
    """
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        try:
            rows = [{k: float(v) for k, v in row.items() if v != ""} for row in reader]
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(f"{printable(path)} is no table of numbers: {error}") from error
    if any("epoch" not in row for row in rows):
        raise ValueError(f"{printable(path)} has a row without a value in the column 'epoch'")
    return rows


def write_history(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write a row for each epoch, whole or not at all; a figure that an epoch lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        known = {name: value for name, value in row.items() if not math.isnan(value)}
        writer.writerow({name: f"{value:.7g}" for name, value in known.items()})
    write_text(path, text.getvalue())


def as_numbers(logs: dict[str, Any] | None) -> Row:
    """Return those logs of an epoch that are numbers."""
    numbers = {}
    for name, value in (logs or {}).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError):  # a callback of the user's own may log anything
            continue
    return numbers


class HistoryFile(keras.callbacks.Callback):
    """Add each epoch to `history.csv` of the log folder and redraw `curves.png`.

    A training that is resumed continues the table. Rows of epochs that it repeats are replaced.

    Args:
        folder: the log folder.
        times: gives the number of images per second.
        validation: gives the row of epoch 0, if it measures AP before the first epoch.
    """

    def __init__(self, folder: str, times: StepTimes, validation: Validation | None = None) -> None:
        super().__init__()
        self.path = os.path.join(folder, HISTORY_FILE)
        self.curves_path = os.path.join(folder, CURVES_FILE)
        self.times = times
        self.validation = validation
        self._next_drawing = 0.0
        self._undrawn: list[Row] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Write the row of epoch 0 if AP was measured before the training."""
        before = {} if self.validation is None else self.validation.before
        if before and not self._earlier_rows():
            write_history(self.path, [{"epoch": 0.0, **before}])

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the row of this epoch, and draw."""
        row = {"epoch": float(epoch + 1), **as_numbers(logs)}
        row["images_per_second"] = self.times.images_per_second
        row["seconds"] = time.perf_counter() - self._begun
        rows = [*(old for old in self._earlier_rows() if old["epoch"] <= epoch), row]
        write_history(self.path, rows)
        self._undrawn = rows
        if time.perf_counter() >= self._next_drawing:
            self._draw()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw the last epochs if that is still to be done."""
        self._draw()

    def _earlier_rows(self) -> list[Row]:
        """Return the rows of the file; a file that is no history is renamed."""
        try:
            return read_history(self.path)
        except (ValueError, OSError) as error:
            os.replace(self.path, f"{self.path}.bak")
            logger.warning("%s; it is kept as %s.bak, and a new one is begun", error, HISTORY_FILE)
            return []

    def _draw(self) -> None:
        if not self._undrawn:
            return
        begun = time.perf_counter()
        try:
            draw_curves(self._undrawn, self.curves_path)
        except Exception as error:  # no reason to end a training
            logger.warning("%s could not be drawn: %s", CURVES_FILE, error)
        self._undrawn = []
        now = time.perf_counter()
        self._next_drawing = now + (now - begun) / _DRAWING_SHARE
