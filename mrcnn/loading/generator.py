"""Matterport's `data_generator`: an endless Python generator of training batches.

`MaskRCNN.train` uses `TrainingBatches`, which loads in threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mrcnn.config import Config
from mrcnn.loading.augmentation import check_augmentation
from mrcnn.loading.broken_images import BrokenImages
from mrcnn.loading.examples import (
    Example,
    ExampleSettings,
    anchors_of,
    make_example,
    stack_examples,
)


def data_generator(
    dataset: Any,
    config: Config,
    shuffle: bool = True,
    augment: bool = False,
    augmentation: Any = None,
    random_rois: int = 0,
    batch_size: int = 1,
    detection_targets: bool = False,
    no_augmentation_sources: Sequence[str] | None = None,
    *,
    on_error: str = "skip",
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Yield training batches without end, pass after pass over the dataset.

    Images without instances are part of the batches; Matterport's generator leaves them
    out. All draws are from `np.random` (and Python's `random`: crops, `augment`).

    Args:
        dataset: a prepared Dataset.
        config: the Config of the model.
        shuffle: shuffle the images before every pass.
        augment: deprecated. Mirrors half of the images left to right.
        augmentation: see `apply_augmentation`.
        random_rois: number of random ROIs to add for each image; 0 for none.
        batch_size: number of images in a batch.
        detection_targets: with `random_rois`, also yield the targets of the heads.
        no_augmentation_sources: sources whose images are not augmented.
        on_error: "skip" logs an image that cannot be loaded, once, and leaves it out, within
            the limits of `TrainingBatches`; "raise" makes it an error.

    Yields:
        `(inputs, outputs)`, two lists of arrays, see `stack_examples`.

    Raises:
        BrokenImageError: an image, or too many, cannot be loaded; the message names it.
        ValueError: an argument breaks its rule, or the dataset has no images.
    """
    check_augmentation(augmentation, with_boxes=not config.USE_RPN)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if len(dataset.image_ids) == 0:
        raise ValueError("dataset has no images; add some and call dataset.prepare()")
    settings = ExampleSettings(
        augment=augment,
        augmentation=augmentation,
        no_augmentation_sources=no_augmentation_sources,
        random_rois=random_rois,
        detection_targets=detection_targets,
    )
    broken = BrokenImages(dataset, on_error)
    return _generate(dataset, config, shuffle, batch_size, settings, broken)


def _generate(
    dataset: Any,
    config: Config,
    shuffle: bool,
    batch_size: int,
    settings: ExampleSettings,
    broken: BrokenImages,
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    image_ids = np.array(dataset.image_ids)
    anchors = anchors_of(config)
    examples: list[Example] = []
    num_in_a_row = 0
    while True:
        if shuffle:
            np.random.shuffle(image_ids)
        for image_id in image_ids:
            try:
                example = make_example(dataset, config, image_id, anchors, settings)
            except Exception as error:
                num_in_a_row += 1
                broken.add(image_id, error, num_in_a_row)
                continue
            num_in_a_row = 0
            examples.append(example)
            if len(examples) == batch_size:
                yield stack_examples(examples, config)
                examples = []
