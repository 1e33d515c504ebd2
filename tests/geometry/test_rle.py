"""Run lengths: pycocotools' own, also of masks of which only the box is at hand."""

import json
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.geometry.boxes import extract_bboxes
from mrcnn.geometry.masks import empty_masks, paste_masks, paste_rles
from mrcnn.geometry.rle import (
    RleMasks,
    decode_part,
    decode_rle,
    encode_masks,
    encode_part,
    encode_rle,
    rle_area,
    rle_box,
    segmentation_to_rle,
)
from tests.geometry.test_masks import blobs


@pytest.mark.parametrize(
    "mask",
    [blobs(30, 40, 1)[..., 0], np.zeros((5, 6), bool), np.ones((5, 6), bool), np.eye(7) > 0],
    ids=["blobs", "empty", "full", "diagonal"],
)
def test_rle_round_trip(mask):
    runs = encode_rle(mask, compressed=False)
    packed = encode_rle(mask)
    assert runs["size"] == packed["size"] == list(mask.shape)
    for rle in (runs, packed):
        decoded = decode_rle(json.loads(json.dumps(rle)))
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)
    # Both say the same to pycocotools.
    assert coco_mask.frPyObjects(runs, *runs["size"])["counts"].decode() == packed["counts"]
    np.testing.assert_array_equal(decode_rle(packed | {"counts": packed["counts"].encode()}), mask)


def test_rle_by_hand():
    mask = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    assert encode_rle(mask, compressed=False)["counts"] == [2, 1, 1, 2]
    assert encode_rle(1 - mask, compressed=False)["counts"] == [0, 2, 1, 1, 2]


def test_rle_of_several_instances():
    masks = blobs(20, 25, 3)
    rles = encode_rle(masks)
    assert len(rles) == 3
    np.testing.assert_array_equal(decode_rle(rles), masks)


def test_rle_refuses():
    with pytest.raises(ValueError, match=r"add up to 5 pixels; they must add up to 2 x 3 = 6"):
        decode_rle({"size": [2, 3], "counts": [2, 3]})
    with pytest.raises(ValueError, match="empty sequence"):
        decode_rle([])
    with pytest.raises(ValueError, match=r"\(4,\)"):
        encode_rle(np.zeros(4))


@pytest.mark.parametrize("seed", range(40))
def test_equals_pycocotools(seed):
    rng = np.random.default_rng(seed)
    height, width, count = rng.integers(1, 7, 3)
    masks = rng.random((height, width, count)) < rng.random(count)
    expected = coco_mask.encode(np.asfortranarray(masks.astype(np.uint8)))
    assert encode_masks(masks) == expected
    assert encode_masks(masks.astype(np.float32) * 0.3) == expected
    by_instance = empty_masks(height, width, count)
    by_instance[...] = masks
    assert encode_masks(by_instance) == expected
    assert rle_area(encode_rle(masks)).tolist() == masks.sum(axis=(0, 1)).tolist()


@pytest.mark.parametrize("seed", range(30))
def test_a_part_stands_for_the_whole(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 8, 2)
    y1, y2 = sorted(rng.integers(0, height + 1, 2))
    x1, x2 = sorted(rng.integers(0, width + 1, 2))
    whole = np.zeros((height, width), bool)
    whole[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < 0.7
    for compressed in (True, False):
        rle = encode_part(whole[y1:y2, x1:x2], (y1, x1), whole.shape, compressed)
        assert rle == encode_rle(whole, compressed)
    np.testing.assert_array_equal(decode_rle(rle), whole)
    assert min(rle["counts"][1:], default=1) > 0


def test_no_masks():
    assert encode_rle(np.zeros((4, 5, 0), bool)) == []
    assert rle_area([]).shape == (0,)


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_pasted_run_lengths_are_those_of_pasted_masks(threshold):
    probs = np.random.default_rng(0).random((6, 14, 14)).astype(np.float32)
    probs[4] = 0.9
    boxes = np.array(
        [
            *([3, 4, 40, 50], [-10, -5, 30, 20], [0, 0, 60, 70], [50, 60, 90, 99]),
            *([-2, -2, 70, 80], [80, 80, 90, 90]),
        ]
    )
    expected = encode_rle(paste_masks(probs, boxes, (60, 70, 3), threshold))
    assert paste_rles(probs, boxes, (60, 70, 3), threshold) == expected
    assert decode_rle(expected[4]).all() and not decode_rle(expected[5]).any()


def test_run_lengths_take_no_frames():
    # 400 frames of 8000 x 8000 would take 26 GB.
    boxes = np.tile([100, 200, 140, 230], (400, 1))
    rles = paste_rles(np.ones((400, 28, 28), np.float32), boxes, (8000, 8000))
    assert rle_area(rles).tolist() == [40 * 30] * 400


def packed(counts, size=(48, 64)):
    """pycocotools' string of lengths, which it does not check."""
    runs = {"size": list(size), "counts": counts}
    return coco_mask.frPyObjects(runs, *size)["counts"].decode()


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [490, 20], "size": [48, 64]}, "510 pixels; .* 48 x 64 = 3072"),
        ({"counts": packed([490, 20]), "size": [48, 64]}, "510 pixels; .* 48 x 64 = 3072"),
        ({"counts": packed([490, 20]).encode(), "size": [48, 64]}, "510 pixels; .* = 3072"),
        ({"counts": [490, 20, 9562], "size": [48, 64]}, "10072 pixels; .* = 3072"),
        ({"counts": packed([490, 20, 9562]), "size": [48, 64]}, "10072 pixels; .* = 3072"),
        ({"counts": [490, -20, 2602], "size": [48, 64]}, "hold -20; a length must not be neg"),
        ({"counts": [490, 20, 2562]}, "size is missing"),
        ({"counts": [490, 20, 2562], "size": [48]}, r"size is \[48\]"),
        ({"counts": [490, 20, 2562], "size": "48"}, "size is '48'"),
        ({"counts": [10**18], "size": [10**9, 10**9]}, "size is .* at most"),
        ({"counts": packed([9]), "size": [10**9, 10**9]}, "size is .* at most"),
        ({"counts": [9], "size": [-3, -3]}, "size is "),
        ({"counts": [], "size": [3, 3]}, "add up to 0 pixels"),
        ({"counts": "", "size": [3, 3]}, "a text that pycocotools does not write"),
        ({"counts": "\x00\x01", "size": [3, 3]}, "a text that pycocotools does not write"),
        ({"counts": "o" * 99, "size": [3, 3]}, "a text that pycocotools does not write"),
        ({"counts": "käse", "size": [3, 3]}, "a text that pycocotools does not write"),
        ({"counts": [1, "x"], "size": [3, 3]}, "whole numbers"),
        ({"counts": [1.5, 7.5], "size": [3, 3]}, "whole numbers"),
        ({"counts": [1, None], "size": [3, 3]}, "whole numbers"),
        ({"counts": [[1, 8]], "size": [3, 3]}, "whole numbers"),
        ({"counts": [10**400], "size": [3, 3]}, "whole numbers"),
        ({"counts": 9, "size": [3, 3]}, "whole numbers"),
        ({"counts": {"a": 9}, "size": [3, 3]}, "whole numbers"),
        ({"counts": None, "size": [3, 3]}, "whole numbers"),
        ({"size": [3, 3]}, "no counts"),
    ],
)
def test_broken_run_lengths(rle, message):
    for function in (decode_rle, lambda one: rle_area([one])):
        with pytest.raises(ValueError, match=message):
            function(rle)
    if "counts" in rle and rle.get("size") == [48, 64]:
        with pytest.raises(ValueError, match=message):
            segmentation_to_rle(rle, 48, 64)


def test_lengths_as_text_or_with_a_fraction_of_zero():
    for counts in ([2.0, 1, 3], ["2", "1", "3"], (2, 1, 3), np.array([2, 1, 3])):
        assert decode_rle({"size": [2, 3], "counts": counts}).sum() == 1


SQUARE = [10, 10, 40, 10, 40, 30, 10, 30]
POINTS = [[10, 10], [40, 10], [40, 30], [10, 30]]


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE], SQUARE, [[SQUARE]], [[[SQUARE]]], POINTS, [POINTS], [[POINTS]], [SQUARE, []],
        [[], SQUARE], [[str(n) for n in SQUARE]], [{"x": x, "y": y} for x, y in POINTS],
        [[{"x": x, "y": y} for x, y in POINTS]], [float(n) for n in SQUARE], [SQUARE, SQUARE],
        [POINTS, POINTS], [SQUARE[:8], POINTS],
    ],
)  # fmt: skip
def test_nestings_of_a_polygon(segmentation):
    assert rle_area([segmentation_to_rle(segmentation, 48, 64)]).tolist() == [600]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 10, math.nan, 10, 40, 30]], [[10, 10, math.inf, 10, 40, 30]], [[1, 2, 3, 4, 5]],
        [[1e12, 2, 3, 4, 5, 6]], [[10**400, 2, 3, 4, 5, 6]], [["x", 2, 3, 4, 5, 6]], [[None] * 6],
        [1, 2, [3, 4], 5, 6], [{"x": 1}] * 3, [[1, 2]], [SQUARE[:4]], [[[[[[[[[[SQUARE]]]]]]]]]],
        [[{}, 1, 2, 3, 4, 5]], ["10 10 40 10 40 30"],
    ],
)  # fmt: skip
def test_broken_polygons(segmentation):
    with pytest.raises(ValueError, match="segmentation "):
        segmentation_to_rle(segmentation, 48, 64)


@pytest.mark.parametrize("far", [5_000, 1e6, 1e9])
def test_polygons_that_reach_far_outside(far):
    around = [[-far, -far, far, -far, far, far, -far, far]]
    assert rle_area([segmentation_to_rle(around, 48, 64)]).tolist() == [48 * 64]
    # The left half: what lies outside is cut off and moves to no edge.
    half = [[-far, -far, 32, -far, 32, far, -far, far]]
    mask = decode_rle(segmentation_to_rle(half, 48, 64))
    assert mask[:, :32].all()
    assert not mask[:, 32:].any()
    outside = [[far, far, 2 * far, far, 2 * far, 2 * far]] if far < 1e9 else [[far, far] * 3]
    assert rle_area([segmentation_to_rle(outside, 48, 64)]).tolist() == [0]


def test_an_outline_that_is_too_long():
    zigzag = np.tile([0.0, 0.0, 9000.0, 9000.0], 400).tolist()
    with pytest.raises(ValueError, match=r"outline of a polygon is .* it must be at most 2000000"):
        segmentation_to_rle([zigzag], 9000, 9000)


def test_a_part_is_decoded_without_the_rest():
    generator = np.random.default_rng(0)
    for case in range(300):
        height, width = generator.integers(1, 9, 2)
        mask = generator.random((height, width)) < generator.choice([0, 0.1, 0.5, 0.9, 1])
        y1, y2 = sorted(generator.integers(0, height + 1, 2))
        x1, x2 = sorted(generator.integers(0, width + 1, 2))
        encoded = encode_rle(mask, compressed=bool(case % 2))
        part = decode_part(encoded, (y1, x1, y2, x2))
        np.testing.assert_array_equal(part, mask[y1:y2, x1:x2])
        assert rle_box(encoded) == tuple(extract_bboxes(mask[..., None])[0].tolist())


def test_a_part_of_lengths_with_zeros_among_them():
    encoded = {"size": [3, 2], "counts": [0, 0, 1, 0, 0, 2, 3]}
    np.testing.assert_array_equal(decode_part(encoded, (0, 0, 3, 2)), decode_rle(encoded))
    assert rle_box(encoded) == (1, 0, 3, 1)
    assert rle_box({"size": [3, 2], "counts": [3, 0, 3]}) == (0, 0, 0, 0)


@pytest.mark.parametrize("box", [(0, 0, 4, 2), (-1, 0, 2, 2), (2, 0, 1, 2), (0, 1, 1, 3)])
def test_a_part_outside_the_mask_is_refused(box):
    with pytest.raises(ValueError, match=r"box is .*; it must lie within the mask of 3 x 2"):
        decode_part({"size": [3, 2], "counts": [6]}, box)


def test_run_lengths_are_sliced_like_masks():
    masks = np.random.default_rng(1).random((5, 7, 2)) < 0.5
    sliced = RleMasks(encode_rle(masks), (5, 7))
    assert sliced.shape == (5, 7, 2)
    for rows, columns in ((slice(None), slice(None)), (slice(1, 3), slice(-2, 9))):
        np.testing.assert_array_equal(sliced[rows, columns, 1], masks[rows, columns, 1])
    assert sliced[4:1, :, 0].shape == (0, 7)
    with pytest.raises(ValueError, match="they must have no step"):
        _ = sliced[::2, :, 0]
    assert RleMasks([], (5, 7)).shape == (5, 7, 0)
