"""Learning rate schedules and optimizers by name."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import keras
from keras import ops

from mrcnn.config import Config
from mrcnn.layers.types import Tensor

__all__ = ["OPTIMIZERS", "SCHEDULES", "NamedSchedule", "default_learning_rate", "make_optimizer"]

SCHEDULES = ("constant", "step", "cosine")
OPTIMIZERS = ("sgd", "adam", "adamw")
# Shares of all steps after which "step" divides the learning rate by 10: those of Detectron's
# 90,000 steps at 60,000 and 80,000.
_DROPS = (2 / 3, 8 / 9)
# Adam's steps have the size of the learning rate, whatever the gradient.
_ADAM_FACTOR = 0.1
# AdamW's own decay of weights, beside `Config.WEIGHT_DECAY` in the loss. That of torch.
_ADAMW_DECAY = 0.01


@keras.saving.register_keras_serializable(package="mrcnn")
class NamedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is constant, falls in steps or along a cosine, after a warm-up.

    It depends on the number of the step alone, which `train` saves: a training that is resumed with
    the same schedule continues as if it had not stopped.

    Args:
        kind: "constant"; "step" divides the learning rate by 10 after 2/3 and again after 8/9 of
            all steps; "cosine" lowers it to zero along half a cosine.
        learning_rate: its value after the warm-up.
        total_steps: number of steps of the whole training, the warm-up included.
        warmup_steps: number of first steps, in which it rises in proportion to the step.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> schedule = NamedSchedule("cosine", 0.01, total_steps=12, warmup_steps=2)
        >>> [round(float(schedule(step)), 4) for step in (0, 1, 2, 7, 12)]
        [0.005, 0.01, 0.01, 0.005, 0.0]
    """

    def __init__(
        self, kind: str, learning_rate: float, total_steps: int, warmup_steps: int = 0
    ) -> None:
        super().__init__()
        if kind not in SCHEDULES:
            raise ValueError(f"kind is {kind!r}; it must be {', '.join(SCHEDULES)}")
        if total_steps < 1:
            raise ValueError(f"total_steps is {total_steps}; it must be at least 1")
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}; it must be in 0..total_steps, {total_steps}"
            )
        self.kind = kind
        self.learning_rate = float(learning_rate)
        self.total_steps = int(total_steps)
        self.warmup_steps = int(warmup_steps)

    def __call__(self, step: Any) -> Tensor:
        """Compute the learning rate of a step, counted from 0: a float32 scalar."""
        step = ops.cast(step, "float32")
        factor = self._factor(step)
        if self.warmup_steps:
            rising = (step + 1) / self.warmup_steps
            factor = ops.where(step < self.warmup_steps, rising, factor)
        return self.learning_rate * factor

    def _factor(self, step: Tensor) -> Tensor:
        """Compute the factor of the learning rate without a warm-up, 0..1."""
        if self.kind == "step":
            passed = [ops.cast(step >= drop * self.total_steps, "float32") for drop in _DROPS]
            return 10.0 ** -sum(passed[1:], passed[0])
        if self.kind == "cosine":
            done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            return 0.5 * (1 + ops.cos(math.pi * ops.clip(done, 0.0, 1.0)))
        return ops.ones_like(step)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {
            "kind": self.kind,
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
        }


def default_learning_rate(optimizer: str, config: Config) -> float:
    """Return `LEARNING_RATE` for "sgd", and a tenth of it for "adam" and "adamw"."""
    return float(config.LEARNING_RATE) * (1.0 if optimizer == "sgd" else _ADAM_FACTOR)


def make_optimizer(
    name: str, config: Config, learning_rate: Any, momentum: float | None = None
) -> keras.optimizers.Optimizer:
    """Return an optimizer with the settings of a configuration.

    Args:
        name: "sgd" (with momentum, as in Matterport's package), "adam", or "adamw": Adam with a
            decay of 0.01 of the weights besides biases, gamma and beta.
        config: `GRADIENT_CLIP_NORM`, `ACCUMULATE_STEPS` and `LEARNING_MOMENTUM` are read.
        learning_rate: a number or a Keras schedule.
        momentum: of "sgd"; None takes `LEARNING_MOMENTUM`.

    Raises:
        ValueError: the name is unknown, or the learning rate is below 0 or not finite.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}; it must be {', '.join(OPTIMIZERS)}")
    if isinstance(learning_rate, Real):
        learning_rate = float(learning_rate)  # Keras refuses whole numbers
        if not 0 <= learning_rate < math.inf:
            raise ValueError(
                f"learning_rate is {learning_rate:g}; it must be a number of at least 0, or a "
                "schedule"
            )
    common: dict[str, Any] = {
        "global_clipnorm": config.GRADIENT_CLIP_NORM,
        # Keras accepts 2 and more; the average is clipped.
        "gradient_accumulation_steps": (
            config.ACCUMULATE_STEPS if config.ACCUMULATE_STEPS > 1 else None
        ),
    }
    if name == "adam":
        return keras.optimizers.Adam(learning_rate, **common)
    if name == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=_ADAMW_DECAY, **common)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer
    momentum = config.LEARNING_MOMENTUM if momentum is None else momentum
    return keras.optimizers.SGD(learning_rate, momentum=momentum, **common)


def renew_optimizer(
    optimizer: keras.optimizers.Optimizer, kind: Any = None
) -> keras.optimizers.Optimizer:
    """Return a new optimizer of the same settings.

    Args:
        optimizer: a Keras optimizer.
        kind: the class of the new one; None for the same class.
    """
    renewed = (kind or type(optimizer)).from_config(optimizer.get_config())
    # `get_config` leaves out the names of the weights that do not decay.
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    if pattern is not None:
        renewed._exclude_from_weight_decay_pattern = pattern
    return renewed
