"""A network of a few thousand weights and images of 64 pixels, for tests that need a model."""

import keras
import numpy as np
from keras import layers

from mrcnn.config import Config
from mrcnn.datasets.dataset import Dataset

STRIDES = (4, 8, 16, 32, 64)


def tiny_backbone(input_image, stage5, train_bn):
    """Five strided convolutions: C1 to C5 at strides 2 to 32."""
    stages = []
    x = layers.Rescaling(1 / 128)(input_image)
    for i in range(1, 6):
        x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name=f"res{i}a")(x)
        stages.append(x)
    return stages


def tiny_shapes(image_shape):
    """Sizes of P2 to P6."""
    return np.array([[-(-side // stride) for side in image_shape[:2]] for stride in STRIDES])


class TinyConfig(Config):
    NAME = "tiny"
    BACKBONE = staticmethod(tiny_backbone)
    COMPUTE_BACKBONE_SHAPE = staticmethod(tiny_shapes)
    NUM_CLASSES = 3
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    TOP_DOWN_PYRAMID_SIZE = 8
    RPN_CHANNELS = 8
    MASK_CHANNELS = 8
    FPN_CLASSIF_FC_LAYERS_SIZE = 8
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 64)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 32
    POST_NMS_ROIS_TRAINING = 24
    POST_NMS_ROIS_INFERENCE = 24
    TRAIN_ROIS_PER_IMAGE = 12
    DETECTION_MAX_INSTANCES = 6
    DETECTION_MIN_CONFIDENCE = 0
    MAX_GT_INSTANCES = 4
    MINI_MASK_SHAPE = (14, 14)


def tiny_config(**settings):
    """A `TinyConfig` with other settings."""
    config = TinyConfig()
    for name, value in settings.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    return config


class Squares(Dataset):
    """Images with bright squares (class 1) and dark ones (class 2).

    Args:
        pictures: for each its squares, `(y1, x1, side, class_id)`.
    """

    def __init__(self, pictures=(((8, 8, 24, 1), (36, 30, 20, 2)),) * 2):
        super().__init__()
        self.add_class("squares", 1, "bright")
        self.add_class("squares", 2, "dark")
        for number, squares in enumerate(pictures):
            self.add_image("squares", f"picture{number}", f"{number}.png", squares=squares)
        self.prepare()

    def load_image(self, image_id):
        image = np.full((64, 64, 3), 110 + image_id, np.uint8)
        for y, x, side, class_id in self.image_info[image_id]["squares"]:
            image[y : y + side, x : x + side] = 250 if class_id == 1 else 10
        return image

    def load_mask(self, image_id):
        squares = self.image_info[image_id]["squares"]
        masks = np.zeros((64, 64, len(squares)), bool)
        for i, (y, x, side, _) in enumerate(squares):
            masks[y : y + side, x : x + side, i] = True
        return masks, np.array([square[3] for square in squares], np.int32)


def randomize(model, seed=0):
    """Random weights for every layer of a Keras model, so that its outputs differ."""
    random = np.random.RandomState(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            values = random.uniform(0.5, 1.5, shape)
        else:
            values = random.normal(0, 1.0 / np.sqrt(max(np.prod(shape[:-1]), 1)), shape)
        variable.assign(values.astype(np.float32))


def shapes_only():
    """Build networks within it whose weights have shapes but no values, which takes no memory."""
    return keras.StatelessScope(initialize_variables=False)
