"""Trains on one device and on two, which are halves of the CPU, and prints what came of it as JSON.

Not a test itself: devices can be split only before the backend starts, so the test runs this in a
process of its own: `python -m tests.training.two_devices FOLDER`.
"""

import json
import os
import sys

import numpy as np

SETTINGS = {
    # Boxes from outside: the proposals of random weights find no object to learn a mask from.
    "USE_RPN_ROIS": False,
    "GRADIENT_CLIP_NORM": 0.5,
    "STEPS_PER_EPOCH": 2,
}
# Two pictures with few objects and two with none: a device's mean is not that of the batch.
PICTURES = [((8, 8, 24, 1), (36, 30, 20, 2)), ((4, 4, 40, 2),), (), ()]


def split_cpu():
    """Two devices; to be called before anything else."""
    if os.environ.get("KERAS_BACKEND") == "jax":
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
        return
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])


def build(folder, gpu_count):
    """A tiny model of random weights, for a batch of four."""
    import keras

    from mrcnn.model import MaskRCNN
    from tests.tiny import randomize, tiny_config

    keras.utils.set_random_seed(0)
    settings = {**SETTINGS, "GPU_COUNT": gpu_count, "IMAGES_PER_GPU": 4 // gpu_count}
    model = MaskRCNN("training", tiny_config(**settings), os.path.join(folder, str(gpu_count)))
    randomize(model.keras_model)
    return model


def train(model, epochs):
    """Losses and validation figures of each epoch."""
    from tests.tiny import Squares

    data = Squares(PICTURES)
    options = {"workers": 0, "seed": 0, "verbose": 0, "custom_callbacks": ["best"]}
    history = model.train(data, data, learning_rate=0.02, epochs=epochs, layers="all", **options)
    return history.history


def train_and_resume(folder, gpu_count):
    """One epoch, then another by a new model that goes on from the first one's checkpoint.

    Returns:
        `(losses and figures of both epochs, initial weights, last weights, the first model)`.
    """
    first = build(folder, gpu_count)
    start = first.keras_model.get_weights()
    history = train(first, 1)
    resumed = build(folder, gpu_count)
    resumed.load_weights(first.find_last(), by_name=True)
    more = train(resumed, 2)
    history = {name: [float(*history[name]), float(*more[name])] for name in history}
    return history, start, resumed.keras_model.get_weights(), first


def main(folder):
    split_cpu()
    expected, start, end, one = train_and_resume(folder, 1)
    found, _, other_end, two = train_and_resume(folder, 2)
    pairs = zip(start, end, other_end, strict=True)
    moved, apart = zip(*((np.abs(b - a).max(), np.abs(b - c).max()) for a, b, c in pairs))
    distributions = [model.keras_model.distribution for model in (one, two)]
    result = {
        "kinds": [type(distribution).__name__ for distribution in distributions],
        "expected": expected,
        "found": found,
        "moved": float(max(moved)),
        "apart": float(max(apart)),
        "files": sorted(os.listdir(two.log_dir)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
