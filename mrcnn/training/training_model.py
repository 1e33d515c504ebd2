"""The Keras model that `fit` trains: its loss is the sum of the graph's own losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import keras
from keras import ops

from mrcnn.checkpoints.keras_model import NamedWeightsModel
from mrcnn.config_rules import LOSS_NAMES
from mrcnn.graphs import SharedLayers, training_graph
from mrcnn.layers.replicas import (
    mean_if_joined,
    num_replicas,
    run_on_replicas,
    sum_over_replicas,
)
from mrcnn.layers.types import Tensor
from mrcnn.training import devices
from mrcnn.training.spread_optimizer import spread_optimizer

# Position of `shuffle` among the arguments of `keras.Model.fit`, after `self`.
_FIT_SHUFFLE = 8


def weight_decay(variables: Iterable[keras.Variable], rate: float) -> Tensor:
    """Compute `rate * sum(w ** 2) / size(w)` over the variables that are not gamma or beta.

    Dividing by the size is Matterport's: it makes the penalty the mean square of each weight.
    """
    terms = [
        ops.sum(ops.square(ops.cast(v, "float32"))) * (rate / float(_size(v.shape)))
        for v in variables
        if v.name not in ("gamma", "beta")
    ]
    return sum(terms[1:], terms[0]) if terms else ops.zeros(())


def _size(shape: Sequence[int]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _without_targets(batches: Any) -> Any:
    """Bring the batches of Matterport's generator, `(list of inputs, [])`, into Keras 3's form.

    Keras 3 takes tuples where a generator yields lists, and has no empty targets. Anything but a
    Python generator is returned unchanged.
    """
    if not isinstance(batches, Iterator):
        return batches
    return ((tuple(batch[0]),) for batch in batches)


def _drop_loader_settings(arguments: dict[str, Any]) -> None:
    """Remove Keras 2's arguments of `fit` for the threads that load; a generator has none."""
    for name in ("max_queue_size", "workers", "use_multiprocessing"):
        arguments.pop(name, None)


@keras.saving.register_keras_serializable(package="mrcnn")
class TrainingModel(NamedWeightsModel):
    """The training graph with `fit`. Its last outputs are the losses in the order of `LOSS_NAMES`.

    Logs hold `loss` (weighted sum plus weight decay) and every part under its own name, so that
    progress bar, TensorBoard and callbacks see them all.

    Args:
        *args: inputs and outputs, as for `keras.Model`.
        loss_weights: factor of each loss by its name; a missing name counts 1.
        weight_decay_rate: factor of the penalty on weights, see `weight_decay`. None leaves both to
            `configure`, without which the model cannot be compiled.
        **kwargs: as for `NamedWeightsModel`.

    Attributes:
        distribution: the devices it was built on, see `mrcnn.training.devices`; None for one.
    """

    # True if the graph computes the losses. Otherwise they are those given to `compile`.
    has_own_losses = True

    def __init__(
        self,
        *args: Any,
        loss_weights: Mapping[str, float] | None = None,
        weight_decay_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # Not through Keras, which would track it as a part with state.
        self.__dict__["distribution"] = devices.current()
        self.weight_decay_rate: float | None = None
        if weight_decay_rate is not None:
            self.configure(loss_weights or {}, weight_decay_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which `from_config` builds the model again."""
        return {**super().get_config(), **self._loss_settings()}

    def _loss_settings(self) -> dict[str, Any]:
        if self.weight_decay_rate is None:
            return {}
        return {
            "loss_weights": dict(self.loss_weights),
            "weight_decay_rate": self.weight_decay_rate,
        }

    def configure(self, loss_weights: Mapping[str, float], weight_decay_rate: float) -> None:
        """Set the factors of the losses, for the next `compile`.

        Args:
            loss_weights: factor of each loss by its name; a missing name counts 1.
            weight_decay_rate: `Config.WEIGHT_DECAY`.
        """
        self.loss_weights = {name: float(factor) for name, factor in loss_weights.items()}
        self.weight_decay_rate = float(weight_decay_rate)
        if not hasattr(self, "loss_trackers"):
            self.loss_trackers = [keras.metrics.Mean(name=name) for name in self.loss_names]

    @property
    def loss_names(self) -> list[str]:
        """Names of the losses that the graph computes: without RPN or mask head it lacks some."""
        return [name for name in LOSS_NAMES if name in self.output_names]

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Compile as Keras does, with the losses of the graph.

        On several devices an optimizer of the same settings, one whose variables lie on all of
        them, takes the place of the given one.

        Args:
            optimizer: as for `keras.Model.compile`.
            loss: None, or a list of None as Matterport's package gave it.
            *args: as for `keras.Model.compile`.
            **kwargs: as for `keras.Model.compile`.

        Raises:
            ValueError: a loss is given, or the factors of the losses are not known (in a copy by
                `keras.models.clone_model` of a model that was not compiled).
        """
        if self.has_own_losses:
            if self.weight_decay_rate is None:
                raise ValueError(
                    "weight_decay_rate is None; it must be set: call configure(loss_weights, "
                    "weight_decay_rate) before compile"
                )
            if any(part is not None for part in keras.tree.flatten(loss)):
                raise ValueError(
                    f"loss is {loss!r}; it must be None: the graph computes its own losses, "
                    f"{', '.join(self.loss_names)}"
                )
            loss = None
        with devices.scope(self.distribution):
            if self.distribution is not None:
                optimizer = spread_optimizer(optimizer)
            if keras.backend.backend() == "tensorflow":
                # Not through Keras: it is no part of the model.
                self.__dict__["_data_ready_clock"] = keras.Variable(
                    0.0, dtype="float64", trainable=False, aggregation="only_first_replica"
                )
            super().compile(optimizer, loss, *args, **kwargs)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return the arguments of `compile` and `configure`."""
        config = super().get_compile_config()
        # `keras.models.clone_model` copies nothing else.
        return config and {**config, "configure": self._loss_settings()}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with what `get_compile_config` returned."""
        config = dict(config)
        settings = config.pop("configure", {})
        if settings:
            self.configure(**settings)
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does, on the devices of `distribution`.

        Args:
            x: as for `keras.Model.fit`, or Matterport's `data_generator`; `validation_data` too.
            *args: as for `keras.Model.fit`.
            **kwargs: as for `keras.Model.fit`. `shuffle` is False unless given: the batches of
                `mrcnn.loading` have an order of their own. `workers`, `use_multiprocessing` and
                `max_queue_size` of Keras 2 are ignored.
        """
        _drop_loader_settings(kwargs)
        if self.has_own_losses:
            if 1 + len(args) <= _FIT_SHUFFLE:
                kwargs.setdefault("shuffle", False)
            x = _without_targets(x)
            if "validation_data" in kwargs:
                kwargs["validation_data"] = _without_targets(kwargs["validation_data"])
        with devices.scope(self.distribution):
            return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Compute the losses as `keras.Model.evaluate` does, also over a `data_generator`."""
        _drop_loader_settings(kwargs)
        x = _without_targets(x) if self.has_own_losses else x
        with devices.scope(self.distribution):
            return super().evaluate(x, *args, **kwargs)

    def fit_generator(
        self, generator: Any, steps_per_epoch: int | None = None, epochs: int = 1, **kwargs: Any
    ) -> keras.callbacks.History:
        """Train as Keras 2's method of this name did: `fit` over a generator.

        Args:
            generator: Matterport's `data_generator`, or what else `fit` takes as `x`.
            steps_per_epoch: number of batches in an epoch.
            epochs: number of the last epoch.
            **kwargs: as for `fit`.
        """
        return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, **kwargs)

    def evaluate_generator(self, generator: Any, steps: int | None = None, **kwargs: Any) -> Any:
        """Compute the losses as Keras 2's method of this name did: `evaluate` over a generator."""
        return self.evaluate(generator, steps=steps, **{"verbose": 0, **kwargs})

    def train_step(self, *args: Any) -> Any:
        """Run Keras's training step.

        On TensorFlow, where the step itself takes its batch from the queue, note when it had it,
        for `data_ready_time`.
        """
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # `train_on_batch` gives None for the targets that it was not given.
            tensors = [part for part in keras.tree.flatten(args[-1]) if part is not None]
            with tf.control_dependencies(tensors):
                noted = self._data_ready_clock.assign(tf.timestamp())
            # Otherwise TensorFlow, with a single thread, may run the clock last.
            with tf.control_dependencies([noted]):
                batch = keras.tree.map_structure(
                    lambda part: None if part is None else tf.identity(part), args[-1]
                )
            args = (*args[:-1], batch)
        return self._spread(super().train_step)(*args)

    def test_step(self, *args: Any) -> Any:
        """Run Keras's step of validation."""
        return self._spread(super().test_step)(*args)

    def _spread(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Let JAX run a step on each device's part of the batch.

        Keras does so on TensorFlow. Losses that are given to `compile` are left to JAX.
        """
        if self.distribution is None or not self.has_own_losses or keras.backend.backend() != "jax":
            return step
        return run_on_replicas(step, self.distribution)

    def compute_loss_and_updates(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the gradient's loss and what is logged, on JAX, as Keras does.

        The loss that is logged is that of the batch.
        """
        loss, (logged, *updates) = super().compute_loss_and_updates(*args, **kwargs)
        return loss, (sum_over_replicas(logged) if self.has_own_losses else logged, *updates)

    @property
    def data_ready_time(self) -> float | None:
        """Time at which the last step had its batch, in seconds as of `time.time()`.

        None where that is not known (JAX, torch).
        """
        if keras.backend.backend() != "tensorflow":
            return None
        return float(self._data_ready_clock.numpy())

    def _build_optimizer(self) -> None:
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            with devices.scope(self.distribution):
                optimizer.build(self.trainable_variables)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Build what the first step needs, without running Keras's trial step.

        Under a `MirroredStrategy` that step averages a batch over the devices to see its shapes;
        masks, which are bool, have no average, and the training graph has all shapes already.
        """
        if not self.has_own_losses:
            super()._maybe_symbolic_build(iterator, data_batch)
        else:
            self._build_optimizer()

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Compute the total loss of a batch: a float32 scalar.

        On several devices it is each one's share: the losses of the devices add up to that of the
        batch, as their gradients do.
        """
        if not self.has_own_losses:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        total = weight_decay(self.trainable_variables, self.weight_decay_rate or 0.0)
        values = y_pred[-len(self.loss_trackers) :]
        for value, tracker in zip(values, self.loss_trackers):
            tracker.update_state(mean_if_joined(value))
            total = total + value * self.loss_weights.get(tracker.name, 1.0)
        return total / num_replicas()


# Keras's `.h5` files of whole models name the class without its package.
keras.saving.get_custom_objects()["TrainingModel"] = TrainingModel


def build_training_model(shared: SharedLayers) -> TrainingModel:
    """Build the training graph with the `LOSS_WEIGHTS` and `WEIGHT_DECAY` of its config."""
    config = shared.config
    model = training_graph(
        shared,
        TrainingModel,
        loss_weights=config.LOSS_WEIGHTS,
        weight_decay_rate=config.WEIGHT_DECAY,
    )
    return cast(TrainingModel, model)
