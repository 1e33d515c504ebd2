"""Images that cannot be loaded, or that make the loss nan, in a training with loader threads."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.loading import BrokenImageError
from mrcnn.training import NonFiniteLossError
from tests.tiny import Squares
from tests.training.runs import train

pytestmark = pytest.mark.usefixtures("eager")

skimage_draw = pytest.importorskip("skimage.draw")


class Balloons(Squares):
    """Polygons as in Matterport's balloon sample, with its own `load_mask`, line by line.

    Args:
        on_the_edge: numbers of the images whose polygon ends on the image's edge, which its list
            of points gives as 64, one more than the last pixel.
        num_images: number of images.
    """

    def __init__(self, on_the_edge, num_images):
        self.on_the_edge = set(on_the_edge)
        super().__init__([((8, 8, 24, 1),)] * num_images)
        for image_id, info in enumerate(self.image_info):
            end = 64 if image_id in self.on_the_edge else 40
            polygon = {"all_points_x": [10, end, end, 10], "all_points_y": [10, 10, 40, 40]}
            info.update(polygons=[polygon], height=64, width=64)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        mask = np.zeros([info["height"], info["width"], len(info["polygons"])], dtype=np.uint8)
        for i, p in enumerate(info["polygons"]):
            rr, cc = skimage_draw.polygon(p["all_points_y"], p["all_points_x"])
            mask[rr, cc, i] = 1
        return mask.astype(bool), np.ones([mask.shape[-1]], dtype=np.int32)


SKIPPED = (
    "Skipped image {0} (source 'squares', id 'picture{0}', path '{0}.png'): "
    "IndexError: index 64 is out of bounds for axis 1 with size 64"
)


def test_balloons_on_the_edge_are_skipped(build, caplog):
    # 2 of 10 in training and 1 of 3 in validation; every image comes in each of two epochs.
    model = build(STEPS_PER_EPOCH=5, VALIDATION_STEPS=2, TRAIN_ROIS_PER_IMAGE=4)
    data, val_data = Balloons([3, 7], 10), Balloons([1], 3)
    with caplog.at_level(logging.WARNING, "mrcnn.loading"):
        history = train(model, 2, train_data=data, val_data=val_data, workers=2)
    assert len(history["loss"]) == len(history["val_loss"]) == 2 and model.epoch == 2
    expected = [SKIPPED.format(number) for number in (1, 3, 7)]
    assert sorted(record.getMessage() for record in caplog.records) == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "on_the_edge, options, message",
    [
        (range(8), {}, r"^image \d \(source 'squares', id 'picture\d', .*\): IndexError: index 64"),
        (range(1, 8), {"on_error": "raise"}, r"^image \d .*: IndexError: index 64 is out of"),
    ],
)
def test_too_many_or_the_first_end_the_training(build, workers, on_the_edge, options, message):
    model = build(STEPS_PER_EPOCH=4)
    with pytest.raises(BrokenImageError, match=message) as caught:
        train(model, 2, train_data=Balloons(on_the_edge, 8), workers=workers, **options)
    assert isinstance(caught.value.__cause__, IndexError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_in_validation_ends_the_training(build, workers):
    model = build(VALIDATION_STEPS=2)
    options = {"val_data": Balloons([3], 4), "on_error": "raise", "workers": workers}
    with pytest.raises(BrokenImageError, match=r"^image 3 "):
        train(model, 1, train_data=Balloons([], 2), **options)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C at the second step."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("data", [Balloons([], 9), Balloons(range(9), 9)])
def test_no_loader_thread_stays_behind(build, data):
    before = {thread.name for thread in threading.enumerate()}
    model = build(STEPS_PER_EPOCH=50)
    with pytest.raises((KeyboardInterrupt, BrokenImageError)):
        train(model, train_data=data, workers=2, custom_callbacks=[Interrupt()])
    end = time.monotonic() + 10  # for a pool, which closes by itself
    while time.monotonic() < end and {t.name for t in threading.enumerate()} - before:
        time.sleep(0.05)
    assert not {thread.name for thread in threading.enumerate()} - before


def test_skipping_is_repeatable(build):
    results = []
    for workers in (0, 3):
        random.seed(workers)
        np.random.seed(workers)
        model = build(NAME=f"w{workers}", STEPS_PER_EPOCH=5)
        train(model, train_data=Balloons([2, 5], 9), workers=workers)
        results.append(model.keras_model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


class OneIsNan(Squares):
    """Image 3 of 6 has no finite pixel."""

    def __init__(self):
        super().__init__([((8, 8, 24, 1),)] * 6)

    def load_image(self, image_id):
        image = super().load_image(image_id).astype(np.float32)
        return image * np.nan if image_id == 3 else image


@pytest.mark.parametrize("seed, workers", [(0, 0), (1, 2), (2, 2)])
def test_the_image_that_makes_the_loss_nan_is_named(build, seed, workers):
    random.seed(seed)
    model = build(IMAGES_PER_GPU=1, STEPS_PER_EPOCH=6)
    with pytest.raises(NonFiniteLossError) as caught:
        train(model, train_data=OneIsNan(), seed=seed, workers=workers)
    assert "picture3" in str(caught.value)
    assert not any(f"picture{i}" in str(caught.value) for i in (0, 1, 2, 4, 5))


@pytest.mark.parametrize(
    "channels, shape, dtype",
    [
        (1, (64, 64, 3), np.uint8),  # color
        (1, (64, 64), np.uint8),  # gray
        (3, (64, 64, 4), np.uint16),
    ],
)
def test_images_of_another_number_of_channels_train(build, channels, shape, dtype):
    class Other(Squares):
        def load_image(self, image_id):
            return np.full(shape, 100, dtype)

    mean = np.array([110.0] * channels)
    model = build(IMAGE_CHANNEL_COUNT=channels, MEAN_PIXEL=mean)
    assert np.isfinite(train(model, train_data=Other(), on_error="raise")["loss"][0])


def test_other_channels_than_any_conversion_gives_are_named(build):
    class Other(Squares):
        def load_image(self, image_id):
            return np.zeros((64, 64, 7), np.uint8)

    with pytest.raises(BrokenImageError, match=r"shape \(64, 64, 7\), which does not fit the 3"):
        train(build(), train_data=Other(), on_error="raise")


INTERRUPTED = """
import os, signal, sys, time
from tests.training import kills
import mrcnn.loading.examples as examples

class Signal(kills.Squares):
    def load_image(self, image_id):
        if self.armed:
            self.armed = False
            print("begun", flush=True)
        return super().load_image(image_id)

kills.Squares, Signal.armed = Signal, True
try:
    kills.train(sys.argv[1], 1000, workers=2)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, code",
    [(signal.SIGINT, 0), pytest.param(signal.SIGTERM, -signal.SIGTERM, marks=pytest.mark.long)],
)
def test_a_signal_ends_training_and_loader_with_complete_files(tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    while not list(tmp_path.glob("*/mask_rcnn_tiny_0002.h5")):
        assert process.poll() is None, process.stderr.read()[-2000:]
        os.sched_yield()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert out == ("interrupted\n" if number == signal.SIGINT else "")
    from tests.training.kills import check_files

    assert check_files(tmp_path) >= 2
