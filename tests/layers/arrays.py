"""Between NumPy and the backend, for the tests of the layers."""

import numpy as np
from keras import ops


def tensor(values, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(values, dtype))


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def image_meta(height, width, num_classes=3, batch=1):
    """`image_meta` rows of images that fill a frame."""
    row = [0, height, width, 3, height, width, 3, 0, 0, height, width, 1, *[1] * num_classes]
    return tensor([row] * batch)
