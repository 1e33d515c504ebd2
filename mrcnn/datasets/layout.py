"""Files and folders of a dataset: visible files, and the image that an annotation refers to."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

# Folders that programs leave behind; they hold copies of data, not data.
_LITTER = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "thumbs.db", "desktop.ini"}
# Folders that hold annotations only: the dataset is the folder above.
ANNOTATION_FOLDERS = ("annotations", "annotation", "json", "jsons", "labels", "label", "via")
IMAGE_FOLDERS = ("images", "imgs", "img", "image", "JPEGImages")
# Deeper and larger trees are no dataset: the search for an image stops.
_MAX_DEPTH, _MAX_FILES = 6, 500_000


def is_visible(name: str) -> bool:
    """Return whether a file or folder of this name can be data.

    Hidden files ("._a.png" of macOS, ".DS_Store", ".ipynb_checkpoints") and what unpackers and
    servers leave behind ("__MACOSX") are not.
    """
    return not name.startswith(".") and name.lower() not in _LITTER


def visible_files(folder: str | os.PathLike[str], *endings: str) -> list[Path]:
    """Return the visible files of a folder by name; none where there is no such folder.

    Args:
        folder: the folder; sub-folders are not searched.
        *endings: lower-case endings such as ".json", compared without regard to case; none
            takes all files.
    """
    return [
        Path(folder, name)
        for name in _scan(folder, folders=False)
        if not endings or os.path.splitext(name)[1].lower() in endings
    ]


def visible_folders(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the visible sub-folders of a folder by name; none where there is no such folder."""
    return [Path(folder, name) for name in _scan(folder, folders=True)]


def _scan(folder: str | os.PathLike[str], folders: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                e.name
                for e in entries
                if is_visible(e.name) and (e.is_dir() if folders else e.is_file())
            )
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def dataset_root(annotation_file: Path) -> Path:
    """Return the folder of the dataset that an annotation file belongs to."""
    folder = annotation_file.parent
    # A path without a folder, "a.json", has no parent to climb to.
    climbs = folder.name.lower() in ANNOTATION_FOLDERS
    return folder.parent if climbs else folder


class ImageFinder:
    r"""Finds the image that an annotation names, inside one dataset.

    Labeling tools record names in many ways: with backslashes, with %20 for a blank, as a URL or a
    path of another computer, in other letter case, without the sub-folder. Every image is looked
    for by itself, never outside `root` and `folders`: first as recorded in each folder, then
    without its leading folders, then anywhere in `root`. A name that fits several files equally
    well finds none.

    With `ImageFinder(Path("cats"), [Path("cats/images")])`, the recorded name
    `C:\data\cats\images\a.PNG` finds `cats/images/a.png`.
    """

    def __init__(self, root: Path, folders: Sequence[Path] = (), other_parts: Collection[str] = ()):
        """Prepare a search; nothing is read yet.

        Args:
            root: folder of the dataset; everything found lies in it or in `folders`.
            folders: where to look first, in this order.
            other_parts: names of folders that belong to other parts of the dataset ("val" while
                "train" is read); their images are not taken.
        """
        self.root = root
        self.folders = list(dict.fromkeys([*folders, root]))
        self._others = {name.lower() for name in other_parts}
        # Folder -> (lower-case name -> names) of its files and of its folders.
        self._listings: dict[Path, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}
        self._index: dict[str, list[Path]] | None = None

    def find(self, *recorded: str) -> Path | None:
        """Return the file of the first of the recorded names that is found, else None."""
        for name in recorded:
            for exact in (True, False):
                for parts in _readings(name):
                    path = self._find_parts(parts, exact)
                    if path is not None:
                        return path
        return None

    def locate_all(self, recorded: Sequence[str]) -> list[Path]:
        """Return `locate` of each name; a file that several names would share is not taken.

        "s1/a.png" and "s2/a.png" are not both the only "a.png" there is.
        """
        paths = [self.locate(name) for name in recorded]
        claims: dict[Path, set[str]] = {}
        for name, path in zip(recorded, paths, strict=True):
            claims.setdefault(path, set()).add(name)
        return [
            self._expected(name)
            if len(claims[path]) > 1 and not _ends_with(path, _readings(name)[-1])
            else path
            for name, path in zip(recorded, paths, strict=True)
        ]

    def locate(self, *recorded: str) -> Path:
        """Return the file as `find` does, else where it should be, for the error message."""
        path = self.find(*recorded)
        return self._expected(recorded[0]) if path is None else path

    def _expected(self, recorded: str) -> Path:
        """Where a file that was not found should be; inside the first folder in any case."""
        parts = [part[:200] for part in _readings(recorded)[-1] if part != ".."]
        return self.folders[0].joinpath(*(parts or ["unnamed"]))

    def _find_parts(self, parts: Sequence[str], exact: bool) -> Path | None:
        if exact:
            found = (self._walk(folder, parts) for folder in self.folders)
            return next((path for path in found if path is not None), None)
        names = [part for part in parts if part != ".."]
        for start in range(len(names)):
            for folder in self.folders:
                if (path := self._walk(folder, names[start:])) is not None:
                    return path
        return self._search(names)

    def _walk(self, folder: Path, parts: Sequence[str]) -> Path | None:
        """Return the file at a relative path, without regard to case where that is unambiguous."""
        place = folder
        for position, part in enumerate(parts):
            if part == "..":
                if place == self.root or self.root not in place.parents:
                    return None
                place = place.parent
                continue
            is_last = position == len(parts) - 1
            names = self._listing(place)[0 if is_last else 1].get(_folded(part), [])
            if part not in names and len(names) != 1:
                return None
            place = place / (part if part in names else names[0])
            if is_last:
                return place
        return None

    def _listing(self, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        if folder not in self._listings:
            listing: tuple[dict[str, list[str]], dict[str, list[str]]] = {}, {}
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        names = listing[0 if entry.is_file() else 1]
                        names.setdefault(_folded(entry.name), []).append(entry.name)
            except OSError:  # no such folder, or a file
                pass
            self._listings[folder] = listing
        return self._listings[folder]

    def _search(self, names: Sequence[str]) -> Path | None:
        """Return the only file of this name in the dataset, or in folders of these names."""
        if not names:
            return None
        candidates = self._all_files().get(_folded(names[-1]), [])
        for count in range(len(names), 0, -1):
            ending = [_folded(name) for name in names[-count:]]
            fitting = [p for p in candidates if [_folded(q) for q in p.parts[-count:]] == ending]
            if fitting:
                return fitting[0] if len(fitting) == 1 else None
        return None

    def _all_files(self) -> dict[str, list[Path]]:
        if self._index is None:
            self._index = {}
            count = 0
            for place, folders, files in os.walk(self.root):
                depth = len(Path(place).relative_to(self.root).parts)
                folders[:] = sorted(
                    name
                    for name in folders
                    if is_visible(name) and name.lower() not in self._others and depth < _MAX_DEPTH
                )
                for name in files:
                    if is_visible(name):
                        self._index.setdefault(_folded(name), []).append(Path(place, name))
                count += len(files)
                if count > _MAX_FILES:
                    break
        return self._index


def _ends_with(path: Path, parts: Sequence[str]) -> bool:
    ending = [_folded(part) for part in path.parts[-len(parts) :]]
    return ending == [_folded(part) for part in parts]


def _folded(name: str) -> str:
    """Return a name without regard to letter case, and to how macOS decomposes letters."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).lower()


def _readings(recorded: str) -> list[list[str]]:
    """Return the ways to read a recorded name as parts of a path, the literal one first."""
    texts = [recorded, recorded.replace("\\", "/")]
    if "://" in recorded or "?" in recorded:
        try:
            url = urlsplit(recorded)
            # Label Studio: /data/local-files/?d=images/a.png
            values = [value for _, value in parse_qsl(url.query)] + [url.path]
            texts += [*values, *(value.replace("\\", "/") for value in values if "\\" in value)]
        except ValueError:  # "http://[": no address
            pass
    texts += [unquote(text) for text in list(texts) if "%" in text]
    readings = []
    for text in texts:
        parts = [
            p for p in re.sub(r"^[A-Za-z]:(?=[\\/])", "", text).split("/") if p not in ("", ".")
        ]
        if parts and "\0" not in text and parts not in readings:
            readings.append(parts)
    return readings or [["unnamed"]]
