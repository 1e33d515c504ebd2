"""Problems of a dataset (`check`), and a summary of its content (`summary`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.entries import AnnotationError
from mrcnn.datasets.problems import Problem
from mrcnn.files.names import printable
from mrcnn.geometry.spacing import evenly_spaced

if TYPE_CHECKING:
    from mrcnn.datasets.dataset import Dataset

__all__ = [
    "ClassCount",
    "DatasetReport",
    "DatasetSummary",
    "Problem",
    "check_dataset",
    "require_learnable",
    "summarize_dataset",
]

# A box narrower than this has lost its shape after any resizing, and its deltas,
# log(width / anchor width), are far from all others.
MIN_BOX_SIDE = 2


@dataclass
class DatasetReport:
    """The result of `check`.

    Attributes:
        num_images: images in the dataset.
        num_checked: images looked at.
        num_instances: instances in those.
        problems: in the order of the images.
    """

    num_images: int
    num_checked: int = 0
    num_instances: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that must be solved before training."""
        return [p for p in self.problems if p.severity == "error"]

    @property
    def ok(self) -> bool:
        """True if there is no error; there may be warnings and notes."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        counts = Counter(p.severity for p in self.problems)
        found = ", ".join(
            f"{counts[s]} {s}{'s' if counts[s] > 1 else ''}"
            for s in ("error", "warning", "note")
            if counts[s]
        )
        head = (
            f"{self.num_checked} of {self.num_images} images checked, "
            f"{self.num_instances} instances: {found or 'no problem'}"
        )
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])


@dataclass
class ClassCount:
    """Counts of a class: instances (crowds too), and images with at least one."""

    instances: int = 0
    images: int = 0


@dataclass
class DatasetSummary:
    """The result of `summary`.

    Attributes:
        num_images: all images.
        num_negatives: images without an instance.
        num_instances: all instances, crowds included.
        num_crowds: instances that mark a crowd.
        classes: class name -> counts, in the order of the class numbers, no background.
        num_unreadable: images whose instances could not be read; `check` gives the cause.
    """

    num_images: int
    num_negatives: int
    num_instances: int
    num_crowds: int
    classes: dict[str, ClassCount]
    num_unreadable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = asdict(self)
        if not self.num_unreadable:
            del values["num_unreadable"]
        return values

    def __str__(self) -> str:
        crowds = f", {self.num_crowds} of them crowds" if self.num_crowds else ""
        unreadable = f", {self.num_unreadable} unreadable" if self.num_unreadable else ""
        lines = [
            f"{self.num_images} images, {self.num_negatives} of them without instances"
            f"{unreadable}; {self.num_instances} instances{crowds}"
        ]
        if self.classes:
            width = max(5, *(len(name) for name in self.classes))
            lines.append(f"{'class':<{width}}  instances  images")
            lines += [
                f"{printable(name):<{width}}  {count.instances:9d}  {count.images:6d}"
                for name, count in self.classes.items()
            ]
        return "\n".join(lines)


def summarize_dataset(dataset: Dataset) -> DatasetSummary:
    """Count what a prepared dataset holds; see `Dataset.summary`."""
    counts = [ClassCount() for _ in range(dataset.num_classes)]
    negatives = instances = crowds = unreadable = 0
    for image_id in dataset.image_ids:
        try:
            class_ids = dataset.image_class_ids(image_id)
        except (ValueError, OSError):
            unreadable += 1
            continue
        negatives += class_ids.size == 0
        instances += class_ids.size
        crowds += int(np.sum(class_ids < 0))
        for class_id, count in Counter(np.abs(class_ids).tolist()).items():
            if class_id < len(counts):  # `check` reports the others
                counts[class_id].instances += count
                counts[class_id].images += 1
    return DatasetSummary(
        num_images=dataset.num_images,
        num_negatives=int(negatives),
        num_instances=int(instances),
        num_crowds=crowds,
        classes=dict(zip(_class_labels(dataset)[1:], counts[1:], strict=True)),
        num_unreadable=unreadable,
    )


def _class_labels(dataset: Dataset) -> list[str]:
    """Return the class names, with source and id where several classes have one name."""
    names = list(dataset.class_names)
    with_source = [
        f"{name} ({info['source']})" if names.count(name) > 1 else name
        for name, info in zip(names, dataset.class_info, strict=True)
    ]
    return [
        f"{name} ({info['source']}.{info['id']})" if with_source.count(label) > 1 else label
        for name, label, info in zip(names, with_source, dataset.class_info, strict=True)
    ]


def require_learnable(dataset: Dataset) -> None:
    """Raise ValueError unless a prepared dataset has an instance that is no crowd and has a pixel.

    Stops at the first one; instances of images that cannot be read do not count.

    Raises:
        ValueError: every instance marks a crowd, has no pixel or cannot be read, or there is none.
    """
    crowds = empty = 0
    failed: Exception | None = None
    for image_id in dataset.image_ids:
        try:
            class_ids = np.asarray(dataset.image_class_ids(image_id))
            if (class_ids > 0).any():
                drawn = np.asarray(dataset.load_mask(image_id)[1])
                if (drawn > 0).any():
                    return
                empty += int(np.sum(class_ids > 0))
        except Exception as error:  # whatever a user's own code raises
            failed = failed or error
            continue
        crowds += int(np.sum(class_ids < 0))
    if failed is not None and not (crowds or empty):
        raise ValueError(f"no instance to learn from: {_describe(failed)}") from failed
    raise ValueError(_nothing_to_learn(crowds, empty, dataset.num_images))


def _nothing_to_learn(crowds: int, empty: int, num_images: int) -> str:
    total = crowds + empty
    reasons = [
        f"{count} of {total} {what}"
        for count, what in ((crowds, "are crowds"), (empty, "have no pixel in their image"))
        if count
    ]
    found = " and ".join(reasons) or f"none of {num_images} images has one"
    return f"no instance to learn from: {found}"


def check_dataset(dataset: Dataset, max_images: int | None = None) -> DatasetReport:
    """Find problems that would spoil training; see `Dataset.check`.

    Kinds of errors: broken_file (an annotation file or entry that cannot be read), missing_file,
    undecodable, image_format, size_mismatch (the recorded size is not the image's), mask_failed,
    mask_format, mask_size, mask_count, class_id, inactive_class, empty_mask,
    source_without_classes, no_images, no_classes, nothing_to_learn (all instances are crowds or
    have no pixel).
    Warnings: left_out (annotations that the reader does not take), dropped (instances without a
    pixel), small_box (under 2 pixels wide or high), orientation (an EXIF tag that is not
    followed), duplicate_image, duplicate_class, no_instances.
    Notes: negative (an image without instances), unused_classes, left_out.

    Args:
        dataset: the dataset; it is prepared if need be.
        max_images: look at this many images, evenly spaced; None looks at all.

    Raises:
        ValueError: `max_images` is not positive.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images is {max_images}: it must be at least 1, or None for all")
    if getattr(dataset, "num_images", None) != len(dataset.image_info):
        dataset.prepare()
    report = DatasetReport(num_images=dataset.num_images, problems=_loading_problems(dataset))
    _check_tables(dataset, report)
    count = dataset.num_images if max_images is None else min(max_images, dataset.num_images)
    # Evenly spaced, not the first ones: files are often sorted by class or by origin.
    chosen = np.unique(evenly_spaced(max(dataset.num_images - 1, 0), count)).astype(int)
    used: Counter[int] = Counter()
    for image_id in chosen.tolist():
        used.update(_ImageCheck(dataset, image_id, report).run())
        report.num_checked += 1
    report.num_instances = sum(used.values())
    _check_counts(dataset, report, used)
    return report


def _loading_problems(dataset: Dataset) -> list[Problem]:
    """Return the findings that a reader recorded while loading; of all parts for a view."""
    parts = {id(part): part for part, _ in getattr(dataset, "origins", [])}
    inner = [problem for part in parts.values() for problem in _loading_problems(part)]
    return [*getattr(dataset, "findings", []), *inner]


def _check_counts(dataset: Dataset, report: DatasetReport, used: Counter[int]) -> None:
    """Add the findings from the counts of all classes; crowds are negative in `used`."""
    add = report.problems.append
    crowds = sum(count for class_id, count in used.items() if class_id < 0)
    is_complete = report.num_checked == dataset.num_images
    empty = sum(info.get("dropped") or 0 for info in dataset.image_info) if is_complete else 0
    if (crowds or empty) and crowds == report.num_instances and report.ok:
        message = _nothing_to_learn(crowds, empty, dataset.num_images)
        add(Problem("error", "nothing_to_learn", message))
    elif report.num_checked and not report.num_instances and report.ok:
        lost = [p for p in report.problems if p.kind == "left_out" and p.severity == "warning"]
        if lost and is_complete:
            message = f"{_nothing_to_learn(0, 0, dataset.num_images)}; {lost[0].message}"
            add(Problem("error", "nothing_to_learn", message))
            return
        add(Problem("warning", "no_instances", "no image that was checked has an instance"))
    elif report.num_instances and report.num_checked == dataset.num_images:
        unused = [
            dataset.class_names[n]
            for n in range(1, dataset.num_classes)
            if not used[n] and not used[-n]
        ]
        if unused:
            message = f"{len(unused)} classes have no instance: {', '.join(unused)}"
            add(Problem("note", "unused_classes", message))


def _check_tables(dataset: Dataset, report: DatasetReport) -> None:
    """Add the findings that need no image to be opened."""
    add = report.problems.append
    if not dataset.num_images:
        add(Problem("error", "no_images", "the dataset has no image"))
    if dataset.num_classes < 2:
        add(Problem("error", "no_classes", "the dataset has no class besides the background"))
    for name, count in Counter(dataset.class_names).items():
        if count > 1:
            add(Problem("warning", "duplicate_class", f"{count} classes are called {name!r}"))
    for source in sorted({i["source"] for i in dataset.image_info} - set(dataset.sources)):
        message = f"images have the source {source!r}, for which no class was added"
        add(Problem("error", "source_without_classes", message))
    keys = Counter((i["source"], i["id"]) for i in dataset.image_info)
    for (source, image_id), count in keys.items():
        if count > 1:
            message = f"{count} images have the id '{source}.{image_id}'"
            add(Problem("warning", "duplicate_image", message))


class _ImageCheck:
    """Checks one image and adds what it finds to a report."""

    def __init__(self, dataset: Dataset, image_id: int, report: DatasetReport):
        self.dataset, self.image_id, self.report = dataset, image_id, report
        self.info = dataset.image_info[image_id]
        self.reference = str(self.info.get("path") or f"{self.info['source']}.{self.info['id']}")

    def run(self) -> list[int]:
        """Check the image; return the class numbers of its instances, negative for crowds."""
        shape = self._check_image()
        try:
            masks, class_ids = self.dataset.load_mask(self.image_id)
        except Exception as error:  # any exception of a user's own code is a finding
            # Without the image load_mask often fails for the same reason.
            if shape is not None or isinstance(error, AnnotationError):
                self._add("error", "mask_failed", f"load_mask failed: {_describe(error)}")
            return []
        masks, class_ids = np.asarray(masks), np.asarray(class_ids)
        if self.info.get("dropped"):
            message = f"{self.info['dropped']} instances without a pixel were left out"
            self._add("warning", "dropped", message)
        self._check_class_ids(class_ids)
        self._check_masks(masks, class_ids, shape)
        return class_ids.ravel().tolist()

    def _add(self, severity: str, kind: str, message: str) -> None:
        self.report.problems.append(Problem(severity, kind, message, self.image_id, self.reference))

    def _check_image(self) -> tuple[int, int] | None:
        """Decode the image; return its (height, width), None when that is not possible."""
        try:
            image = self.dataset.load_image(self.image_id)
        except FileNotFoundError:
            self._add("error", "missing_file", "the image is missing")
            return None
        except Exception as error:
            self._add("error", "undecodable", f"load_image failed: {_describe(error)}")
            return None
        shape: tuple[int, ...] = getattr(image, "shape", ())
        if len(shape) != 3 or shape[2] != 3 or image.dtype != np.uint8:
            dtype = getattr(image, "dtype", type(image).__name__)
            message = f"the image is {list(shape)} {dtype}: it must be [height, width, 3] uint8"
            self._add("error", "image_format", message)
            if len(shape) < 2:
                return None
        height, width = self.info.get("height"), self.info.get("width")
        if height is not None and width is not None and (height, width) != tuple(shape[:2]):
            message = f"recorded as {width}x{height}, but is {shape[1]}x{shape[0]}"
            self._add("error", "size_mismatch", message)
        self._check_orientation()
        return shape[0], shape[1]

    def _check_orientation(self) -> None:
        dataset, number = self.dataset, self.image_id
        while hasattr(dataset, "origins"):  # a view's images are read by others
            dataset, number = dataset.origins[number]
        path = self.info.get("path")
        if dataset.exif_orientation or not path or not Path(path).is_file():
            return
        orientation = image_files.read_orientation(path)
        if orientation != 1:
            message = (
                f"EXIF orientation {orientation} is not followed: the masks must fit the pixels "
                "as stored (else set exif_orientation)"
            )
            self._add("warning", "orientation", message)

    def _check_class_ids(self, class_ids: np.ndarray) -> None:
        active = self.dataset.source_class_ids.get(self.info["source"], [])
        for class_id in np.unique(np.abs(class_ids)).tolist():
            if not 1 <= class_id < self.dataset.num_classes:
                limit = self.dataset.num_classes - 1
                self._add("error", "class_id", f"class number {class_id} is not in 1..{limit}")
            elif active and class_id not in active:
                message = f"class number {class_id} is not a class of source {self.info['source']}"
                self._add("error", "inactive_class", message)

    def _check_masks(
        self, masks: np.ndarray, class_ids: np.ndarray, shape: tuple[int, int] | None
    ) -> None:
        if masks.ndim != 3:
            message = f"masks are {list(masks.shape)}: they must be [height, width, instances]"
            self._add("error", "mask_format", message)
            return
        if masks.shape[2] != class_ids.size:
            message = f"{masks.shape[2]} masks but {class_ids.size} class ids"
            self._add("error", "mask_count", message)
        if masks.shape[2] == 0:
            self._add("note", "negative", "no instance")
            return
        if shape is not None and masks.shape[:2] != tuple(shape):
            message = (
                f"masks are {masks.shape[1]}x{masks.shape[0]}, the image is {shape[1]}x{shape[0]}"
            )
            self._add("error", "mask_size", message)
        for number in range(masks.shape[2]):
            mask = masks[:, :, number].astype(bool)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if not rows.size:
                self._add("error", "empty_mask", f"instance {number} has no pixel")
                continue
            height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            if min(height, width) < MIN_BOX_SIDE:
                message = f"instance {number} is only {width}x{height} pixels"
                self._add("warning", "small_box", message)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
