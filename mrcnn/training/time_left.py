"""How long a training still takes."""

from __future__ import annotations

import math

# Weight of the last duration in a mean of them: a jump of one step moves it little.
_WEIGHT = 0.1


class MeanDuration:
    """A running mean of durations, in seconds; nan without any."""

    def __init__(self) -> None:
        self.value = math.nan

    def add(self, seconds: float) -> None:
        """Add a duration to the mean."""
        self.value = seconds if math.isnan(self.value) else (
            _WEIGHT * seconds + (1 - _WEIGHT) * self.value
        )  # fmt: skip


class TimeLeft:
    """Estimate the seconds to the end of a training from the times of its steps and epochs.

    What happens only once is left out: compiling the network, in the first step, in the first step
    of the validation and in the first measurement of AP.

    Attributes:
        ap_seconds: what is known of the time that a measurement of AP takes; 0 without one.
    """

    def __init__(self) -> None:
        self.ap_seconds = 0.0
        self._step, self._test_step, self._end = MeanDuration(), MeanDuration(), MeanDuration()
        self._last_step: float | None = None
        self._last_test: float | None = None
        self._test_steps = self._test_number = self._ends = 0

    def begin_epoch(self, now: float) -> None:
        """Note the time at which an epoch begins, and with it the end of the one before."""
        if self._last_step is not None:
            self._ends += 1
            if self._ends > 1:  # the first one compiles
                self._end.add(now - self._last_step)
        self._last_step = self._last_test = None
        self._test_number = 0

    def finish_step(self, now: float) -> None:
        """Note the time at which a step ends; the first of an epoch is not counted."""
        if self._last_step is not None:
            self._step.add(now - self._last_step)
        self._last_step = now

    def finish_test_step(self, now: float) -> None:
        """Note the time at which a step of the validation ends; the first is not counted."""
        if self._last_test is not None:
            self._test_step.add(now - self._last_test)
            self._test_steps = max(self._test_steps, self._test_number + 1)
        self._last_test = now
        self._test_number += 1

    def seconds(self, steps: int, ends: int) -> float:
        """Return the seconds that remain; nan as long as they are unknown.

        Args:
            steps: number of steps that remain.
            ends: number of ends of epochs, with validation and AP, that remain.
        """
        end = self._end.value
        if math.isnan(end):
            test = 0.0 if math.isnan(self._test_step.value) else self._test_step.value
            end = self.ap_seconds + self._test_steps * test
        return steps * self._step.value + ends * end
