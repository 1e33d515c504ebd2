"""Fixtures: a folder of images, a model that needs no network, and workers in this process."""

import contextlib

import cv2
import numpy as np
import pytest

from mrcnn.config import Config
from tests.fake_model import (  # noqa: F401
    NAMES,
    FakeMaskRCNN,
    fake_model,
    run,
    weights,
)

COUNT = 7
BROKEN = 3


@pytest.fixture
def folder(tmp_path):
    """Seven images, the fourth of which is broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        image = np.full((40, 60, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / f"p{number}.jpg"), image)
    (folder / f"p{BROKEN}.jpg").write_bytes(b"no image")
    return folder


def make_model():
    """Return a fake model that finds a cat and a dog in every image."""
    config = Config()
    config.NUM_CLASSES = 3
    model = FakeMaskRCNN("inference", config, "logs")
    model.class_names = NAMES
    return model


@pytest.fixture
def model():
    return make_model()


class Here:
    """Stands for Ray: runs the work of the workers in this process, and counts it.

    Attributes:
        shards: numbers of the shards that were worked on, in order.
        stop_after: number of shards after which the process "dies"; None for never.
    """

    def __init__(self):
        self.shards, self.stop_after, self.pool = [], None, None

    def connected(self, address, workers, threads, gpus):
        from mrcnn.scaling import ray_pool

        self.pool = ray_pool.Pool(workers or 2, threads or 1, gpus, address)
        return contextlib.nullcontext(self.pool)

    def run_shards(self, job, shards, pool):
        from mrcnn.scaling import ray_pool
        from mrcnn.scaling.shards import ShardOutcome

        worker = ray_pool._Worker(job, pool.threads)
        for shard in shards:
            if len(self.shards) == self.stop_after:
                raise KeyboardInterrupt
            self.shards.append(shard)
            columns = worker({"shard": [shard]})
            yield ShardOutcome(**{name: values[0] for name, values in columns.items()})


@pytest.fixture
def here(monkeypatch, fake_model):  # noqa: F811
    """Run workers in this process, with the fake model; yields the `Here`."""
    here = Here()
    monkeypatch.setattr("mrcnn.scaling.ray_pool.connected", here.connected)
    monkeypatch.setattr("mrcnn.scaling.ray_pool.run_shards", here.run_shards)
    monkeypatch.setattr("mrcnn.scaling.many.check_packages", lambda: None)
    monkeypatch.setattr("mrcnn.startup.threads.limit_threads", lambda count: None)
    monkeypatch.setenv("MRCNN_QUIET", "1")  # restored afterwards
    return here
