"""How well the outlines of an `everyday.py` model's masks fit."""

import numpy as np

from mrcnn.evaluation.boundary import boundary_iou
from mrcnn.evaluation.pixels import iou
from mrcnn.geometry.boxes import compute_overlaps, extract_bboxes

# A detection finds an object of its class whose box overlaps its own by this.
LEAST_OVERLAP = 0.5


def outline_figures(model, dataset, refiner=None):
    """Return how well masks fit the objects that are found, of all classes alike.

    An object is found by the detection of its class whose box overlaps its own most. Refinement
    changes no boxes, so that the objects are the same with it and without.

    Args:
        model: a model in inference mode.
        dataset: what to measure on.
        refiner: as for `MaskRCNN.detect`.

    Returns:
        `found` (number of objects), `mask_IoU` and `boundary_IoU`, means over them.
    """
    overlaps, outlines = [], []
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        result = model.detect([dataset.load_image(image_id)], refiner=refiner)[0]
        for i, detection in matches(extract_bboxes(masks), class_ids, result):
            pair = result["masks"][..., detection], masks[..., i]
            overlaps.append(iou(*pair))
            outlines.append(boundary_iou(*pair))
    return {
        "found": len(overlaps),
        "mask_IoU": round(float(np.mean(overlaps or [0])), 4),
        "boundary_IoU": round(float(np.mean(outlines or [0])), 4),
    }


def matches(boxes, class_ids, result):
    """Return (object, detection) of each object that is found; crowds (class id below 0) are not.

    Args:
        boxes: [N, (y1, x1, y2, x2)] of the objects.
        class_ids: [N] of the objects.
        result: an image's result of `MaskRCNN.detect`.
    """
    if not len(boxes) or not len(result["rois"]):
        return []
    overlaps = compute_overlaps(boxes.astype(float), result["rois"].astype(float))
    overlaps[class_ids[:, None] != result["class_ids"]] = 0
    best = overlaps.argmax(axis=1)
    found = np.flatnonzero(overlaps.max(axis=1) >= LEAST_OVERLAP)
    return [(int(i), int(best[i])) for i in found]
