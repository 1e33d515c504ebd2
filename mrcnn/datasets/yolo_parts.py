"""The parts of a YOLO dataset as its YAML file lists them: "path", "train", "val" and "test"."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcnn.datasets import image_files
from mrcnn.datasets.entries import read_text
from mrcnn.datasets.layout import visible_folders

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages")
LABEL_FOLDERS = ("labels", "label", "annotations", "txt")
_PARTS = ("train", "val", "valid", "test")
_MAX_FOLDERS = 10_000


@dataclass(frozen=True)
class ListedLayout:
    """The images of a part, from folders or from text files with a path on each line.

    Attributes:
        root: folder of the dataset, in which all of them are.
        sources: folders, searched with their sub-folders, and text files.
    """

    root: Path
    sources: tuple[Path, ...]

    def images(self) -> list[tuple[str, Path]]:
        """Return the images with their names in the dataset, without ending."""
        paths = [image for source in self.sources for image in self._images_of(source)]
        return [
            (path.relative_to(self.root).with_suffix("").as_posix(), path)
            for path in dict.fromkeys(paths)
        ]

    def label_files(self) -> dict[str, Path]:
        """Return the label files by the names of their images."""
        found: dict[str, Path] = {}
        for name, image in self.images():
            label = self._label_of(image)
            for file in (label, label.with_suffix(".TXT")):
                if os.path.isfile(file):
                    found.setdefault(name, file)
        return found

    def _images_of(self, source: Path) -> list[Path]:
        if source.is_file():
            lines = [line.strip() for line in read_text(source).splitlines()]
            return [_inside(self.root, line) for line in lines if line]
        folders, images = [source], []
        for folder in folders:
            images += image_files.list_images(folder)
            folders += visible_folders(folder)[: max(_MAX_FOLDERS - len(folders), 0)]
        return images

    def _label_of(self, image: Path) -> Path:
        """Return an image's label file: in "labels" instead of the last "images", or beside it."""
        parts = image.relative_to(self.root).parts
        usual = {name.lower() for name in IMAGE_FOLDERS}
        for position in range(len(parts) - 2, -1, -1):
            if parts[position].lower() in usual:
                above = self.root.joinpath(*parts[:position])
                labels = image_files.first_folder(above, LABEL_FOLDERS)
                if labels is not None:
                    return labels.joinpath(*parts[position + 1 :]).with_suffix(".txt")
        return image.with_suffix(".txt")


def listed_parts(root: Path, content: Mapping[str, Any]) -> dict[str, ListedLayout]:
    """Return the parts that a YAML file lists, by name; those that do not exist are left out.

    Paths may be relative to the file, to "path" or to another computer's folder: they are looked
    for in `root` without their leading folders. Nothing outside `root` is taken.

    Args:
        root: the folder of the file.
        content: the file, parsed; every scalar is a text.
    """
    base = content.get("path")
    bases = [root] if not isinstance(base, str) else [_inside(root, base), root]
    parts = {}
    for name in _PARTS:
        value = content.get(name)
        entries: list[Any] = value if isinstance(value, list) else [value]
        entries = [str(entry) for entry in entries if isinstance(entry, str) and entry.strip()]
        found = [_first_existing(bases, entry) for entry in entries]
        sources = tuple(place for place in found if place is not None)
        if sources and len(sources) == len(entries):
            parts[name] = ListedLayout(root, sources)
    return parts


def _first_existing(bases: list[Path], recorded: str) -> Path | None:
    for base in bases:
        place = _inside(base, recorded)
        is_list = place.suffix.lower() == ".txt" and os.path.isfile(place)
        if is_list or os.path.isdir(place):
            return place
    return None


def _inside(root: Path, recorded: str) -> Path:
    """Return the longest ending of a path that exists in `root`; all of it if none does."""
    names = recorded.strip().replace("\\", "/").split("/")
    names = [name for name in names if name not in ("", ".", "..") and "\0" not in name]
    for start in range(len(names)):
        place = root.joinpath(*names[start:])
        if os.path.exists(place):  # False also for a name that is too long
            return place
    return root.joinpath(*names)
