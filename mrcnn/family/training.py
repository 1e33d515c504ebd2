"""What the trainings of the family have in common: batches, the loop, the log folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import keras

from mrcnn import checkpoints
from mrcnn.checkpoints.keras_model import NamedWeightsModel
from mrcnn.config import Config
from mrcnn.config_rules import find_own_problems
from mrcnn.family.image_stream import ImageStream
from mrcnn.loading.augmentation import check_augmentation
from mrcnn.loading.batch_stream import BatchStream
from mrcnn.loading.named_augmentation import find_augmentation
from mrcnn.startup.caller import warn_caller
from mrcnn.training import log_folders, trainer
from mrcnn.training.callbacks import check_callbacks, resolve_callbacks
from mrcnn.training.logged import LoggedTraining
from mrcnn.training.schedules import default_learning_rate

if TYPE_CHECKING:
    from mrcnn.checkpoints.held_out import HeldOut


class ImageBatches(BatchStream):
    """Batches of the images of a dataset, each with what is to be learned about it.

    Args:
        dataset: a prepared Dataset.
        batch_size: largest number of images per batch.
        steps: number of batches in an epoch; None for as many as it takes to see each image once.
        augmentation: as for `MaskRCNN.train`.
        seed: as for `BatchStream`, as what follows.
        workers: number of threads that load.
        epoch_offset: epoch to begin with.
        on_error: "skip" or "raise".

    Raises:
        ValueError: the dataset has no images, or the augmentation is of no known kind.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        steps: int | None = None,
        augmentation: Any = None,
        seed: int | None = 0,
        workers: int = 2,
        epoch_offset: int = 0,
        on_error: str = "skip",
    ) -> None:
        if not dataset.num_images:
            raise ValueError("dataset has 0 images; it must have at least 1")
        if isinstance(augmentation, str):
            augmentation = find_augmentation(augmentation)
        check_augmentation(augmentation)
        batch_size = min(batch_size, int(dataset.num_images))
        super().__init__(
            dataset,
            batch_size=batch_size,
            steps=steps or math.ceil(dataset.num_images / batch_size),
            seed=seed,
            epoch_offset=epoch_offset,
            workers=workers,
            on_error=on_error,
        )
        self.augmentation = augmentation


class FamilyModel(ImageStream, LoggedTraining):
    """The base of `SemanticModel` and `Yolo`: weight files, streams of images, trainings.

    Args:
        name: its name in `mrcnn.family.MODELS`.
        config: its settings.
        class_names: names by class number.
        network: its network.
        model_dir: folder that receives a log folder for each training; None for no files.
    """

    # Names of the settings that its files hold.
    settings: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        config: Config,
        class_names: Sequence[str],
        network: keras.Model,
        model_dir: str | os.PathLike[str] | None,
    ) -> None:
        self.name = name
        self.config = config
        self.class_names: list[str] = list(class_names)
        self.model_dir = model_dir
        (image,) = network.inputs
        self.keras_model = NamedWeightsModel(image, network.outputs, name=network.name)
        self._describe_files()
        if model_dir is not None:
            self.set_log_dir()

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights as an `.h5` file, whole or not at all.

        It holds the name of the model, its settings and its class names.
        """
        checkpoints.save_weights(self.keras_model, path)

    def _settings(self) -> dict[str, Any]:
        values = self.config.to_dict()
        return {name: values[name] for name in self.settings if name in values}

    def _description(self, class_names: Sequence[str] | None = None) -> dict[str, Any]:
        return {"model": self.name, **super()._description(class_names)}

    def fit(
        self,
        make_batches: Callable[..., ImageBatches],
        train_dataset: Any,
        val_dataset: Any,
        *,
        optimizer: keras.optimizers.Optimizer,
        loss: keras.losses.Loss,
        epochs: int,
        augmentation: Any,
        callbacks: Sequence[Any],
        steps: int | None,
        seed: int | None,
        keep: int | None,
        held_out: HeldOut | None,
        verbose: int,
    ) -> keras.callbacks.History:
        """Compile the network and train it, in a log folder if there is a `model_dir`.

        Args:
            make_batches: called with a dataset and arguments of `ImageBatches`.
            train_dataset: a prepared Dataset.
            val_dataset: a Dataset whose loss is computed after each epoch, or None.
            optimizer: a Keras optimizer.
            loss: a Keras loss.
            epochs: number of the last epoch; without a `model_dir`, of passes.
            augmentation: as for `MaskRCNN.train`.
            callbacks: Keras callbacks; with a `model_dir` also "best" and "early_stopping".
            steps: steps per epoch.
            seed: of order and augmentation.
            keep: number of weight files to keep.
            held_out: record of the images that are not trained on.
            verbose: as for `MaskRCNN.train`; without a `model_dir`, as for Keras's `fit`.

        Returns:
            Keras's history of the losses.
        """
        # On CPUs, TensorFlow's own convolutions are several times faster than XLA's.
        jit = "auto" if keras.backend.backend() == "jax" else False
        batches = make_batches(
            train_dataset,
            augmentation=augmentation,
            steps=steps,
            seed=seed,
            epoch_offset=self.epoch,
        )
        val_batches = None if val_dataset is None else make_batches(val_dataset, seed=seed)
        self.class_names = list(train_dataset.class_names)
        if self.model_dir is None:
            self.held_out = held_out
            self.keras_model.compile(optimizer, loss=loss, jit_compile=jit)
            return self.keras_model.fit(
                batches,
                validation_data=val_batches,
                epochs=epochs,
                callbacks=list(callbacks),
                shuffle=False,
                verbose=verbose,
            )
        check_callbacks(callbacks, val_dataset)
        if epochs <= self.epoch:
            warn_caller(f"already at epoch {self.epoch} of {epochs}: nothing to do")
            return trainer.empty_history()
        self.held_out = held_out
        self._open_log_dir(self.class_names)
        self.keras_model.compile(optimizer, loss=loss, jit_compile=jit)
        self.keras_model.optimizer.build(self.keras_model.trainable_variables)

        def on_checkpoint(path: str, epoch: int) -> None:
            self.epoch = epoch
            self.write_description(path, self.class_names)

        with log_folders.reserved(self.log_dir):
            return trainer.run(
                self.keras_model,
                batches,
                val_batches,
                first_epoch=self.epoch,
                last_epoch=epochs,
                checkpoint_path=self.checkpoint_path,
                callbacks=resolve_callbacks(callbacks, self, val_dataset, verbose),
                on_checkpoint=on_checkpoint,
                keep=keep,
                seed=seed,
                verbose=verbose,
                advice=(
                    "There was not enough memory for a training step. Lower IMAGES_PER_GPU = "
                    f"{self.config.IMAGES_PER_GPU} or IMAGE_MAX_DIM = {self.config.IMAGE_MAX_DIM}."
                ),
            )


def check_settings(config: Config, names: Sequence[str]) -> None:
    """Raise ValueError for the first of some settings that breaks its rule; see `Config.validate`.

    Args:
        config: settings; those that it lacks are passed over.
        names: names of the settings that a model reads.
    """
    problems = find_own_problems(config, [name for name in names if hasattr(config, name)])
    if problems:
        raise ValueError(problems[0].rstrip("."))


def make_sgd(config: Config, learning_rate: Any = None) -> keras.optimizers.Optimizer:
    """Return SGD with the momentum, weight decay and clipping of a configuration.

    Args:
        config: the settings.
        learning_rate: a number or a Keras schedule; None takes `LEARNING_RATE`.
    """
    return keras.optimizers.SGD(
        default_learning_rate("sgd", config) if learning_rate is None else learning_rate,
        momentum=config.LEARNING_MOMENTUM,
        weight_decay=config.WEIGHT_DECAY,
        global_clipnorm=config.GRADIENT_CLIP_NORM or None,
        gradient_accumulation_steps=(
            config.ACCUMULATE_STEPS if config.ACCUMULATE_STEPS > 1 else None
        ),
    )
