"""Kills trainings at random moments and resumes them; prints what came of it as JSON.

Not a test itself: `python -m tests.training.kills FOLDER KILLS SEED`. The backend is imported once
and every training runs in a fork of this process, which must therefore compute nothing itself.
"""

import json
import os
import random
import select
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from mrcnn.model import MaskRCNN
from mrcnn.training.log_folders import newest_checkpoint
from mrcnn.training.state import state_file
from tests.tiny import Squares, tiny_config
from tests.training.runs import step_eagerly

EPOCHS = 3
IMAGES = [((4 * i, 3 * i, 24, 1), (36, 30, 20, 2)) for i in range(5)]


def train(folder, epochs, started=lambda: None, workers=2):
    """Train a tiny model, from the newest checkpoint if there is one."""
    import keras

    step_eagerly(pytest.MonkeyPatch())  # for the rest of the process
    warnings.simplefilter("error", UserWarning)
    keras.utils.set_random_seed(0)
    model = MaskRCNN("training", tiny_config(STEPS_PER_EPOCH=2, TRAIN_BN=None), str(folder))
    # From here on nothing may depend on the global generators.
    random.seed(os.getpid())
    np.random.seed(os.getpid())
    try:
        model.load_weights(model.find_last(), by_name=True)
    except FileNotFoundError:
        pass
    started()
    if model.epoch == epochs:  # killed after the last checkpoint
        return model
    data = Squares(IMAGES)
    model.train(
        data, data, 0.01, epochs, "all", augmentation=noise, seed=7, workers=workers, verbose=0
    )
    return model


def noise(image, mask, rng):
    """An augmentation that draws random numbers."""
    return image ^ rng.integers(0, 32, image.shape, np.uint8), mask


def fork(folder, epochs):
    """Start a training; returns its process id once it has begun, and the end of its pipe."""
    read_end, write_end = os.pipe()
    process = os.fork()
    if process:
        os.close(write_end)
        os.read(read_end, 1)  # one byte, or none if it failed before
        return process, read_end
    code = 1
    try:
        train(folder, epochs, lambda: os.write(write_end, b"."))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(process, read_end, seconds=None):
    """Wait for a training, or kill it after some seconds; returns whether it was killed."""
    # The pipe is closed when the process ends.
    ended, _, _ = select.select([read_end], [], [], seconds)
    if not ended:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(read_end)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0:
        raise RuntimeError(f"training ended with the status {status}")
    return killed


def weights_of(path):
    """All arrays of a weight file by name."""
    arrays = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, entry: (
                arrays.update({name: entry[()]}) if hasattr(entry, "shape") else None
            )
        )
    return arrays


def check_files(folder):
    """Check what a kill left: complete files, of which the newest weights have their state.

    Returns:
        The number of finished epochs.
    """
    for description in Path(folder).glob("*/config.json"):
        json.loads(description.read_text())
    if not list(Path(folder).glob("*/mask_rcnn*.h5")):
        return 0
    path = newest_checkpoint(folder, "tiny")
    assert weights_of(path)
    epoch = int(path[-7:-3])
    with np.load(os.path.join(os.path.dirname(path), state_file(epoch))) as state:
        assert int(state["epoch"]) == epoch
    return epoch


def largest_difference(folder, expected):
    found = weights_of(newest_checkpoint(folder, "tiny"))
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in expected)


def main(folder, kills, seed):
    rng = random.Random(seed)
    begin = time.time()
    process, pipe = fork(f"{folder}/reference", EPOCHS)
    begun = time.time()
    finish(process, pipe)
    duration = time.time() - begun
    expected = weights_of(newest_checkpoint(f"{folder}/reference", "tiny"))
    result = {"kills": 0, "runs": 0, "epochs": [], "differences": [], "leftovers": 0}
    while result["kills"] < kills or result["runs"] == 0:
        run = f"{folder}/{result['runs']}"
        while True:
            process, pipe = fork(run, EPOCHS)
            left = kills - result["kills"]
            # Any moment of a whole training; one that has few epochs left may end before.
            seconds = rng.uniform(0, duration) if left else None
            if not finish(process, pipe, seconds):
                break
            result["kills"] += 1
            result["epochs"].append(check_files(run))
            result["leftovers"] += len(list(Path(run).glob("*/.tmp-*")))
        result["runs"] += 1
        result["differences"].append(largest_difference(run, expected))
    result["seconds_each"] = round(duration, 1)
    result["seconds"] = round(time.time() - begin, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
