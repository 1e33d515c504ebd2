"""Settings of a YOLO network; nothing here needs Keras."""

from __future__ import annotations

from mrcnn.config import Config

# The settings that the files of a YOLO network hold.
SETTINGS = (
    "NAME",
    "NUM_CLASSES",
    "IMAGE_MIN_DIM",
    "IMAGE_MAX_DIM",
    "IMAGES_PER_GPU",
    "DETECTION_MIN_CONFIDENCE",
    "DETECTION_NMS_THRESHOLD",
    "DETECTION_MAX_INSTANCES",
    "LEARNING_RATE",
    "LEARNING_MOMENTUM",
    "WEIGHT_DECAY",
    "GRADIENT_CLIP_NORM",
    "ACCUMULATE_STEPS",
    "PRECISION",
)


class YoloConfig(Config):
    """Settings of a YOLO network; by default those of the published YOLOv3 for COCO."""

    NAME = "yolo"
    NUM_CLASSES = 1 + 80
    USE_MASK = False
    # Side of the input in pixels: a multiple of 32; 448 for YOLOv1.
    IMAGE_MIN_DIM = 416
    IMAGE_MAX_DIM = 416
    IMAGES_PER_GPU = 8
    DETECTION_MIN_CONFIDENCE = 0.5
    DETECTION_NMS_THRESHOLD = 0.45
    # The losses are sums over the boxes of an image, so their gradients are larger than Mask
    # R-CNN's.
    GRADIENT_CLIP_NORM = 10.0
