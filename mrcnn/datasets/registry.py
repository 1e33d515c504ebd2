"""`open_dataset`: finds out the format of a folder or file and opens it with its reader."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.reader import DatasetReader

# Format -> "module:class". The order is that of the automatic detection: formats with an
# unmistakable file come first, plain folders of pictures and masks last.
READERS: dict[str, str] = {
    "open_images": "mrcnn.datasets.open_images.reader:OpenImagesDataset",
    "nucleus": "mrcnn.datasets.nucleus:NucleusDataset",
    "coco": "mrcnn.datasets.coco:CocoDataset",
    "via": "mrcnn.datasets.via:ViaDataset",
    "labelme": "mrcnn.datasets.labelme:LabelmeDataset",
    "voc": "mrcnn.datasets.voc:VocDataset",
    "yolo": "mrcnn.datasets.yolo:YoloDataset",
    "masks": "mrcnn.datasets.mask_png:MaskImageDataset",
    "shapes": "mrcnn.datasets.shapes:ShapesDataset",
}


def open_dataset(
    path: str | os.PathLike,
    format: str | None = None,
    subset: str | None = None,
    classes: Any = None,
    **options: Any,
) -> Dataset:
    """Opens a data set of any known format, prepared.

    Args:
        path: its folder or its annotation file. For the format "shapes", which has no files,
            the number of pictures.
        format: one of `READERS`; None finds it out.
        subset: the part to open, such as "train" or "val"; it must be given where there are
            several. "val" also finds folders called "valid" and "validation".
        classes: names of the classes to load, in the order of their numbers; None loads all
            that occur in any part of the data set.
        **options: further arguments of the reader's `from_path`.

    Returns:
        The reader's data set, ready for training.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the format is unknown or was not recognised, the subset does not exist or
            must be chosen, or a class does not occur.

    Example:
        >>> dataset = open_dataset("12", format="shapes", height=64, width=64)
        >>> dataset.num_images
        12
    """
    if format is None:
        format = find_format(path)
    return load_reader(format).from_path(path, subset=subset, classes=classes, **options)


def find_format(path: str | os.PathLike) -> str:
    """The format of the data set at `path`, one of `READERS`.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: no reader recognises it; the message lists what was looked for.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path is {os.fspath(path)!r}: no such file or folder")
    looked_for = []
    for name in READERS:
        reader = load_reader(name)
        if reader.recognises(path):
            return name
        if reader.looks_for:
            looked_for.append(f"  {name}: {reader.looks_for}")
    raise ValueError(
        f"path is {os.fspath(path)!r}: no known format was recognised. Looked for:\n"
        + "\n".join(looked_for)
        + "\nName the format with format=... if it is one of these."
    )


def load_reader(format: str) -> type[DatasetReader]:
    """The reader class of a format.

    Raises:
        ValueError: there is no such format.
    """
    if format not in READERS:
        raise ValueError(f"format is {format!r}: it must be one of {', '.join(sorted(READERS))}")
    module, _, name = READERS[format].partition(":")
    return getattr(importlib.import_module(module), name)


def register_reader(format: str, location: str) -> None:
    """Adds a reader of your own to `open_dataset`; it is asked before the built-in ones.

    Args:
        format: its name.
        location: "package.module:ClassName" of a `DatasetReader`.

    Raises:
        ValueError: the location has another form.
    """
    if location.count(":") != 1:
        raise ValueError(f"location is {location!r}: it must be 'package.module:ClassName'")
    earlier = {name: place for name, place in READERS.items() if name != format}
    READERS.clear()
    READERS.update({format: location, **earlier})
