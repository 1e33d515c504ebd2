"""Training on several devices: how many take part, and that they train as one would."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.training import devices, trainer
from tests.tiny import tiny_config

BACKEND = keras.backend.backend()
REPOSITORY = Path(__file__).resolve().parents[2]


def test_one_device_needs_no_distribution(recwarn):
    assert devices.select_devices(1, 4) is None
    assert len(recwarn) == 0 and devices.current() is None
    with devices.scope(None):
        assert devices.current() is None


@pytest.mark.parametrize(
    "gpu_count, batch_size, available, used",
    [
        (8, 8, 1, 1),  # the whole batch on the one that is there
        (4, 6, 3, 3),
        (4, 4, 3, 2),  # three would not get equally many
        (2, 7, 2, 1),
        (4, None, 1, 1),
    ],
)
def test_fewer_devices_than_asked_for(monkeypatch, gpu_count, batch_size, available, used):
    monkeypatch.setattr(devices, "device_names", lambda: [f"CPU:{i}" for i in range(available)])
    monkeypatch.setattr(devices, "_spread_over", lambda names: names)
    with pytest.warns(UserWarning, match=f"GPU_COUNT is {gpu_count}; it must not exceed") as caught:
        chosen = devices.select_devices(gpu_count, batch_size)
    assert chosen == (None if used == 1 else [f"CPU:{i}" for i in range(used)])
    assert f"Training on {used} with" in str(caught[0].message)


def test_as_many_as_asked_for_are_taken_silently(monkeypatch, recwarn):
    monkeypatch.setattr(devices, "device_names", lambda: ["a", "b", "c"])
    monkeypatch.setattr(devices, "_spread_over", lambda names: names)
    assert devices.select_devices(2, 4) == ["a", "b"]
    assert len(recwarn) == 0


@pytest.mark.parametrize("setting", [{"ACCUMULATE_STEPS": 2}, {"PRECISION": "float16"}])
def test_what_a_mirrored_training_does_not_take(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=rf"{name} is .*; it must be .* with GPU_COUNT = 2"):
        trainer._check_mirrored(tiny_config(GPU_COUNT=2, **setting))


@pytest.mark.long
@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch trains on one device")
def test_two_devices_train_as_one(tmp_path):
    command = [sys.executable, "-m", "tests.training.two_devices", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    kind = "MirroredStrategy" if BACKEND == "tensorflow" else "DataParallel"
    assert result["kinds"] == ["NoneType", kind]
    expected, found = result["expected"], result["found"]
    assert {"val_loss", "val_mask_ap"} <= set(found)
    for name in ("loss", *LOSS_NAMES, *(f"val_{name}" for name in LOSS_NAMES)):
        assert len(found[name]) == 2 and found[name][0] > 0
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
    assert result["moved"] > 1e-3
    assert result["apart"] < 1e-4 * result["moved"]
    assert {"best.h5", "mask_rcnn_tiny_0002.h5", "training_state_0002.npz"} <= set(result["files"])
    assert result["momentum"] > 1e-3 and result["resumed"] is True
