"""The state of a training besides the weights: optimizer, batch statistics, random generators.

The state of epoch 7 is `training_state_0007.npz`. It is on disk before the weights of that epoch
are, so a checkpoint never lacks its state, whenever the process is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from mrcnn.files.atomic import atomic_path

_STATE_FILE = re.compile(r"training_state(?:_(?P<epoch>\d{4,}))?\.npz")
# Earlier versions wrote the state of the last epoch alone, under this name.
_FORMER_STATE_FILE = "training_state.npz"

Outcome = Literal["restored", "missing", "damaged", "different"]


def state_file(epoch: int) -> str:
    """Return the name of the state file of an epoch, counted from 1."""
    return f"training_state_{epoch:04d}.npz"


def save_state(model: keras.Model, folder: str, epoch: int) -> None:
    """Write the state of a compiled model.

    Args:
        model: a compiled `TrainingModel`.
        folder: the log folder.
        epoch: number of finished epochs.
    """
    variables = {
        f"{i}:{path}": keras.ops.convert_to_numpy(variable)
        for i, (path, variable) in enumerate(_state_variables(model))
    }
    with atomic_path(os.path.join(folder, state_file(epoch)), durable=True) as temporary:
        # One file name of keyword arguments is taken: that of the file itself.
        np.savez(temporary, epoch=np.int64(epoch), **variables)


def restore_state(model: keras.Model, folder: str, epoch: int) -> Outcome:
    """Restore the state of an epoch; the learning rate stays the one that was requested.

    Args:
        model: a compiled `TrainingModel`.
        folder: the log folder.
        epoch: number of finished epochs.

    Returns:
        `"restored"`; or, with the model as it was, `"missing"`, `"damaged"` (the file cannot be
        read) or `"different"` (other layers are trained, or by another optimizer).
    """
    outcome: Outcome = "missing"
    for name in (state_file(epoch), _FORMER_STATE_FILE):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            continue
        try:
            with np.load(path) as saved:
                arrays = dict(saved)
            saved_epoch = int(arrays.pop("epoch"))
            values = _in_order(arrays)
        except Exception:  # zipfile and NumPy raise many types for a damaged file
            outcome = "damaged"
            continue
        if saved_epoch == epoch:
            return _assign(_state_variables(model), values)
    return outcome


def remove_older_states(folder: str, epoch: int) -> None:
    """Remove the state files of the epochs before this one, whose weights are written."""
    for name in os.listdir(folder):
        match = _STATE_FILE.fullmatch(name)
        if match and int(match["epoch"] or 0) < epoch:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def seed_generators(model: keras.Model, seed: int, epoch: int) -> None:
    """Seed every random generator in a model's layers.

    Each gets a seed of its own that depends on `seed` and `epoch` alone, so an epoch draws the same
    numbers in an uninterrupted training and in one that was resumed.
    """
    generators = [v for v in model.variables if v.name == "seed_generator_state"]
    sequence = np.random.SeedSequence([seed, epoch])
    # 31 bits: on torch the state is int32.
    seeds = sequence.generate_state(len(generators)) & 0x7FFFFFFF
    for variable, value in zip(generators, seeds, strict=True):
        variable.assign(np.array([value, 0], str(variable.dtype)))


def _state_variables(model: keras.Model) -> list[tuple[str, Any]]:
    """Return `(path, variable)` of the optimizer and the model's variables besides its weights."""
    weights = {id(v) for v in model.weights}
    others = [v for v in model.variables if id(v) not in weights]
    # Without the first part of the path: the second optimizer of a process is called sgd_1. Without
    # the learning rate: it is no variable where a schedule is used.
    paths = [(v.path.split("/", 1)[-1], v) for v in [*model.optimizer.variables, *others]]
    return [(path, v) for path, v in paths if not _is_learning_rate(path)]


def _is_learning_rate(path: str) -> bool:
    return path.split("/")[-1] == "learning_rate"


def _in_order(arrays: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Return `(path, array)` in the order of the numbers that the names in the file begin with."""
    numbered = [(*name.split(":", 1), name) for name in arrays]
    return [
        (path, arrays[name])
        for _, path, name in sorted(numbered, key=lambda entry: int(entry[0]))
        if not _is_learning_rate(path)
    ]


def _assign(
    variables: Sequence[tuple[str, Any]], values: Sequence[tuple[str, np.ndarray]]
) -> Outcome:
    known = [(path, array.shape) for path, array in values]
    if known != [(path, tuple(variable.shape)) for path, variable in variables]:
        return "different"
    for (_, variable), (_, array) in zip(variables, values, strict=True):
        variable.assign(array)
    return "restored"
