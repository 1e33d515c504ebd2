"""Non-maximum suppression against one written out in NumPy, on every backend that is there."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from mrcnn.layers.nms import gather_rows, non_max_suppression_graph
from tests.layers.arrays import numpy, tensor


def iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    common = max(height, 0) * max(width, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


def slow_nms(boxes, scores, max_outputs, threshold, class_ids=None):
    """One image, rule by rule as the module's text has it."""
    chosen, closed = [], set()
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        own = None if class_ids is None else class_ids[i]
        rivals = [j for j in chosen if class_ids is None or class_ids[j] == own]
        if scores[i] < 0 or own in closed or len(chosen) == max_outputs:
            continue
        if any(iou(boxes[i], boxes[j]) > threshold for j in rivals):
            continue
        chosen.append(i)
        y1, x1, y2, x2 = boxes[i]
        if class_ids is not None and (y2 <= y1 or x2 <= x1):
            closed.add(own)
    return chosen + [-1] * (max_outputs - len(chosen))


def found(boxes, scores, max_outputs, threshold, class_ids=None):
    """The function under test on one image."""
    if class_ids is not None:
        class_ids = tensor([class_ids], "int32")
    chosen = non_max_suppression_graph(
        tensor([boxes]), tensor([scores]), max_outputs, threshold, class_ids
    )
    return numpy(chosen)[0].tolist()


A, B, C = [0, 0, 10, 10], [0, 1, 10, 11], [20, 20, 30, 30]  # A and B overlap by 9 / 11
FLAT = [3, 3, 3, 9]

CASES = {
    "best first": ([A, C], [0.1, 0.9], 2, 0.5, None, [1, 0]),
    "overlap drops the worse": ([A, B, C], [0.8, 0.9, 0.1], 3, 0.5, None, [1, 2, -1]),
    "overlap below the threshold stays": ([A, B], [0.8, 0.9], 2, 0.9, None, [1, 0]),
    "ties go to the lower index": ([C, A, B], [0.5, 0.5, 0.5], 3, 0.5, None, [0, 1, -1]),
    "at most one": ([A, C], [0.1, 0.9], 1, 0.5, None, [1]),
    "a threshold that is an int": ([A, B], [0.8, 0.9], 2, 0, None, [1, -1]),
    "an int, with classes": ([A, B], [0.8, 0.9], 2, 1, [1, 1], [1, 0]),
    "fewer boxes than outputs": ([A], [0.5], 4, 0.5, None, [0, -1, -1, -1]),
    "a negative score is absent": ([A, B, C], [-1, 0.9, -0.3], 3, 0.5, None, [1, -1, -1]),
    "a score of zero takes part": ([A, C], [0, -0.01], 2, 0.5, None, [0, -1]),
    "nothing takes part": ([A, C], [-1, -1], 2, 0.5, None, [-1, -1]),
    "boxes without area overlap nothing": ([FLAT, FLAT], [0.9, 0.8], 2, 0.5, None, [0, 1]),
    "classes do not compete": ([A, A, B], [0.7, 0.9, 0.8], 3, 0.5, [1, 2, 1], [1, 2, -1]),
    "absent in a class": ([A, A, C], [-1, 0.9, -0.3], 3, 0.5, [1, 1, 1], [1, -1, -1]),
    "all absent with classes": ([A, C], [-1, -1], 2, 0.5, [1, 2], [-1, -1]),
    "tie with classes": ([A, A, C], [0.5, 0.5, 0.5], 3, 0.5, [1, 1, 2], [0, 2, -1]),
    "a box without area ends its class": (
        *([A, FLAT, C, A], [0.9, 0.8, 0.7, 0.6], 4, 0.5, [1, 1, 1, 2]),
        [0, 1, 3, -1],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    *arguments, expected = CASES[name]
    assert found(*arguments) == expected
    assert slow_nms(*arguments) == expected


@pytest.mark.parametrize("with_classes", [False, True])
def test_against_the_slow_one(with_classes):
    random = np.random.RandomState(0)
    corners = random.randint(0, 12, (3, 40, 2))
    boxes = np.concatenate([corners, corners + random.randint(1, 9, (3, 40, 2))], axis=-1)
    # A few different scores only, so that many are equal.
    scores = random.randint(-1, 6, (3, 40)) / 8
    classes = random.randint(1, 4, (3, 40))
    if with_classes:
        boxes[:, ::9, 2] = boxes[:, ::9, 0]
    # 0.43 is the overlap of no two boxes with such sides.
    chosen = non_max_suppression_graph(
        tensor(boxes), tensor(scores), 30, 0.43, tensor(classes, "int32") if with_classes else None
    )
    assert tuple(chosen.shape) == (3, 30)
    for image in range(3):
        expected = slow_nms(
            boxes[image], scores[image], 30, 0.43, classes[image] if with_classes else None
        )
        assert numpy(chosen)[image].tolist() == expected
        assert sum(i >= 0 for i in expected) > 8


@pytest.mark.parametrize("with_classes", [False, True])
def test_more_boxes_than_are_compared_at_once(with_classes):
    random = np.random.RandomState(1)
    corners = random.randint(0, 90, (2, 1100, 2))
    boxes = np.concatenate([corners, corners + random.randint(5, 19, (2, 1100, 2))], axis=-1)
    scores = np.stack([random.permutation(1100), random.permutation(1100) - 540]) / 1100
    classes = random.randint(1, 3, (2, 1100))
    classes_or_none = tensor(classes, "int32") if with_classes else None
    for max_outputs in (100, 600):
        chosen = non_max_suppression_graph(
            tensor(boxes), tensor(scores), max_outputs, 0.3, classes_or_none
        )
        for image, rows in enumerate(numpy(chosen).tolist()):
            own = classes[image] if with_classes else None
            assert rows == slow_nms(boxes[image], scores[image], max_outputs, 0.3, own)
            assert max_outputs == 600 or -1 not in rows


def test_a_chain_of_boxes_of_which_each_suppresses_the_next():
    boxes = [[0, i, 10, i + 10] for i in range(700)]  # neighbors overlap by 9 / 11, others by less
    chosen = found(boxes, [1 - i / 700 for i in range(700)], 400, 0.7)
    assert chosen == [*range(0, 700, 2), *[-1] * 50]


def test_gather_rows_gives_zeros_for_minus_one():
    values = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    rows = numpy(gather_rows(values, tensor([[1, -1, 1], [0, 0, -1]], "int32")))
    assert rows.tolist() == [[[3, 4], [0, 0], [3, 4]], [[5, 6], [5, 6], [0, 0]]]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_on_the_other_backends(backend):
    if backend == keras.backend.backend() or not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} runs this session or is not installed")
    here = os.path.abspath(__file__)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", here, "-m", "not slow"],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
