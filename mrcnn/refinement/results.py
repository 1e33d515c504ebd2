"""Refinement of results of `MaskRCNN.detect`: the hook behind `detect(images, refiner=...)`."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.geometry.images import as_rgb
from mrcnn.refinement.refiner import Refiner

# Opened refiners that are kept: `detect(images, refiner="general")` is called in loops.
MAX_OPEN = 4


def open_refiner(refiner: Refiner | str | os.PathLike[str]) -> Refiner:
    """Return a refiner by object, file or name.

    Args:
        refiner: A `Refiner` (any object with its `refine`), the path of a file that
            `Refiner.save` wrote, or the name of the one that comes with the package:
            "general", which is for any class.

    Returns:
        The refiner. A file is read once, and again when it has changed.

    Raises:
        FileNotFoundError: no such file, and no such name.
        ValueError: the file is no refiner.
        TypeError: something else.
    """
    if not isinstance(refiner, str | os.PathLike):
        if hasattr(refiner, "refine"):
            return refiner
        raise TypeError(
            f"refiner is {type(refiner).__name__}; it must be a mrcnn.refinement.Refiner, the "
            "path of its file, or the name of one that comes with mrcnn"
        )
    from mrcnn.checkpoints.known import resolve_weights

    path = Path(resolve_weights(refiner, kind="refiner")).resolve()
    if path.is_dir():
        raise ValueError(f"refiner is {path}, a folder; it must be the file of a refiner")
    status = path.stat()
    return _open(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=MAX_OPEN)
def _open(path: Path, mtime_ns: int, size: int) -> Refiner:
    """Read a refiner; time and size distinguish a changed file from the one read before."""
    del mtime_ns, size
    return Refiner.load(path)


def precision_for(model: Any) -> str:
    """Return what a refiner computes in beside a model: what the model's engine does."""
    return getattr(getattr(model, "engine", None), "precision", "float32")


def refine_result(
    image: np.ndarray,
    result: dict[str, Any],
    refiner: Refiner,
    mask_probabilities: bool = False,
    precision: str = "float32",
) -> dict[str, Any]:
    """Sharpen the masks of one image's detections, of every class.

    Args:
        image: the image as `detect` takes it: `[H, W]` or `[H, W, channels]`.
        result: its entry of `detect` with `mask_probs` `[H, W, N]`; N may be 0.
        refiner: the refiner.
        mask_probabilities: keep the refined probabilities.
        precision: as for `Refiner.refine`; objects of other classes choose it themselves.

    Returns:
        The result with `masks` `[H, W, N]` bool (refined probability of at least one half) and,
        when asked for, the refined `mask_probs` `[H, W, N]` float32. Boxes, classes and scores
        are the detector's: a refined mask may reach out of its box.
    """
    options: dict[str, Any] = {"precision": precision} if isinstance(refiner, Refiner) else {}
    refined = refiner.refine(as_rgb(image), result["mask_probs"], **options)
    changed = {**result, "masks": refined >= 0.5, "mask_probs": refined}
    if not mask_probabilities:
        del changed["mask_probs"]
    return changed
