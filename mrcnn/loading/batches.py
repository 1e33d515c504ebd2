"""Training batches for `fit`: loaded in threads, the same for the same seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.files.names import printable
from mrcnn.loading.augmentation import check_augmentation
from mrcnn.loading.batch_stream import BatchStream, check_at_least
from mrcnn.loading.broken_images import BrokenImageError
from mrcnn.loading.examples import (
    Example,
    ExampleSettings,
    anchors_of,
    make_example,
    stack_examples,
)
from mrcnn.loading.generator import data_generator
from mrcnn.loading.named_augmentation import find_augmentation

__all__ = ["BrokenImageError", "TrainingBatches", "data_generator", "make_batches"]

logger = logging.getLogger("mrcnn.loading")


class TrainingBatches(BatchStream):
    """Batches of images with ground truth and RPN targets, for the training model.

    See `BatchStream` for the order of the images. Crops, augmentation and sampling of a batch
    follow from `seed` and its place in the stream alone.

    Images without instances are part of the batches (they show the RPN what is
    background).

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
        seed: as for `BatchStream`, as what follows.
        epoch_offset: epoch to begin with, when training resumes.
        workers: number of threads that load.
        max_queue_size: largest number of batches loaded ahead.
        on_error: "skip" or "raise".
        cache: keep decoded images and masks in memory.
        share: the part of each batch to load.

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
        share: tuple[int, int] = (0, 1),
    ) -> None:
        check_at_least(0, random_rois=random_rois)
        check_trainable(dataset, config)
        if isinstance(augmentation, str):
            augmentation = find_augmentation(augmentation)
        check_augmentation(augmentation, with_boxes=not config.USE_RPN)
        super().__init__(
            dataset,
            batch_size=config.BATCH_SIZE if batch_size is None else batch_size,
            steps=config.STEPS_PER_EPOCH if steps is None else steps,
            shuffle=shuffle,
            seed=seed,
            epoch_offset=epoch_offset,
            workers=workers,
            max_queue_size=max_queue_size,
            on_error=on_error,
            cache=cache,
            share=share,
        )
        self.config = config
        self.settings = ExampleSettings(
            augment=augment,
            augmentation=augmentation,
            no_augmentation_sources=no_augmentation_sources,
            random_rois=random_rois,
            detection_targets=detection_targets,
        )
        self.anchors = anchors_of(config)

    def make_example(self, image_id: int, rng: np.random.Generator) -> Example:
        """Load one image with its instances and targets."""
        return make_example(self.dataset, self.config, image_id, self.anchors, self.settings, rng)

    def make_batch(self, examples: list[Any]) -> tuple[Any, ...]:
        """Stack examples.

        Returns:
            `(inputs,)`, `inputs` a tuple: images [B, H, W, C] float32, molded; image_metas
            [B, META] float32; rpn_match [B, A, 1] int32; rpn_bbox [B, R, 4] float32;
            gt_class_ids [B, G] int32; gt_boxes [B, G, 4] int32 pixels; gt_masks
            [B, mask height, mask width, G] bool. With `PARTIAL_LABELS` also gt_weights [B, G, 2]
            float32. With `random_rois` also those, and with
            `detection_targets` `(inputs, outputs)`. For networks without RPN or mask head see
            `stack_examples`.
        """
        inputs, outputs = stack_examples(examples, self.config)
        inputs[1] = inputs[1].astype(np.float32)
        if self.config.USE_RPN:
            inputs[3] = inputs[3].astype(np.float32)
        # A tuple: Keras takes a list inside a batch for a ragged array.
        return (tuple(inputs), tuple(outputs)) if outputs else (tuple(inputs),)


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
    share: tuple[int, int] = (0, 1),
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
        share: the part of each batch to load.

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
        "share": share,
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
