"""What the trainings of the family have in common: the order of images, the optimizer, `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.loading.augmentation import check_augmentation


class ImageBatches(keras.utils.PyDataset):
    """Batches of the images of a dataset; each pass over it has an order of its own.

    Subclasses make a batch of the image ids that `image_ids_of` returns. Order and augmentation
    follow from `seed`.

    Args:
        dataset: a prepared Dataset.
        batch_size: images per batch.
        augmentation: as for `MaskRCNN.train`.
        seed: whole number of at least 0.
        workers: number of threads that load.

    Raises:
        ValueError: the dataset has no images, or the augmentation is of no known kind.
    """

    def __init__(
        self, dataset: Any, batch_size: int, *, augmentation: Any, seed: int, workers: int
    ) -> None:
        super().__init__(workers=workers, max_queue_size=4)
        if not dataset.num_images:
            raise ValueError("dataset has 0 images; it must have at least 1")
        check_augmentation(augmentation)
        self.dataset = dataset
        self.batch_size = min(batch_size, int(dataset.num_images))
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of whole batches in one pass."""
        return int(self.dataset.num_images) // self.batch_size

    def on_epoch_end(self) -> None:
        """Go on to the order of the next pass."""
        self.epoch += 1

    def image_ids_of(self, index: int) -> list[int]:
        """Return the ids of the images of a batch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.dataset.num_images)
        return order[index * self.batch_size : (index + 1) * self.batch_size].tolist()

    def rng_of(self, image_id: int) -> np.random.Generator:
        """Return the source of random numbers for an image in this pass."""
        return np.random.default_rng([self.seed, self.epoch, image_id])


def make_sgd(config: Config, learning_rate: float | None) -> keras.optimizers.Optimizer:
    """Return SGD with the momentum, weight decay and clipping of a configuration.

    Args:
        config: the settings.
        learning_rate: None takes `LEARNING_RATE`.
    """
    return keras.optimizers.SGD(
        config.LEARNING_RATE if learning_rate is None else learning_rate,
        momentum=config.LEARNING_MOMENTUM,
        weight_decay=config.WEIGHT_DECAY,
        global_clipnorm=config.GRADIENT_CLIP_NORM or None,
    )


def fit(
    model: keras.Model,
    make_batches: Callable[..., ImageBatches],
    train_dataset: Any,
    val_dataset: Any,
    *,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    epochs: int,
    augmentation: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int,
) -> keras.callbacks.History:
    """Compile a network and train it.

    Args:
        model: the network.
        make_batches: called with a dataset and, for the one that is trained on, `augmentation`.
        train_dataset: a prepared Dataset.
        val_dataset: a Dataset whose loss is computed after each epoch, or None.
        optimizer: a Keras optimizer.
        loss: a Keras loss.
        epochs: passes over the dataset.
        augmentation: as for `MaskRCNN.train`.
        callbacks: further Keras callbacks.
        verbose: as for Keras's `fit`.

    Returns:
        Keras's history of the losses.
    """
    # On CPUs, TensorFlow's own convolutions are several times faster than XLA's.
    jit_compile = "auto" if keras.backend.backend() == "jax" else False
    model.compile(optimizer, loss=loss, jit_compile=jit_compile)
    return model.fit(
        make_batches(train_dataset, augmentation=augmentation),
        validation_data=None if val_dataset is None else make_batches(val_dataset),
        epochs=epochs,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=verbose,
    )
