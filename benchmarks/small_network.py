"""Settings of a small Mask R-CNN that starts from ImageNet's values, for CPUs."""

from mrcnn.config import Config

CLASSES = ("balloon", "motorcycle", "person")


class SmallConfig(Config):
    """Narrow pyramid and heads. Images are 384 x 384, so anchors run from 24 to 384."""

    NAME = "small"
    BACKBONE = "squeezenet"
    NUM_CLASSES = 1 + len(CLASSES)
    IMAGES_PER_GPU = 2
    IMAGE_MIN_DIM = 384
    IMAGE_MAX_DIM = 384
    TOP_DOWN_PYRAMID_SIZE = 96
    # Objects that fill the image are pooled from P4: the stages of stride 16 come from ImageNet,
    # those of stride 32 are trained with a few images only.
    CANONICAL_BOX_SIZE = 320
    RPN_CHANNELS = 96
    MASK_CHANNELS = 128
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    RPN_ANCHOR_SCALES = (24, 48, 96, 192, 384)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 128
    PRE_NMS_LIMIT = 2000
    POST_NMS_ROIS_TRAINING = 500
    POST_NMS_ROIS_INFERENCE = 300
    TRAIN_ROIS_PER_IMAGE = 64
    MAX_GT_INSTANCES = 40
    DETECTION_MIN_CONFIDENCE = 0.6
    DETECTION_NMS_THRESHOLD = 0.5
    STEPS_PER_EPOCH = 200
    VALIDATION_STEPS = 1
