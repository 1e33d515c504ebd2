"""Tiles: they cover the image, and what they find is what one look at all of it finds."""

import numpy as np
import pytest
import scipy.ndimage

from mrcnn.detection.tiling import merge_parts, parts_of, tile_windows
from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.geometry.rle import encode_rle


@pytest.mark.parametrize(
    "height, width, tile, overlap, count",
    [
        (100, 100, 100, 20, 1),
        (50, 80, 100, 20, 1),
        (100, 180, 100, 20, 2),
        (100, 181, 100, 20, 3),
        (300, 500, 128, 0, 12),
        (1, 1, 1, 0, 1),
    ],
)
def test_tiles_cover_the_image_and_overlap(height, width, tile, overlap, count):
    windows = np.array(tile_windows(height, width, tile, overlap))
    assert len(windows) == count
    covered = np.zeros((height, width), int)
    for y1, x1, y2, x2 in windows:
        assert y2 - y1 == min(tile, height) and x2 - x1 == min(tile, width)
        covered[y1:y2, x1:x2] += 1
    assert covered.min() >= 1
    for axis in (0, 1):
        starts = np.unique(windows[:, axis])
        assert (starts[:-1] + tile - starts[1:] >= overlap).all()


@pytest.mark.parametrize("tile, overlap", [(0, 0), (10, 10), (10, -1)])
def test_tiles_that_cannot_be(tile, overlap):
    with pytest.raises(ValueError, match=r"^(tile|overlap) is"):
        tile_windows(100, 100, tile, overlap)


def perfect_detector(picture):
    """Every connected area of one gray value is an object of the class 1 or 2."""
    masks, class_ids = [], []
    for class_id in (1, 2):
        labels, count = scipy.ndimage.label(picture == class_id)
        masks += [labels == k for k in range(1, count + 1)]
        class_ids += [class_id] * count
    masks = np.stack(masks, axis=-1) if masks else np.zeros((*picture.shape, 0), bool)
    scores = 0.5 + 0.5 * masks.mean(axis=(0, 1))
    return {
        "rois": extract_bboxes(masks),
        "class_ids": np.array(class_ids, int),
        "scores": scores,
        "masks": masks,
    }


def by_tiles(picture, tile, overlap, rle=False):
    windows = tile_windows(*picture.shape, tile, overlap)
    parts = []
    for number, (y1, x1, y2, x2) in enumerate(windows):
        parts += parts_of(perfect_detector(picture[y1:y2, x1:x2]), number, (y1, x1))
    return merge_parts(parts, windows, picture.shape, iou=0.5, rle=rle)


def scene():
    """Discs of two classes from 6 to 240 pixels wide, some side by side, none touching."""
    picture = np.zeros((420, 610), np.uint8)
    y, x = np.mgrid[:420, :610]
    discs = [(200, 300, 120, 1), (60, 60, 30, 1), (60, 124, 30, 1), (60, 500, 3, 2)]
    discs += [(330, 520, 60, 2), (400, 20, 15, 1), (210, 470, 40, 1), (360, 100, 50, 2)]
    for cy, cx, radius, class_id in discs:
        picture[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = class_id
    return picture, len(discs)


@pytest.mark.parametrize("tile, overlap", [(1000, 100), (200, 50), (128, 32), (97, 20), (64, 40)])
def test_a_perfect_detector_finds_the_same_in_tiles(tile, overlap):
    picture, count = scene()
    whole = perfect_detector(picture)
    found = by_tiles(picture, tile, overlap)
    assert len(found["rois"]) == count
    order = np.lexsort(found["rois"].T), np.lexsort(whole["rois"].T)
    np.testing.assert_array_equal(found["rois"][order[0]], whole["rois"][order[1]])
    np.testing.assert_array_equal(found["masks"][..., order[0]], whole["masks"][..., order[1]])
    np.testing.assert_array_equal(found["class_ids"][order[0]], whole["class_ids"][order[1]])
    assert (np.diff(found["scores"]) <= 0).all()
    assert by_tiles(picture, tile, overlap, rle=True)["rles"] == encode_rle(found["masks"])


def test_neighbours_of_another_class_or_that_disagree_stay_apart():
    windows = tile_windows(10, 18, 10, 2)
    assert windows == [(0, 0, 10, 10), (0, 8, 10, 18)]

    def one(x1, x2, rows, class_id):
        masks = np.zeros((10, 10, 1), bool)
        masks[rows, x1:x2] = True
        box = extract_bboxes(masks)
        return {"rois": box, "class_ids": [class_id], "scores": [0.9], "masks": masks}

    def count(left, right):
        parts = [*parts_of(left, 0, (0, 0)), *parts_of(right, 1, (0, 8))]
        return len(merge_parts(parts, windows, (10, 18), iou=0.5, rle=True)["rois"])

    rows = slice(0, 6)
    assert count(one(4, 10, rows, 1), one(0, 5, rows, 1)) == 1
    assert count(one(4, 10, rows, 1), one(0, 5, rows, 2)) == 2
    # In the strip of two columns they share a third of what they cover.
    assert count(one(4, 10, rows, 1), one(0, 5, slice(3, 9), 1)) == 2
    # The left one ends before the strip.
    assert count(one(2, 8, rows, 1), one(2, 5, rows, 1)) == 2


def test_nothing_found():
    result = merge_parts([], tile_windows(20, 30, 10, 2), (20, 30), iou=0.5, rle=False)
    assert result["rois"].shape == (0, 4) and result["masks"].shape == (20, 30, 0)
