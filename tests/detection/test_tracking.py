"""Numbers of objects that last."""

import time

import numpy as np
import pytest

from mrcnn.detection.results import Detections
from mrcnn.detection.tracking import Tracker


def at(*corners, classes=None, side=10):
    """Squares by their upper left corners (y, x)."""
    boxes = [[y, x, y + side, x + side] for y, x in corners]
    return Detections(np.reshape(boxes, (-1, 4)), classes or [1] * len(boxes), np.ones(len(boxes)))


def numbers(tracker, *frames):
    return [tracker.update(found).tolist() for found in frames]


def test_numbers_follow_the_objects_in_any_order():
    found = numbers(Tracker(), at((0, 0), (0, 50)), at((0, 52), (1, 2)), at((2, 4), (0, 54)))
    assert found == [[1, 2], [2, 1], [1, 2]]


def test_new_objects_and_empty_frames():
    tracker = Tracker()
    frames = [at(), at((0, 0)), at((0, 0), (50, 50)), at(), at((50, 50), (90, 0), (0, 0))]
    assert numbers(tracker, *frames) == [[], [1], [1, 2], [], [2, 3, 1]]
    assert tracker.num_objects == 3


def test_types_of_the_result():
    tracker = Tracker()
    for found in (at(), at((0, 0)), at()):
        result = tracker.update(found)
        assert result.dtype == np.int64 and result.shape == (len(found),)


@pytest.mark.parametrize("max_missed, expected", [(0, 2), (1, 2), (2, 1), (3, 1)])
def test_missed_frames(max_missed, expected):
    found = numbers(Tracker(max_missed=max_missed), at((0, 0)), at(), at(), at((0, 0)))
    assert found[-1] == [expected]


def test_a_hidden_object_moves_on():
    # 4 pixels a frame: when it is seen again it is 16 pixels further, beyond its own width.
    seen = [at((0, 4 * t)) for t in range(3)] + [at()] * 3 + [at((0, 4 * 6)), at((0, 4 * 7))]
    assert numbers(Tracker(), *seen) == [[1], [1], [1], [], [], [], [1], [1]]


def test_an_object_that_stops_is_expected_to_stay():
    # 4 pixels a frame, then none; at its first velocity it would be 20 pixels further.
    seen = [at((0, x)) for x in (0, 4, 4, 4, 4)] + [at()] * 4 + [at((0, 4))]
    assert numbers(Tracker(), *seen)[-1] == [1]


def test_crossing_objects_keep_their_numbers():
    # They meet at frame 10, where both are at the same place.
    frames = [at((0, 2 * t), (0, 40 - 2 * t)) for t in range(21)]
    assert numbers(Tracker(), *frames) == [[1, 2]] * 21
    frames = [at((2 * t, 2 * t), (40 - 2 * t, 2 * t)) for t in range(21)]
    assert numbers(Tracker(), *frames) == [[1, 2]] * 21


def test_the_greatest_sum_of_overlaps_decides():
    # Object 1 overlaps both boxes, object 2 the first box only; taking the best pair at first
    # (object 1 with the first box) would leave object 2 without one.
    found = numbers(Tracker(), at((0, 0), (0, 7)), at((0, 3), (0, -4)))
    assert found == [[1, 2], [2, 1]]


@pytest.mark.parametrize("shift, same", [(5, True), (6, False)])
def test_min_iou(shift, same):
    # Overlaps of squares of 10: 50 / 150 = 0.333, 40 / 160 = 0.25.
    found = numbers(Tracker(min_iou=0.3), at((0, 0)), at((0, shift)))
    assert found == [[1], [1 if same else 2]]


def test_a_pair_below_min_iou_does_not_decide():
    # With 0.29 for (1, b) and 0.33 for (2, b) added, the sum would be greatest for a and b
    # exchanged; below the threshold it does not count.
    tracker = Tracker(min_iou=0.5)
    found = numbers(tracker, at((0, 0), (0, 9)), at((0, 3), (0, 14)))
    assert found == [[1, 2], [1, 3]]


@pytest.mark.parametrize("class_aware, expected", [(True, [[1], [2], [1]]), (False, [[1]] * 3)])
def test_class_change(class_aware, expected):
    frames = [at((0, 0), classes=[1]), at((0, 0), classes=[2]), at((0, 0), classes=[1])]
    assert numbers(Tracker(class_aware=class_aware), *frames) == expected


def test_classes_at_one_place_stay_apart():
    frames = [at((0, 0), (0, 1), classes=[1, 2]), at((0, 0), (0, 1), classes=[2, 1])]
    assert numbers(Tracker(), *frames) == [[1, 2], [2, 1]]


def test_boxes_without_area():
    tracker = Tracker()
    empty = Detections([[5, 5, 5, 5], [0, 0, 9, 9]], [1, 1], [1, 1])
    assert numbers(tracker, empty, empty) == [[1, 2], [3, 2]]


def test_two_trackers_do_not_share_numbers():
    assert numbers(Tracker(), at((0, 0))) == numbers(Tracker(), at((0, 0))) == [[1]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"min_iou": 0}, "min_iou is 0; it must be above 0 and at most 1"),
        ({"min_iou": 1.5}, "min_iou is 1.5"),
        ({"min_iou": float("nan")}, "min_iou is nan"),
        ({"max_missed": -1}, "max_missed is -1; it must be 0 or more"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Tracker(**options)


def test_200_objects_are_tracked_fast():
    rng = np.random.default_rng(0)
    tracker = Tracker()
    places = rng.permutation(400)[:200]
    corners = np.stack([places // 20 * 40, places % 20 * 40], axis=1).astype(float)
    speeds = rng.uniform(-1, 1, corners.shape)
    begun = time.perf_counter()
    for _ in range(20):
        order = rng.permutation(200)
        found = tracker.update(at(*corners[order], side=20))
        assert sorted(found.tolist()) == list(range(1, 201))
        corners = corners + speeds
    assert (time.perf_counter() - begun) / 20 < 0.1  # about 5 ms on one core
