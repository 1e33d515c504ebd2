"""One call of `train`: which layers, which optimiser, which callbacks, from which epoch."""

import importlib.util
import logging
import os
import re
import time

import keras
import numpy as np

from mrcnn.config_rules import LOSS_NAMES
from mrcnn.training import devices
from mrcnn.training.layer_selection import set_trainable

logger = logging.getLogger("mrcnn.training")

STATE_FILE = "training_state.npz"
# TensorFlow, torch, JAX and Python each have their own words for it.
_OUT_OF_MEMORY = re.compile(
    "ResourceExhausted|RESOURCE_EXHAUSTED|OutOfMemory|out of memory|^MemoryError"
)


class NonFiniteLossError(ArithmeticError):
    """A loss became nan or infinite; the message holds every part and the pictures."""


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Stop at the first step whose loss is not finite, and say which part and which pictures.

    Args:
        batches: the training `TrainingBatches`, asked for the references of a batch.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        losses = {name: float(value) for name, value in (logs or {}).items()}
        if all(np.isfinite(value) for value in losses.values()):
            return
        parts = ", ".join(f"{name}={value:.4g}" for name, value in losses.items())
        pictures = ", ".join(self.batches.references_of_batch(batch, self.epoch))
        raise NonFiniteLossError(
            f"the loss is not finite at step {batch} of epoch {self.epoch + 1} ({parts}). "
            f"Pictures of this batch: {pictures}. Usual causes: a learning rate that is too high, "
            "wrong boxes or masks in these pictures (`mrcnn check` finds them), weights that were "
            "not finite to begin with. Weights of the last finished epoch are in the log folder."
        )


class Checkpoints(keras.callbacks.Callback):
    """Write the weights after every epoch under Matterport's names, and the optimiser's state.

    Args:
        path: file name with `{epoch:04d}` in it.
        written: called with the path of each file and the number of epochs it stands for.
    """

    def __init__(self, path, written):
        super().__init__()
        self.path = path
        self.written = written

    def on_epoch_end(self, epoch, logs=None):
        path = self.path.format(epoch=epoch + 1)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.model.save_weights(path)
        save_state(self.model, os.path.join(os.path.dirname(path), STATE_FILE), epoch + 1)
        self.written(path, epoch + 1)


class LoaderIdleTime(keras.callbacks.Callback):
    """Add `wait` to the logs: the share of the epoch that the step waited for data, 0..1.

    It is what lies between the end of one step and the moment when the next has its batch. (JAX and
    torch do not tell that moment: there it is what lies between two steps.)
    """

    def on_train_begin(self, logs=None):
        self._is_compiled = False

    def on_epoch_begin(self, epoch, logs=None):
        self._start = self._last = time.time()
        self._idle = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self._begun = time.time()

    def on_train_batch_end(self, batch, logs=None):
        # TensorFlow takes the batch inside of the step; the first one is compiled before that.
        ready = getattr(self.model, "data_ready_time", None) if self._is_compiled else None
        self._idle += max((ready or self._begun) - self._last, 0.0)
        self._last, self._is_compiled = time.time(), True

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["wait"] = self._idle / max(time.time() - self._start, 1e-9)


def _state(model):
    """What a training remembers beside the weights, by name: the optimiser's variables, the
    updates of batch statistics and the random generators.
    """
    weights = {id(v) for v in model.weights}
    own = [v for v in model.variables if id(v) not in weights]
    # Without the first part of the path: the second optimiser of a process is called sgd_1.
    return {
        f"{i}:{v.path.split('/', 1)[-1]}": v
        for i, v in enumerate([*model.optimizer.variables, *own])
    }


def save_state(model, path, epoch):
    """Write that state and the epoch, so that training can go on where it was."""
    variables = {name: keras.ops.convert_to_numpy(v) for name, v in _state(model).items()}
    temporary = f"{path}.tmp.npz"
    np.savez(temporary, epoch=np.int64(epoch), **variables)
    os.replace(temporary, path)


def restore_state(model, path, epoch):
    """Give a compiled model its state back, if the file belongs to this epoch and these layers.

    Returns:
        Whether they were restored. The learning rate stays the one that was asked for.
    """
    if not os.path.exists(path):
        return False
    with np.load(path) as saved:
        if int(saved["epoch"]) != epoch:
            return False
        state = _state(model)
        if any(
            name not in saved or saved[name].shape != tuple(variable.shape)
            for name, variable in state.items()
        ):
            return False
        for name, variable in state.items():
            if "learning_rate" not in variable.path:
                variable.assign(saved[name])
    return True


def compile_model(model, config, learning_rate, momentum, optimizer=None):
    """Matterport's optimiser: SGD with momentum and clipping by the norm over all gradients.

    Args:
        model: `TrainingModel`.
        config: `Config` with `GRADIENT_CLIP_NORM`, `ACCUMULATE_STEPS`, `LOSS_WEIGHTS` and
            `WEIGHT_DECAY`.
        learning_rate: number or `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: number.
        optimizer: a Keras optimiser to use instead. One that has trained already (other layers,
            perhaps) stays as it is: a new one of the same settings takes over.

    Raises:
        ValueError: for a setting that TensorFlow does not take on several devices.
    """
    if devices.is_mirrored(model.distribution):
        _check_mirrored(config)
    if optimizer is None:
        optimizer = keras.optimizers.SGD(
            learning_rate,
            momentum=momentum,
            global_clipnorm=config.GRADIENT_CLIP_NORM,
            # Keras takes 2 and more; it clips the average.
            gradient_accumulation_steps=(
                config.ACCUMULATE_STEPS if config.ACCUMULATE_STEPS > 1 else None
            ),
        )
    elif optimizer.built:
        optimizer = type(optimizer).from_config(optimizer.get_config())
    if config.PRECISION == "float16":
        # Small gradients would become zero in half precision.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA compiles for JAX only: TensorFlow's non-maximum suppression has no XLA kernel.
    jit = "auto" if keras.backend.backend() == "jax" else False
    with devices.scope(model.distribution):
        model.configure(config.LOSS_WEIGHTS, config.WEIGHT_DECAY)
        model.compile(optimizer=optimizer, jit_compile=jit)
        # Variables that the first step had to make would have TensorFlow trace that step twice.
        model.optimizer.build(model.trainable_variables)


def _check_mirrored(config):
    """Keras takes a condition around the update for these, which TensorFlow's strategy refuses."""
    for name, allowed in (("ACCUMULATE_STEPS", (1,)), ("PRECISION", ("float32", "bfloat16"))):
        value = getattr(config, name)
        if value not in allowed:
            raise ValueError(
                f"{name} = {value!r}: must be {' or '.join(map(repr, allowed))} with GPU_COUNT = "
                f"{config.GPU_COUNT}, on several devices with TensorFlow."
            )


def fit(model, config, train_batches, val_batches, options):
    """Train a compiled graph.

    Args:
        model: `TrainingModel`.
        config: `Config`.
        train_batches, val_batches: `TrainingBatches`; the second may be None.
        options: dict with `learning_rate`, `layers`, `optimizer`, `first_epoch`, `last_epoch`,
            `log_dir`, `checkpoint_path`, `callbacks`, `written`, `verbose`.

    Returns:
        The Keras `History`.
    """
    set_trainable(model, options["layers"])
    compile_model(
        model, config, options["learning_rate"], config.LEARNING_MOMENTUM, options["optimizer"]
    )
    log_dir = options["log_dir"]
    os.makedirs(log_dir, exist_ok=True)
    state_path = os.path.join(log_dir, STATE_FILE)
    if restore_state(model, state_path, options["first_epoch"]) and options["verbose"]:
        print(f"Going on from epoch {options['first_epoch']} with the optimizer's state.")
    callbacks = [
        StopOnNonFiniteLoss(train_batches),
        LoaderIdleTime(),
        # The user's come first: what they add to the logs is then in TensorBoard too.
        *options["callbacks"],
        *_tensorboard(log_dir, options["verbose"]),
        Checkpoints(options["checkpoint_path"], options["written"]),
    ]
    try:
        return model.fit(
            train_batches,
            initial_epoch=options["first_epoch"],
            epochs=options["last_epoch"],
            callbacks=callbacks,
            validation_data=val_batches,
            verbose=options["verbose"],
        )
    except Exception as error:
        if _OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
            logger.error(_advice_on_memory(config))
        raise


def _advice_on_memory(config):
    """The settings that decide how much memory a step takes, the strongest first."""
    height, width = config.IMAGE_SHAPE[:2]
    return (
        "There was not enough memory for a training step. Lower, one at a time: "
        f"IMAGES_PER_GPU = {config.IMAGES_PER_GPU} (with half of it, halve the learning rate), "
        f"IMAGE_MAX_DIM (pictures are {height} x {width}), "
        f"TRAIN_ROIS_PER_IMAGE = {config.TRAIN_ROIS_PER_IMAGE}, "
        f"POST_NMS_ROIS_TRAINING = {config.POST_NMS_ROIS_TRAINING}. "
        f"Or keep USE_MINI_MASK = True (it is {config.USE_MINI_MASK}), train layers='heads', take "
        f"BACKBONE = 'resnet50' (it is {config.BACKBONE!r}), or, on a GPU, PRECISION = 'bfloat16'."
    )


def _tensorboard(log_dir, verbose):
    """TensorBoard with every loss after each epoch, where there is something to write it."""
    if keras.backend.backend() != "tensorflow" or not importlib.util.find_spec("tensorboard"):
        if verbose:
            print("No TensorBoard logs: they need tensorflow and `pip install tensorboard`.")
        return []
    return [keras.callbacks.TensorBoard(log_dir, write_graph=False)]


__all__ = ["LOSS_NAMES", "NonFiniteLossError", "compile_model", "fit"]
