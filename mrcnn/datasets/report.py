"""What is wrong with a data set (`check`), and what is in it (`summary`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.dataset import Dataset
from mrcnn.geometry.spacing import evenly_spaced

# A box narrower than this has lost its shape after any resizing, and its deltas,
# log(width / anchor width), are far from all others.
MIN_BOX_SIDE = 2


@dataclass(frozen=True)
class Problem:
    """One thing that `check` found.

    Attributes:
        severity: "error" (training would fail or learn something wrong), "warning" (look at
            it) or "note" (worth knowing).
        kind: a fixed word, for programs; see `check_dataset`.
        message: one sentence for people.
        image_id: number of the image, None when it concerns the data set.
        reference: the image's path or source id, "" without an image.
    """

    severity: str
    kind: str
    message: str
    image_id: int | None = None
    reference: str = ""

    def __str__(self) -> str:
        place = f"{self.reference}: " if self.reference else ""
        return f"{self.severity}: {place}{self.message} [{self.kind}]"


@dataclass
class DatasetReport:
    """The result of `check`.

    Attributes:
        num_images: images in the data set.
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
        """The problems that must be mended."""
        return [p for p in self.problems if p.severity == "error"]

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings and notes may remain."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
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
    """How often a class occurs: instances (crowds too), and images with at least one."""

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
    """

    num_images: int
    num_negatives: int
    num_instances: int
    num_crowds: int
    classes: dict[str, ClassCount]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        crowds = f", {self.num_crowds} of them crowds" if self.num_crowds else ""
        lines = [
            f"{self.num_images} images, {self.num_negatives} of them without instances; "
            f"{self.num_instances} instances{crowds}"
        ]
        if self.classes:
            width = max(5, *(len(name) for name in self.classes))
            lines.append(f"{'class':<{width}}  instances  images")
            lines += [
                f"{name:<{width}}  {count.instances:9d}  {count.images:6d}"
                for name, count in self.classes.items()
            ]
        return "\n".join(lines)


def summarize_dataset(dataset: Dataset) -> DatasetSummary:
    """Counts what a prepared data set holds; see `Dataset.summary`."""
    counts = [ClassCount() for _ in range(dataset.num_classes)]
    negatives = instances = crowds = 0
    for image_id in dataset.image_ids:
        class_ids = dataset.image_class_ids(image_id)
        negatives += class_ids.size == 0
        instances += class_ids.size
        crowds += int(np.sum(class_ids < 0))
        for class_id, count in Counter(np.abs(class_ids).tolist()).items():
            if class_id < len(counts):  # `check` reports the others
                counts[class_id].instances += count
                counts[class_id].images += 1
    # Two sources may both have a class of this name; with its source it stays apart.
    names = list(dataset.class_names)
    labels = [
        f"{name} ({info['source']})" if names.count(name) > 1 else name
        for name, info in zip(names, dataset.class_info, strict=True)
    ]
    return DatasetSummary(
        num_images=dataset.num_images,
        num_negatives=int(negatives),
        num_instances=int(instances),
        num_crowds=crowds,
        classes=dict(zip(labels[1:], counts[1:], strict=True)),
    )


def check_dataset(dataset: Dataset, max_images: int | None = None) -> DatasetReport:
    """Looks for what would spoil training; see `Dataset.check`.

    Kinds of errors: missing_file, undecodable, image_format, size_mismatch (the recorded size
    is not the picture's), mask_failed, mask_format, mask_size, mask_count, class_id,
    inactive_class, empty_mask, source_without_classes, no_images, no_classes.
    Warnings: dropped (instances without a pixel), small_box (under 2 pixels wide or high),
    orientation (an EXIF tag that is not followed), duplicate_image, duplicate_class, no_instances.
    Notes: negative (an image without instances), unused_classes.

    Raises:
        ValueError: `max_images` is not positive.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images is {max_images}: it must be at least 1, or None for all")
    if getattr(dataset, "num_images", None) != len(dataset.image_info):
        dataset.prepare()
    report = DatasetReport(num_images=dataset.num_images)
    _check_tables(dataset, report)
    count = dataset.num_images if max_images is None else min(max_images, dataset.num_images)
    # Evenly spaced, not the first ones: files are often sorted by class or by origin.
    chosen = np.unique(evenly_spaced(max(dataset.num_images - 1, 0), count)).astype(int)
    used: Counter[int] = Counter()
    for image_id in chosen.tolist():
        used.update(_ImageCheck(dataset, image_id, report).run())
        report.num_checked += 1
    report.num_instances = sum(used.values())
    if report.num_checked and not report.num_instances and report.ok:
        report.problems.append(
            Problem("warning", "no_instances", "no image that was checked has an instance")
        )
    elif report.num_instances and report.num_checked == dataset.num_images:
        unused = [dataset.class_names[n] for n in range(1, dataset.num_classes) if not used[n]]
        if unused:
            message = f"{len(unused)} classes have no instance: {', '.join(unused)}"
            report.problems.append(Problem("note", "unused_classes", message))
    return report


def _check_tables(dataset: Dataset, report: DatasetReport) -> None:
    """What can be seen without opening a picture."""
    add = report.problems.append
    if not dataset.num_images:
        add(Problem("error", "no_images", "the data set has no image"))
    if dataset.num_classes < 2:
        add(Problem("error", "no_classes", "the data set has no class besides the background"))
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
        """Checks the image; returns the class numbers of its instances, without signs."""
        shape = self._check_picture()
        try:
            masks, class_ids = self.dataset.load_mask(self.image_id)
        except Exception as error:  # whatever a user's own code raises is a finding
            if shape is not None:
                self._add("error", "mask_failed", f"load_mask failed: {_describe(error)}")
            return []
        masks, class_ids = np.asarray(masks), np.asarray(class_ids)
        if self.info.get("dropped"):
            message = f"{self.info['dropped']} instances without a pixel were left out"
            self._add("warning", "dropped", message)
        self._check_class_ids(class_ids)
        self._check_masks(masks, class_ids, shape)
        return np.abs(class_ids).ravel().tolist()

    def _add(self, severity: str, kind: str, message: str) -> None:
        self.report.problems.append(Problem(severity, kind, message, self.image_id, self.reference))

    def _check_picture(self) -> tuple[int, int] | None:
        """Decodes the picture; returns its (height, width), None when that is not possible."""
        try:
            image = self.dataset.load_image(self.image_id)
        except FileNotFoundError:
            self._add("error", "missing_file", "the picture is missing")
            return None
        except Exception as error:
            self._add("error", "undecodable", f"load_image failed: {_describe(error)}")
            return None
        shape = getattr(image, "shape", ())
        if len(shape) != 3 or shape[2] != 3 or image.dtype != np.uint8:
            dtype = getattr(image, "dtype", type(image).__name__)
            message = f"the picture is {list(shape)} {dtype}: it must be [height, width, 3] uint8"
            self._add("error", "image_format", message)
            if len(shape) < 2:
                return None
        recorded = self.info.get("height"), self.info.get("width")
        if None not in recorded and tuple(map(int, recorded)) != tuple(shape[:2]):
            message = f"recorded as {recorded[1]}x{recorded[0]}, but is {shape[1]}x{shape[0]}"
            self._add("error", "size_mismatch", message)
        self._check_orientation()
        return shape[:2]

    def _check_orientation(self) -> None:
        dataset, number = self.dataset, self.image_id
        while hasattr(dataset, "origins"):  # a view's pictures are read by others
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
                f"masks are {masks.shape[1]}x{masks.shape[0]}, the picture is {shape[1]}x{shape[0]}"
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
