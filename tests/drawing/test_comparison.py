"""Predictions beside the ground truth: what stands where."""

import numpy as np
import pytest

from mrcnn.drawing import rendering
from mrcnn.drawing.comparison import _resize, side_by_side
from mrcnn.geometry.rle import encode_masks

NAMES = ["BG", "cat", "dog"]
TITLE, GAP = 26, 8


def mask_of(size, *boxes):
    masks = np.zeros((*size, len(boxes)), bool)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    return masks


def result(size, *boxes, scores=True, rois=True, rle=False):
    masks = mask_of(size, *boxes)
    found = {"class_ids": np.ones(len(boxes), int), "masks": masks}
    if rois:
        found["rois"] = np.array(boxes).reshape(-1, 4)
    if scores:
        found["scores"] = np.full(len(boxes), 0.9)
    if rle:
        found["rles"] = encode_masks(found.pop("masks"))
    return found


def halves(drawn, width):
    """The two drawings without titles, and whether the gap between them is empty."""
    assert (drawn[:, width : width + GAP] == 255).all()
    return drawn[TITLE:, :width], drawn[TITLE:, width + GAP :]


def colored(part, y, x):
    return bool((part[y, x] != part[0, 0]).any())


def test_prediction_is_at_the_left_and_truth_at_the_right():
    size = (80, 100)
    image = np.full((*size, 3), 90, np.uint8)
    truth = result(size, (40, 50, 70, 90), scores=False, rois=False)
    drawn = side_by_side(image, result(size, (10, 10, 30, 40)), truth, NAMES, max_side=199)
    assert drawn.shape == (80 + TITLE, 2 * 100 + GAP, 3) and drawn.dtype == np.uint8
    left, right = halves(drawn, 100)
    assert colored(left, 20, 25) and not colored(left, 60, 75)
    assert colored(right, 65, 75) and not colored(right, 20, 25)
    assert (drawn[:TITLE] < 100).any()  # the titles
    assert (image == 90).all()


@pytest.mark.parametrize("rle", [False, True])
def test_a_large_image_is_shrunk_with_its_instances(rle):
    size = (400, 1280)
    image = np.full((*size, 3), 90, np.uint8)
    found = result(size, (100, 640, 300, 960), rle=rle)
    drawn = side_by_side(image, found, result(size, scores=False), NAMES, max_side=320)
    assert drawn.shape == (100 + TITLE, 2 * 320 + GAP, 3)
    left, right = halves(drawn, 320)
    inside = (left != 90).any(axis=2)
    ys, xs = np.nonzero(inside[40:])  # below the label
    assert (ys.max() + 40, xs.min(), xs.max()) == pytest.approx((74, 160, 239), abs=1)
    assert (right == 90).all()


def test_a_small_image_is_enlarged_by_a_whole_factor():
    size = (40, 60)
    image = np.full((*size, 3), 90, np.uint8)
    found = result(size, (10, 20, 30, 50), scores=False)
    drawn = side_by_side(image, found, result(size), NAMES, max_side=239)
    assert drawn.shape == (120 + TITLE, 2 * 180 + GAP, 3)
    left, right = halves(drawn, 180)
    ys, xs = np.nonzero((left != 90).any(axis=2))
    assert (ys.max(), xs.min(), xs.max()) == pytest.approx((89, 60, 149), abs=1)
    assert (right == 90).all()


@pytest.mark.parametrize(
    "names, box, captions",
    [
        (["BG", "cat"], (10, 10, 60, 60), ["0.90"]),
        (NAMES, (10, 10, 60, 60), ["cat 0.90"]),
        (["BG", "cat"], (10, 10, 22, 22), []),  # it would hide the object
    ],
)
def test_labels_of_one_class_and_of_small_objects(names, box, captions, monkeypatch):
    written = []
    place = rendering.LabelPlacer.place
    label_image = rendering.label_image

    def keep(text, *arguments):
        written.append(text)
        return label_image(text, *arguments)

    placed = []

    def keep_place(*arguments):
        placed.append(written[-1])
        return place(*arguments)

    monkeypatch.setattr(rendering, "label_image", keep)
    monkeypatch.setattr(rendering.LabelPlacer, "place", keep_place)
    image = np.full((80, 100, 3), 90, np.uint8)
    side_by_side(image, result((80, 100), box), result((80, 100)), names, max_side=100)
    assert placed == captions


@pytest.mark.parametrize("new_size", [(3, 5), (1, 1), (40, 61), (7, 60), (82, 122)])
def test_run_lengths_are_resized_as_arrays_are(new_size):
    size = (41, 61)
    masks = np.random.default_rng(0).random((*size, 4)) < 0.3
    masks[..., 1] = False
    masks[..., 2] = True
    masks[..., 3] = False
    masks[20, 30, 3] = True
    found = {"class_ids": np.ones(4, int), "rois": np.zeros((4, 4))}
    dense = _resize({**found, "masks": masks}, size, new_size)
    packed = _resize({**found, "rles": encode_masks(masks)}, size, new_size)
    assert packed["masks"].shape == (*new_size, 4) and "rles" not in packed
    np.testing.assert_array_equal(packed["masks"], dense["masks"])
    rows, columns = ((np.arange(n) + 0.5) * s / n for n, s in zip(new_size, size))
    expected = masks[rows.astype(int)][:, columns.astype(int)]
    np.testing.assert_array_equal(dense["masks"], expected)


@pytest.mark.parametrize(
    "image",
    [
        np.full((64, 64), 90, np.uint8),
        np.full((64, 64, 1), 90, np.uint8),
        np.full((64, 64, 4), 90, np.uint8),
        np.full((64, 64, 7), 90, np.uint8),
        np.full((64, 64, 3), 90 * 257, np.uint16),
    ],
)
@pytest.mark.parametrize("max_side", [64, 32])
def test_images_of_other_kinds(image, max_side):
    empty = {"class_ids": [], "masks": np.zeros((0, 0, 0))}
    drawn = side_by_side(image, {**result((64, 64))}, empty, NAMES, max_side=max_side)
    assert (drawn[TITLE:, :max_side] == 90).all()
    assert drawn.shape == (max_side + TITLE, 2 * max_side + GAP, 3)


def test_boxes_alone_and_crowds():
    image = np.full((64, 64, 3), 90, np.uint8)
    boxes = {"rois": np.array([[10, 10, 50, 50]]), "class_ids": np.array([2])}
    crowd = {**boxes, "class_ids": np.array([-2])}
    left, right = halves(side_by_side(image, boxes, crowd, NAMES, max_side=64), 64)
    np.testing.assert_array_equal(left, right)
    assert (left != 90).any()


@pytest.mark.parametrize(
    "truth, options, message",
    [
        ({"class_ids": [1]}, {}, r"has the keys \['class_ids'\]; it must have 'rois' or 'masks'"),
        (result((64, 64)), {"max_side": 31}, "max_side is 31; it must be at least 32 pixels"),
        (result((64, 32), (1, 1, 9, 9)), {}, "masks have the shape"),
    ],
)
def test_what_does_not_fit(truth, options, message):
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        side_by_side(image, result((64, 64)), truth, NAMES, **options)
