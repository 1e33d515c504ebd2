"""Trains on one device and on two, which are halves of the CPU, and prints the results as JSON.

Not a test itself: devices can be split only before the backend starts, so the test runs this in a
process of its own: `python -m tests.training.two_devices FOLDER`.
"""

import json
import os
import sys

import numpy as np
import pytest

SETTINGS = {
    # Boxes from outside: the proposals of random weights find no object to learn a mask from.
    "USE_RPN_ROIS": False,
    "GRADIENT_CLIP_NORM": 0.5,
    "STEPS_PER_EPOCH": 2,
}
# Two images with few objects and two with none: a device's mean is not that of the batch.
IMAGES = [((8, 8, 24, 1), (36, 30, 20, 2)), ((4, 4, 40, 2),), (), ()]


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


def train(model, callbacks, eagerly=False):
    """Losses and validation metrics of two epochs."""
    from tests.tiny import Squares
    from tests.training.runs import step_eagerly

    data = Squares(IMAGES)
    options = {"workers": 0, "seed": 0, "verbose": 0, "custom_callbacks": callbacks}
    with pytest.MonkeyPatch.context() as patch:
        if eagerly:
            step_eagerly(patch)
        history = model.train(data, data, learning_rate=0.02, epochs=2, layers="all", **options)
    return history.history


def optimizer_values(model):
    """The optimizer's variables, but for the learning rate."""
    return [v.numpy() for v in model.keras_model.optimizer.variables if "rate" not in v.path]


def resume(folder, trained):
    """Whether a new model on two devices gets weights and optimizer's state of a trained one."""
    from mrcnn.training import state, trainer

    model = build(folder, 2)
    model.load_weights(trained.find_last(), by_name=True)
    trainer.compile_model(model.keras_model, model.config, 0.02, 0.9)
    outcome = state.restore_state(model.keras_model, model.log_dir, model.epoch)
    pairs = [
        *zip(optimizer_values(model), optimizer_values(trained), strict=True),
        *zip(model.keras_model.get_weights(), trained.keras_model.get_weights(), strict=True),
    ]
    return outcome == "restored" and all(np.array_equal(*pair) for pair in pairs)


def main(folder):
    split_cpu()
    one = build(folder, 1)
    start = one.keras_model.get_weights()
    expected = train(one, [], eagerly=True)
    two = build(folder, 2)
    found = train(two, ["best"])
    pairs = zip(start, one.keras_model.get_weights(), two.keras_model.get_weights(), strict=True)
    moved, apart = zip(*((np.abs(b - a).max(), np.abs(b - c).max()) for a, b, c in pairs))
    distributions = [model.keras_model.distribution for model in (one, two)]
    result = {
        "kinds": [type(distribution).__name__ for distribution in distributions],
        "expected": expected,
        "found": found,
        "moved": float(max(moved)),
        "apart": float(max(apart)),
        "momentum": float(max(np.abs(value).max() for value in optimizer_values(two)[1:])),
        "resumed": resume(folder, two),
        "files": sorted(os.listdir(two.log_dir)),
    }
    print(json.dumps(result, default=float))


if __name__ == "__main__":
    main(sys.argv[1])
