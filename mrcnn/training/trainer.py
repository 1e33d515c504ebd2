"""One call of `train`: the optimizer, the callbacks, and from which epoch to which."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras

from mrcnn.config import Config
from mrcnn.config_rules import LOSS_NAMES
from mrcnn.files.names import printable
from mrcnn.loading.batch_stream import BatchStream
from mrcnn.loading.batches import TrainingBatches
from mrcnn.training import devices, hosts, log_folders, tensorboard_logs
from mrcnn.training.callbacks import BestCheckpoint, EarlyStopping
from mrcnn.training.fit_callbacks import (
    Checkpoints,
    EpochNumbers,
    NonFiniteLossError,
    SeededGenerators,
    StepTimes,
    StepTogether,
    StopOnNonFiniteLoss,
)
from mrcnn.training.history import HistoryFile
from mrcnn.training.progress import EpochLine, LiveLine, ProgressLine, is_live
from mrcnn.training.schedules import make_optimizer, renew_optimizer
from mrcnn.training.state import restore_state, state_file
from mrcnn.training.tensorboard_logs import TensorBoardLogs
from mrcnn.training.training_model import TrainingModel
from mrcnn.training.validation import Validation

__all__ = ["LOSS_NAMES", "NonFiniteLossError", "compile_model", "describe_learning_rate", "fit"]

logger = logging.getLogger("mrcnn.training")

# Of several processes, the first measures, and decides for all of them; see `StepTogether`.
_OF_FIRST_PROCESS = (Validation, BestCheckpoint, EarlyStopping)
# How TensorFlow, torch, JAX and Python report that memory ran out.
_OUT_OF_MEMORY = re.compile(
    "ResourceExhausted|RESOURCE_EXHAUSTED|OutOfMemory|out of memory|^MemoryError"
)


def compile_model(
    model: TrainingModel,
    config: Config,
    learning_rate: Any,
    momentum: float,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> None:
    """Compile with Matterport's optimizer: SGD with momentum, clipped by the global norm.

    Args:
        model: the training graph.
        config: `GRADIENT_CLIP_NORM`, `ACCUMULATE_STEPS`, `PRECISION`, `LOSS_WEIGHTS` and
            `WEIGHT_DECAY` are read.
        learning_rate: a number or a `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: of SGD.
        optimizer: a Keras optimizer to use instead. One that has been used before is left
            unchanged: a new one of the same settings takes its place.

    Raises:
        ValueError: a setting that TensorFlow does not support on several devices.
    """
    if devices.is_mirrored(model.distribution):
        _check_mirrored(config)
    if optimizer is None:
        optimizer = make_optimizer("sgd", config, learning_rate, momentum)
    elif optimizer.built:
        optimizer = renew_optimizer(optimizer)
    if config.PRECISION == "float16":
        # Small gradients would become zero in half precision.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA compiles for JAX only: TensorFlow's non-maximum suppression has no XLA kernel.
    jit = "auto" if keras.backend.backend() == "jax" else False
    with devices.scope(model.distribution):
        model.configure(config.LOSS_WEIGHTS, config.WEIGHT_DECAY)
        model.compile(optimizer=optimizer, jit_compile=jit)
        # Variables made by the first step would cause TensorFlow to trace that step twice.
        model.optimizer.build(model.trainable_variables)


def _check_mirrored(config: Config) -> None:
    """Refuse settings for which Keras makes the update conditional.

    TensorFlow's `MirroredStrategy` does not allow that.
    """
    for name, allowed in (("ACCUMULATE_STEPS", (1,)), ("PRECISION", ("float32", "bfloat16"))):
        value = getattr(config, name)
        if value not in allowed:
            raise ValueError(
                f"{name} is {value!r}; it must be {' or '.join(map(repr, allowed))} with GPU_COUNT "
                f"= {config.GPU_COUNT}, on several devices with TensorFlow"
            )


def fit(
    model: TrainingModel,
    config: Config,
    train_batches: TrainingBatches,
    val_batches: TrainingBatches | None,
    *,
    learning_rate: Any,
    optimizer: keras.optimizers.Optimizer | None,
    first_epoch: int,
    last_epoch: int,
    checkpoint_path: str,
    callbacks: Sequence[keras.callbacks.Callback],
    on_checkpoint: Callable[[str, int], None],
    keep: int | None,
    seed: int | None,
    verbose: int,
) -> keras.callbacks.History:
    """Compile and train a training graph whose trainable layers have been chosen.

    Args:
        model: the training graph.
        config: its settings.
        train_batches: what it is trained on.
        val_batches: what it is validated on after each epoch; None for no validation.
        learning_rate: number or schedule; see `compile_model`.
        optimizer: see `compile_model`.
        first_epoch: number of finished epochs. Their state is restored from the log folder.
        last_epoch: number of finished epochs at the end.
        checkpoint_path: weight file in the log folder, with `{epoch:04d}` in its name.
        callbacks: the user's callbacks.
        on_checkpoint: called with the path of each weight file and the number of epochs finished.
        keep: number of weight files to keep, see `Checkpoints`.
        seed: seed of the random generators in the layers; None leaves them as they are.
        verbose: 0 silent, 1 a progress line, 2 a line for each epoch.

    Returns:
        The Keras `History`.

    Raises:
        BrokenImageError: an image cannot be loaded, or too many cannot; see `TrainingBatches`.
        NonFiniteLossError: a loss became nan or infinite.
    """
    compile_model(model, config, learning_rate, config.LEARNING_MOMENTUM, optimizer)
    return run(
        model,
        train_batches,
        val_batches,
        first_epoch=first_epoch,
        last_epoch=last_epoch,
        checkpoint_path=checkpoint_path,
        callbacks=callbacks,
        on_checkpoint=on_checkpoint,
        keep=keep,
        seed=seed,
        verbose=verbose,
        advice=_advice_on_memory(config),
    )


def run(
    model: keras.Model,
    train_batches: BatchStream,
    val_batches: BatchStream | None,
    *,
    first_epoch: int,
    last_epoch: int,
    checkpoint_path: str,
    callbacks: Sequence[keras.callbacks.Callback],
    on_checkpoint: Callable[[str, int], None],
    keep: int | None,
    seed: int | None,
    verbose: int,
    advice: str,
) -> keras.callbacks.History:
    """Train a compiled model of any kind, with the files and lines that every training has.

    Args:
        model: a compiled model whose `save_weights` writes `.h5` files.
        train_batches: what it is trained on.
        val_batches: what it is validated on after each epoch; None for no validation.
        first_epoch: as for `fit`, as what follows.
        last_epoch: number of finished epochs at the end.
        checkpoint_path: weight file in the log folder.
        callbacks: the user's callbacks.
        on_checkpoint: called with the path of each weight file.
        keep: number of weight files to keep.
        seed: seed of the random generators in the layers.
        verbose: 0, 1 or 2.
        advice: what to do where memory runs out.

    Returns:
        The Keras `History`.

    Raises:
        BrokenImageError: as for `fit`.
        NonFiniteLossError: as for `fit`.
    """
    log_dir = os.path.dirname(checkpoint_path)
    if hosts.is_first():
        os.makedirs(log_dir, exist_ok=True)
        log_folders.remove_leftovers(log_dir)
    else:
        verbose = 0
    if verbose and not tensorboard_logs.is_installed():
        print(f"{tensorboard_logs.HINT}; training goes on without them.")
    if first_epoch:
        _restore(model, log_dir, first_epoch, verbose)
    line = LiveLine()
    all_callbacks = _all_callbacks(
        train_batches,
        val_batches,
        Checkpoints(checkpoint_path, on_checkpoint, keep),
        callbacks,
        line,
        seed,
        verbose,
    )
    try:
        return model.fit(
            train_batches,
            # The batches have an order of their own. Keras would reorder them by the global random
            # generator: no run could be repeated or resumed, and no batch be found again.
            shuffle=False,
            initial_epoch=first_epoch,
            epochs=last_epoch,
            callbacks=all_callbacks,
            validation_data=val_batches,
            verbose=0,  # the callbacks print
        )
    except Exception as error:
        if _OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
            logger.error(advice)
        for batches in (train_batches, val_batches):
            if batches is not None:
                batches.raise_failure()
        raise
    finally:
        line.end()
        for batches in (train_batches, val_batches):
            if batches is not None:
                batches.stop_threads()


def _all_callbacks(
    train_batches: BatchStream,
    val_batches: BatchStream | None,
    checkpoints: Checkpoints,
    callbacks: Sequence[keras.callbacks.Callback],
    line: LiveLine,
    seed: int | None,
    verbose: int,
) -> list[keras.callbacks.Callback]:
    """Return the user's callbacks among those that every training has; arguments as for `fit`."""
    folder = checkpoints.folder
    times = StepTimes(train_batches.batch_size)
    if not hosts.is_first():
        callbacks = [one for one in callbacks if not isinstance(one, _OF_FIRST_PROCESS)]
    validation = next((one for one in callbacks if isinstance(one, Validation)), None)
    best = next((one for one in callbacks if isinstance(one, BestCheckpoint)), None)
    progress = ProgressLine(line, times, validation) if is_live(verbose) else None
    return [
        EpochNumbers(train_batches, val_batches),
        StopOnNonFiniteLoss(train_batches),
        *([] if seed is None else [SeededGenerators(seed)]),
        times,
        *([] if progress is None else [progress]),
        # Before the user's, as in Matterport's package: callbacks that measure mAP with a second
        # model load the epoch's weights from `find_last`.
        checkpoints,
        # What these add to the logs is in the files and lines that follow.
        *callbacks,
        *(_files(folder, times, validation) if hosts.is_first() else []),
        *([EpochLine(line, times, validation, best, progress)] if verbose else []),
        *([StepTogether()] if hosts.count() > 1 else []),
    ]


def _files(
    folder: str, times: StepTimes, validation: Validation | None
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that write the figures of each epoch."""
    boards = [TensorBoardLogs(folder, validation)] if tensorboard_logs.is_installed() else []
    return [HistoryFile(folder, times, validation), *boards]


def _restore(model: keras.Model, log_dir: str, epoch: int, verbose: int) -> None:
    """Restore the state of the epoch to continue from, and print whether that succeeded."""
    outcome = restore_state(model, log_dir, epoch)
    if outcome in ("missing", "damaged"):
        warnings.warn(
            f"the optimizer's state {state_file(epoch)} is {outcome} in {printable(log_dir)}: "
            f"training continues from epoch {epoch} with its weights, but momentum starts at zero",
            stacklevel=4,  # the caller of `MaskRCNN.train`
        )
    elif verbose and outcome == "restored":
        print(f"Continuing from epoch {epoch} with the optimizer's state.")
    elif verbose:
        print(
            f"Continuing from epoch {epoch} with a new optimizer state: other layers are trained, "
            "or by another optimizer."
        )


def empty_history() -> keras.callbacks.History:
    """Return the `History` of a training of no epochs."""
    history = keras.callbacks.History()
    history.epoch = []
    return history


def describe_learning_rate(
    learning_rate: Any, optimizer: keras.optimizers.Optimizer | None = None
) -> str:
    """Return a learning rate as text: the number, or a schedule's name and arguments.

    Args:
        learning_rate: a number, a variable or a schedule.
        optimizer: used instead of SGD with that learning rate; its own counts then.

    Example:
        >>> describe_learning_rate(0.001)
        '0.001'
    """
    if optimizer is not None:
        # `get_config` would ask a schedule of the user's own for its settings.
        learning_rate = getattr(optimizer, "_learning_rate", optimizer.learning_rate)
    schedules = keras.optimizers.schedules
    if isinstance(learning_rate, schedules.LearningRateSchedule):
        try:
            learning_rate = schedules.serialize(learning_rate)
        except NotImplementedError:  # a user's schedule without `get_config`
            return type(learning_rate).__name__
    if isinstance(learning_rate, dict) and "class_name" in learning_rate:
        settings = learning_rate.get("config", {}).items()
        arguments = ", ".join(
            f"{name}={_number_text(value)}"
            for name, value in settings
            if name != "name" and value is not None
        )
        return f"{learning_rate['class_name']}({arguments})"
    return _number_text(learning_rate)


def _number_text(value: Any) -> str:
    """Return a number, also a tensor, with six digits; anything else as Python writes it."""
    if isinstance(value, (bool, str, list, tuple, dict)):
        return repr(value)
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)


def _advice_on_memory(config: Config) -> str:
    """Name the settings that decide how much memory a step takes, the strongest first."""
    height, width = config.IMAGE_SHAPE[:2]
    return (
        "There was not enough memory for a training step. Lower, one at a time: "
        f"IMAGES_PER_GPU = {config.IMAGES_PER_GPU} (with half of it, halve the learning rate), "
        f"IMAGE_MAX_DIM (images are {height} x {width}), "
        f"TRAIN_ROIS_PER_IMAGE = {config.TRAIN_ROIS_PER_IMAGE}, "
        f"POST_NMS_ROIS_TRAINING = {config.POST_NMS_ROIS_TRAINING}. "
        f"Or keep USE_MINI_MASK = True (it is {config.USE_MINI_MASK}), train layers='heads', use "
        f"BACKBONE = 'resnet50' (it is {config.BACKBONE!r}), or, on a GPU, PRECISION = 'bfloat16'."
    )
