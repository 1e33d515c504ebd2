from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mrcnn.geometry.anchors import generate_pyramid_anchors
from mrcnn.loading.anchor_search import RUN_LENGTH, AnchorSearch, search_of
from mrcnn.loading.rpn_targets import build_rpn_targets

STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])
ANCHORS = generate_pyramid_anchors(
    (32, 64, 128), [0.5, 1, 2], [(32, 32), (16, 16), (8, 8)], [8, 16, 32], 1
)


def settings(count: int = 64) -> SimpleNamespace:
    return SimpleNamespace(RPN_TRAIN_ANCHORS_PER_IMAGE=count, RPN_BBOX_STD_DEV=STD_DEV)


def overlap(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Every IoU [A, N]."""
    a, b = anchors[:, None], boxes[None]
    height = np.maximum(np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]), 0)
    width = np.maximum(np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]), 0)
    area_a, area_b = ((x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b))
    return width * height / (area_b + area_a - width * height)


def random_boxes(count: int, seed: int, smallest: int = 6, largest: int = 200) -> np.ndarray:
    random = np.random.RandomState(seed)
    sizes = np.exp(random.uniform(np.log(smallest), np.log(largest), (count, 2))).astype(int)
    corners = (random.uniform(0, 1, (count, 2)) * (256 - sizes)).astype(int)
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.int32)


def straightforward(anchors: Any, class_ids: Any, boxes: Any, count: int) -> Any:
    """The rule as the docstring states it, over the whole matrix of overlaps."""
    is_crowd = class_ids < 0
    crowd = overlap(anchors, boxes[is_crowd])
    iou = overlap(anchors, boxes[~is_crowd])
    match = np.zeros(len(anchors), np.int32)
    match[(iou < 0.3).all(axis=1) & (crowd < 0.001).all(axis=1)] = -1
    match[(iou == iou.max(axis=0)).any(axis=1) | (iou >= 0.7).any(axis=1)] = 1
    # np.random.choice names those to drop: positives first.
    extra = np.flatnonzero(match == 1)
    if len(extra) > count // 2:
        match[np.random.choice(extra, len(extra) - count // 2, replace=False)] = 0
    extra = np.flatnonzero(match == -1)
    wanted = count - np.count_nonzero(match == 1)
    if len(extra) > wanted:
        match[np.random.choice(extra, len(extra) - wanted, replace=False)] = 0
    return match, iou.argmax(axis=1), boxes[~is_crowd]


@pytest.mark.parametrize("order", ["pyramid", "shuffled"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("seed", "num_crowds"), [(0, 0), (1, 0), (2, 2)])
def test_same_as_the_whole_matrix(order: str, dtype: Any, seed: int, num_crowds: int) -> None:
    anchors = ANCHORS.astype(dtype)
    if order == "shuffled":
        anchors = np.random.RandomState(0).permutation(anchors)
    boxes = random_boxes(9, seed)
    class_ids = np.array([-1] * num_crowds + [1] * (9 - num_crowds))

    np.random.seed(seed)
    rpn_match, rpn_bbox = build_rpn_targets(None, anchors, class_ids, boxes, settings())
    state = np.random.randint(1 << 30)
    np.random.seed(seed)
    expected, assigned, objects = straightforward(anchors, class_ids, boxes, 64)

    np.testing.assert_array_equal(rpn_match, expected)
    assert state == np.random.randint(1 << 30)  # As many draws as there.
    positive = np.flatnonzero(expected == 1)
    assert len(positive) >= 5
    # Deltas lead from the anchor to its object.
    deltas = rpn_bbox[: len(positive)] * STD_DEV
    sizes = anchors[positive, 2:] - anchors[positive, :2]
    centres = anchors[positive, :2] + sizes / 2 + deltas[:, :2] * sizes
    half = np.exp(deltas[:, 2:]) * sizes / 2
    moved = np.concatenate([centres - half, centres + half], axis=1)
    np.testing.assert_allclose(moved, objects[assigned[positive]], atol=1e-3)
    assert not rpn_bbox[len(positive) :].any()


def test_ties_all_become_positive() -> None:
    # Two equal anchors, and the object between two more at the same distance.
    anchors = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 50, 10, 60], [0, 56, 10, 66]], float)
    boxes = np.array([[0, 0, 10, 20], [0, 53, 10, 63]])
    rpn_match, rpn_bbox = build_rpn_targets(None, anchors, [1, 1], boxes, settings(8))
    assert rpn_match.tolist() == [1, 1, 1, 1]
    # dx = 3 / 10 / 0.1 from the left one, the same back from the right one.
    np.testing.assert_allclose(rpn_bbox[2:4], [[0, 3, 0, 0], [0, -3, 0, 0]], atol=1e-12)


def test_best_anchor_may_overlap_little() -> None:
    anchors = np.array([[0, 0, 10, 10], [0, 100, 10, 110]], float)
    boxes = np.array([[0, 0, 2, 2]])  # IoU 0.04
    rpn_match, rpn_bbox = build_rpn_targets(None, anchors, [1], boxes, settings(4))
    assert rpn_match.tolist() == [1, -1]
    np.testing.assert_allclose(rpn_bbox[0], [-4, -4, np.log(0.2) / 0.2, np.log(0.2) / 0.2])


@pytest.mark.parametrize(
    ("boxes", "class_ids"),
    [
        (np.zeros((0, 4), np.int32), []),
        ([[40, 40, 40, 90]], [1]),  # No height.
        ([[40, 40, 30, 30]], [1]),  # Corners the wrong way round.
        ([[300, 300, 310, 310]], [1]),  # No anchor reaches it.
    ],
    ids=["none", "no_area", "negative", "out_of_reach"],
)
def test_nothing_to_find(boxes: Any, class_ids: Any) -> None:
    # Matterport: a crash, deltas of -inf (M#997), every anchor positive.
    rpn_match, rpn_bbox = build_rpn_targets(
        None, ANCHORS[:3000], np.array(class_ids, int), np.array(boxes), settings()
    )
    assert np.count_nonzero(rpn_match == -1) == 64
    assert np.count_nonzero(rpn_match == 1) == 0
    assert rpn_bbox.shape == (64, 4) and not rpn_bbox.any()


def test_only_crowds() -> None:
    crowd = np.array([[0, 0, 256, 128]])
    rpn_match, rpn_bbox = build_rpn_targets(None, ANCHORS, np.array([-1]), crowd, settings(10**6))
    assert not (rpn_match == 1).any() and not rpn_bbox.any()
    expected = overlap(ANCHORS, crowd)[:, 0] < 0.001
    np.testing.assert_array_equal(rpn_match == -1, expected)
    assert 0 < np.count_nonzero(expected) < len(ANCHORS)


@pytest.mark.parametrize("rng", [np.random.default_rng(3), np.random.RandomState(3)])
def test_sampling_with_an_own_source(rng: Any) -> None:
    boxes = random_boxes(12, 5, smallest=30)
    class_ids = np.ones(12, int)
    every, _ = build_rpn_targets(None, ANCHORS, class_ids, boxes, settings(10**6))
    assert np.count_nonzero(every == 1) > 8
    before = np.random.get_state()[1].copy()
    match, rpn_bbox = build_rpn_targets(None, ANCHORS, class_ids, boxes, settings(16), rng=rng)
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    assert np.count_nonzero(match == 1) == 8 and np.count_nonzero(match == -1) == 8
    assert (every[match != 0] == match[match != 0]).all()
    assert rpn_bbox.shape == (16, 4) and np.isfinite(rpn_bbox).all()
    assert rpn_bbox[:8].any(axis=1).all() and not rpn_bbox[8:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_class_ids": [1, 1]}, "one class id for each box"),
        ({"gt_boxes": np.zeros((1, 5))}, r"gt_boxes has the shape \(1, 5\)"),
        ({"anchors": np.zeros(8)}, r"anchors has the shape \(8,\)"),
        ({"rng": 7}, "rng is 7"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    arguments = {"anchors": ANCHORS, "gt_class_ids": [1], "gt_boxes": [[0, 0, 9, 9]]} | changes
    with pytest.raises(ValueError, match=message):
        build_rpn_targets(None, config=settings(), **arguments)


# The search


@pytest.mark.parametrize("count", [1, RUN_LENGTH - 1, RUN_LENGTH, 1000, len(ANCHORS)])
@pytest.mark.parametrize("min_iou", [0.0, 0.05, 0.3, 0.7])
def test_search_misses_no_anchor(count: int, min_iou: float) -> None:
    anchors = np.ascontiguousarray(ANCHORS[:count])
    search = AnchorSearch(anchors)
    for box in random_boxes(8, seed=count):
        ids, iou = search.overlapping(box, min_iou)
        every = overlap(anchors, box[None])[:, 0]
        np.testing.assert_array_equal(iou, every[ids])
        assert (np.diff(ids) > 0).all() and ids.max(initial=0) < count
        assert set(np.flatnonzero((every >= min_iou) & (every > 0))) <= set(ids)


def test_search_looks_at_few_anchors() -> None:
    ids, _ = AnchorSearch(ANCHORS).overlapping(np.array([100, 100, 130, 140]), 0.3)
    assert len(ids) < len(ANCHORS) / 5


def test_search_is_kept_for_equal_anchors_only() -> None:
    anchors = ANCHORS.copy()
    search = search_of(anchors)
    assert search_of(ANCHORS.copy()) is search
    anchors[0] += 1
    changed = search_of(anchors)
    assert changed is not search
    np.testing.assert_array_equal(changed.anchors, anchors)
    np.testing.assert_array_equal(search.anchors, ANCHORS)
