"""A measurement on validation images after an epoch, and what shows and uses its figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mrcnn.drawing.rendering import write_image
from mrcnn.files.names import printable
from mrcnn.training import devices
from mrcnn.training.validation_sheet import stack

SHEET_FILE = "validation_{epoch:04d}.jpg"
logger = logging.getLogger("mrcnn.training")

Logs = dict[str, Any] | None


class Validation(keras.callbacks.Callback):
    """Measure after an epoch and add figures to its logs; the base of `ValidationAP`.

    Keras passes the logs to its callbacks one after the other: this one must come before those
    that read its figures. After the last epoch of a training it always measures.

    Args:
        every: number of epochs from one measurement to the next.
        verbose: 0 silent, 1 a line of figures, 2 a table.
        measure_first: measure before the first epoch, too, for `before`.

    Attributes:
        monitor: name in the logs of the figure that decides which epoch is the best.
        label: what it is called on a terminal.
        measured: the model that is measured, a `MaskRCNN` or one of the family.
        image_ids: the images measured.
        sheet_images: number of images that are drawn; 0 for no sheet.
        seconds: how long the last measurement took.
        expected: how long the next one will take, in seconds; 0 if unknown.
        pairs: the images of the last sheet, predictions beside the ground truth, [H, W, 3] uint8.
        before: the figures before the first epoch, as in the logs; empty if not measured.
    """

    monitor = ""
    label = ""

    def __init__(self, every: int = 1, verbose: int = 1, measure_first: bool = False) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1 epoch")
        self.every = every
        self.verbose = verbose
        self.measure_first = measure_first
        self.measured: Any = None
        self.image_ids: list[int] = []
        self.sheet_images = 0
        self.seconds = self.expected = 0.0
        self.pairs: list[np.ndarray] = []
        self.before: dict[str, float] = {}

    def is_due(self, epoch: int, params: Mapping[str, Any] | None) -> bool:
        """Return whether it measures after an epoch, counted from 0.

        Args:
            epoch: the epoch.
            params: those that Keras gives to callbacks, with the number of `epochs`.
        """
        is_last = epoch + 1 == (params or {}).get("epochs")
        return (epoch + 1) % self.every == 0 or is_last

    def on_train_begin(self, logs: Logs = None) -> None:
        """Measure the weights that the training starts from, if wanted, and add it to the logs."""
        with devices.alone():
            self.before = self.measure(0)[1] if self.measure_first else {}
        if logs is not None:
            logs.update(self.before)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Measure if it is due."""
        if not self.is_due(epoch, self.params):
            return
        with devices.alone():
            report, figures = self.measure(epoch + 1)
        if logs is not None:
            logs.update(figures)
        if self.verbose > 1:
            print(f"\n{report}")
        elif self.verbose:
            text = "  ".join(f"{name}: {value:.4f}" for name, value in figures.items())
            count = len(self.image_ids)
            print(f"\nEpoch {epoch + 1} on {count} validation images: {text}")

    def measure(self, finished: int, draw: bool = True) -> tuple[Any, dict[str, float]]:
        """Measure after a number of finished epochs; return a report and the figures.

        Args:
            finished: number of finished epochs.
            draw: whether to draw the sheet of images.
        """
        raise NotImplementedError

    def _write_sheet(self, epoch: int) -> None:
        """Draw the sheet of images of an epoch, counted from 1, into the model's log folder."""
        folder = getattr(self.measured, "log_dir", None)
        if not self.sheet_images or folder is None:
            return
        path = os.path.join(folder, SHEET_FILE.format(epoch=epoch))
        try:
            self.pairs = self._draw_pairs()
            write_image(path, stack(self.pairs))
        except Exception as error:  # no reason to end a training
            logger.warning("%s could not be drawn: %s", printable(path), error)

    def _draw_pairs(self) -> list[np.ndarray]:
        """Draw predictions beside the ground truth, [H, W, 3] uint8 each."""
        raise NotImplementedError
