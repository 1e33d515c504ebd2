"""Run a network on the regions of an image, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.family.rcnn.settings import RCNNConfig
from mrcnn.family.rcnn.warping import warp_regions
from mrcnn.family.regions import selective_search
from mrcnn.geometry.proposals import check_proposals


def propose(image: np.ndarray, config: RCNNConfig) -> np.ndarray:
    """Return the proposals of selective search, at most MAX_REGIONS `[N, (y1, x1, y2, x2)]`."""
    found = selective_search(image, config.REGION_STRATEGY, max_side=config.REGION_MAX_SIDE)
    return found[: config.MAX_REGIONS]


def given_or_proposed(
    images: Sequence[np.ndarray], proposals: Any, config: RCNNConfig
) -> Iterator[np.ndarray]:
    """Return the regions of each image, one by one: those given, or those of selective search.

    Args:
        images: [H, W, 3] uint8 RGB.
        proposals: [N, (y1, x1, y2, x2)] in pixels for each image; None for selective search.
        config: settings of selective search.

    Raises:
        ValueError: the proposals do not fit the images.
    """
    try:
        given = [None] * len(images) if proposals is None else list(proposals)
    except TypeError:
        raise ValueError(
            f"proposals is {type(proposals).__name__}; it must be a list of an array [N, 4] for "
            "each image"
        ) from None
    if len(given) != len(images):
        raise ValueError(
            f"proposals has {len(given)} entries; it must have one for each of the "
            f"{len(images)} images"
        )
    return (
        propose(image, config)
        if boxes is None
        else check_proposals(boxes, image.shape, f"proposals[{index}]")
        for index, (image, boxes) in enumerate(zip(images, given))
    )


def predict_regions(
    model: keras.Model,
    image: np.ndarray,
    boxes: np.ndarray,
    preprocess: Callable[[np.ndarray], np.ndarray],
    config: RCNNConfig,
) -> list[np.ndarray]:
    """Run a model with several outputs on regions of an image.

    Args:
        model: takes squares of pixels.
        image: [H, W, 3] uint8 RGB.
        boxes: [N, (y1, x1, y2, x2)] in pixels.
        preprocess: makes the model's input of pixels.
        config: REGIONS_PER_BATCH, REGION_CONTEXT and MEAN_PIXEL are read.

    Returns:
        An array [N, ...] for each output.
    """
    size, batch_size = model.input_shape[1], int(config.REGIONS_PER_BATCH)
    results = [np.empty((len(boxes), *output.shape[1:]), np.float32) for output in model.outputs]
    for start in range(0, len(boxes), batch_size):
        part = boxes[start : start + batch_size]
        pixels = warp_regions(image, part, size, config.REGION_CONTEXT, config.MEAN_PIXEL)
        # One size for all batches, since every other size would be compiled.
        pixels = np.pad(pixels, ((0, batch_size - len(part)), (0, 0), (0, 0), (0, 0)))
        outputs = keras.tree.flatten(model.predict_on_batch(preprocess(pixels)))
        for result, output in zip(results, outputs):
            result[start : start + len(part)] = keras.ops.convert_to_numpy(output)[: len(part)]
    return results


def show_progress(items: Any, verbose: int, title: str) -> Any:
    """Return the items with a progress bar on a terminal, if `verbose` is not 0."""
    if not verbose:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=title, unit="image", disable=None, leave=False)
