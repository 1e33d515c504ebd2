"""Boxes, anchors, images and masks in NumPy and OpenCV, without a deep learning library."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "anchors_for_image": ".anchors",
    "apply_box_deltas": ".boxes",
    "as_rgb": ".images",
    "box_refinement": ".boxes",
    "compose_image_meta": ".image_meta",
    "compute_backbone_shapes": ".anchors",
    "compute_iou": ".boxes",
    "compute_overlaps": ".boxes",
    "compute_overlaps_masks": ".boxes",
    "denorm_boxes": ".boxes",
    "empty_masks": ".masks",
    "evenly_spaced": ".spacing",
    "expand_mask": ".masks",
    "extract_bboxes": ".boxes",
    "generate_anchors": ".anchors",
    "generate_pyramid_anchors": ".anchors",
    "mask_to_polygons": ".masks",
    "minimize_mask": ".masks",
    "mold_image": ".images",
    "non_max_suppression": ".boxes",
    "norm_boxes": ".boxes",
    "parse_image_meta": ".image_meta",
    "paste_masks": ".masks",
    "paste_rles": ".masks",
    "resize": ".images",
    "resize_image": ".images",
    "resize_mask": ".masks",
    "unmold_image": ".images",
    "unmold_mask": ".masks",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
