"""Training on several hosts: agreement before it, and two processes that train as one."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.loading.batches import TrainingBatches
from mrcnn.training import agreement, hosts
from mrcnn.training.meeting import LOST_STATUS
from mrcnn.training.options import TrainOptions
from tests.tiny import Squares, tiny_config

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCHERS = ("WORLD_SIZE", "KERAS_DISTRIBUTION_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS")
OPTIONS = {name: None for name in TrainOptions.__dataclass_fields__} | {"epochs": 3}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def as_one_of_two(monkeypatch, rank, change=lambda value: value):
    """Let this process be one of two, of which the other gives the same values, changed."""
    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "rank", lambda: rank)

    def exchange(value):
        pair = [value, change(json.loads(json.dumps(value)))]
        return pair if rank == 0 else pair[::-1]

    monkeypatch.setattr(hosts, "exchange", exchange)


def test_alone():
    with hosts.joined():
        assert (hosts.count(), hosts.rank(), hosts.is_first(), hosts.share()) == (
            1,
            0,
            True,
            (0, 1),
        )
        assert hosts.exchange("a") == ["a"] and hosts.of_first(3) == 3


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "1e9"])
def test_wrong_timeout(monkeypatch, text):
    monkeypatch.setenv(hosts.TIMEOUT_VARIABLE, text)
    with pytest.raises(ValueError, match=f"{hosts.TIMEOUT_VARIABLE} is .*; it must be a number"):
        hosts._timeout()


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ValueError, match="KERAS_BACKEND is tensorflow; it must be jax"):
        with hosts.joined():
            pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs JAX, which is not installed: pip install"):
        with hosts.joined():
            pass


def test_agreement_gives_the_seed_of_the_first(monkeypatch):
    options = TrainOptions(**OPTIONS)
    agreement.agree(tiny_config(), options, None, (Squares(), None), "mask_rcnn")
    assert options.seed is None  # alone
    as_one_of_two(monkeypatch, 1, lambda value: 77 if isinstance(value, int) else value)
    monkeypatch.setattr(agreement, "_version", lambda package: "1")
    agreement.agree(tiny_config(), options, None, (Squares(), Squares()), "mask_rcnn")
    assert options.seed == 77
    with pytest.raises(ValueError, match="model is fast_rcnn; it must be mask_rcnn or faster_rcnn"):
        agreement.agree(tiny_config(USE_RPN=False), options, None, (Squares(), None), "fast_rcnn")


@pytest.mark.parametrize(
    "name, value, message",
    [
        (
            "IMAGE_MAX_DIM",
            128,
            "IMAGE_MAX_DIM of process 1 is 128; it must be that of process 0, 64",
        ),
        ("epochs", 4, "epochs of process 1 is 4; it must be that of process 0, 3"),
        ("the training dataset", "abc", "the training dataset of process 1 is .abc"),
        ("the content of the weight file", "abc", "the content of the weight file of process 1 is"),
        ("the version of keras", "2", "the version of keras of process 1 is .2.; it must be"),
    ],
)
def test_disagreement(monkeypatch, tmp_path, name, value, message):
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"weights")
    as_one_of_two(monkeypatch, 0, lambda facts: {**facts, name: value})
    monkeypatch.setattr(agreement, "_version", lambda package: "1")
    with pytest.raises(ValueError, match=message):
        agreement.agree(
            tiny_config(), TrainOptions(**OPTIONS), str(weights), (Squares(), None), "mask_rcnn"
        )


def test_digests():
    assert hosts.dataset_digest(None) is None
    digest = hosts.dataset_digest(Squares())
    assert digest == hosts.dataset_digest(Squares())
    moved, changed, fewer = Squares(), Squares(), Squares((((8, 8, 24, 1),),))
    moved.image_info[0]["path"] = "/elsewhere/0.png"
    changed.image_info[0]["squares"] = ((8, 8, 25, 1),)
    assert hosts.dataset_digest(moved) == digest
    assert digest not in (hosts.dataset_digest(changed), hosts.dataset_digest(fewer))
    # An array counts by its content, a function by its type: its name has an address.
    given = [Squares(), Squares(), Squares()]
    for data, mask in zip(given, (np.zeros(3), np.zeros(3), np.ones(3)), strict=True):
        data.image_info[0].update(mask=mask, load=lambda: None)
    one, same, different = map(hosts.dataset_digest, given)
    assert one == same != different


def test_parts_make_up_the_batch():
    def batches(share):
        return TrainingBatches(
            Squares((((8, 8, 24, 1),), ((4, 4, 30, 2),), ())),
            tiny_config(),
            batch_size=4,
            augmentation="flips",
            steps=3,
            seed=5,
            workers=0,
            share=share,
        )

    whole, parts = batches((0, 1)), [batches((0, 2)), batches((1, 2))]
    for step in range(3):
        expected = whole[step][0]
        found = [np.concatenate(pair) for pair in zip(*(part[step][0] for part in parts))]
        for array, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(array, other)
        assert whole.image_ids_of_batch(step) == parts[1].image_ids_of_batch(step)
    with pytest.raises(ValueError, match="batch_size is 4; it must be a multiple of the 3 proc"):
        batches((0, 3))


def test_a_folder_that_is_not_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts, "_FOLDER_SECONDS", 0.1)
    with pytest.raises(ValueError, match="must be one that all hosts share"):
        hosts.wait_for_folder(str(tmp_path / "logs" / "cats"), "config.json")


def start(folder, environment, kill=0):
    """Start one process of `tests.training.two_hosts`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.two_hosts", str(folder), str(kill)],
        cwd=REPOSITORY,
        env={
            **os.environ,
            # The steps are compiled for seconds, and run for milliseconds.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(folder, count, kill=0):
    """Train with some processes; their exit statuses and results."""
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
    launcher = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [start(folder, {**launcher, "RANK": str(rank)}, kill) for rank in range(count)]
    outputs = [process.communicate(timeout=1200) for process in processes]
    statuses = [process.returncode for process in processes]
    if kill == 0:
        assert statuses == [0] * count, "\n".join(error[-3000:] for _, error in outputs)
        return statuses, [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    return statuses, [error for _, error in outputs]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_two_processes_train_as_one(tmp_path):
    _, (alone,) = train(tmp_path / "one", 1)
    _, both = train(tmp_path / "two", 2)
    assert len(alone["losses"]) == 20
    for expected, *found in zip(alone["losses"], *(one["losses"] for one in both), strict=True):
        assert found[0] == found[1] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(both[0]["weights"], alone["weights"], atol=1e-5)
    assert [one["log_dir"] for one in both] == [both[0]["log_dir"]] * 2
    files = set(os.listdir(both[0]["log_dir"]))
    assert {"mask_rcnn_tiny_0004.h5", "training_state_0004.npz", "history.csv"} <= files

    statuses, errors = train(tmp_path / "killed", 2, kill=3)
    assert statuses == [LOST_STATUS, -signal.SIGKILL]
    assert "mrcnn: process 1 of 2 was lost; start all processes again, with --resume" in errors[0]
    _, again = train(tmp_path / "killed", 2)
    assert [one["first_epoch"] for one in again] == [2, 2]
    assert again[0]["losses"] == both[0]["losses"][10:]
    assert again[1]["weights"] == both[1]["weights"]
