"""Data sets: the base class `Dataset` and a reader for each format.

Importing this package loads no reader; each is imported when it is first asked for.

Example:
    >>> from mrcnn.datasets import open_dataset
    >>> dataset = open_dataset("balloon", subset="train")  # doctest: +SKIP
    >>> print(dataset.summary())                           # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.registry import READERS, find_format, open_dataset, register_reader
from mrcnn.datasets.views import DatasetView, merge

_READER_MODULES = {
    "CocoDataset": "coco",
    "CopyPasteDataset": "copy_paste",
    "LabelmeDataset": "labelme",
    "MaskImageDataset": "mask_png",
    "NucleusDataset": "nucleus",
    "OpenImagesDataset": "open_images",
    "ShapesDataset": "shapes",
    "ViaDataset": "via",
    "VocDataset": "voc",
    "YoloDataset": "yolo",
}

__all__ = [
    "READERS",
    "CocoDataset",
    "CopyPasteDataset",
    "Dataset",
    "DatasetView",
    "LabelmeDataset",
    "MaskImageDataset",
    "NucleusDataset",
    "OpenImagesDataset",
    "ShapesDataset",
    "ViaDataset",
    "VocDataset",
    "YoloDataset",
    "find_format",
    "merge",
    "open_dataset",
    "register_reader",
]


def __getattr__(name: str) -> Any:
    """Imports a reader class when it is first asked for (PEP 562)."""
    if name not in _READER_MODULES:
        raise AttributeError(f"module 'mrcnn.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mrcnn.datasets.{_READER_MODULES[name]}"), name)
