"""Run lengths: pycocotools' own, also of masks of which only the box is at hand."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.geometry.masks import empty_masks, paste_masks, paste_rles
from mrcnn.geometry.rle import decode_rle, encode_masks, encode_part, encode_rle, rle_area
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
    with pytest.raises(ValueError, match=r"add up to 5 pixels: must be 2 x 3 = 6"):
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
