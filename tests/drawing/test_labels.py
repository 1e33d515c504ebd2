"""Labels: their places, and the fonts of their letters."""

import numpy as np
import pytest

from mrcnn.drawing import labels
from mrcnn.drawing.labels import LabelPlacer


def overlap(one, other):
    """Return the common area of two (y1, x1, y2, x2)."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    return np.maximum(np.subtract(high, low), 0).prod()


def placed(boxes, height, width, frame):
    """Return the rectangles of labels of one size, None for those without room."""
    placer = LabelPlacer(boxes, frame)
    corners = [placer.place(box, height, width) for box in boxes]
    return [c if c is None else (c[0], c[1], c[0] + height, c[1] + width) for c in corners]


def assert_separate(tags, frame):
    for i, tag in enumerate(tags):
        assert frame[0] <= tag[0] and frame[1] <= tag[1]
        assert tag[2] <= frame[2] and tag[3] <= frame[3]
        assert all(overlap(tag, other) == 0 for other in tags[:i])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((50, 20, 90, 80), (40, 20)),  # above, at the left
        ((5, 20, 90, 80), (0, 20)),  # moved into the image
        ((50, 90, 90, 130), (40, 90)),
        ((50, 190, 90, 200), (40, 170)),  # moved to the left
        ((0, 0, 100, 200), (0, 0)),  # a box of the size of the image: inside
    ],
)
def test_a_single_label(box, expected):
    assert LabelPlacer([box], (0, 0, 100, 200)).place(box, 10, 30) == expected


def test_the_second_label_of_one_box_takes_another_corner():
    box = (50, 20, 90, 180)
    placer = LabelPlacer([box, box], (0, 0, 100, 200))
    assert placer.place(box, 10, 30) == (40, 20)
    assert placer.place(box, 10, 30) == (40, 150)


def test_labels_of_many_equal_boxes_do_not_cover_each_other():
    frame = (0, 0, 400, 400)
    tags = placed([(150, 150, 250, 250)] * 16, 12, 60, frame)
    assert None not in tags
    assert_separate(tags, frame)


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_scattered_boxes_do_not_cover_each_other(seed):
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 900, (60, 2))
    boxes = np.concatenate([corners, corners + generator.integers(20, 100, (60, 2))], axis=1)
    frame = (-10, -10, 1010, 1010)
    tags = placed(boxes, 14.5, 70.25, frame)
    assert None not in tags
    assert_separate(tags, frame)


def test_labels_of_boxes_outside_the_frame_stay_in_it_and_apart():
    boxes = [(500, 700, 520, 760), (500, 700, 520, 760), (-90, -90, -50, -20), (-9, -9, 20, 20)]
    frame = (0, 0, 100, 200)
    tags = placed(boxes, 10, 30, frame)
    assert None not in tags
    assert_separate(tags, frame)


def test_a_label_without_room_is_left_out():
    frame = (0, 0, 20, 40)
    tags = placed([(0, 0, 20, 40)] * 6, 10, 40, frame)
    assert [tag is None for tag in tags] == [False, False, True, True, True, True]
    assert_separate([tag for tag in tags if tag], frame)


def test_a_label_does_not_hide_a_whole_instance():
    boxes = [(0, 0, 100, 100), (40, 40, 44, 44)]
    y, x = LabelPlacer(boxes, (0, 0, 100, 100)).place(boxes[1], 10, 30)
    assert overlap((y, x, y + 10, x + 30), boxes[1]) == 0


def test_empty_boxes_are_no_obstacle():
    placer = LabelPlacer([(0, 0, 0, 0), (5, 5, 5, 9)], (0, 0, 100, 200))
    assert placer.place((50, 20, 90, 80), 10, 30) == (40, 20)


def test_letters_that_the_label_face_lacks_come_from_another():
    # A script g that matplotlib's STIX faces have and its DejaVu Sans Bold has not.
    found = labels._letters("\u210a", 20)
    assert found.shape[0] == labels._letters("g", 20).shape[0]
    assert found.max() > 0.5
    face = labels._face_with(frozenset([0x210A]))
    assert face != labels._plain_face() and 0x210A in labels._glyphs_of(face)


def test_a_script_without_a_face_is_told_once(monkeypatch):
    from matplotlib import font_manager

    labels._face_with.cache_clear()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    with pytest.warns(UserWarning, match="no installed font has '\u732b'.*fonts-noto-cjk") as told:
        for score in ("0.93", "0.94"):
            assert labels._letters(f"\u732b {score}", 12).any()
    assert len(told) == 1
    labels._face_with.cache_clear()
