"""Settings of R-CNN."""

from __future__ import annotations

from typing import Literal

from mrcnn.config import Config

__all__ = ["RCNNConfig"]


# The settings that an R-CNN reads.
SETTINGS = (
    "NAME",
    "NUM_CLASSES",
    "BACKBONE",
    "IMAGE_MIN_DIM",
    "IMAGE_MAX_DIM",
    "MEAN_PIXEL",
    "REGIONS_PER_BATCH",
    "REGION_STRATEGY",
    "REGION_MAX_SIDE",
    "MAX_REGIONS",
    "REGION_CONTEXT",
    "NEGATIVE_MAX_IOU",
    "SVM_PENALTY",
    "REFINED_MIN_IOU",
    "BOX_RIDGE",
    "DETECTION_MIN_CONFIDENCE",
    "DETECTION_NMS_THRESHOLD",
    "DETECTION_MAX_INSTANCES",
)


class RCNNConfig(Config):
    """Settings of an R-CNN; by default those of the paper, for VOC's 20 classes.

    Of `Config`'s settings NUM_CLASSES, BACKBONE, IMAGE_MAX_DIM, MEAN_PIXEL and those of the
    detections are read as well.
    """

    NAME = "rcnn"
    # Boxes alone, from outside: what `evaluate_coco` needs to know.
    USE_MASK = False
    USE_RPN = False
    NUM_CLASSES = 1 + 20
    # The network: "efficientnet_lite0", "squeezenet", "nanodet", a classifier of
    # keras.applications such as "vgg16" or "MobileNetV2", or a function as for Mask R-CNN.
    BACKBONE = "efficientnet_lite0"
    # Side in pixels to which regions are warped. A network of keras.applications has its own.
    IMAGE_MIN_DIM = 224
    IMAGE_MAX_DIM = 224
    # Regions that the network takes at once.
    REGIONS_PER_BATCH = 64
    # Proposals of selective search: its strategy, the side in pixels to which larger images are
    # reduced before, and the most that are taken of an image.
    REGION_STRATEGY: Literal["single", "fast", "quality"] = "fast"
    REGION_MAX_SIDE = 640
    MAX_REGIONS = 2000
    # Pixels of context around a region after warping.
    REGION_CONTEXT = 16
    # Proposals below this IoU with every object of a class are its negatives.
    NEGATIVE_MAX_IOU = 0.3
    # C of the support vector machines.
    SVM_PENALTY = 0.001
    # Proposals above this IoU with an object are refined to its box.
    REFINED_MIN_IOU = 0.6
    # Weight of the squared coefficients in the regression of boxes.
    BOX_RIDGE = 1000.0
    # Most bytes of features on disk; the least recently used are removed. 0 keeps none.
    FEATURE_CACHE_BYTES = 4 * 2**30
    # The score of a region is the logistic function of the margin: 0.5 is the decision boundary.
    DETECTION_MIN_CONFIDENCE = 0.5
    DETECTION_NMS_THRESHOLD = 0.3
