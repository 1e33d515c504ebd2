"""The callbacks that every training has: finite losses, checkpoints, times, seeds."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mrcnn.files.atomic import atomic_path
from mrcnn.loading.batch_stream import BatchStream
from mrcnn.training import hosts, state

Logs = dict[str, Any] | None


class NonFiniteLossError(ArithmeticError):
    """A loss became nan or infinite; the message holds every part and the images of the batch."""


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Stop at the first step whose loss is not finite, and name its parts and its images.

    Args:
        batches: the training batches, asked for the references of a batch.

    Raises:
        NonFiniteLossError: at the end of such a step.
    """

    def __init__(self, batches: BatchStream) -> None:
        super().__init__()
        self.batches = batches
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Check the losses. They are means over the epoch so far: nan once means nan from there."""
        losses = {name: float(value) for name, value in (logs or {}).items()}
        if all(np.isfinite(value) for value in losses.values()):
            return
        parts = ", ".join(f"{name}={value:.4g}" for name, value in losses.items())
        images = ", ".join(self.batches.references_of_batch(batch, self.epoch))
        raise NonFiniteLossError(
            f"the loss is not finite at step {batch} of epoch {self.epoch + 1} ({parts}). "
            f"Images of this batch: {images}. Usual causes: a learning rate that is too high, "
            "wrong boxes or masks in these images (`mrcnn check` finds them), weights that were "
            "not finite to begin with. Weights of the last finished epoch are in the log folder."
        )


class Checkpoints(keras.callbacks.Callback):
    """Write the state and the weights after every epoch, the weights under Matterport's names.

    The state comes first and both are flushed to disk, so that every complete weight file has its
    state. States of earlier epochs are removed.

    Args:
        path: weight file whose name has `{epoch:04d}` in it.
        on_checkpoint: called with the path of each weight file, just before it is written, and the
            number of epochs finished.
        keep: number of weight files to keep, the newest; None for all. Only files that this
            callback has written are removed: none of another training, nor the one resumed from.
    """

    def __init__(
        self, path: str, on_checkpoint: Callable[[str, int], None], keep: int | None = None
    ) -> None:
        super().__init__()
        self.folder, self.file_name = os.path.split(path)
        self.on_checkpoint = on_checkpoint
        self.keep = keep
        self._written: list[str] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write the files of this epoch."""
        finished = epoch + 1
        path = os.path.join(self.folder, self.file_name.format(epoch=finished))
        if not hosts.is_first():
            self.on_checkpoint(path, finished)
            return
        state.save_state(self.model, self.folder, finished)
        self.on_checkpoint(path, finished)
        with atomic_path(path, durable=True) as temporary:
            self.model.save_weights(temporary)
        state.remove_older_states(self.folder, finished)
        self._written.append(path)
        while self.keep is not None and len(self._written) > self.keep:
            with contextlib.suppress(OSError):
                os.unlink(self._written.pop(0))


class EpochNumbers(keras.callbacks.Callback):
    """Pass the number of the epoch on to the batches.

    Their own count is not that of `fit`: Keras ends an epoch of its iterators also where it only
    resets them, before the first epoch and before every validation.

    Args:
        train_batches: the training batches.
        val_batches: the validation batches, or None.
    """

    def __init__(self, train_batches: BatchStream, val_batches: BatchStream | None) -> None:
        super().__init__()
        self.train_batches = train_batches
        self.val_batches = val_batches
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Set the epoch, ahead of the first batch."""
        self.epoch = self.train_batches.epoch = epoch

    def on_test_begin(self, logs: Logs = None) -> None:
        """Set the epoch of the validation, ahead of its first batch."""
        if self.val_batches is not None:
            self.val_batches.epoch = self.epoch


class StepTogether(keras.callbacks.Callback):
    """Let the processes of a training on several hosts begin and end every epoch together.

    While process 0 measures and writes, the others wait here, where they can wait as long as they
    must. The training stops for all of them when one of them stops. Must be the last callback.
    """

    def on_train_begin(self, logs: Logs = None) -> None:
        """Wait for what process 0 measures before the first epoch."""
        hosts.exchange("begin")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Wait for process 0, and stop if any process has stopped."""
        self.model.stop_training = any(hosts.exchange(bool(self.model.stop_training)))


class SeededGenerators(keras.callbacks.Callback):
    """Seed the random generators of the model's layers before every epoch.

    `DetectionTargetLayer` samples ROIs at random; with a seed per epoch, the same seed gives the
    same samples in another process and after a training was resumed.

    Args:
        seed: whole number of at least 0.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Seed the random generators."""
        state.seed_generators(self.model, self.seed, epoch)


class StepTimes(keras.callbacks.Callback):
    """Measure the steps, and add `wait` and `learning_rate` to the logs of an epoch.

    `wait` is the share of the epoch that the step waited for data, 0..1. The step waits from the
    end of the step before until it has its batch. JAX and torch do not mark that moment; there, the
    time between two steps counts. `learning_rate` is that at the end of the epoch.

    Args:
        batch_size: number of images of a step.
    """

    def __init__(self, batch_size: int = 1) -> None:
        super().__init__()
        self.batch_size = batch_size

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget an earlier training."""
        self._is_compiled = False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the clock."""
        self._start = self._last = self._counted_from = time.time()
        self._idle = 0.0
        self._counted = 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Note when the step begins."""
        self._begun = time.time()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Add the time that this step waited."""
        # TensorFlow takes the batch inside the step. The first step is compiled before that.
        ready = getattr(self.model, "data_ready_time", None) if self._is_compiled else None
        self._idle += max((ready or self._begun) - self._last, 0.0)
        self._last = time.time()
        if self._is_compiled:
            self._counted += 1
        else:
            self._counted_from, self._is_compiled = self._last, True

    @property
    def wait(self) -> float:
        """Share of the epoch so far that steps waited for data, 0..1."""
        return self._idle / max(time.time() - self._start, 1e-9)

    @property
    def seconds_per_step(self) -> float:
        """Mean time of the epoch's steps without the first of all, which is compiled; or nan."""
        return (self._last - self._counted_from) / self._counted if self._counted else np.nan

    @property
    def images_per_second(self) -> float:
        """Number of images trained on in a second; nan as long as it is unknown."""
        return self.batch_size / max(self.seconds_per_step, 1e-9)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write to the logs."""
        if logs is None:
            return
        logs["wait"] = self.wait
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
