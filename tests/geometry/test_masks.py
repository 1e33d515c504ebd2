"""Masks: resized with their image, shrunk and put back, pasted, stored."""

import numpy as np
import pytest
import scipy.ndimage

from mrcnn.geometry.boxes import compute_overlaps_masks, extract_bboxes
from mrcnn.geometry.images import resize, resize_image
from mrcnn.geometry.masks import (
    expand_mask,
    mask_scores,
    mask_to_polygons,
    minimize_mask,
    paste_masks,
    resize_mask,
    rle_to_polygons,
    sized_masks,
    unmold_mask,
)
from mrcnn.geometry.rle import encode_rle


def blobs(height, width, count, seed=0):
    """Smooth random masks [height, width, count]."""
    noise = np.random.default_rng(seed).random((height, width, count))
    smooth = scipy.ndimage.gaussian_filter(noise, (4, 4, 0))
    return smooth > np.quantile(smooth, 0.7)


RESIZES = [
    ("square", {"min_dim": 100, "max_dim": 128}),
    ("square down", {"min_dim": 32, "max_dim": 64}),
    ("as it is", {"min_dim": 32, "max_dim": 128}),
    ("pad64", {"min_dim": 64, "mode": "pad64"}),
    ("crop", {"min_dim": 64, "min_scale": 1.3, "mode": "crop"}),
    ("none", {"mode": "none"}),
]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
@pytest.mark.parametrize(("label", "how"), RESIZES, ids=[case[0] for case in RESIZES])
def test_resize_mask_is_zoom_and_padding(label, how, dtype):
    mask = blobs(70, 90, 3)
    mask[..., 2] = False
    mask = mask.astype(dtype)
    image, _, scale, padding, crop = resize_image(np.zeros((70, 90, 3), np.uint8), **how)
    result = resize_mask(mask, scale, padding, crop)
    assert result.shape == (*image.shape[:2], 3) and result.dtype == dtype
    expected = scipy.ndimage.zoom(mask, (scale, scale, 1), order=0)
    if crop:
        y, x, height, width = crop
        expected = expected[y : y + height, x : x + width]
    else:
        expected = np.pad(expected, padding)
    np.testing.assert_array_equal(result, expected)
    assert result[..., :2].any()


def test_resize_mask_of_nothing():
    result = resize_mask(np.zeros((10, 12, 0), bool), 2, [(1, 2), (3, 4), (0, 0)])
    assert result.shape == (23, 31, 0) and result.dtype == bool


def test_minimize_and_expand_are_nearly_inverse():
    mask = blobs(90, 110, 5, seed=1)
    boxes = extract_bboxes(mask)
    mini = minimize_mask(boxes, mask, (56, 56))
    assert mini.shape == (56, 56, 5) and mini.dtype == bool
    back = expand_mask(boxes, mini, (90, 110, 3))
    assert back.shape == mask.shape and back.dtype == bool
    assert np.diag(compute_overlaps_masks(back, mask)).min() > 0.9


def test_mini_mask_of_the_same_size_is_the_crop():
    mask = blobs(30, 30, 1, seed=2)
    mini = minimize_mask(np.array([[5, 6, 25, 26]]), mask, (20, 20))
    np.testing.assert_array_equal(mini[..., 0], mask[5:25, 6:26, 0])


def test_minimize_mask_by_hand():
    mask = np.zeros((8, 8, 1), bool)
    mask[0:4, 0:8, 0] = True
    mask[4, 0:2] = True
    # Rows 0-1, ..., 6-7 are averaged in pairs; exactly one half is not above it.
    mini = minimize_mask(np.array([[0, 0, 8, 8]]), mask, (4, 4))[..., 0]
    assert mini.tolist() == [[True] * 4, [True] * 4, [False] * 4, [False] * 4]
    mask[5, 0] = True
    assert (
        minimize_mask(np.array([[0, 0, 8, 8]]), mask, (4, 4))[2, :, 0].tolist()
        == [True] + [False] * 3
    )


@pytest.mark.parametrize("shape", [(56, 56), (5, 80), (3, 2)])
def test_a_full_box_stays_full(shape):
    """Outside the box counts as zero, but must not round off the corners."""
    mask = np.ones((20, 30, 1), bool)
    boxes = np.array([[0, 0, 20, 30]])
    mini = minimize_mask(boxes, mask, shape)
    assert mini.shape == (*shape, 1) and mini.all()
    assert expand_mask(boxes, mini, (20, 30)).all()


def test_minimize_mask_names_a_box_without_area():
    with pytest.raises(ValueError, match=r"bbox\[1\] is \[3, 3, 3, 9\]; it must have an area"):
        minimize_mask(np.array([[0, 0, 5, 5], [3, 3, 3, 9]]), np.ones((10, 10, 2), bool), (4, 4))


def test_masks_of_no_instances():
    none = np.zeros((0, 4), np.int32)
    assert minimize_mask(none, np.zeros((9, 9, 0), bool), (4, 5)).shape == (4, 5, 0)
    assert expand_mask(none, np.zeros((4, 4, 0), bool), (9, 8, 3)).shape == (9, 8, 0)
    assert paste_masks(np.zeros((0, 28, 28)), none, (9, 8, 3)).shape == (9, 8, 0)


@pytest.fixture
def predictions():
    rng = np.random.default_rng(4)
    probs = scipy.ndimage.gaussian_filter(rng.random((12, 28, 28)), (0, 3, 3)).astype(np.float32)
    probs = (probs - probs.min()) / (probs.max() - probs.min())
    corners = rng.integers(0, (60, 80), (12, 2))
    sizes = np.concatenate([rng.integers(1, 40, (6, 2)), rng.integers(28, 40, (6, 2))])
    return probs, np.concatenate([corners, corners + sizes], axis=1)


def test_paste_masks_equals_unmold_mask(predictions):
    probs, boxes = predictions
    pasted = paste_masks(probs, boxes, (100, 120, 3))
    assert pasted.shape == (100, 120, 12) and pasted.dtype == bool
    for index, box in enumerate(boxes):
        expected = unmold_mask(probs[index], box, (100, 120, 3))
        np.testing.assert_array_equal(pasted[..., index], expected)
    assert pasted.any(axis=(0, 1)).sum() > 8


def test_paste_masks_keeps_probabilities(predictions):
    probs, boxes = predictions
    pasted = paste_masks(probs, boxes, (100, 120), threshold=None)
    assert pasted.dtype == np.float32 and pasted.shape == (100, 120, 12)
    for index, (y1, x1, y2, x2) in enumerate(boxes):
        expected = np.zeros((100, 120))
        expected[y1:y2, x1:x2] = resize(probs[index], (y2 - y1, x2 - x1))
        np.testing.assert_allclose(pasted[..., index], expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(paste_masks(probs, boxes, (100, 120), 0.3), pasted >= 0.3)


def test_paste_masks_cuts_at_the_frame(predictions):
    probs, _ = predictions
    boxes = np.array([[-10, -20, 40, 30], [80, 100, 130, 150], [200, 0, 220, 9], [5, 5, 5, 9]])
    # The same in a frame 50 pixels larger on each side.
    wide = paste_masks(probs[:4], boxes + 50, (320, 320))
    pasted = paste_masks(probs[:4], boxes, (100, 120))
    np.testing.assert_array_equal(pasted, wide[50:150, 50:170])
    assert pasted.any(axis=(0, 1)).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("value", "inside"), [(0.9, True), (0.5, True), (0.1, False)])
def test_flat_probabilities_reach_the_edge_of_the_box(value, inside):
    pasted = paste_masks(np.full((1, 28, 28), value, np.float32), [[10, 10, 90, 95]], (100, 100))
    expected = np.zeros((100, 100), bool)
    expected[10:90, 10:95] = inside
    np.testing.assert_array_equal(pasted[..., 0], expected)
    alone = unmold_mask(np.full((28, 28), value, np.float32), [10, 10, 90, 95], (100, 100, 3))
    np.testing.assert_array_equal(alone, expected)


def test_paste_masks_wants_one_box_a_mask():
    with pytest.raises(ValueError, match="mask_probs has 2 masks for 1 boxes"):
        paste_masks(np.zeros((2, 28, 28)), np.zeros((1, 4)), (9, 9))


def test_polygons_by_hand():
    mask = np.zeros((10, 10), bool)
    assert mask_to_polygons(mask) == []
    mask[2:5, 3:7] = True
    (polygon,) = mask_to_polygons(mask)
    points = {tuple(point) for point in np.reshape(polygon, (-1, 2)).tolist()}
    assert points == {(3, 2), (7, 2), (7, 5), (3, 5)}  # (x, y), outer edges
    assert len(polygon) == 8
    mask[8, 8] = True
    assert len(mask_to_polygons(mask)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_polygons_draw_the_mask_again(seed):
    from pycocotools import mask as coco_mask

    mask = blobs(60, 80, 1, seed)[..., 0]
    filled = scipy.ndimage.binary_fill_holes(mask)
    polygons = mask_to_polygons(mask)
    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, 60, 80))
    np.testing.assert_array_equal(coco_mask.decode(runs).astype(bool), filled)
    # Simplified: fewer points, nearly the same mask.
    simple = mask_to_polygons(mask, tolerance=1)
    assert sum(map(len, simple)) < 0.5 * sum(map(len, polygons))
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(simple, 60, 80)))
    overlap = compute_overlaps_masks(drawn[..., None].astype(bool), filled[..., None])
    assert overlap[0, 0] > 0.85


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_tolerance_loses_no_thin_part(shape):
    mask = np.pad(np.ones(shape, bool), 1)
    assert mask_to_polygons(mask, 1.0) == mask_to_polygons(mask) != []


@pytest.mark.parametrize("tolerance", [0, 1.5])
def test_polygons_of_run_lengths_are_those_of_the_mask(tolerance):
    masks = np.pad(blobs(60, 80, 3), ((7, 0), (0, 11), (0, 1)))
    for i in range(masks.shape[2]):
        polygons = mask_to_polygons(masks[..., i], tolerance)
        assert rle_to_polygons(encode_rle(masks[..., i]), tolerance) == polygons
    assert polygons == []


def test_polygons_want_one_mask():
    with pytest.raises(ValueError, match=r"\(3, 3, 1\)"):
        mask_to_polygons(np.ones((3, 3, 1)))


def test_mask_scores_are_the_means_of_what_is_inside():
    probabilities = np.array(
        [[[0.5, 0.9], [0.1, 0.4]], [[1, 1], [1, 1]], [[0.4, 0], [0.1, 0.49]]], np.float32
    )
    scores = mask_scores(probabilities)
    np.testing.assert_allclose(scores, [0.7, 1, 0], atol=1e-7)
    assert scores.dtype == np.float32
    assert mask_scores(np.zeros((0, 28, 28), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((0, 0, 0), (5, 7, 0)), ((5, 7, 2), (5, 7, 2)), ((3, 3, 0), (3, 3, 0))],
)
def test_masks_of_an_image_without_objects_get_its_size(shape, expected):
    assert sized_masks(np.zeros(shape, bool), (5, 7, 3)).shape == expected
