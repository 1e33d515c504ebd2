"""`open_dataset`: finds out the format of a folder or file and opens it with its reader."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import Any

from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.entries import AnnotationError
from mrcnn.datasets.reader import DatasetReader
from mrcnn.datasets.unsupported import unsupported_format
from mrcnn.files.names import printable

# Format -> "module:class". The order is that of the automatic detection: formats with an
# unmistakable file come first, plain folders of images and masks last.
READERS: dict[str, str] = {
    "open_images": "mrcnn.datasets.open_images.reader:OpenImagesDataset",
    "nucleus": "mrcnn.datasets.nucleus:NucleusDataset",
    "coco": "mrcnn.datasets.coco:CocoDataset",
    "via": "mrcnn.datasets.via:ViaDataset",
    "labelme": "mrcnn.datasets.labelme:LabelmeDataset",
    "voc": "mrcnn.datasets.voc:VocDataset",
    "yolo": "mrcnn.datasets.yolo:YoloDataset",
    "cvat": "mrcnn.datasets.cvat:CvatMaskDataset",
    "masks": "mrcnn.datasets.mask_png:MaskImageDataset",
    "shapes": "mrcnn.datasets.shapes:ShapesDataset",
}


def open_dataset(
    path: Any,
    format: str | None = None,
    subset: str | None = None,
    classes: Any = None,
    *,
    keep_going: bool = False,
    **options: Any,
) -> Dataset:
    """Open a dataset of any known format, prepared.

    Args:
        path: its folder or its annotation file. For the format "shapes", which has no files,
            the number of images.
        format: one of `READERS`; None finds it out.
        subset: the part to open, such as "train" or "val"; it must be given where there are
            several. "val" also finds folders called "valid" and "validation".
        classes: names of the classes to load, in the order of their numbers; None loads all
            that occur in any part of the dataset.
        keep_going: record broken annotation files in the dataset's `findings`, which `check`
            reports, and read the rest; else the first one is raised.
        **options: further arguments of the reader's `load_...` method or `from_path`, such as
            VIA's `attribute`; on a command line `--option attribute=NAME`.

    Returns:
        The reader's dataset, ready for training.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the format is unknown or was not recognized, the subset does not exist or
            must be chosen, a class does not occur, or a file is broken.

    Example:
        >>> dataset = open_dataset("12", format="shapes", height=64, width=64)
        >>> dataset.num_images
        12
    """
    if format is None:
        format = find_format(path)
    reader = load_reader(format)
    if keep_going and "keep_going" in inspect.signature(reader.from_path).parameters:
        options["keep_going"] = True
    return reader.from_path(path, subset=subset, classes=classes, **options)


def find_format(path: str | os.PathLike[str]) -> str:
    """Return the format of the dataset at `path`, one of `READERS`.

    A reader that fails while it looks does not end the search: its error is raised only where no
    other reader takes the path.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: no reader recognizes it; the message names the format where it is a known one
            that cannot be read, and else lists what was looked for.
    """
    path = Path(path)
    shown_path = repr(printable(path))
    if not path.exists():
        raise FileNotFoundError(f"path is {shown_path}: no such file or folder")
    looked_for, broken = [], []
    for name in READERS:
        reader = load_reader(name)
        try:
            # Readers of version 3.0 spell it in British.
            recognizes = getattr(reader, "recognizes", None) or reader.recognises
            if recognizes(path):
                return name
        except (ValueError, OSError) as error:
            broken.append((name, error))
        if reader.looks_for:
            looked_for.append(f"  {name}: {reader.looks_for}")
    if broken:
        name, reason = broken[0]
        raise AnnotationError(
            f"path is {shown_path}: it looks like {name}, but {printable(reason)}"
        ) from reason
    if advice := unsupported_format(path):
        raise ValueError(f"path is {shown_path}: {advice}")
    raise ValueError(
        f"path is {shown_path}: no known format was recognized. Looked for:\n"
        + "\n".join(looked_for)
        + "\nIf it is one of these, name it: format=..., or --format on the command line."
    )


def load_reader(format: str) -> type[DatasetReader]:
    """Return the reader class of a format.

    Raises:
        ValueError: there is no such format.
    """
    if format not in READERS:
        raise ValueError(f"format is {format!r}: it must be one of {', '.join(sorted(READERS))}")
    module, _, name = READERS[format].partition(":")
    return getattr(importlib.import_module(module), name)


def register_reader(format: str, location: str) -> None:
    """Add a reader of your own to `open_dataset`; it is asked before the built-in ones.

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
