"""Files of proposals: boxes that may hold objects, for many images (Fast R-CNN).

A file is NumPy's `.npz` with three arrays:

    names   [M] text, the images: "source.id" of a dataset, such as "coco.139"
    counts  [M] int, the number of boxes of each
    boxes   [sum of counts, (y1, x1, y2, x2)] pixels of the images as `load_image` returns them

Boxes of an image follow each other, the most likely first; y2 and x2 lie just outside of a box.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable

__all__ = ["proposal_key", "read_proposals", "write_proposals"]

_ARRAYS = ("names", "counts", "boxes")
# No image has more on a side; larger values would change as int32.
_MAX_PIXEL = 2**31 - 1


def proposal_key(image_info: Mapping[str, Any]) -> str:
    """Return the name that an image has in a file of proposals.

    Args:
        image_info: its entry of `Dataset.image_info`.
    """
    return f"{image_info['source']}.{image_info['id']}"


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a path that a file of proposals cannot have."""
    if not os.fspath(path).endswith(".npz"):
        raise ValueError(f"proposals is {printable(os.fspath(path))}; it must end in .npz")


def write_proposals(path: str | os.PathLike[str], proposals: Mapping[str, Any]) -> None:
    """Write the proposals of images, whole or not at all.

    Args:
        path: the file, which must end in `.npz`.
        proposals: for each image, by its name, `[N, (y1, x1, y2, x2)]` in pixels; N may be 0.

    Raises:
        ValueError: `path` ends otherwise, or the boxes of an image are no finite numbers `[N, 4]`.
        OSError: the file cannot be written.
    """
    check_path(path)
    arrays = [_checked(boxes, f"proposals[{name!r}]") for name, boxes in proposals.items()]
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            names=np.array(list(proposals), dtype=str),
            counts=np.array([len(boxes) for boxes in arrays], np.int64),
            boxes=np.concatenate(arrays) if arrays else np.zeros((0, 4), np.int32),
        )


def read_proposals(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the proposals of images.

    Args:
        path: a file as `write_proposals` writes it.

    Returns:
        For each image, by its name, `[N, (y1, x1, y2, x2)]` in pixels, for `Dataset.proposals`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or what it holds does not fit together.
    """
    shown = printable(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"proposals is {shown}; it must be an existing file")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive")
        with np.load(path, allow_pickle=False) as file:
            names, counts, boxes = (file[name] for name in _ARRAYS)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{shown} cannot be read; it must be an .npz file with the arrays "
            f"{', '.join(_ARRAYS)}: {printable(error)}"
        ) from error
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(f"{shown}: names has the type {names.dtype}; it must be a list of text")
    if counts.shape != names.shape or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(
            f"{shown}: counts has the shape {counts.shape}; it must have a whole number of at "
            f"least 0 for each of the {len(names)} names"
        )
    boxes = _checked(boxes, f"{shown}: boxes")
    if int(counts.sum()) != len(boxes):
        raise ValueError(
            f"{shown}: boxes has {len(boxes)} rows; it must have {int(counts.sum())}, the sum of "
            "counts"
        )
    if len(set(names.tolist())) != len(names):
        raise ValueError(f"{shown}: names holds an image twice; it must hold each once")
    parts = np.split(boxes, np.cumsum(counts)[:-1]) if len(names) else []
    return dict(zip(names.tolist(), parts, strict=True))


def _checked(boxes: Any, name: str) -> np.ndarray:
    """Return boxes [N, 4], int32 or float32; ValueError if they are something else."""
    array = np.asarray(boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.int32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} has the shape {array.shape}; it must be [N, (y1, x1, y2, x2)]")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are no finite numbers; it must hold pixels")
    if np.abs(array.astype(float)).max() > _MAX_PIXEL:
        raise ValueError(
            f"{name} has values from {array.min()} to {array.max()}; they must be pixels of images"
        )
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
