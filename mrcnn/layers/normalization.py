"""Batch normalisation with Matterport's three modes and Keras 2's running statistics."""

import keras
from keras import ops

from mrcnn.layers.replicas import num_replicas, sum_over_replicas


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation (Ioffe and Szegedy 2015) whose mode is chosen where the graph is built.

    `training=False` (Matterport's `TRAIN_BN = False`) uses the running statistics, in training too:
    batches of two pictures are too small to estimate them. `None` follows the model (training or
    inference), `True` always uses the batch. Gamma and beta learn in every mode.

    The running statistics are those of Keras 2: averages over the updates since training began,
    weighted by 0.99 per step and corrected for the start (Kingma and Ba 2014, section 3), so the
    first update replaces the initial value and a short training needs no warm-up.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"epsilon": 1e-3, "momentum": 0.99, **kwargs})
        self._train_bn = None

    def build(self, input_shape):
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
    def weights(self):
        """Gamma, beta and the running statistics: what a weight file holds. The number of updates
        belongs to a training, not to the weights.
        """
        return [w for w in super().weights if w is not self.num_updates]

    def save_own_variables(self, store):
        """Keras 3's own weight files hold the same four."""
        for i, variable in enumerate(self.weights):
            store[str(i)] = variable

    def load_own_variables(self, store):
        for i, variable in enumerate(self.weights):
            variable.assign(store[str(i)])

    def __call__(self, inputs, training=None, **kwargs):
        if isinstance(inputs, keras.KerasTensor):
            # Keras 3 lets the mode of the whole model override what the graph asked for.
            self._train_bn = training
        return super().__call__(inputs, training=training, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if self._train_bn is not None:
            training = self._train_bn
        if not training:
            return super().call(inputs, training=False)
        axes = list(range(len(inputs.shape) - 1))
        values = ops.cast(inputs, "float32")
        mean, variance = ops.moments(values, axes=axes)
        self._update_running_statistics(mean, variance, inputs)
        scale = ops.rsqrt(variance + self.epsilon) * ops.cast(self.gamma, "float32")
        outputs = values * scale + (ops.cast(self.beta, "float32") - mean * scale)
        return ops.cast(outputs, inputs.dtype)

    def _update_running_statistics(self, mean, variance, inputs):
        if not self.trainable:
            return
        # Keras 2 corrected the variance for the sample size on top of TensorFlow's fused op, which
        # had done so already; models trained there and continued here see the same statistics.
        count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
        variance = variance * count / ops.maximum(count - 1.0, 1.0)
        variance = variance * count / ops.maximum(count - (1.0 + self.epsilon), self.epsilon)
        # Each device normalises with its own part of the batch; all remember the same average.
        mean, variance = (sum_over_replicas(value) / num_replicas() for value in (mean, variance))
        self.num_updates.assign(self.num_updates + 1.0)
        decay = self.momentum
        rate = (1.0 - decay) / (1.0 - ops.power(decay, self.num_updates))
        for running, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running + (ops.stop_gradient(value) - running) * rate)
