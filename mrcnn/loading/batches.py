"""Training batches for `fit`: loaded in threads, the same for the same seed."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import queue
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.files.names import printable
from mrcnn.loading.augmentation import check_augmentation
from mrcnn.loading.broken_images import MAX_BROKEN_IMAGES, BrokenImageError, BrokenImages
from mrcnn.loading.cache import DEFAULT_LIMIT, CachedDataset
from mrcnn.loading.examples import (
    Example,
    ExampleSettings,
    anchors_of,
    make_example,
    stack_examples,
)
from mrcnn.loading.generator import data_generator
from mrcnn.loading.image_gt import describe_image
from mrcnn.loading.named_augmentation import find_augmentation

__all__ = ["BrokenImageError", "TrainingBatches", "data_generator", "make_batches"]

logger = logging.getLogger("mrcnn.loading")

# Purposes of streams of random numbers: no two streams are the same.
_ORDER, _IMAGE = 0, 1


class TrainingBatches(keras.utils.PyDataset):
    """Batches of images with ground truth and RPN targets, for the training model.

    All passes over the dataset make one long stream of images, each pass in an order of
    its own; batch `i` of epoch `e` takes the next `batch_size` images at
    `(e * steps + i) * batch_size`. An epoch of any number of steps thus sees every image
    equally often. Order, crops, augmentation and sampling of a batch follow from `seed`
    and its place in the stream alone: not from the thread, nor from what was loaded before.

    Images without instances are part of the batches (they show the RPN what is
    background).

    Call `fit` with `shuffle=False`: the order of the batches is decided here.

    Args:
        dataset: a prepared Dataset.
        config: the Config of the model.
        batch_size: number of images in a batch; `config.BATCH_SIZE` when None.
        shuffle: draw a new order of the images for every pass.
        augment: deprecated, use `augmentation`. Mirrors half of the images.
        augmentation: a name of `find_augmentation`, an imgaug augmenter, an Albumentations
            transform or a function; see `mrcnn.loading.augmentation.apply_augmentation`.
        no_augmentation_sources: names of sources whose images are not augmented.
        detection_targets: with `random_rois`, also give the targets of the heads.
        random_rois: number of random ROIs to add for each image; 0 for none.
        steps: number of batches in an epoch; `config.STEPS_PER_EPOCH` when None.
        seed: whole number of at least 0; drawn from `np.random` when None.
        epoch_offset: epoch to begin with, when training resumes.
        workers: number of threads that load. With 0 or 1, the calling thread loads.
        max_queue_size: largest number of batches loaded ahead.
        on_error: "raise" makes an image that cannot be loaded an error. "skip" logs it, once,
            and the next image of the stream takes its place. More than 5 in a row are an error
            nevertheless, and so are more than 5 different ones that are over a fifth of the
            dataset.
        cache: keep decoded images and masks in memory. True for up to 2 GiB; or the largest
            number of bytes to hold.

    Attributes:
        epoch: number of the current epoch, counted from 0.

    Raises:
        ValueError: an argument breaks its rule, the dataset is empty, or its number of
            classes is not `config.NUM_CLASSES`.
    """

    def __init__(
        self,
        dataset: Any,
        config: Config,
        *,
        batch_size: int | None = None,
        shuffle: bool = True,
        augment: bool = False,
        augmentation: Any = None,
        no_augmentation_sources: Sequence[str] | None = None,
        detection_targets: bool = False,
        random_rois: int = 0,
        steps: float | None = None,
        seed: int | None = None,
        epoch_offset: int = 0,
        workers: int = 2,
        max_queue_size: int = 4,
        on_error: str = "raise",
        cache: bool | int = False,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max_queue_size)
        self.batch_size: int = config.BATCH_SIZE if batch_size is None else batch_size
        # A fraction of a step, from a division, means the step that holds it.
        self.steps = math.ceil(config.STEPS_PER_EPOCH if steps is None else steps)
        _check_at_least(1, batch_size=self.batch_size, steps=self.steps)
        _check_at_least(0, random_rois=random_rois, epoch_offset=epoch_offset, seed=seed or 0)
        check_trainable(dataset, config)
        if isinstance(augmentation, str):
            augmentation = find_augmentation(augmentation)
        check_augmentation(augmentation, with_boxes=not config.USE_RPN)
        self._broken = BrokenImages(dataset, on_error)
        if cache:
            limit = DEFAULT_LIMIT if cache is True else cache
            dataset = CachedDataset(dataset, limit)
        self.dataset = dataset
        self.config = config
        self.shuffle = shuffle
        self.seed = int(np.random.randint(2**31 - 1)) if seed is None else int(seed)
        self.epoch = epoch_offset
        self.settings = ExampleSettings(
            augment=augment,
            augmentation=augmentation,
            no_augmentation_sources=no_augmentation_sources,
            random_rois=random_rois,
            detection_targets=detection_targets,
        )
        self.anchors = anchors_of(config)
        # The first exception that loading a batch has raised, and its cause.
        self._failure: tuple[Exception, BaseException | None] | None = None
        self._image_ids = np.array(dataset.image_ids)
        # Images that took the place of a broken one, by place in the stream.
        self._substitutes: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Load batch `index` of the current epoch.

        Returns:
            `(inputs,)`, `inputs` a tuple: images [B, H, W, C] float32, molded; image_metas
            [B, META] float32; rpn_match [B, A, 1] int32; rpn_bbox [B, R, 4] float32;
            gt_class_ids [B, G] int32; gt_boxes [B, G, 4] int32 pixels; gt_masks
            [B, mask height, mask width, G] bool. With `PARTIAL_LABELS` also gt_weights [B, G, 2]
            float32. With `random_rois` also those, and with
            `detection_targets` `(inputs, outputs)`. For networks without RPN or mask head see
            `stack_examples`.

        Raises:
            BrokenImageError: an image, or too many, cannot be loaded; the message names it.
            IndexError: there is no such batch.
        """
        if not 0 <= index < self.steps:
            raise IndexError(f"index is {index}; an epoch has batches 0 to {self.steps - 1}")
        try:
            examples = [self._load(slot) for slot in self._slots(index, self.epoch)]
            inputs, outputs = stack_examples(examples, self.config)
        except Exception as error:
            self._failure = self._failure or (error, error.__cause__)
            raise
        inputs[1] = inputs[1].astype(np.float32)
        if self.config.USE_RPN:
            inputs[3] = inputs[3].astype(np.float32)
        # A tuple: Keras takes a list inside a batch for a ragged array.
        return (tuple(inputs), tuple(outputs)) if outputs else (tuple(inputs),)

    def on_epoch_end(self) -> None:
        """Advance to the next epoch; Keras calls this."""
        self.epoch += 1

    def stop_threads(self) -> None:
        """End the threads that load, and free what they have loaded ahead.

        Keras does so at the end of an epoch, but not if `fit` is ended by an exception, be it
        `KeyboardInterrupt`.
        """
        for thread in threading.enumerate():
            # Keras gives no access to its `PyDatasetEnqueuer`, which runs in this thread.
            enqueuer = getattr(getattr(thread, "_target", None), "__self__", None)
            if enqueuer is not None and getattr(enqueuer, "py_dataset", None) is self:
                enqueuer.stop(drain_queue_and_join=False)
                while thread.is_alive():  # it may wait for a place in this queue
                    with contextlib.suppress(queue.Empty):
                        enqueuer.future_queue.get(timeout=0.05)

    def raise_failure(self) -> None:
        """Raise the first exception that loading a batch has raised, if there was one.

        TensorFlow's input pipeline replaces it by an error of its own, and Keras removes its
        cause.
        """
        if self._failure is not None:
            error, cause = self._failure
            raise error from cause

    def image_ids_of_batch(self, index: int, epoch: int | None = None) -> list[int]:
        """Return the numbers of the images in a batch, without loading it.

        Where a broken image was skipped, that of the image that took its place is given, once
        the batch has been loaded.

        Args:
            index: number of the batch in its epoch.
            epoch: number of the epoch; the current one when None.
        """
        slots = self._slots(index, self.epoch if epoch is None else epoch)
        return [self._substitutes.get(slot, self._image_id(slot)) for slot in slots]

    def references_of_batch(self, index: int, epoch: int | None = None) -> list[str]:
        """Describe the images of a batch: number, source, id and file.

        Args:
            index: number of the batch in its epoch.
            epoch: number of the epoch; the current one when None.
        """
        ids = self.image_ids_of_batch(index, epoch)
        return [describe_image(self.dataset, image_id) for image_id in ids]

    def _slots(self, index: int, epoch: int) -> range:
        """Return the places in the stream of images that a batch takes."""
        start = (epoch * self.steps + index) * self.batch_size
        return range(start, start + self.batch_size)

    def _image_id(self, slot: int) -> int:
        number, place = divmod(slot, len(self._image_ids))
        if not self.shuffle:
            return int(self._image_ids[place])
        return int(self._image_ids[_order(self.seed, number, len(self._image_ids))[place]])

    def _load(self, slot: int) -> Example:
        """Return the example at a place of the stream; with "skip", the next that can be loaded."""
        # After one more than the limit, `BrokenImages.add` raises.
        for num_broken in range(MAX_BROKEN_IMAGES + 1):
            place = slot + num_broken
            image_id = self._image_id(place)
            rng = np.random.default_rng([self.seed, _IMAGE, slot, place])
            try:
                example = make_example(
                    self.dataset, self.config, image_id, self.anchors, self.settings, rng
                )
            except Exception as error:
                self._broken.add(image_id, error, num_broken + 1)
                continue
            if num_broken:
                self._substitutes[slot] = image_id
            return example
        raise RuntimeError("BrokenImages.add has not raised")


def make_batches(
    train_dataset: Any,
    val_dataset: Any | None,
    config: Config,
    *,
    epoch: int,
    augmentation: Any,
    no_augmentation_sources: Sequence[str] | None,
    workers: int,
    seed: int | None,
    cache: bool,
    on_error: str,
) -> tuple[TrainingBatches, TrainingBatches | None]:
    """Make the batches of `MaskRCNN.train`, whose arguments these are.

    Args:
        train_dataset: a prepared Dataset.
        val_dataset: another with the same classes, or None.
        config: the Config of the model; without `VALIDATION_STEPS` nothing is validated.
        epoch: number of finished epochs.
        augmentation: of the training images; those for validation are not augmented.
        no_augmentation_sources: see `TrainingBatches`, as for what follows.
        workers: number of threads.
        seed: for both.
        cache: whether to keep decoded images in memory.
        on_error: "skip" or "raise".

    Returns:
        Batches for training, and for validation or None.

    Raises:
        ValueError: an argument or a dataset cannot work.
    """
    check_trainable(train_dataset, config, "train_dataset")
    _warn_of_partial_labels(train_dataset, config)
    if val_dataset is not None:
        _check_same_classes(train_dataset, val_dataset)
    common: dict[str, Any] = {
        "random_rois": (
            config.POST_NMS_ROIS_TRAINING if config.USE_RPN and not config.USE_RPN_ROIS else 0
        ),
        "epoch_offset": epoch,
        "workers": workers,
        "seed": seed,
        "cache": cache,
        "on_error": on_error,
    }
    train_batches = TrainingBatches(
        train_dataset,
        config,
        augmentation=augmentation,
        no_augmentation_sources=no_augmentation_sources,
        **common,
    )
    if val_dataset is None or not config.VALIDATION_STEPS:
        return train_batches, None
    check_trainable(val_dataset, config, "val_dataset")
    return train_batches, TrainingBatches(
        val_dataset, config, steps=config.VALIDATION_STEPS, **common
    )


@functools.lru_cache(maxsize=8)
def _order(seed: int, number: int, count: int) -> np.ndarray:
    """Return the order [count] of the images in pass `number` over the dataset."""
    return np.random.default_rng([seed, _ORDER, number]).permutation(count)


def _check_at_least(least: int, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def check_trainable(dataset: Any, config: Config, name: str = "dataset") -> None:
    """Raise ValueError for a dataset without images or classes, or with another number of them."""
    if len(dataset.image_ids) == 0:
        raise ValueError(f"{name} has no images; add some and call {name}.prepare()")
    if dataset.num_classes < 2:
        raise ValueError(
            f"{name} has no classes besides the background, so nothing can be learned from it; add "
            f"some with {name}.add_class() and call {name}.prepare()"
        )
    if dataset.num_classes != config.NUM_CLASSES:
        raise ValueError(
            f"NUM_CLASSES is {config.NUM_CLASSES}; it must be {dataset.num_classes}, the number of "
            f"classes of {name}, the background included. To go on from weights of other classes: "
            "mrcnn.train(dataset, weights), or mrcnn.checkpoints.load_class_rows after "
            "load_weights(..., exclude=...)"
        )


def _warn_of_partial_labels(dataset: Any, config: Config) -> None:
    """Warn of images that are not exhaustively annotated where the setting for them is not set."""
    count = sum(not info.get("exhaustive", True) for info in dataset.image_info)
    if count and not config.PARTIAL_LABELS:
        logger.warning(
            "%d of %d images are marked as not exhaustively annotated, but PARTIAL_LABELS is "
            "False: their objects without annotation are learned as background",
            count,
            len(dataset.image_info),
        )


def _check_same_classes(train_dataset: Any, val_dataset: Any) -> None:
    """Raise ValueError where a class id means another class in the second dataset."""
    train_names, val_names = list(train_dataset.class_names), list(val_dataset.class_names)
    if train_names != val_names:
        raise ValueError(
            f"val_dataset has the classes {printable(val_names)}; they must be those of "
            f"train_dataset, in the same order: {printable(train_names)}"
        )
