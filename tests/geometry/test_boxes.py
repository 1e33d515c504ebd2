"""Boxes by hand, by table and by round trip."""

import numpy as np
import pytest

from mrcnn.geometry import boxes as b


def box(*values):
    return np.array([values], np.float32)


@pytest.mark.parametrize("layout", ["interleaved", "planar", "uint8", "sliced"])
def test_extract_bboxes(layout):
    mask = np.zeros((7, 9, 5), bool)
    mask[2:4, 3:8, 0] = True
    mask[0, 0, 1] = mask[6, 8, 1] = True  # opposite corners
    mask[6, 8, 2] = True  # one pixel
    mask[:, :, 4] = True
    if layout == "planar":
        mask = np.ascontiguousarray(mask.transpose(2, 0, 1)).transpose(1, 2, 0)
    elif layout == "uint8":
        mask = mask.astype(np.uint8) * 200
    elif layout == "sliced":
        mask = np.concatenate([~mask, mask], axis=2)[:, :, 5:]
    boxes = b.extract_bboxes(mask)
    assert boxes.dtype == np.int32
    assert boxes.tolist() == [
        [2, 3, 4, 8],
        [0, 0, 7, 9],
        [6, 8, 7, 9],
        [0, 0, 0, 0],  # empty mask
        [0, 0, 7, 9],
    ]


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 13, 64])
def test_extract_bboxes_of_every_column(width):
    """Folding rows in halves must not lose the odd column."""
    mask = np.zeros((3, width, width), bool)
    mask[1, np.arange(width), np.arange(width)] = True
    expected = [[1, x, 2, x + 1] for x in range(width)]
    assert b.extract_bboxes(mask).tolist() == expected


@pytest.mark.parametrize("shape", [(5, 6, 0), (0, 0, 2), (0, 4, 1)])
def test_extract_bboxes_of_nothing(shape):
    assert b.extract_bboxes(np.zeros(shape, bool)).tolist() == [[0, 0, 0, 0]] * shape[2]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([(2, 3)], (2, 3, 3, 4)),
        ([(0, 6), (4, 1)], (0, 1, 5, 7)),
        ([], None),
    ],
)
def test_mask_box(pixels, expected):
    mask = np.zeros((5, 7), bool)
    for y, x in pixels:
        mask[y, x] = True
    assert b.mask_box(mask) == expected
    assert b.extract_bboxes(mask[..., None])[0].tolist() == list(expected or (0, 0, 0, 0))


def test_extract_bboxes_wants_three_axes():
    with pytest.raises(ValueError, match=r"\(4, 4\).*\[height, width, instances\]"):
        b.extract_bboxes(np.ones((4, 4)))


OVERLAPS = [
    ("same", (0, 0, 4, 4), (0, 0, 4, 4), 1.0),
    ("half", (0, 0, 4, 4), (0, 0, 4, 2), 0.5),
    ("shifted", (0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
    ("touching", (0, 0, 2, 2), (0, 2, 2, 4), 0.0),
    ("apart in both", (0, 0, 2, 2), (5, 5, 7, 7), 0.0),
    ("no area in one", (0, 0, 2, 2), (1, 1, 1, 1), 0.0),
]


@pytest.mark.parametrize(("label", "first", "second", "iou"), OVERLAPS)
def test_overlaps(label, first, second, iou):
    assert b.compute_overlaps(box(*first), box(*second))[0, 0] == pytest.approx(iou)
    assert b.compute_overlaps(box(*second), box(*first))[0, 0] == pytest.approx(iou)
    masks = np.zeros((8, 8, 2), bool)
    for index, (y1, x1, y2, x2) in enumerate((first, second)):
        masks[y1:y2, x1:x2, index] = True
    overlaps = b.compute_overlaps_masks(masks[..., :1], masks[..., 1:])
    assert overlaps[0, 0] == pytest.approx(iou)


def test_overlaps_shape_and_orientation():
    many = np.array([[0, 0, 2, 2], [0, 0, 4, 4], [9, 9, 10, 10]])
    few = np.array([[0, 0, 2, 2]])
    assert b.compute_overlaps(many, few).tolist() == [[1.0], [0.25], [0.0]]
    assert b.compute_overlaps(few, many).tolist() == [[1.0, 0.25, 0.0]]
    assert b.compute_overlaps(many[:0], few).shape == (0, 1)


def test_overlaps_masks_of_nothing():
    masks = np.ones((4, 5, 3), bool)
    assert b.compute_overlaps_masks(masks[..., :0], masks).shape == (0, 3)
    assert b.compute_overlaps_masks(masks, masks[..., :0]).shape == (3, 0)
    empty = np.zeros((4, 5, 1), bool)
    assert np.isnan(b.compute_overlaps_masks(empty, empty)).all()
    assert b.compute_overlaps_masks(empty, masks).tolist() == [[0, 0, 0]]


def test_overlaps_masks_match_a_count_of_pixels():
    rng = np.random.default_rng(3)
    first, second = rng.random((11, 13, 4)) < 0.3, rng.random((11, 13, 6)) < 0.6
    first[5:, :, 1] = False
    both = (first[..., None] & second[:, :, None, :]).sum(axis=(0, 1))
    either = (first[..., None] | second[:, :, None, :]).sum(axis=(0, 1))
    expected = both.astype(np.float32) / either.astype(np.float32)
    np.testing.assert_array_equal(b.compute_overlaps_masks(first, second), expected)


def test_overlaps_masks_of_other_size_are_refused():
    with pytest.raises(ValueError, match=r"masks2 .*\(5, 4, 1\).*\(4, 5, 1\)"):
        b.compute_overlaps_masks(np.ones((4, 5, 1)), np.ones((5, 4, 1)))


def test_non_max_suppression():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [0, 0, 10, 5]])
    scores = np.array([0.7, 0.9, 0.3, 0.8])
    keep = b.non_max_suppression(boxes, scores, 0.6)
    assert keep.dtype == np.int32
    # 1 suppresses 0 (IoU 0.8) and 3 (0.625).
    assert keep.tolist() == [1, 2]
    assert b.non_max_suppression(boxes, scores, 0.7).tolist() == [1, 3, 2]
    assert b.non_max_suppression(boxes, scores, 0.8).tolist() == [1, 3, 0, 2]


def test_non_max_suppression_of_nothing():
    keep = b.non_max_suppression(np.zeros((0, 4)), np.zeros(0), 0.5)
    assert keep.shape == (0,) and keep.dtype == np.int32


def test_apply_box_deltas():
    boxes = box(10, 20, 30, 60)  # center (20, 40), size (20, 40)
    deltas = np.array([[0.5, -0.25, np.log(2), np.log(0.5)]])
    np.testing.assert_allclose(b.apply_box_deltas(boxes, deltas), [[10, 20, 50, 40]], rtol=1e-6)
    assert boxes.tolist() == [[10, 20, 30, 60]]


def test_box_refinement_is_the_inverse():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (20, 2, 2))
    boxes, targets = (
        np.concatenate([c, c + rng.uniform(1, 40, c.shape)], axis=1)
        for c in (corners[:, 0], corners[:, 1])
    )
    deltas = b.box_refinement(boxes, targets)
    assert deltas.dtype == np.float32
    np.testing.assert_allclose(b.apply_box_deltas(boxes, deltas), targets, rtol=0, atol=2e-4)
    assert b.box_refinement(boxes, boxes).tolist() == np.zeros((20, 4)).tolist()


@pytest.mark.parametrize("shape", [(100, 200), (100, 200, 3), np.array([100, 200])])
def test_normalized_boxes(shape):
    boxes = np.array([[0, 0, 100, 200], [0, 0, 1, 1], [33, 66, 67, 199]])
    normalized = b.norm_boxes(boxes, shape)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized[0], [0, 0, 1, 1])
    np.testing.assert_allclose(normalized[1], [0, 0, 0, 0])
    back = b.denorm_boxes(normalized, shape)
    assert back.dtype == np.int32 and back.tolist() == boxes.tolist()


def test_overlaps_of_unsigned_boxes():
    boxes = np.array([[0, 0, 30, 30], [40, 40, 50, 50], [0, 0, 15, 30]], np.uint16)
    expected = [[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]]
    np.testing.assert_allclose(b.compute_overlaps(boxes, boxes), expected)
    areas = np.array([900, 100, 450])
    np.testing.assert_allclose(b.compute_iou(boxes[0], boxes, 900, areas), expected[0])


@pytest.mark.filterwarnings("error")
def test_normalized_boxes_of_an_image_one_pixel_high():
    boxes = np.array([[0, 64, 1, 81]])
    normalized = b.norm_boxes(boxes, (1, 81))
    np.testing.assert_allclose(normalized, [[0, 0.8, 0, 1]])
    assert b.denorm_boxes(normalized, (1, 81)).tolist() == boxes.tolist()


def test_the_shift_stays_a_shift_for_boxes_of_integers():
    """Matterport M#912: the shift of (0, 0, 1, 1) was lost in integer arithmetic."""
    boxes = np.array([[0, 0, 64, 64]], np.uint8)
    np.testing.assert_array_equal(
        b.norm_boxes(boxes, (128, 128)), np.float32([[0, 0] + [63 / 127] * 2])
    )
    corner = np.zeros((1, 4), np.int32)
    np.testing.assert_array_equal(b.norm_boxes(corner, (11, 11)), np.float32([[0, 0, -0.1, -0.1]]))
    assert b.denorm_boxes(np.array([[0, 0, 1, 1]]), (11, 21)).tolist() == [[0, 0, 11, 21]]
