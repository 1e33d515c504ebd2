"""Means of the weights of a training and those that it started from.

Where weights know the classes already, and few images are trained on, a mean of the weights before
and after often detects better than both: Wortsman et al. (2022), "Robust fine-tuning of zero-shot
models" (WiSE-FT).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mrcnn.files.names import printable
from mrcnn.startup.caller import warn_caller

if TYPE_CHECKING:
    from mrcnn.training.callbacks import BestCheckpoint
    from mrcnn.training.validation import Validation

# Shares of the trained weights in the means that are measured.
SHARES = (0.25, 0.5, 0.75)
# In the log folder: the weights that the training started from, for one that is resumed.
START_FILE = "start.h5"

Logs = dict[str, Any] | None


class StartAverage(keras.callbacks.Callback):
    """Measure means of the last weights and those of the start, and keep one that is the best.

    The model has its last weights again afterwards. A training that goes on from a later epoch
    reads the weights of its start from `start.h5`; without that file it gets no means.

    Args:
        model: what is trained; its `log_dir` gets `start.h5`.
        validation: measures; its figure decides.
        best: keeps the best weights; it must come before this.
        verbose: 0 silent, else a line of figures.

    Attributes:
        figures: the figure of each of `SHARES` after the training; empty before.
    """

    def __init__(
        self, model: Any, validation: Validation, best: BestCheckpoint, verbose: int = 1
    ) -> None:
        super().__init__()
        self.trained, self.validation, self.best = model, validation, best
        self.verbose = verbose
        self.figures: dict[float, float] = {}
        self._start: list[np.ndarray] | None = None
        self._finished: int | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget an earlier training."""
        self.figures, self._start, self._finished = {}, None, None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Keep the weights of the start, also in a file; or read them there."""
        if self._finished is not None:
            return
        self._finished = epoch
        path = os.path.join(self.trained.log_dir, START_FILE)
        if epoch == 0:
            self._start = self.model.get_weights()
            self.model.save_weights(path)
        elif os.path.exists(path):
            self._start = self._read(path)

    def _read(self, path: str) -> list[np.ndarray] | None:
        """Return the weights of a file; None, with a warning, if it cannot be read."""
        present = self.model.get_weights()
        try:
            self.model.load_weights(path)
            return self.model.get_weights()
        except (OSError, ValueError) as error:
            warn_caller(f"{printable(path)} cannot be read, so no means are measured: {error}")
            return None
        finally:
            self.model.set_weights(present)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Count the epoch."""
        self._finished = epoch + 1

    def on_train_end(self, logs: Logs = None) -> None:
        """Measure the means."""
        if self._start is None or not self._finished:
            return
        finished = self._finished
        label, monitor = self.validation.label, self.validation.monitor
        if self.verbose:
            print(f"Measuring {label} of means of the first and the last weights", flush=True)
        last, kept = self.model.get_weights(), None
        try:
            for share in SHARES:
                self.model.set_weights(mean_weights(self._start, last, share))
                measured = self.validation.measure(finished, draw=False)[1]
                self.figures[share] = measured.get(monitor, math.nan)
                self.best.write_if_better(finished, measured, share)
                kept = share if self.best.has_improved else kept
        finally:
            self.model.set_weights(last)
        if self.verbose:
            texts = [
                f"{Fraction(share)} trained {label} {figure:.3f}"
                f"{' (best)' if share == kept else ''}"
                for share, figure in self.figures.items()
            ]
            print(f"Means    {', '.join(texts)}", flush=True)


def mean_weights(
    start: Sequence[np.ndarray], end: Sequence[np.ndarray], share: float
) -> list[np.ndarray]:
    """Return `(1 - share) * start + share * end`, each with its type."""
    return [
        ((1 - share) * first + share * last).astype(last.dtype)
        for first, last in zip(start, end, strict=True)
    ]
