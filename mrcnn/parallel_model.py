"""`ParallelModel`, for scripts that wrapped a model for several GPUs themselves.

Matterport's package split each batch, ran a copy of the model on every GPU and merged the
results on the CPU. Here the model is trained through `tf.distribute.MirroredStrategy` or, on JAX,
`keras.distribution.DataParallel`: see `mrcnn.training.devices`. `MaskRCNN("training", config, ...)`
with `GPU_COUNT` above 1 does the same without this class. If there are fewer devices than
`gpu_count`, a warning is issued and the existing ones share the batch.
"""

from __future__ import annotations

from typing import Any

import keras

from mrcnn.startup.matterport_names import find_import
from mrcnn.training import devices
from mrcnn.training.training_model import TrainingModel


@keras.saving.register_keras_serializable(package="mrcnn")
class ParallelModel(TrainingModel):
    """A model with the inputs, outputs and weights of another.

    It trains like the model it holds: the training graph with its own losses, another model with
    those given to `compile`. Weight files are those of the inner model: written with or without
    the wrapper, they load with or without it.

    Args:
        keras_model: a functional model.
        gpu_count: number of devices to train on, at least 1.

    Attributes:
        inner_model: the model. Its weights, which the two share, lie on every device.
        gpu_count: as given.
        distribution: the distribution over the existing devices; None for one device.

    Raises:
        ValueError: `gpu_count` is no whole number of at least 1.
    """

    def __init__(self, keras_model: keras.Model, gpu_count: int) -> None:
        if isinstance(gpu_count, bool) or not isinstance(gpu_count, int) or gpu_count < 1:
            raise ValueError(f"gpu_count is {gpu_count!r}; it must be a whole number of at least 1")
        distribution = getattr(keras_model, "distribution", None)
        is_new = distribution is None
        if is_new:
            distribution = devices.select_devices(gpu_count)
        with devices.scope(distribution):
            super().__init__(inputs=keras_model.inputs, outputs=keras_model.outputs)
        if is_new and distribution is not None:
            devices.spread_variables(keras_model, distribution)
        # Keras would count the layers of an ordinary attribute as further layers.
        self.__dict__["inner_model"] = keras_model
        self.gpu_count = gpu_count
        self.file_layer_names = getattr(keras_model, "file_layer_names", None)
        self.__dict__["describe_file"] = getattr(keras_model, "describe_file", None)
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


def __getattr__(name: str) -> Any:
    """Return what Matterport's module imported: K, KL, KM, tf."""
    return find_import(__name__, name)
