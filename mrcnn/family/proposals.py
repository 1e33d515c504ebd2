"""Proposals for a whole dataset by selective search, kept in a file (Fast R-CNN)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from mrcnn.datasets.proposals import check_path, proposal_key, read_proposals, write_proposals
from mrcnn.family.regions import selective_search
from mrcnn.files.names import printable
from mrcnn.geometry.proposals import check_proposals

if TYPE_CHECKING:
    from mrcnn.datasets.dataset import Dataset

__all__ = ["check_known", "find_proposals", "propose"]

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
        max_boxes: largest number of boxes of an image, the most likely ones; the file keeps those
            that it has.
        progress: called after each image with the number of images done and of all.

    Returns:
        `[N, (y1, x1, y2, x2)]` int32 pixels for each image, by its name "source.id".

    Raises:
        ValueError: an argument breaks its rule, an image or the file cannot be read, or a box of
            the file does not lie within its image.
    """
    if isinstance(max_boxes, bool) or not isinstance(max_boxes, int) or max_boxes < 1:
        raise ValueError(f"max_boxes is {max_boxes!r}; it must be a whole number of at least 1")
    known = _read(path)
    _check([dataset], known, path)
    found = {}
    num_new = 0
    for done, image_id in enumerate(dataset.image_ids, start=1):
        name = proposal_key(dataset.image_info[image_id])
        if name not in known:
            known[name] = propose(dataset.load_image(image_id), strategy)[:max_boxes]
            num_new += 1
            if path is not None and num_new % _IMAGES_PER_WRITE == 0:
                write_proposals(path, known)
        found[name] = known[name][:max_boxes]
        if progress is not None:
            progress(done, len(dataset.image_ids))
    if path is not None and num_new % _IMAGES_PER_WRITE:
        write_proposals(path, known)
    return found


def check_known(
    datasets: Sequence[Dataset], path: str | os.PathLike[str] | None = None
) -> tuple[int, int]:
    """Check the proposals that images of datasets have already, before anything is computed.

    Args:
        datasets: prepared datasets, whose own `proposals` are checked as well.
        path: the file that `find_proposals` will be given, which need not exist yet.

    Returns:
        The number of images whose proposals the file holds, and that of all images.

    Raises:
        ValueError: the file cannot be read, or a box does not lie within its image.
    """
    num_known = _check(datasets, _read(path), path)
    return num_known, sum(len(dataset.image_ids) for dataset in datasets)


def _read(path: str | os.PathLike[str] | None) -> dict[str, np.ndarray]:
    """Return what the file holds; nothing where there is none yet."""
    if path is None:
        return {}
    check_path(path)
    return read_proposals(path) if os.path.exists(path) else {}


def _check(
    datasets: Sequence[Dataset],
    known: Mapping[str, np.ndarray],
    path: str | os.PathLike[str] | None,
) -> int:
    """Check the boxes of the datasets and of a file; return how many images the file holds."""
    num_known = 0
    for dataset in datasets:
        for image_id in dataset.image_ids:
            name = proposal_key(dataset.image_info[image_id])
            own, place = dataset.load_proposals(image_id), "proposals"
            if own is None and name in known:
                own, place = known[name], f"{printable(os.fspath(path or ''))}: proposals"
                num_known += 1
            if own is None:
                continue
            try:
                size = dataset.image_size(image_id)
            except (OSError, ValueError):  # the training skips images that cannot be read
                continue
            check_proposals(own, size, f"{place}[{printable(name)!r}]")
    return num_known
