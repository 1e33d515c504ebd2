"""`ParallelModel`, for scripts that wrapped a model for several GPUs by hand.

Matterport's package split each batch, ran a copy of the model on every GPU and merged the
results on the CPU. Here the model is trained through `tf.distribute.MirroredStrategy` or, on JAX,
`keras.distribution.DataParallel`: see `mrcnn.training.devices`. `MaskRCNN("training", config, ...)`
with `GPU_COUNT` above 1 does the same without this class. Where there are fewer devices than asked
for, a warning says so and those that exist get the whole batch.
"""

from __future__ import annotations

from typing import Any

import keras

from mrcnn.training import devices
from mrcnn.training.training_model import TrainingModel


@keras.saving.register_keras_serializable(package="mrcnn")
class ParallelModel(TrainingModel):
    """A model with the inputs, outputs and weights of another.

    It trains like the model it holds: the training graph with its own losses, another model with
    those given to `compile`. Weight files are the inner model's: written with or without the
    wrapper, they load with or without it.

    Args:
        keras_model: the model; it must be a functional one.
        gpu_count: number of devices to train on, at least 1.

    Attributes:
        inner_model: the model. Its weights, which the two share, now lie on every device.
        gpu_count: as given.
        distribution: over the devices that there are; None for one.

    Raises:
        ValueError: `gpu_count` is no whole number of at least 1.
    """

    def __init__(self, keras_model: keras.Model, gpu_count: int) -> None:
        if isinstance(gpu_count, bool) or not isinstance(gpu_count, int) or gpu_count < 1:
            raise ValueError(f"gpu_count is {gpu_count!r}: it must be a whole number, at least 1")
        distribution = getattr(keras_model, "distribution", None)
        is_new = distribution is None
        if is_new:
            distribution = devices.select_devices(gpu_count)
        with devices.scope(distribution):
            super().__init__(inputs=keras_model.inputs, outputs=keras_model.outputs)
        if is_new and distribution is not None:
            devices.spread_variables(keras_model, distribution)
        # Past Keras, which would count the layers of an attribute as further ones.
        self.__dict__["inner_model"] = keras_model
        self.gpu_count = gpu_count
        self.file_layer_names = getattr(keras_model, "file_layer_names", None)
        # The losses of the training graph, or else those given to `compile`.
        self.has_own_losses = isinstance(keras_model, TrainingModel)
        if self.has_own_losses and keras_model.weight_decay_rate is not None:
            self.configure(keras_model.loss_weights, keras_model.weight_decay_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which `from_config` builds the model again."""
        inner = keras.saving.serialize_keras_object(self.inner_model)
        return {"keras_model": inner, "gpu_count": self.gpu_count}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ParallelModel:
        """Build the model from what `get_config` returned."""
        inner = keras.saving.deserialize_keras_object(config["keras_model"], custom_objects)
        return cls(inner, config["gpu_count"])
