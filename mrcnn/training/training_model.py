"""The Keras model that `fit` trains: its loss is the sum of the graph's own losses."""

import keras
from keras import ops

from mrcnn.checkpoints.keras_model import NamedWeightsModel
from mrcnn.config_rules import LOSS_NAMES
from mrcnn.layers.replicas import num_replicas
from mrcnn.training import devices
from mrcnn.training.spread_optimizer import spread_optimizer


def weight_decay(variables, rate):
    """`rate * sum(w ** 2) / size(w)` over the variables that are not gamma or beta.

    Dividing by the size is Matterport's: it makes the penalty the mean square of each weight.
    """
    terms = [
        ops.sum(ops.square(ops.cast(v, "float32"))) * (rate / float(_size(v.shape)))
        for v in variables
        if v.name not in ("gamma", "beta")
    ]
    return sum(terms[1:], terms[0]) if terms else ops.zeros(())


def _size(shape):
    size = 1
    for axis in shape:
        size *= axis
    return size


class TrainingModel(NamedWeightsModel):
    """The training graph with `fit`. Its last five outputs are the losses in `LOSS_NAMES` order.

    Logs hold `loss` (weighted sum plus weight decay) and every part under its own name, so that
    progress bar, TensorBoard and callbacks see them all.

    Attributes:
        distribution: the devices it was built on, see `mrcnn.training.devices`; None for one.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Past Keras, which would track it as a part with state.
        self.__dict__["distribution"] = devices.current()

    def compile(self, optimizer="rmsprop", *args, **kwargs):
        """As Keras's. On several devices an optimiser of the same settings, one that lies on all of
        them, takes the place of the given one.
        """
        with devices.scope(self.distribution):
            if self.distribution is not None:
                optimizer = spread_optimizer(optimizer)
            if keras.backend.backend() == "tensorflow":
                # Past Keras: it is no part of the model.
                self.__dict__["_data_ready_clock"] = keras.Variable(
                    0.0, dtype="float64", trainable=False, aggregation="only_first_replica"
                )
            super().compile(optimizer, *args, **kwargs)

    def fit(self, *args, **kwargs):
        with devices.scope(self.distribution):
            return super().fit(*args, **kwargs)

    def configure(self, loss_weights, weight_decay_rate):
        """Set what `compute_loss` needs; called before `compile`.

        Args:
            loss_weights: dict from loss name to factor; a missing name counts 1.
            weight_decay_rate: `Config.WEIGHT_DECAY`.
        """
        self.loss_weights = dict(loss_weights)
        self.weight_decay_rate = weight_decay_rate
        if not hasattr(self, "loss_trackers"):
            self.loss_trackers = [keras.metrics.Mean(name=name) for name in LOSS_NAMES]

    def train_step(self, *args):
        """As Keras's. On TensorFlow, where the step itself takes its batch from the queue, it notes
        when it had it; see `data_ready_time`.
        """
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # `train_on_batch` gives None for the targets that it was not given.
            tensors = [part for part in keras.tree.flatten(args[-1]) if part is not None]
            with tf.control_dependencies(tensors):
                noted = self._data_ready_clock.assign(tf.timestamp())
            # Else a single thread of TensorFlow may come to the clock last.
            with tf.control_dependencies([noted]):
                batch = keras.tree.map_structure(
                    lambda part: None if part is None else tf.identity(part), args[-1]
                )
            args = (*args[:-1], batch)
        return super().train_step(*args)

    @property
    def data_ready_time(self):
        """When the last step had its batch, in seconds as of `time.time()`; None where that is not
        known (JAX, torch).
        """
        if keras.backend.backend() != "tensorflow":
            return None
        return float(self._data_ready_clock.numpy())

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Under a `MirroredStrategy` Keras averages a batch over the devices, to see its shapes;
        masks, which are bool, have no average, and the training graph has all shapes already.
        """
        if not hasattr(self, "loss_weights"):
            super()._maybe_symbolic_build(iterator, data_batch)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Total loss of a batch: a float32 scalar. On several devices it is each one's share: the
        losses of the devices add up to that of the batch, as their gradients do.
        """
        total = weight_decay(self.trainable_variables, self.weight_decay_rate)
        for name, value, tracker in zip(LOSS_NAMES, y_pred[-len(LOSS_NAMES) :], self.loss_trackers):
            tracker.update_state(value)
            total = total + value * self.loss_weights.get(name, 1.0)
        return total / num_replicas()
