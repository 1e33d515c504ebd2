"""Label maps drawn over images."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.drawing import draw_labels, fixed_colors

IMAGE = np.full((40, 50, 3), 100, np.uint8)
LABELS = np.zeros((40, 50), np.uint8)
LABELS[:, 10:20], LABELS[:, 20:30], LABELS[:, 30:] = 1, 2, 255


def test_colors_of_classes_and_void():
    drawn = draw_labels(IMAGE, LABELS, ["BG", "a", "b"], alpha=0.5, legend=False)
    colors = np.array(fixed_colors(2)) * 255
    assert drawn.dtype == np.uint8 and drawn.shape == IMAGE.shape
    assert drawn[0, 0].tolist() == [100, 100, 100]
    np.testing.assert_allclose(drawn[0, 10], (100 + colors[0]) / 2, atol=0.51)
    np.testing.assert_allclose(drawn[0, 20], (100 + colors[1]) / 2, atol=0.51)
    assert drawn[0, 30].tolist() == [50, 50, 50]


def test_the_first_class_has_a_color_where_it_is_not_the_background():
    colors = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    drawn = draw_labels(IMAGE, LABELS, ["sky", "a", "b"], colors=colors, alpha=1, legend=False)
    assert drawn[0, [0, 10, 20]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_the_legend_shows_the_classes_that_occur():
    colors = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)]
    names = ["sky", "a", "b", "c"]
    drawn = draw_labels(IMAGE, LABELS, names, colors=colors, alpha=1)
    legend = drawn[:, 50:].reshape(-1, 3)
    assert drawn.shape[0] >= 40 and drawn.shape[1] > 70
    for color, is_there in zip(np.array(colors) * 255, (True, True, True, False), strict=True):
        assert (legend == color).all(axis=1).any() == is_there
    assert (legend == 0).all(axis=1).any()  # void
    plain = draw_labels(IMAGE, np.zeros((40, 50), int), ["BG"])
    np.testing.assert_array_equal(plain, IMAGE)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": LABELS[:9]}, r"labels have shape \(9, 50\); it must be \(40, 50\)"),
        ({"labels": LABELS + 3}, "labels hold 4; they must be 0 to 3, or 255 for void"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"colors": [(0, 0, 0)]}, r"colors has 1 entries; it must have one per class \(4\)"),
    ],
)
def test_arguments_that_do_not_fit(change, message):
    arguments = {"image": IMAGE, "labels": LABELS, "class_names": list("abcd"), **change}
    with pytest.raises(ValueError, match=message):
        draw_labels(**arguments)
