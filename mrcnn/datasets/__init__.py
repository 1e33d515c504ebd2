"""Datasets: the base class `Dataset` and a reader for each format.

Importing this package loads no reader; each is imported when it is first asked for.

Example:
    >>> from mrcnn.datasets import open_dataset
    >>> dataset = open_dataset("12", format="shapes", height=64, width=64)
    >>> dataset.class_names
    ['BG', 'square', 'circle', 'triangle']
"""

from __future__ import annotations

from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.entries import AnnotationError
from mrcnn.datasets.registry import READERS, find_format, open_dataset, register_reader
from mrcnn.datasets.views import DatasetView, merge
from mrcnn.startup.lazy import lazy_names

_HOMES = {
    "CocoDataset": ".coco",
    "CopyPasteDataset": ".copy_paste",
    "CvatMaskDataset": ".cvat",
    "DatasetReport": ".report",
    "DatasetSummary": ".summary",
    "LabelImageDataset": ".semantic",
    "LabelmeDataset": ".labelme",
    "MaskImageDataset": ".mask_png",
    "NucleusDataset": ".nucleus",
    "OpenImagesDataset": ".open_images",
    "ShapesDataset": ".shapes",
    "ViaDataset": ".via",
    "VocDataset": ".voc",
    "YoloDataset": ".yolo",
    "load_label_map": ".semantic",
    "read_proposals": ".proposals",
    "require_learnable": ".report",
    "write_proposals": ".proposals",
}

__all__ = [
    "READERS",
    "AnnotationError",
    "CocoDataset",
    "CopyPasteDataset",
    "CvatMaskDataset",
    "Dataset",
    "DatasetReport",
    "DatasetSummary",
    "DatasetView",
    "LabelImageDataset",
    "LabelmeDataset",
    "MaskImageDataset",
    "NucleusDataset",
    "OpenImagesDataset",
    "ShapesDataset",
    "ViaDataset",
    "VocDataset",
    "YoloDataset",
    "find_format",
    "load_label_map",
    "merge",
    "open_dataset",
    "read_proposals",
    "register_reader",
    "require_learnable",
    "write_proposals",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
