"""What a training prints: a line that is rewritten while it runs, and a line for each epoch."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from mrcnn.training.callbacks import BestCheckpoint
from mrcnn.training.fit_callbacks import StepTimes
from mrcnn.training.time_left import TimeLeft
from mrcnn.training.validation import Validation

# Seconds from one change of the line to the next.
_INTERVAL = 0.1


class LiveLine:
    """The last line of a terminal, or of a notebook's output, which is overwritten."""

    def __init__(self) -> None:
        self._length = 0

    def show(self, text: str) -> None:
        """Replace the line by a text."""
        self._write("\r" + text.ljust(self._length))
        self._length = len(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._length:
            self._write("\r" + " " * self._length + "\r")
        self._length = 0

    def end(self) -> None:
        """Leave the line as it is, and go to the next one."""
        if self._length:
            self._write("\n")
        self._length = 0

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def is_live(verbose: int) -> bool:
    """Return whether progress is shown in a line that is rewritten: not in a file or a pipe."""
    return verbose == 1 and (sys.stdout.isatty() or _in_notebook())


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    # Programs that run notebooks in other processes import ipykernel as well.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def fitted(variants: Iterator[Sequence[str]], width: int) -> str:
    """Return the first variant of a line, given by its parts, that is at most `width` wide.

    Where none is, the last one is cut.
    """
    text = ""
    for parts in variants:
        text = "  ".join(part for part in parts if part)
        if len(text) <= width:
            return text
    return text[:width]


def progress_variants(
    epoch: str,
    step: str,
    loss: float,
    ap: float,
    rate: float,
    left: float,
    wait: float,
    label: str = "AP",
) -> Iterator[list[str]]:
    """Yield the parts of the progress line, from the widest variant to the narrowest.

    Args:
        epoch: number of the epoch and of all, "3/10".
        step: number of the step and of all, "17/120".
        loss: the loss so far; as for the others, nan leaves it out.
        ap: the last AP, 0..1.
        rate: images per second.
        left: seconds to the end of the training.
        wait: share of the time that steps waited for data, 0..1.
        label: what `ap` is called.
    """
    numbers = [_number("loss", loss, 4), _number(label, ap, 3)]
    left_text = "" if math.isnan(left) else f"{duration(left)} left"
    begin = [f"Epoch {epoch}", f"step {step}"]
    long_rate = "" if math.isnan(rate) else f"{rate:.1f} images/s"
    short_wait, long_wait = _waiting(wait)
    yield [*begin, *numbers, long_rate, left_text, long_wait]
    yield [*begin, *numbers, long_rate, left_text, short_wait]
    short_rate = long_rate.replace(" images", "")
    begin = [epoch, step]
    yield [*begin, *numbers, short_rate, left_text, short_wait]
    yield [*begin, *numbers, short_rate, left_text]
    yield [*begin, *numbers, left_text]
    yield [*begin, numbers[0], left_text]
    yield [*begin, numbers[0]]


def epoch_variants(
    epoch: str, loss: float, val_loss: float, ap: str, rate: float, seconds: float, wait: float
) -> Iterator[list[str]]:
    """Yield the parts of the line of a finished epoch; arguments as for `progress_variants`."""
    numbers = [_number("loss", loss, 4), _number("val_loss", val_loss, 4), ap]
    rate_text = "" if math.isnan(rate) else f"{rate:.1f} images/s"
    time_text, (short_wait, long_wait) = duration(seconds), _waiting(wait)
    begin = f"Epoch {epoch}"
    yield [begin, *numbers, rate_text, time_text, long_wait]
    yield [begin, *numbers, rate_text, time_text, short_wait]
    numbers[2] = ap.partition(" in ")[0]
    yield [begin, *numbers, rate_text, time_text, short_wait]
    yield [begin, *numbers, rate_text.replace(" images", ""), time_text]
    yield [epoch, *numbers, time_text]
    yield [epoch, *numbers]


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, "1:05", or with hours, "2:01:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _waiting(wait: float) -> tuple[str, str]:
    """Return a share of the time in few words and in more."""
    if math.isnan(wait):
        return "", ""
    return f"wait {wait:.0%}", f"{wait:.0%} of the time waiting for data"


def _number(name: str, value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{name} {value:.{digits}f}"


def _width() -> int:
    """Return the number of characters of a line that does not wrap."""
    return shutil.get_terminal_size().columns - 1


class ProgressLine(keras.callbacks.Callback):
    """Show epoch, step, loss, AP, speed, time left and waiting time in one line.

    It must come before the callbacks that work at the end of an epoch, so that it can tell of them.

    Args:
        line: where it is shown.
        times: speed and waiting time of the steps.
        validation: measures after an epoch; None for no measurement.
    """

    def __init__(self, line: LiveLine, times: StepTimes, validation: Validation | None) -> None:
        super().__init__()
        self.line = line
        self.times = times
        self.validation = validation
        self.last_ap = math.nan
        self._shown = 0.0
        self._time_left = TimeLeft()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the epoch, and note how long the end of the one before took."""
        self.epoch = epoch
        self._time_left.begin_epoch(time.perf_counter())
        if self.validation is not None and self.validation.expected:
            self._time_left.ap_seconds = self.validation.expected
        self._show_step(0, math.nan, math.nan)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the step."""
        self._time_left.finish_step(time.perf_counter())
        if self._is_due():
            loss = float((logs or {}).get("loss", math.nan))
            self._show_step(batch + 1, loss, self.times.wait)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the step of the validation."""
        self._time_left.finish_test_step(time.perf_counter())
        if self._is_due():
            self._show_text(f"validation, step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell what is done now, after the last step."""
        if self.validation is not None and self.validation.is_due(epoch, self.params):
            count = len(self.validation.image_ids)
            self._show_text(f"measuring {self.validation.label} on {count} validation images")
        else:
            self._show_text("saving")

    def _is_due(self) -> bool:
        now = time.perf_counter()
        if now - self._shown < _INTERVAL:
            return False
        self._shown = now
        return True

    def _epoch_text(self) -> str:
        return f"{self.epoch + 1}/{self.params['epochs']}"

    def _show_text(self, text: str) -> None:
        variants = iter([[f"Epoch {self._epoch_text()}", text], [self._epoch_text(), text]])
        self.line.show(fitted(variants, _width()))

    def _show_step(self, step: int, loss: float, wait: float) -> None:
        steps = self.params["steps"]
        epochs_left = self.params["epochs"] - self.epoch - 1
        left = self._time_left.seconds(steps - step + epochs_left * steps, epochs_left + 1)
        variants = progress_variants(
            self._epoch_text(),
            f"{step}/{steps}",
            loss,
            self.last_ap,
            self.times.images_per_second if step else math.nan,
            left,
            wait,
            "AP" if self.validation is None else self.validation.label,
        )
        self.line.show(fitted(variants, _width()))


class EpochLine(keras.callbacks.Callback):
    """Print a line for every finished epoch; it must come last.

    Args:
        line: removed first.
        times: speed and waiting time of the steps.
        validation: measures after an epoch; None for no measurement.
        best: keeps the best weights; None for no such.
        progress: told the last AP; None where there is no progress line.
    """

    def __init__(
        self,
        line: LiveLine,
        times: StepTimes,
        validation: Validation | None,
        best: BestCheckpoint | None,
        progress: ProgressLine | None,
    ) -> None:
        super().__init__()
        self.line = line
        self.times = times
        self.validation = validation
        self.best = best
        self.progress = progress

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Print the AP of the weights that the training starts from, if it was measured."""
        if self.validation is None:
            return
        ap = self.validation.before.get(self.validation.monitor, math.nan)
        if not math.isnan(ap):
            print(f"{self.validation.label} before training {ap:.3f}", flush=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the line of this epoch."""
        logs = logs or {}
        monitor = "" if self.validation is None else self.validation.monitor
        ap = float(logs.get(monitor, math.nan))
        if self.progress is not None and not math.isnan(ap):
            self.progress.last_ap = ap
        text = ""
        if self.validation is not None and not math.isnan(ap):
            is_best = self.best is not None and self.best.has_improved
            text = f"{self.validation.label} {ap:.3f}{' (best)' if is_best else ''}"
            text += f" in {duration(self.validation.seconds)}"
        variants = epoch_variants(
            f"{epoch + 1}/{self.params['epochs']}",
            float(logs.get("loss", math.nan)),
            float(logs.get("val_loss", math.nan)),
            text,
            self.times.images_per_second,
            time.perf_counter() - self._begun,
            float(logs.get("wait", math.nan)),
        )
        self.line.clear()
        # A file has no width to be fitted to.
        print(fitted(variants, _width() if sys.stdout.isatty() else 1000), flush=True)
