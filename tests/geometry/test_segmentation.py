"""Every form of COCO's segmentation as run lengths."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mrcnn.geometry.rle import encode_masks, segmentation_to_rle


def test_odd_masks():
    masks = np.zeros((4, 5, 4), bool)
    masks[..., 1] = True  # full
    masks[0, 0, 2] = True  # first pixel
    masks[3, 4, 3] = True  # last pixel
    expected = mask_utils.encode(np.asfortranarray(masks.astype(np.uint8)))
    assert encode_masks(masks) == expected
    assert encode_masks(masks.astype(np.float32) * 0.3) == expected
    assert encode_masks(masks[..., :0]) == []
    with pytest.raises(ValueError, match=r"\[height, width, instances\]"):
        encode_masks(masks[..., 0])


def test_all_forms_of_a_segmentation():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 1
    compressed = mask_utils.encode(np.asfortranarray(mask))
    as_text = {"size": [6, 8], "counts": compressed["counts"].decode()}
    forms = {
        "polygons": [[2, 1, 7, 1, 7, 4, 2, 4]],
        "uncompressed": {"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 3, 3, 3, 3, 8]},
        "bytes": compressed,
        "text": as_text,
    }
    for name, form in forms.items():
        decoded = mask_utils.decode(segmentation_to_rle(form, 6, 8))
        np.testing.assert_array_equal(decoded, mask, err_msg=name)


@pytest.mark.parametrize(
    "segmentation, message",
    [
        ([], "at least 3 points"),
        ([[0, 0, 4, 4]], "at least 3 points"),
        ({"size": [5, 8], "counts": [40]}, r"\[5, 8\]; it must be the image's \[6, 8\]"),
        ({"counts": [48]}, "list of polygons or a dict"),
        ("13", "list of polygons or a dict"),
    ],
)
def test_bad_segmentation(segmentation, message):
    with pytest.raises(ValueError, match=message):
        segmentation_to_rle(segmentation, 6, 8)
