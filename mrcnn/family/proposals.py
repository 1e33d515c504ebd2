"""Proposals for a whole dataset by selective search, kept in a file (Fast R-CNN)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from mrcnn.datasets.proposals import proposal_key, read_proposals, write_proposals
from mrcnn.family.regions import selective_search

if TYPE_CHECKING:
    from mrcnn.datasets.dataset import Dataset

__all__ = ["find_proposals", "propose"]

# Larger images are reduced to this side in pixels before the search; VOC's have 500.
MAX_SIDE = 640
# Images after which the file is written, so that an interruption costs at most their time.
_IMAGES_PER_WRITE = 100


def propose(
    image: np.ndarray, strategy: Literal["single", "fast", "quality"] = "fast"
) -> np.ndarray:
    """Return the boxes of selective search, also of a large image within seconds.

    Args:
        image: gray, RGB or RGBA.
        strategy: see `selective_search`.

    Returns:
        [N, (y1, x1, y2, x2)] int32 in pixels of the image.
    """
    return selective_search(image, strategy, max_side=MAX_SIDE)


def find_proposals(
    dataset: Dataset,
    path: str | os.PathLike[str] | None = None,
    strategy: Literal["single", "fast", "quality"] = "fast",
    max_boxes: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Find the proposals of every image of a dataset by selective search.

    Images of more than 640 pixels a side are reduced to that before, which the search needs to be
    fast.

    Set them as `dataset.proposals` to train or evaluate a network without RPN.

    Args:
        dataset: a prepared dataset.
        path: an `.npz` file that keeps them, see `mrcnn.datasets.write_proposals`. Images that it
            holds are not searched again. None keeps them in memory alone.
        strategy: see `selective_search`.
        max_boxes: largest number of boxes of an image, the most likely ones.
        progress: called after each image with the number of images done and of all.

    Returns:
        `[N, (y1, x1, y2, x2)]` int32 pixels for each image, by its name "source.id".

    Raises:
        ValueError: an argument breaks its rule, or an image or the file cannot be read.
    """
    if isinstance(max_boxes, bool) or not isinstance(max_boxes, int) or max_boxes < 1:
        raise ValueError(f"max_boxes is {max_boxes!r}; it must be a whole number of at least 1")
    known = read_proposals(path) if path is not None and os.path.exists(path) else {}
    found = {}
    num_new = 0
    for done, image_id in enumerate(dataset.image_ids, start=1):
        name = proposal_key(dataset.image_info[image_id])
        if name not in known:
            known[name] = propose(dataset.load_image(image_id), strategy)[:max_boxes]
            num_new += 1
            if path is not None and num_new % _IMAGES_PER_WRITE == 0:
                write_proposals(path, known)
        found[name] = known[name]
        if progress is not None:
            progress(done, len(dataset.image_ids))
    if path is not None and num_new % _IMAGES_PER_WRITE:
        write_proposals(path, known)
    return found
