"""Typical images for the calibration of an int8 network."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from mrcnn.datasets.image_files import IMAGE_EXTENSIONS
from mrcnn.detection.molding import read_if_path
from mrcnn.geometry.spacing import evenly_spaced

# More do not make a quantized network better, and each costs a run in float32.
CALIBRATION_IMAGES = 64


def calibration_images(source: Any) -> list[np.ndarray]:
    """Load at most `CALIBRATION_IMAGES` images, evenly spread over those that there are.

    Args:
        source: a folder, a list of paths or arrays, or a prepared `Dataset`.

    Returns:
        A list of [height, width, channels] arrays.

    Raises:
        ValueError: there is no image.
    """
    if isinstance(source, str | os.PathLike):
        folder = pathlib.Path(source)
        if not folder.is_dir():
            raise ValueError(f"calibration is {str(source)!r}; it must be a folder of images")
        source = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS)
    read = read_if_path
    if hasattr(source, "load_image"):
        read, source = source.load_image, source.image_ids
    items = list(source)
    if not items:
        raise ValueError("calibration is empty; it must hold at least one image")
    count = min(len(items), CALIBRATION_IMAGES)
    return [read(items[i]) for i in evenly_spaced(len(items) - 1, count)]
