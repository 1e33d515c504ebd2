"""COCO's ``segmentation``, in any of its forms, as compressed run lengths.

Masks become run lengths in `mrcnn.geometry.rle`.
"""

from __future__ import annotations

from typing import Any

from mrcnn.geometry.rle import encode_masks

__all__ = ["encode_masks", "segmentation_to_rle"]


def segmentation_to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """COCO's ``segmentation`` in any of its three forms as compressed run lengths.

    Args:
        segmentation: List of polygons ``[x1, y1, x2, y2, ...]`` in pixels, uncompressed
            RLE (``counts`` a list), or compressed RLE (``counts`` str or bytes).
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.

    Returns:
        ``{"size": [H, W], "counts": bytes or str}``.

    Raises:
        ValueError: If the form is none of these, or its size is not the picture's.
    """
    from pycocotools import mask as mask_utils

    if isinstance(segmentation, list):
        if not segmentation or any(len(polygon) < 6 for polygon in segmentation):
            raise ValueError("segmentation needs polygons of at least 3 points (6 numbers)")
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if not isinstance(segmentation, dict) or not {"counts", "size"} <= segmentation.keys():
        raise ValueError("segmentation must be a list of polygons or a dict of counts and size")
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(
            f"segmentation size {list(segmentation['size'])} is not the picture's "
            f"{[height, width]} (height, width)"
        )
    if isinstance(segmentation["counts"], list):
        return mask_utils.frPyObjects(segmentation, height, width)
    return segmentation
