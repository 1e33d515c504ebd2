"""Proposals: what is accepted, and where boxes are after an image has been changed."""

import numpy as np
import pytest

from mrcnn.geometry.proposals import (
    check_proposals,
    clip_proposals,
    flip_boxes,
    move_boxes,
    move_proposals,
)

SHAPE = (48, 64, 3)


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 0, 48, 64]],  # the whole image
        np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.uint8),
        [(0.5, 0.25, 47.5, 63.75)],
    ],
)
def test_accepted(boxes):
    checked = check_proposals(boxes, SHAPE, "p")
    assert checked.dtype == np.float32
    assert checked.tolist() == np.asarray(boxes, float).tolist()


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0, 4), int), [[]][:0]])
def test_none_at_all(boxes):
    assert check_proposals(boxes, SHAPE, "p").shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"p has the shape \(4,\); it must be \[N, \(y1, x1, y2, x2\)\]"),
        ([[1, 2, 3]], r"p has the shape \(1, 3\); it must be"),
        (np.zeros((2, 3, 4)), r"p has the shape \(2, 3, 4\); it must be"),
        (np.zeros((0, 5)), r"p has the shape \(0, 5\); it must be"),
        ([[1, 2, 3, 4], [1, 2]], "p is a list of unequal rows; it must be an array"),
        (None, r"p has the shape \(\); it must be"),
        ("boxes", r"p has the shape \(\); it must be"),
        ([["a", "b", "c", "d"]], "p has the type <U1; it must hold numbers"),
        ([[True, False, True, True]], "p has the type bool; it must hold numbers"),
        (
            [[0, 0, 9, 9], [0, 0, np.nan, 9]],
            r"p\[1\] is \[0.0, 0.0, nan, 9.0\]; it must hold finite",
        ),
        ([[0, 0, np.inf, 9]], r"p\[0\] is .*inf.*; it must hold finite numbers"),
        ([[5, 5, 5, 9]], r"p\[0\] is \[5, 5, 5, 9\]; it must have y1 < y2 and x1 < x2"),
        ([[9, 0, 5, 9]], "it must have y1 < y2 and x1 < x2"),
        ([[0, 0, 49, 9]], r"p\[0\] is .*; it must lie within the image of 48 x 64 pixels"),
        ([[0, 0, 9, 9], [-1, 0, 9, 9]], r"p\[1\] is \[-1, 0, 9, 9\]; it must lie within"),
        ([[0, 60, 9, 64.5]], "it must lie within the image of 48 x 64"),
        ([[100, 100, 110, 110]], "it must lie within the image of 48 x 64"),
        ([[0, 0.5, 1, 1], [0, 0, 0.5, 1]], r"p\[0\] is .*; it must hold pixels, not shares of he"),
    ],
)
def test_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        check_proposals(boxes, SHAPE, "p")


def test_scaled_and_shifted():
    moved = move_proposals(np.array([[0, 0, 48, 64], [12, 16, 24, 32]]), SHAPE, (24, 64), (4, -8))
    assert moved.tolist() == [[4, -8, 28, 56], [10, 8, 16, 24]]


def test_cut_off_at_the_border():
    boxes = np.array([[-5, -5, 9, 9], [-5, 0, 0.5, 9], [40, 60, 60, 80], [50, 0, 60, 9]], float)
    assert clip_proposals(boxes, SHAPE).tolist() == [[0, 0, 9, 9], [40, 60, 48, 64]]


def test_mirrored():
    assert flip_boxes(np.array([[1, 2, 3, 10]]), 64).tolist() == [[1, 54, 3, 62]]
    assert flip_boxes(np.zeros((0, 4)), 64).shape == (0, 4)


def test_moved_by_a_matrix():
    quarter_turn = np.array([[0, -1, 63], [1, 0, 0]], float)  # pixel (x, y) to (63 - y, x)
    assert move_boxes(np.array([[2, 5, 10, 9]]), quarter_turn).tolist() == [[5, 54, 9, 62]]
    double = np.array([[2, 0, 0.5], [0, 2, 0.5]])  # edges from n to 2 n
    assert move_boxes(np.array([[2, 5, 10, 9]]), double).tolist() == [[4, 10, 20, 18]]
