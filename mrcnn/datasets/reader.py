"""Base class of the format readers: instances from annotations, parts, tables of classes."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.dataset import Dataset
from mrcnn.datasets.entries import (  # re-exported
    AnnotationError,
    Entry,
    normalize_name,
    read_json,
)
from mrcnn.datasets.layout import ANNOTATION_FOLDERS, visible_folders
from mrcnn.datasets.problems import Problem
from mrcnn.datasets.rasterize import stack_masks
from mrcnn.files.names import counted, printable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "SUBSET_SYNONYMS",
    "AnnotationError",
    "DatasetReader",
    "FolderReader",
    "choose_subset",
    "class_names_argument",
    "class_table",
    "other_parts",
    "parts_in_folders",
    "read_json",
    "recorded_size",
]

logger = logging.getLogger("mrcnn.datasets")

# Names that a part may have on disk, the plain name first.
SUBSET_SYNONYMS = (
    ("train", "training"),
    ("val", "valid", "validation"),
    ("test", "testing"),
)
_NUM_PLACES = 5
# A recorded side beyond this is an error of the file.
_MAX_SIDE = 1_000_000


class DatasetReader(Dataset):
    """A dataset read from files of one format.

    A reader's `load_...` method adds classes, and images whose "annotations" entry is a list of
    dicts with "class_id" (the id in their source), the entries that `draw_instance` needs, and
    optionally "iscrowd" and "score", the weight of the label in training with
    `Config.PARTIAL_LABELS`.

    Attributes:
        format_name: the name for `open_dataset(format=...)`.
        looks_for: the files by which the format is recognized, for the error message.
        loader: name of the format's `load_...` method.
        keep_going: whether a broken annotation file is recorded in `findings` and passed over,
            instead of raised; `check` reads datasets that way.
        ignore_below: annotations with a lower "score" are ignored in training, as crowds are.
        findings: what was left out or broken while loading; `check` reports it.
    """

    format_name: ClassVar[str] = ""
    looks_for: ClassVar[str] = ""
    loader: ClassVar[str] = ""
    # "bolt, short" is one name here; only Matterport's own classes cut names at the comma.
    cut_names = False

    keep_going: bool = False
    ignore_below: float = 0.0
    findings: list[Problem]

    def __init__(self, class_map: Any = None):
        """Start without classes and images; see `Dataset`."""
        super().__init__(class_map)
        self.findings = []

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether the file or folder looks like this format; reads little.

        Raises:
            AnnotationError: it is this format, and it is broken.
        """
        return cls.recognises(path)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return what `recognizes` does; readers of version 3.0 override this name of it."""
        homes = [owner for owner in cls.__mro__ if "recognizes" in vars(owner)]
        return homes[0] is not DatasetReader and cls.recognizes(path)

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the names of the parts found in a folder; empty when it has none."""
        return []

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        *,
        keep_going: bool = False,
        **options: Any,
    ) -> Self:
        """Open a dataset, prepared; the arguments are those of the format's `load_...`.

        Args:
            path: the folder or file.
            subset: the part to open.
            classes: names of the classes to load.
            keep_going: record errors in `findings` and read the rest.
            **options: further arguments of the format's `load_...`.
        """
        dataset = cls()
        dataset.keep_going = keep_going
        with dataset.tolerate(path):
            getattr(dataset, cls.loader)(path, subset, classes=classes, **options)
        dataset.prepare()
        return dataset

    @contextmanager
    def tolerate(self, place: Any) -> Iterator[None]:
        """Record an error of the block in `findings` if `keep_going` is set; else let it pass.

        Args:
            place: the file or folder that is read.
        """
        try:
            yield
        except (ValueError, FileNotFoundError) as error:
            if not self.keep_going:
                raise
            message, place = printable(error), printable(place)
            reference = "" if place in message else place
            self.findings.append(Problem("error", "broken_file", message, reference=reference))

    def leave_out(
        self,
        reason: str,
        places: Sequence[str],
        severity: str = "warning",
        noun: str = "annotations",
    ) -> None:
        """Report annotations that are left out: one line in the log, one finding for `check`.

        Args:
            reason: why, such as "they have no box".
            places: the annotations, such as "a.json shape 2"; nothing happens when it is empty.
            severity: "warning", or "note" if the file requests it.
            noun: the kind of annotation that is left out, in the plural.
        """
        if not places:
            return
        listed = ", ".join(places[:_NUM_PLACES]) + (", ..." if len(places) > _NUM_PLACES else "")
        number = counted(len(places), noun.removesuffix("s"), noun)
        message = printable(f"{number} left out: {reason} ({listed})")
        logger.log(logging.WARNING if severity == "warning" else logging.INFO, "%s", message)
        self.findings.append(Problem(severity, "left_out", message))

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """Return the mask of one annotation, [height, width] bool; None when it has no area.

        Readers define it, or override `load_mask` where masks are not drawn one by one.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no annotation by itself")

    def has_mask(self, annotation: dict[str, Any]) -> bool:
        """Return whether an annotation has a mask, and not only a box; readers override it."""
        return True

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the instance masks of an image.

        Instances without a pixel in the image are left out, with a warning.

        Returns:
            masks: [height, width, instances] bool.
            class_ids: [instances] int32, class numbers; negative for a crowd.

        Raises:
            AnnotationError: an annotation is broken; the message names its file and itself.
        """
        info = self.image_info[image_id]
        if "annotations" not in info:
            return super().load_mask(image_id)
        height, width = self.image_size(image_id)
        class_ids = self.image_class_ids(image_id)
        masks = self._draw_instances(image_id)
        return self._stack_nonempty(image_id, masks, class_ids, height, width)

    def _draw_instances(self, image_id: int) -> Sequence[np.ndarray | None]:
        """Return the mask of each annotation of an image; None for those without a pixel."""
        info = self.image_info[image_id]
        height, width = self.image_size(image_id)
        try:
            return [self.draw_instance(a, height, width) for a in info["annotations"]]
        except ValueError as error:
            place = info.get("annotation_file") or info["path"] or info["id"]
            raise AnnotationError(f"{printable(place)}, {error}") from error

    def load_label_weights(self, image_id: int) -> np.ndarray | None:
        """Return scores as the weights of labels, and 0 as that of masks that are boxes.

        See `Dataset.load_label_weights`.

        Raises:
            AnnotationError: a score is not a number of at least 0.
        """
        info = self.image_info[image_id]
        weights = [(_score(a, info), float(self.has_mask(a))) for a in info.get("annotations", [])]
        if all(weight == (1, 1) for weight in weights):
            return None
        # `load_mask` leaves out instances without a pixel.
        masks = self._draw_instances(image_id)
        drawn = [mask is not None and bool(mask.any()) for mask in masks]
        return np.array(weights, np.float32)[drawn]

    def image_has_masks(self, image_id: int) -> np.ndarray | None:
        """Return which annotations have a mask; see `Dataset.image_has_masks`."""
        info = self.image_info[image_id]
        if "annotations" not in info:
            return super().image_has_masks(image_id)
        flags = np.array([self.has_mask(annotation) for annotation in info["annotations"]], bool)
        return None if flags.any() and flags.all() else flags

    def image_class_ids(self, image_id: int) -> np.ndarray:
        """Return class numbers of the image's annotations; see `Dataset.image_class_ids`."""
        info = self.image_info[image_id]
        if "annotations" not in info:
            return super().image_class_ids(image_id)
        numbers = [
            self.map_source_class_id(f"{info['source']}.{a['class_id']}")
            * (-1 if a.get("iscrowd") or _score(a, info) < self.ignore_below else 1)
            for a in info["annotations"]
        ]
        return np.array(numbers, np.int32)

    def image_reference(self, image_id: int) -> str:
        """Return the path of the image."""
        return str(self.image_info[image_id]["path"])

    def _stack_nonempty(
        self,
        image_id: int,
        masks: Sequence[np.ndarray | None],
        class_ids: np.ndarray,
        height: int,
        width: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stack the masks that have a pixel; the first time, warn of those that have none."""
        found = [(n, mask) for n, mask in enumerate(masks) if mask is not None and mask.any()]
        dropped = len(masks) - len(found)
        info = self.image_info[image_id]
        if dropped and info.get("dropped") != dropped:
            # Once per image, not once per epoch. `check` reads the count.
            info["dropped"] = dropped
            logger.warning(
                "%s: %d of %d instances have no pixel in the image and are left out",
                printable(info["path"] or info["id"]),
                dropped,
                len(masks),
            )
        stacked = stack_masks([mask for _, mask in found], height, width)
        return stacked, np.asarray(class_ids, np.int32)[[n for n, _ in found]]


def _score(annotation: dict[str, Any], info: dict[str, Any]) -> float:
    """Return the "score" of an annotation of an image, 1 without one."""
    if "score" not in annotation:
        return 1.0
    place = info.get("annotation_file") or info["path"] or info["id"]
    entry = Entry(annotation, f"{place}, annotation {annotation.get('id')}")
    return entry.number("score", 0, 1e6)


class FolderReader(DatasetReader):
    """A reader whose annotation files lie in one folder, or in one folder for each part.

    Each of these may be a folder for annotations alone ("json", "annotations", "labels") beside
    the images: set/json, set/train/json and set/labels/train are all found.
    """

    @classmethod
    def own_files(cls, folder: Path) -> list[Path]:
        """Return the format's annotation files in a folder, not in its sub-folders."""
        raise NotImplementedError

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether `path` is or holds such a file, or has sub-folders that do."""
        return bool(cls.all_files(path))

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the names of the folders of parts; see `parts_in_folders`."""
        return list(cls._part_folders(path))

    @classmethod
    def all_files(cls, path: Path) -> list[Path]:
        """Return the annotation files of all parts: each part gets the same class ids."""
        folders = cls._part_folders(path).values() or [path]
        return [file for folder in folders for file in cls._files_of(folder)]

    def part_files(self, path: Path, subset: str | None) -> list[Path]:
        """Return the annotation files of one part.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: there is no such part, one must be chosen, or there is no file.
        """
        if not path.exists():
            raise FileNotFoundError(f"dataset_dir is '{path}': no such file or folder")
        parts = self._part_folders(path)
        if parts and (stray := self.own_files(path)):
            reason = f"they lie beside the parts {', '.join(parts)}"
            self.leave_out(reason, [file.name for file in stray], noun="annotation files")
        name = choose_subset(path, subset, list(parts)) if parts or subset is not None else None
        files = self._files_of(parts[name] if name else path)
        if not files:
            raise ValueError(f"{path}: looked for {self.looks_for}")
        return files

    @classmethod
    def _part_folders(cls, path: Path) -> dict[str, Path]:
        """Name of each part -> its folder; empty for a dataset in one piece."""
        for folder in (path, *_annotation_folders(path)):
            names = parts_in_folders(folder, lambda inner: bool(cls._files_of(inner)))
            if names or cls._files_of(folder):
                return {name: folder / name for name in names}
        return {}

    @classmethod
    def _files_of(cls, folder: Path) -> list[Path]:
        """Return the annotation files of a folder, or else of its folder for annotations."""
        found = (cls.own_files(place) for place in (folder, *_annotation_folders(folder)))
        return next((files for files in found if files), [])


def _annotation_folders(path: Path) -> list[Path]:
    return [f for f in visible_folders(path) if f.name.lower() in ANNOTATION_FOLDERS]


def other_parts(names: Sequence[str], file: Path, root: Path) -> list[str]:
    """Return the names of the parts of `root` besides that of one of its annotation files."""
    return [name for name in names if name not in file.relative_to(root).parts]


def parts_in_folders(path: Path, has_data: Callable[[Path], bool]) -> list[str]:
    """Return the names of the sub-folders that are parts of a dataset.

    A folder with data of its own has no parts, unless its sub-folders are called "train", "val"
    and the like: then its own files are strays.

    Args:
        path: the folder of the dataset; a file has no parts.
        has_data: whether a folder has annotation files itself.
    """
    names = [folder.name for folder in visible_folders(path) if has_data(folder)]
    usual = {name for names in SUBSET_SYNONYMS for name in names}
    if any(name.lower() in usual for name in names) or not has_data(path):
        return names
    return []


def choose_subset(path: Path, subset: str | None, available: Sequence[str]) -> str | None:
    """Return the name on disk of the part requested.

    "val" also finds "valid" and "validation", and "train2017" is found by "train" when nothing
    else begins so. Letter case does not matter where that is unambiguous. Without `subset` the
    only one is taken.

    Args:
        path: for the error messages.
        subset: the part requested, or None.
        available: the names on disk; empty when the dataset is in one piece.

    Returns:
        One of `available`, or None when it is empty.

    Raises:
        ValueError: there is no such part, or one must be chosen.
    """
    if subset is None:
        if len(available) > 1:
            raise ValueError(f"subset is None: {path} has {', '.join(available)}; choose one")
        return available[0] if available else None
    lower = subset.lower()
    wanted = next((names for names in SUBSET_SYNONYMS if lower in names), (lower,))
    for name in (subset, *wanted):
        alike = [a for a in available if a == name] or [
            a for a in available if a.lower() == name.lower()
        ]
        if len(alike) == 1:
            return alike[0]
    # A prefix must end where the word ends, so that "train" does not find "training_extra".
    for name in wanted:
        pattern = re.escape(name) + r"[\d_.-]*"
        alike = [a for a in available if re.fullmatch(pattern, a, re.IGNORECASE)]
        if len(alike) == 1:
            return alike[0]
    found = ", ".join(available) if available else "no subset"
    raise ValueError(f"subset is {subset!r}: {path} has {found}")


def recorded_size(
    entry: Entry, height_key: str = "height", width_key: str = "width"
) -> tuple[int | None, int | None]:
    """Return the (height, width) that a file records for an image; (None, None) without both.

    Raises:
        AnnotationError: a side is no whole number, or the image would be too large to open.
    """
    height = entry.integer(height_key, 0, _MAX_SIDE, default=None)
    width = entry.integer(width_key, 0, _MAX_SIDE, default=None)
    if not height or not width:
        return None, None
    limit = image_files.pixel_limit()
    if height * width > limit:
        raise entry.error(height_key, f"at most {limit} pixels together with {width_key}")
    return height, width


def class_names_argument(classes: Sequence[str] | None) -> list[str] | None:
    """Return the names in a `classes` argument, normalized; None for None.

    Raises:
        ValueError: there is none, or one occurs twice.
    """
    if classes is None:
        return None
    names = [classes] if isinstance(classes, str) else list(classes)
    names = [normalize_name(str(name)) for name in names]
    if not names or not all(names) or len(set(names)) != len(names):
        raise ValueError(f"classes is {classes!r}; it must hold different names, at least one")
    return names


def class_table(found: Iterable[str], classes: Sequence[str] | None, where: Any) -> dict[str, int]:
    """Return class name -> id 1, 2, ... in its source.

    Names that do not occur get an id as well, since another dataset may have them; a warning names
    those that may be misspelled.

    Args:
        found: the names in the annotations, normalized.
        classes: the names wanted, in the order of their ids; None takes all found, sorted.
        where: the dataset, for the error message.

    Raises:
        ValueError: `classes` is empty or names something twice, or none of them occurs although
            others do.
    """
    found = set(found)
    names = class_names_argument(classes)
    if names is None:
        names = sorted(found)
    elif found and not found.intersection(names):
        hint = difflib.get_close_matches(names[0], sorted(found), n=1)
        raise ValueError(
            f"classes is {names}: none of them occurs in {where}, which has {sorted(found)}"
            + (f"; did you mean {hint[0]!r}?" if hint else "")
        )
    for name in names if found else []:
        near = difflib.get_close_matches(name, sorted(found.difference(names)), n=1)
        if name not in found and near:
            logger.warning(
                "classes has %s, which does not occur in %s; did you mean %s?",
                *(printable(repr(name)), printable(where), printable(repr(near[0]))),
            )
    return {name: number for number, name in enumerate(names, start=1)}
