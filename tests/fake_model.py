"""A fake model and small files, so that the subcommands are tested without a network.

As a program (`python -m tests.fake_model WORDS`) it runs the command line with the fake model in a
process of its own, for tests of signals and kills.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.detection.streaming import stream
from tests.weight_files import write_weight_file

NAMES = ["BG", "cat", "dog"]


class FakeMaskRCNN:
    """Find a cat in the upper left and a dog in the lower right of every image."""

    built: list[FakeMaskRCNN] = []  # noqa: RUF012
    report = None

    def __init__(self, mode, config, model_dir, **options):
        config.validate()
        self.mode, self.config, self.model_dir, self.options = mode, config, model_dir, options
        self.loaded, self.trained, self.epoch = [], [], 0
        self.log_dir = f"{model_dir}/run"
        self.built.append(self)

    @classmethod
    def from_weights(cls, weights, mode="inference", *, model_dir="logs", **options):
        model = cls(mode, weights.config, model_dir, **options)
        model.load_weights(str(weights.path), by_name=True)
        model.class_names = list(weights.class_names)
        model.refiner = weights.refiner
        return model

    def load_weights(self, filepath, by_name=False, exclude=None):
        self.loaded.append((filepath, by_name, exclude))
        return self.report

    def set_log_dir(self, model_path=None):
        self.loaded.append("new log dir")

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers, **options):
        time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
        self.trained.append((train_dataset, val_dataset, learning_rate, epochs, layers, options))

    keras_model = None

    def detect(self, images, verbose=0, refiner=None):
        self.refiner = refiner
        return [self._detect(image) for image in images]

    def detect_stream(
        self, images, batch_size=1, *, errors, with_images, refiner="auto", rle, on_stage=None
    ):
        assert with_images and rle
        self.batch_size = batch_size
        if refiner != "auto":
            self.refiner = refiner
        return stream(
            images,
            lambda image, name: image,
            lambda images: [self._detect(image) for image in images],
            lambda image, result: result,
            batch_size=batch_size,
            ahead=2,
            errors=errors,
            on_stage=on_stage,
        )

    def detect_tiled(self, image, tile, *, batch_size, refiner, rle, progress=None):
        assert rle
        for number in (1, 2) if progress else ():
            progress(number, 2)
        self.tile = tile
        return self._detect(image)

    def _detect(self, image):
        time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
        height, width = image.shape[:2]
        masks = np.zeros((height, width, 2), dtype=bool)
        masks[: height // 2, : width // 2, 0] = True
        masks[height // 2 :, width // 2 :, 1] = True
        rois = [[0, 0, height // 2, width // 2], [height // 2, width // 2, height, width]]
        return {
            "rois": np.array(rois, dtype=np.int32),
            "class_ids": np.array([1, 2], dtype=np.int32),
            "scores": np.array([0.9, 0.8], dtype=np.float32),
            "masks": masks,
        }


def fake_module():
    """Return a module to stand for `mrcnn.model`."""
    module = types.ModuleType("mrcnn.model")
    module.MaskRCNN = FakeMaskRCNN
    return module


@pytest.fixture
def fake_model(monkeypatch):
    """Put the fake where the subcommands import the real one; yields the class."""
    monkeypatch.setitem(sys.modules, "mrcnn.model", fake_module())
    monkeypatch.setattr("mrcnn.startup.lean_start.start_backend", lambda: None)
    monkeypatch.setattr(FakeMaskRCNN, "built", [])
    # The fake has no layers.
    monkeypatch.setattr("mrcnn.checkpoints.load_class_rows", lambda *arguments: None)
    monkeypatch.setattr("mrcnn.model_training._look_first", lambda *arguments: [])
    return FakeMaskRCNN


@pytest.fixture
def weights(tmp_path) -> Path:
    """A weight file that is only described: 64 pixels, cats and dogs."""
    path = tmp_path / "weights" / "pets.h5"
    write_weight_file(path)
    describe(path.with_suffix(".json"))
    return path


def describe(path: Path, class_names=NAMES, **settings) -> None:
    """Write a description with the given settings."""
    config = Config()
    for name, value in {
        "NAME": "pets",
        "BACKBONE": "squeezenet",
        "NUM_CLASSES": len(class_names),
        "IMAGE_MIN_DIM": 64,
        "IMAGE_MAX_DIM": 64,
        **settings,
    }.items():
        setattr(config, name, value)
    content = {"config": config.to_dict(), "class_names": list(class_names)}
    path.write_text(json.dumps(content))


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with three images, one of them broken, and a text file."""
    import cv2

    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), np.full((40, 60, 3), 90, np.uint8))
    (folder / "b.jpg").write_bytes(b"no image")
    cv2.imwrite(str(folder / "c.png"), np.full((32, 32), 90, np.uint8))
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def run_eagerly():
    """Run TensorFlow's functions without tracing, which takes longer than a few steps."""
    tf = pytest.importorskip("tensorflow")
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(before)


@pytest.fixture
def run(capsys):
    """Run the command line; returns (exit code, stdout, stderr)."""
    from mrcnn.cli import main

    def call(*words) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        output = capsys.readouterr()
        return stopped.value.code or 0, output.out, output.err

    return call


if __name__ == "__main__":
    from mrcnn.cli import main
    from mrcnn.startup import lean_start

    sys.modules["mrcnn.model"] = fake_module()
    lean_start.start_backend = lambda: None
    main()
