"""Settings of a semantic network; nothing here needs Keras."""

from __future__ import annotations

from mrcnn.config import Config

# The settings that the files of a semantic network hold.
SETTINGS = (
    "NAME",
    "NUM_CLASSES",
    "IMAGE_CHANNEL_COUNT",
    "MEAN_PIXEL",
    "IMAGE_MAX_DIM",
    "BASE_WIDTH",
    "PADDING",
    "TILE_SIDE",
    "IMAGES_PER_GPU",
    "LEARNING_RATE",
    "LEARNING_MOMENTUM",
    "WEIGHT_DECAY",
    "GRADIENT_CLIP_NORM",
    "ACCUMULATE_STEPS",
    "PRECISION",
)


class SemanticConfig(Config):
    """Settings of a semantic network; by default for VOC's 20 classes and background."""

    NAME = "semantic"
    # Classes of the label maps. Number 0 is the background only where the dataset says so.
    NUM_CLASSES = 21
    IMAGES_PER_GPU = 4
    # Larger images are trained on in parts of this side in pixels.
    IMAGE_MAX_DIM = 512
    LEARNING_RATE = 0.01
    # Filters of the first convolution; the others are multiples of it. 64 is the published one.
    BASE_WIDTH = 64
    # "valid": U-Net with the paper's convolutions, which do not pad.
    PADDING = "same"
    # Largest side in pixels of what U-Net with "valid" convolutions predicts at once.
    TILE_SIDE = 388
