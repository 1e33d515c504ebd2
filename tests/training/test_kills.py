"""Trainings that are killed at random moments end with the weights of the uninterrupted one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.counts import num_kills

# 200 by hand: MRCNN_KILLS=200 pytest tests/training/test_kills.py
KILLS = num_kills(3)
SEED = 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a fork of JAX deadlocks")
def test_killed_trainings_resume_exactly(tmp_path):
    command = [sys.executable, "-m", "tests.training.kills", str(tmp_path), str(KILLS), str(SEED)]
    repository = Path(__file__).resolve().parents[2]
    # A process of its own, since this one may have used its backend already.
    done = subprocess.run(
        command, cwd=repository, capture_output=True, text=True, timeout=120 + 20 * KILLS
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    assert result["kills"] == KILLS == len(result["epochs"])
    # Exactly: the same seed in another process, and also after any number of kills.
    assert set(result["differences"]) == {0.0}
