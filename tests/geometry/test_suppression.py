"""The choice of rows and boxes in NumPy."""

import numpy as np
import pytest

from mrcnn.geometry.suppression import best_rows, choose_boxes


@pytest.mark.parametrize(
    ("scores", "count", "rows"),
    [
        ([0.1, 0.9, 0.5], 2, [1, 2]),
        ([0.5, 0.5, 0.9, 0.5], 3, [2, 0, 1]),  # equal ones in the order of their rows
        ([0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.1, 0.9], 2, [1, 0]),
        ([0.1, 0.9], 5, [1, 0]),
        ([0.1, 0.9], 0, []),
        ([], 3, []),
    ],
)
def test_best_rows(scores, count, rows):
    assert best_rows(np.array(scores, np.float32), count).tolist() == rows


def test_best_rows_of_many_equal_scores_are_those_of_a_stable_sort():
    scores = np.random.RandomState(0).randint(0, 20, 1000).astype(np.float32)
    for count in (1, 137, 999):
        expected = np.argsort(-scores, kind="stable")[:count]
        assert best_rows(scores, count).tolist() == expected.tolist()


SQUARES = [[0, 0, 1, 1], [0, 0, 1, 0.9], [0.5, 0, 1, 1], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    ("scores", "count", "threshold", "class_ids", "kept"),
    [
        ([0.9, 0.8, 0.7, 0.6], 4, 0.6, None, [0, 2, 3]),
        ([0.6, 0.7, 0.8, 0.9], 4, 0.6, None, [3, 2, 1]),
        ([0.9, 0.8, 0.7, 0.6], 4, 0.4, None, [0, 3]),
        ([0.9, 0.8, 0.7, 0.6], 4, 0.5, None, [0, 2, 3]),  # an overlap of just 0.5 is allowed
        ([0.9, 0.8, 0.7, 0.6], 2, 0.6, None, [0, 2]),
        ([0.9, 0.8, 0.7, 0.6], 0, 0.6, None, []),
        ([0.5, 0.5, 0.5, 0.5], 4, 0.4, None, [0, 3]),  # ties go to the lower row
        ([-1, 0.8, -1, 0.0], 4, 0.6, None, [1, 3]),  # a negative score takes no part
        ([-1, -1, -1, -1], 4, 0.6, None, []),
        ([0.9, 0.8, 0.7, 0.6], 4, 0.4, [1, 2, 1, 1], [0, 1, 3]),
    ],
)
def test_choose_boxes(scores, count, threshold, class_ids, kept):
    boxes = np.array(SQUARES, np.float32)
    classes = None if class_ids is None else np.array(class_ids)
    found = choose_boxes(boxes, np.array(scores, np.float32), count, threshold, classes)
    assert found.tolist() == kept


def test_a_box_without_area_ends_the_list_of_its_class_and_no_other():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 5, 6], [2, 2, 3, 3], [2, 2, 3, 3]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert choose_boxes(boxes, scores, 4, 0.5, np.array([1, 1, 1, 2])).tolist() == [0, 1, 3]
    assert choose_boxes(boxes, scores, 4, 0.5).tolist() == [0, 1, 2]


def test_no_boxes():
    assert choose_boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 5, 0.5).size == 0
