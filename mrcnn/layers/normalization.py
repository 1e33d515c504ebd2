"""Batch normalization with Matterport's three modes and Keras 2's running statistics."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import keras
from keras import ops

from mrcnn.layers.replicas import (
    mean_if_joined,
    num_joined,
    num_replicas,
    sum_over_replicas,
)
from mrcnn.layers.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="mrcnn")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization (Ioffe and Szegedy 2015) whose mode is chosen where the graph is built.

    `training=False` (Matterport's `TRAIN_BN = False`) uses the running statistics, in training too:
    batches of two images are too small to estimate them. `None` follows the model (training or
    inference), `True` always uses the batch. Gamma and beta learn in every mode.

    The running statistics are those of Keras 2: averages over the updates since training began,
    weighted by 0.99 per step and corrected for the start (Kingma and Ba 2014, section 3), so the
    first update replaces the initial value and a short training needs no warm-up.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"epsilon": 1e-3, "momentum": 0.99, **kwargs})
        self._train_bn: bool | None = None

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        # Without autocast: a bfloat16 cannot count beyond 256.
        self.num_updates = self.add_weight(
            name="num_updates",
            shape=(),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            autocast=False,
        )

    @property
    def weights(self) -> list[keras.Variable]:
        """Gamma, beta and the running statistics: what a weight file holds.

        The number of updates belongs to a training, not to the weights.
        """
        return [w for w in super().weights if w is not self.num_updates]

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Write `weights` to a file of Keras 3."""
        for i, variable in enumerate(self.weights):
            store[str(i)] = variable

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read what `save_own_variables` wrote."""
        for i, variable in enumerate(self.weights):
            variable.assign(store[str(i)])

    def __call__(self, inputs: Tensor, training: bool | None = None, **kwargs: Any) -> Tensor:
        if isinstance(inputs, keras.KerasTensor):
            # Keras 3 lets the mode of the whole model override what the graph asked for.
            self._train_bn = training
        return super().__call__(inputs, training=training, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        if self._train_bn is not None:
            training = self._train_bn
        if not training:
            return super().call(inputs, training=False)
        values, gamma, beta = (ops.cast(x, "float32") for x in (inputs, self.gamma, self.beta))
        is_fused = keras.backend.backend() == "tensorflow" and len(inputs.shape) == 4
        normalize = normalize_fused if is_fused else normalize_by_batch
        outputs, mean, variance = normalize(values, gamma, beta, self.epsilon)
        self._update_running_statistics(mean, variance, inputs)
        return ops.cast(outputs, inputs.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor, inputs: Tensor) -> None:
        if not self.trainable:
            return
        # Keras 2 corrected the variance for the sample size after TensorFlow's fused op had done
        # so already. Repeated here: models that were trained there keep the same statistics.
        count = _count(inputs)
        variance = variance * count / ops.maximum(count - (1.0 + self.epsilon), self.epsilon)
        # On TensorFlow each device normalizes with its own part of the batch; all store the same
        # average.
        mean, variance = (sum_over_replicas(value) / num_replicas() for value in (mean, variance))
        self.num_updates.assign(self.num_updates + 1.0)
        decay = self.momentum
        rate = (1.0 - decay) / (1.0 - ops.power(decay, self.num_updates))
        for running, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running + (ops.stop_gradient(value) - running) * rate)


def normalize_by_batch(
    values: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize each channel with the mean and variance that it has in this batch.

    On JAX the batch is that of all devices together.

    Args:
        values: `[..., channels]` float32.
        gamma: `[channels]` float32.
        beta: `[channels]` float32.
        epsilon: added to the variance.

    Returns:
        `(normalized values, mean [channels], variance [channels])`. The variance returned is the
        unbiased one, divided by the number of values less one; the normalization itself divides by
        their number.
    """
    axes = list(range(len(values.shape) - 1))
    if num_joined() == 1:
        mean, variance = ops.moments(values, axes=axes)
    else:
        mean = mean_if_joined(ops.mean(values, axis=axes))
        variance = mean_if_joined(ops.mean(ops.square(values - mean), axis=axes))
    scale = ops.rsqrt(variance + epsilon) * gamma
    count = _count(values)
    return (
        values * scale + (beta - mean * scale),
        mean,
        variance * count / ops.maximum(count - 1.0, 1.0),
    )


def normalize_fused(
    values: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `normalize_by_batch` of `[batch, height, width, channels]` in one TensorFlow op.

    It takes a third of the time, gradient included.
    """
    import tensorflow as tf

    return tf.compat.v1.nn.fused_batch_norm(values, gamma, beta, epsilon=epsilon, is_training=True)


def _count(values: Tensor) -> Tensor:
    """Count the values of a channel, as float32."""
    return ops.cast(ops.size(values) // values.shape[-1] * num_joined(), "float32")
