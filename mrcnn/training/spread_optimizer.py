"""An optimiser for a model that lies on several devices.

Keras 3 on TensorFlow clips the gradients of each device by themselves and adds them up afterwards.
Steps would then depend on how many devices share a batch. Here they are added up first, so every
device clips, and takes its momentum from, the gradient that one device would have had.
"""

import keras

from mrcnn.layers.replicas import sum_over_replicas


class SummedGradients:
    """Comes before an optimiser's class: gradients are summed over the devices as they arrive."""

    def apply(self, grads, trainable_variables=None):
        grads = [grad if grad is None else sum_over_replicas(grad) for grad in grads]
        return super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Where Keras would sum them, which would count every device's share several times."""
        return list(grads_and_vars)


def spread_optimizer(optimizer):
    """A new optimiser of the same settings, whose variables lie on the devices of the scope
    (`mrcnn.training.devices.scope`) that this is called in.

    Args:
        optimizer: a Keras optimiser, or whatever `compile` takes for one.
    """
    optimizer = keras.optimizers.get(optimizer)
    kind = type(optimizer)
    if keras.backend.backend() == "tensorflow" and not issubclass(kind, SummedGradients):
        kind = type(kind.__name__, (SummedGradients, kind), {"__module__": kind.__module__})
    return kind.from_config(optimizer.get_config())
