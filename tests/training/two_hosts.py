"""One process of a training on several hosts; prints what came of it as JSON.

Not a test itself: `python -m tests.training.two_hosts FOLDER [KILL]`, with the variables of a
launcher, or without for the training of one process with the whole batch. With KILL, process 1 is
killed after the first step of the epoch of that number.
"""

import json
import os
import signal
import sys

if __name__ == "__main__":  # pytest imports every module
    os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from mrcnn.training import hosts

EPOCHS, STEPS = 4, 5
SETTINGS = {
    # Boxes from outside: the proposals of random weights find no object to learn a mask from.
    "USE_RPN_ROIS": False,
    "GRADIENT_CLIP_NORM": 0.5,
    "STEPS_PER_EPOCH": STEPS,
    "IMAGES_PER_GPU": 4,
}
# Images with many objects and with none: a process's mean is not that of the batch.
IMAGES = [((8, 8, 24, 1), (36, 30, 20, 2)), ((4, 4, 40, 2),), (), (), ((20, 6, 30, 1),)]


class Steps(keras.callbacks.Callback):
    """Notes the losses of every step, and kills this process."""

    def __init__(self, kill):
        super().__init__()
        self.kill = kill
        self.losses = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append({name: float(value) for name, value in logs.items()})
        if self.epoch + 1 == self.kill and hosts.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder, kill):
    from mrcnn.model import MaskRCNN
    from tests.tiny import Squares, randomize, tiny_config

    keras.utils.set_random_seed(0)
    model = MaskRCNN("training", tiny_config(**SETTINGS), folder)
    randomize(model.keras_model)
    try:
        model.load_weights(model.find_last(), by_name=True)
    except FileNotFoundError:
        pass
    first = model.epoch
    steps = Steps(kill)
    options = {"seed": 0, "verbose": 0, "workers": 0, "keep": 2, "custom_callbacks": [steps]}
    model.train(Squares(IMAGES), None, 0.02, EPOCHS, "all", **options)
    weights = [np.asarray(v, np.float64).ravel() for v in model.keras_model.get_weights()]
    return {
        "rank": hosts.rank(),
        "first_epoch": first,
        "losses": steps.losses,
        "weights": np.concatenate(weights).tolist(),
        "log_dir": model.log_dir,
    }


def main(folder, kill=0):
    with hosts.joined():
        result = train(folder, int(kill))
    print(json.dumps(result, default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
