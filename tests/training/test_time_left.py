"""The seconds that a training still takes."""

import math

import pytest

from mrcnn.training.time_left import MeanDuration, TimeLeft


def run_epoch(left, now, first_step, steps=3, test_steps=2, first_test=0.5, ap=4.0):
    """Pass an epoch of steps of 2 s and test steps of 0.5 s; return the time of its end."""
    left.begin_epoch(now)
    for seconds in [first_step] + [2.0] * (steps - 1):
        now += seconds
        left.finish_step(now)
    for seconds in [first_test] + [0.5] * (test_steps - 1):
        now += seconds
        left.finish_test_step(now)
    return now + ap


def test_what_happens_once_is_left_out():
    left = TimeLeft()
    assert math.isnan(left.seconds(3, 1))
    # The network is compiled: for a step, a step of the validation and a detection.
    now = run_epoch(left, 0.0, first_step=60.0, first_test=30.0, ap=50.0)
    assert left.seconds(10, 0) == 20.0
    left.ap_seconds = 4.0
    left.begin_epoch(now)
    assert left.seconds(3, 1) == 3 * 2.0 + 2 * 0.5 + 4.0  # an estimate of the end
    now = run_epoch(left, now, first_step=3.0, ap=6.0)
    left.begin_epoch(now)
    assert left.seconds(3, 2) == 3 * 2.0 + 2 * (2 * 0.5 + 6.0)  # the end as it was measured


def test_without_validation():
    left = TimeLeft()
    now = run_epoch(left, 0.0, first_step=9.0, test_steps=0, first_test=0.0, ap=0.0)
    left.begin_epoch(now)
    assert left.seconds(3, 1) == 6.0


@pytest.mark.parametrize(
    ("seconds", "mean"), [([], math.nan), ([2.0], 2.0), ([2.0, 2.0, 12.0], 3.0)]
)
def test_a_jump_moves_the_mean_little(seconds, mean):
    duration = MeanDuration()
    for one in seconds:
        duration.add(one)
    assert duration.value == pytest.approx(mean, nan_ok=True)
