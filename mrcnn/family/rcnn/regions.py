"""Run a network on the regions of an image, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.family.rcnn.settings import RCNNConfig
from mrcnn.family.rcnn.warping import warp_regions
from mrcnn.family.regions import selective_search


def propose(image: np.ndarray, config: RCNNConfig) -> np.ndarray:
    """Return the proposals of selective search, at most MAX_REGIONS `[N, (y1, x1, y2, x2)]`."""
    return selective_search(image, config.REGION_STRATEGY)[: config.MAX_REGIONS]


def given_or_proposed(
    images: Sequence[np.ndarray],
    proposals: Sequence[np.ndarray] | None,
    index: int,
    config: RCNNConfig,
) -> np.ndarray:
    """Return the regions of an image: those given, clipped to it, or those of selective search.

    Args:
        images: [H, W, 3] uint8 RGB.
        proposals: [N, (y1, x1, y2, x2)] in pixels for each image, or None.
        index: of the image.
        config: settings of selective search.

    Raises:
        ValueError: the proposals do not fit the images.
    """
    if proposals is None:
        return propose(images[index], config)
    if len(proposals) != len(images):
        raise ValueError(
            f"proposals has {len(proposals)} entries; it must have one for each of the "
            f"{len(images)} images"
        )
    boxes = np.asarray(proposals[index], np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(
            f"proposals[{index}] has shape {boxes.shape}; it must be finite numbers "
            "[N, (y1, x1, y2, x2)] in pixels"
        )
    height, width = images[index].shape[:2]
    boxes = np.clip(boxes, 0, [height, width, height, width])
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


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
    """Return the items with a progress bar around them, if `verbose` is not 0."""
    if not verbose:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=title, unit="image", leave=False)
