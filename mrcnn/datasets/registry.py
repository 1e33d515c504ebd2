"""`open_dataset`: finds out the format of a folder or file and opens it with its reader."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrcnn.datasets.dataset import Dataset, logger
from mrcnn.datasets.entries import AnnotationError
from mrcnn.datasets.layout import visible_folders
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
    "labels": "mrcnn.datasets.semantic:LabelImageDataset",
    "masks": "mrcnn.datasets.mask_png:MaskImageDataset",
    "shapes": "mrcnn.datasets.shapes:ShapesDataset",
}

# Folders around a dataset, one in the other, and folders looked at on each level.
_MAX_WRAPPERS, _MAX_FOLDERS = 3, 50


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
            that occur in any part of the dataset. Some may not occur, so that several datasets
            can have one table of classes.
        keep_going: record broken annotation files in the dataset's `findings`, which `check`
            reports, and read the rest; else the first one is raised.
        **options: further arguments of the reader's `load_...` method or `from_path`, such as
            VIA's `attribute`; on a command line `--option attribute=NAME`.

    Returns:
        The reader's dataset, ready for training.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the format is unknown or was not recognized, the subset does not exist or
            must be chosen, none of the classes occurs, or a file is broken.

    Example:
        >>> dataset = open_dataset("12", format="shapes", height=64, width=64)
        >>> dataset.num_images
        12
    """
    if format is None:
        format, path = find_dataset(path)
    elif not options:  # options such as image_dir say what belongs to the dataset
        path = dataset_folder(path, format)
    reader = load_reader(format)
    if keep_going and "keep_going" in inspect.signature(reader.from_path).parameters:
        options["keep_going"] = True
    return reader.from_path(path, subset=subset, classes=classes, **options)


def find_format(path: str | os.PathLike[str]) -> str:
    """Return the format of the dataset at `path`, one of `READERS`; see `find_dataset`."""
    return find_dataset(path)[0]


def find_dataset(path: str | os.PathLike[str]) -> tuple[str, Path]:
    """Return the format of the dataset at `path` and its folder or file.

    That is `path` itself, or the only dataset in its sub-folders: archives often unpack into
    folders around the data, such as VOCdevkit/VOC2012.

    A reader that fails while it looks does not end the search: its error is raised only where no
    other reader takes the path.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: no reader recognizes it; the message names the format where it is a known one
            that cannot be read, and else lists what was looked for. Or there are several datasets
            in sub-folders.
    """
    path = Path(path)
    shown_path = repr(printable(path))
    if not path.exists():
        raise FileNotFoundError(f"path is {shown_path}: no such file or folder")
    broken: list[tuple[str, Exception]] = []
    if (name := _format_of(path, broken)) is not None:
        return name, path
    if not broken:
        for place in _wrapped_folders(path, lambda f: _format_of(f, broken) is not None):
            _announce(printable(place), shown_path)
            return _format_of(place, []) or "", place
    if broken:
        name, reason = broken[0]
        raise AnnotationError(
            f"path is {shown_path}: it looks like {name}, but {printable(reason)}"
        ) from reason
    looked_for = [f"  {name}: {text}" for name in READERS if (text := load_reader(name).looks_for)]
    if advice := unsupported_format(path):
        raise ValueError(f"path is {shown_path}: {advice}")
    raise ValueError(
        f"path is {shown_path}: no known format was recognized. Looked for:\n"
        + "\n".join(looked_for)
        + "\nIf it is one of these, name it: format=..., or --format on the command line."
    )


@functools.lru_cache(1024)  # once for each: verbs look several times
def _announce(place: str, path: str) -> None:
    logger.warning("%s is opened, the only dataset in %s", place, path)


def dataset_folder(path: Any, format: str) -> Any:
    """Return where the dataset of a known format is: `path`, or the only one in its sub-folders.

    Raises:
        ValueError: there is no such format, or there are several datasets in sub-folders.
    """
    reader = load_reader(format)
    if format == "shapes" or not os.path.isdir(path):
        return path
    folder = Path(path)
    try:
        if _recognizes(reader, folder):
            return path
        return next(iter(_wrapped_folders(folder, lambda f: _recognizes(reader, f))), path)
    except AnnotationError:
        return path  # opening it names what is wrong


def _format_of(path: Path, broken: list[tuple[str, Exception]]) -> str | None:
    """Return the first format that a path has; what goes wrong on the way is added to `broken`."""
    for name in READERS:
        try:
            if _recognizes(load_reader(name), path):
                return name
        except (ValueError, OSError) as error:
            broken.append((name, error))
    return None


def _recognizes(reader: type[DatasetReader], path: Path) -> bool:
    # Readers of version 3.0 spell it in British.
    return bool((getattr(reader, "recognizes", None) or reader.recognises)(path))


def _wrapped_folders(path: Path, is_dataset: Callable[[Path], bool]) -> list[Path]:
    """Return the nearest dataset in sub-folders of `path`, in a list; an empty list without one.

    Raises:
        ValueError: several are equally near.
    """
    level = [path]
    for _ in range(_MAX_WRAPPERS):
        level = [inner for folder in level for inner in visible_folders(folder)][:_MAX_FOLDERS]
        found = [folder for folder in level if is_dataset(folder)]
        if len(found) > 1:
            listed = ", ".join(printable(folder) for folder in found[:5])
            raise ValueError(
                f"path is {printable(path)!r}: it has {len(found)} datasets in its folders; open "
                f"one of them: {listed}{', ...' if len(found) > 5 else ''}"
            )
        if found:
            return found
    return []


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
