"""Snapping a mask to the colors of its image: GrabCut decides the doubtful pixels.

Rother et al. 2004, https://doi.org/10.1145/1015706.1015720; the implementation is OpenCV's.
"""

from __future__ import annotations

import cv2
import numpy as np

from mrcnn.refinement.patches import object_box, resample
from mrcnn.refinement.recipes import Snap

# Surroundings of the object that GrabCut sees, as a share of its longer side.
MARGIN = 0.05
# Fewer sure pixels of the object, or around it, are too few to estimate its colors.
MIN_SURE_PIXELS = 20


def snap_to_colors(image: np.ndarray, probability: np.ndarray, settings: Snap) -> np.ndarray:
    """Decide the doubtful pixels of a mask by their colors and edges.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        probability: `[H, W]` in 0..1.
        settings: the limits of doubtful probabilities, and the weight of GrabCut's answer.

    Returns:
        `[H, W]` float32: the average of the probability and GrabCut's answer (0 or 1, soft at
        its edges where the object was larger than `settings.side`) around the object. The
        probability itself where no pixel is sure.
    """
    box = object_box(probability)
    if box is None:
        return probability
    y1, x1, y2, x2 = box
    reach = round(MARGIN * max(y2 - y1, x2 - x1))
    region = (slice(max(0, y1 - reach), y2 + reach), slice(max(0, x1 - reach), x2 + reach))
    given = probability[region]
    factor = min(1.0, settings.side / max(given.shape))
    shape = tuple(max(8, round(side * factor)) for side in given.shape)
    small = resample(given, shape)
    labels = np.where(small >= 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[small > 0.5 + settings.band] = cv2.GC_FGD
    labels[small < 0.5 - settings.band] = cv2.GC_BGD
    sure = [int((labels == label).sum()) for label in (cv2.GC_FGD, cv2.GC_BGD)]
    if min(sure) < MIN_SURE_PIXELS:
        return probability
    small_image = np.ascontiguousarray(resample(image[region], shape))
    cv2.setRNGSeed(0)  # its clusters of colors start at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    no_box = (0, 0, 0, 0)  # the labels mark the object
    cv2.grabCut(small_image, labels, no_box, *models, settings.iterations, cv2.GC_INIT_WITH_MASK)
    inside = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
    snapped = np.array(probability, np.float32)
    share = settings.share
    snapped[region] = (1 - share) * given + share * resample(inside, given.shape)
    return snapped
