"""`SemanticModel`: build, load, train and run a semantic network."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from mrcnn import checkpoints
from mrcnn.config import Config
from mrcnn.datasets.semantic import MAX_CLASSES, find_label_problem, median_frequency_weights
from mrcnn.family.image_stream import as_images
from mrcnn.family.semantic.batches import SemanticBatches
from mrcnn.family.semantic.config import SETTINGS, SemanticConfig
from mrcnn.family.semantic.frames import windows
from mrcnn.family.semantic.losses import SemanticLoss
from mrcnn.family.semantic.networks import find_network
from mrcnn.family.semantic.vgg16 import load_imagenet_values
from mrcnn.family.training import FamilyModel, check_settings, make_sgd
from mrcnn.layers.precision import precision_policy

if TYPE_CHECKING:
    from mrcnn.checkpoints.held_out import HeldOut

__all__ = ["SemanticConfig", "SemanticModel"]

# Images of more pixels are computed in parts: of a whole photograph of 12 megapixels a U-Net of the
# usual width needs 15 GB. Each part is computed with the pixels around it on which its result
# depends (FCN: 250). All are multiples of the side that the networks need.
_WHOLE_PIXELS = 4_000_000
_PART_SIDE, _CONTEXT = 1024, 256


class SemanticModel(FamilyModel):
    """A semantic network: a class for every pixel.

    Args:
        name: "fcn32s", "fcn16s", "fcn8s", "segnet" or "unet".
        config: a `SemanticConfig`; None takes the defaults. NUM_CLASSES, IMAGE_CHANNEL_COUNT,
            MEAN_PIXEL, IMAGE_MAX_DIM, BASE_WIDTH, PADDING, TILE_SIDE, BATCH_SIZE, PRECISION and
            the settings of the optimizer are read.
        class_names: names by class number; None takes the numbers.
        model_dir: folder that receives a log folder for each training, with what `MaskRCNN.train`
            writes; None for no files.

    Attributes:
        keras_model: the network, from images minus the mean to logits.

    Raises:
        ValueError: there is no such network, or a setting does not suit it.

    Example:
        model = SemanticModel("unet", config, dataset.class_names)
        model.train(train_set, val_set, epochs=20)
        labels = model.segment([image])[0]["labels"]
    """

    settings = SETTINGS

    def __init__(
        self,
        name: str = "fcn8s",
        config: Config | None = None,
        class_names: Sequence[str] | None = None,
        model_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        config = SemanticConfig() if config is None else config
        self.network = find_network(name, getattr(config, "PADDING", "same"))
        self.num_classes = config.NUM_CLASSES
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise ValueError(f"NUM_CLASSES is {self.num_classes}; it must be 1 to {MAX_CLASSES}")
        names = list(map(str, range(self.num_classes)) if class_names is None else class_names)
        if len(names) != self.num_classes:
            raise ValueError(
                f"class_names has {len(names)} entries; it must have NUM_CLASSES = "
                f"{self.num_classes}"
            )
        self.channels = config.IMAGE_CHANNEL_COUNT
        self.mean = np.atleast_1d(np.asarray(config.MEAN_PIXEL, np.float32))
        if self.mean.shape != (self.channels,):
            raise ValueError(
                f"MEAN_PIXEL has {self.mean.size} values; it must have IMAGE_CHANNEL_COUNT = "
                f"{self.channels}"
            )
        check_settings(config, SETTINGS)
        with precision_policy(config.PRECISION):
            network = self.network.build(
                num_classes=self.num_classes,
                channels=self.channels,
                width=getattr(config, "BASE_WIDTH", SemanticConfig.BASE_WIDTH),
            )
            super().__init__(name, config, names, network, model_dir)

    def load_weights(
        self,
        path: str | os.PathLike[str],
        exclude: Sequence[str] | None = None,
        skip_mismatch: bool = False,
    ) -> checkpoints.LoadReport:
        """Load the layers that an `.h5` file and the network have in common, by name.

        An FCN-16s starts from a file of an FCN-32s this way, and an FCN-8s from one of an FCN-16s,
        as in the paper.

        Args:
            path: a file of `save_weights`.
            exclude: names of layers to leave alone.
            skip_mismatch: leave layers of another shape alone, such as those of other classes,
                instead of raising.

        Returns:
            What was loaded.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is of another network.
        """
        return checkpoints.load_weights(
            self.keras_model, path, exclude=exclude, skip_mismatch=skip_mismatch
        )

    def load_imagenet(self, path: str | os.PathLike[str] | None = None) -> None:
        """Start the layers of VGG-16 from values trained on ImageNet.

        Args:
            path: a weight file of `keras.applications.VGG16`; None downloads it.

        Raises:
            ValueError: the network is not built on VGG-16, or the file is another one.
            OSError: the file is missing or cannot be downloaded.
        """
        load_imagenet_values(self.keras_model, path)

    def segment(self, images: Sequence[Any]) -> list[dict[str, Any]]:
        """Find the class of every pixel.

        Args:
            images: images of any size: gray, RGB or RGBA.

        Returns:
            A dict for each image: `labels` [H, W] uint8, class numbers, and `probabilities`
            [H, W, classes] float32, which add up to 1.

        Raises:
            ValueError: an element of `images` is no image; the message has its number. Or the
                network gives values that are not finite.
        """
        results: list[dict[str, Any]] = []
        # Neighbors of one size share a batch.
        pixels = as_images(images, self.channels)
        for _, group in itertools.groupby(pixels, key=lambda image: image.shape):
            for batch in _batched(group, self.config.BATCH_SIZE):
                probabilities = self._predict(np.stack(batch))
                labels = probabilities.argmax(axis=-1).astype(np.uint8)
                results += [
                    {"labels": one, "probabilities": p} for one, p in zip(labels, probabilities)
                ]
        return results

    def _predict_images(self, images: Sequence[Any]) -> list[dict[str, Any]]:
        return self.segment(images)

    def train(
        self,
        train_dataset: Any,
        val_dataset: Any = None,
        learning_rate: Any = None,
        epochs: int = 10,
        augmentation: Any = None,
        *,
        loss: str = "cross_entropy",
        class_weights: Sequence[float] | str | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        seed: int | None = 0,
        callbacks: Sequence[Any] = (),
        steps: int | None = None,
        keep: int | None = None,
        held_out: HeldOut | None = None,
        verbose: int = 1,
    ) -> keras.callbacks.History:
        """Train on a dataset of label maps, or of instances, whose label maps are painted.

        Args:
            train_dataset: a prepared Dataset with the classes of the model; see
                `mrcnn.datasets.semantic.load_label_map`.
            val_dataset: a Dataset whose loss is computed after each epoch, or None.
            learning_rate: of the optimizer; None takes `config.LEARNING_RATE`.
            epochs: passes over the dataset; with a `model_dir`, the number of the last one, counted
                over all calls.
            augmentation: as for `MaskRCNN.train`.
            loss: "cross_entropy", "dice" or "cross_entropy+dice", see `SemanticLoss`.
            class_weights: a weight for each class; "median" for those of
                `median_frequency_weights`, as in SegNet's paper; None for 1.
            optimizer: a Keras optimizer, with its own learning rate; None takes SGD with momentum
                and weight decay of the config.
            seed: of order, places and augmentation.
            callbacks: further Keras callbacks; with a `model_dir` also the names "best" and
                "early_stopping", which need a `Validation` among them.
            steps: steps per epoch; None for as many as it takes to see each image once.
            keep: with a `model_dir`, number of weight files to keep, the newest; None for all.
            held_out: record of the images that are not trained on, to be stored with the weights.
            verbose: as for Keras's `fit`; with a `model_dir`, as for `MaskRCNN.train`.

        Returns:
            Keras's history of the losses.

        Raises:
            ValueError: the dataset's classes are not those of the model, its label maps have no
                class but the first and void, or an argument breaks its rule.
        """
        config = self.config
        for name, dataset in (("train_dataset", train_dataset), ("val_dataset", val_dataset)):
            if dataset is not None and dataset.num_classes != self.num_classes:
                raise ValueError(
                    f"{name} has {dataset.num_classes} classes; it must have NUM_CLASSES = "
                    f"{self.num_classes}"
                )
        problem = find_label_problem(train_dataset)
        if problem is not None:
            raise ValueError(f"train_{problem}")
        weights = _class_weights(class_weights, train_dataset)
        make = partial(
            SemanticBatches,
            frame=self.network.frame,
            batch_size=config.BATCH_SIZE,
            mean=self.mean,
            scale=self.network.scale,
            max_side=int(config.IMAGE_MAX_DIM),
        )
        return self.fit(
            make,
            train_dataset,
            val_dataset,
            optimizer=make_sgd(config, learning_rate) if optimizer is None else optimizer,
            loss=SemanticLoss(self.num_classes, loss, weights),
            epochs=epochs,
            augmentation=augmentation,
            callbacks=callbacks,
            steps=steps,
            seed=seed,
            keep=keep,
            held_out=held_out,
            verbose=verbose,
        )

    def _predict(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities [B, H, W, classes] of images [B, H, W, channels]."""
        frame = self.network.frame
        height, width = images.shape[1:3]
        values = (images - self.mean) * np.float32(self.network.scale)
        padded = np.stack([frame.pad(image) for image in values])
        if not frame.margin:
            is_large = padded.shape[1] * padded.shape[2] > _WHOLE_PIXELS
            run = self._probabilities_by_parts if is_large else self._probabilities
            return run(padded)[:, :height, :width]
        rows, columns = (side - 2 * frame.margin for side in padded.shape[1:3])
        result = np.empty((len(images), rows, columns, self.num_classes), np.float32)
        side = getattr(self.config, "TILE_SIDE", SemanticConfig.TILE_SIDE)
        for y, x in frame.tiles(rows, columns, side):
            part = padded[:, y.start : y.stop + 2 * frame.margin]
            part = part[:, :, x.start : x.stop + 2 * frame.margin]
            result[:, y, x] = self._probabilities(part)
        return result[:, :height, :width]

    def _probabilities_by_parts(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities of large images, computed in windows of one size."""
        result = np.empty((*values.shape[:3], self.num_classes), np.float32)
        rows, columns = (windows(side, _PART_SIDE, _CONTEXT) for side in values.shape[1:3])
        for image, found in zip(values, result):
            for (y, outer_y), (x, outer_x) in itertools.product(rows, columns):
                part = self._probabilities(image[None, outer_y, outer_x])[0]
                inner_y = slice(y.start - outer_y.start, y.stop - outer_y.start)
                found[y, x] = part[inner_y, x.start - outer_x.start : x.stop - outer_x.start]
        return result

    def _probabilities(self, values: np.ndarray) -> np.ndarray:
        logits = self.keras_model.predict_on_batch(values)
        probabilities = ops.convert_to_numpy(ops.softmax(ops.convert_to_tensor(logits)))
        if not np.isfinite(probabilities).all():  # every pixel would be of class 0
            raise ValueError(
                f"the network {self.name} gives values that are not finite; its weights must be "
                f"of a training that did not diverge, and fit PRECISION = {self.config.PRECISION}"
            )
        return probabilities


def _class_weights(
    class_weights: Sequence[float] | str | None, dataset: Any
) -> Sequence[float] | None:
    if not isinstance(class_weights, str):
        return class_weights
    if class_weights != "median":
        raise ValueError(
            f"class_weights is {class_weights!r}; it must be 'median', a number for each class, or "
            "None"
        )
    return median_frequency_weights(dataset).tolist()


def _batched(images: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """Yield lists of up to `size` images."""
    while batch := list(itertools.islice(images, size)):
        yield batch
