"""Problems of a dataset (`check`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.datasets.image_check import ImageCheck, describe_error
from mrcnn.datasets.problems import Problem, count_problems, problem_lines
from mrcnn.datasets.similar_names import similar_names
from mrcnn.datasets.summary import (  # re-exported
    ClassCount,
    DatasetSummary,
    Progress,
    listed_names,
    summarize_dataset,
)
from mrcnn.files.names import counted
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

# Masks that fill their boxes are reported from this number on: single rectangles are drawn.
_MIN_RECTANGLES = 10
# A class is rare with fewer instances than this, and fewer than this share of the largest class.
_RARE, _RARE_SHARE = 10, 0.05


@dataclass(eq=False)
class DatasetReport:
    """The result of `check`.

    Attributes:
        num_images: images in the dataset.
        num_checked: images looked at.
        num_instances: instances in those.
        num_rectangles: instances whose mask fills its box, as masks made from boxes do.
        problems: in the order of the images.
        boxes: [N, (y1, x1, y2, x2)] in pixels, of the instances that are no crowds.
        box_image_sizes: [N, (height, width)] of their images in pixels.
        digests: path of each image file -> digest of its content.
    """

    num_images: int
    num_checked: int = 0
    num_instances: int = 0
    num_rectangles: int = 0
    problems: list[Problem] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int32))
    box_image_sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> list[Problem]:
        """The problems that must be solved before training."""
        return [p for p in self.problems if p.severity == "error"]

    @property
    def ok(self) -> bool:
        """True if there is no error; there may be warnings and notes."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON: counts, problems, and whether there is no error."""
        counts = ("num_images", "num_checked", "num_instances", "num_rectangles")
        return {
            **{name: getattr(self, name) for name in counts},
            "problems": [asdict(problem) for problem in self.problems],
            "ok": self.ok,
        }

    def __str__(self) -> str:
        return "\n".join([self.heading(), *(f"  {line}" for line in problem_lines(self.problems))])

    def heading(self) -> str:
        """Return the first line of the report as text: what was checked, and what was found."""
        if not self.num_images:
            return f"no image: {count_problems(self.problems)}"
        return (
            f"{self.num_checked} of {counted(self.num_images, 'image')} checked, "
            f"{counted(self.num_instances, 'instance')}: {count_problems(self.problems)}"
        )


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
        raise ValueError(f"no instance to learn from: {describe_error(failed)}") from failed
    raise ValueError(_nothing_to_learn(crowds, empty, dataset.num_images))


def _label_problem(dataset: Dataset) -> str | None:
    """Return what is wrong with the label maps of a dataset that has them."""
    if not getattr(dataset, "maps_every_pixel", False):
        return None
    from mrcnn.datasets.semantic import find_label_problem

    return find_label_problem(dataset)


def _nothing_to_learn(crowds: int, empty: int, num_images: int) -> str:
    total = crowds + empty
    reasons = [
        f"{count} of {total} {what}"
        for count, what in ((crowds, "are crowds"), (empty, "have no pixel in their image"))
        if count
    ]
    found = " and ".join(reasons) or f"none of {counted(num_images, 'image')} has one"
    return f"no instance to learn from: {found}"


def check_dataset(
    dataset: Dataset,
    max_images: int | None = None,
    *,
    decode: bool = True,
    progress: Progress = iter,
) -> DatasetReport:
    """Find problems that would spoil training; see `Dataset.check`.

    Kinds of errors: broken_file (an annotation file or entry that cannot be read), missing_file,
    undecodable, image_format, size_mismatch (the recorded size is not the image's), mask_failed,
    mask_format, mask_size, mask_count, class_id, inactive_class, empty_mask,
    source_without_classes, no_images, no_classes, nothing_to_learn (all instances are crowds or
    have no pixel, or label images have no class but the first).
    Warnings: left_out (annotations that the reader does not take), dropped (instances without a
    pixel), small_box (under 2 pixels wide or high), rectangles (most masks fill their boxes),
    orientation (an EXIF tag that is not followed), duplicate_image, duplicate_class,
    similar_classes (names that differ in case, spaces or plural), no_instances.
    Notes: negative (an image without instances), unused_classes, rare_classes, similar_classes
    (names one letter apart), rectangles, left_out.

    Args:
        dataset: the dataset; it is prepared if need be.
        max_images: look at this many images, evenly spaced; None looks at all.
        decode: whether every image is decoded. If not, JPEG, PNG and WebP files are tested for
            being complete, which is several times faster.
        progress: called with the numbers of the images, which it passes on, such as `tqdm`.

    Raises:
        ValueError: `max_images` is not positive.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images is {max_images}; it must be at least 1, or None for all")
    if getattr(dataset, "num_images", None) != len(dataset.image_info):
        dataset.prepare()
    report = DatasetReport(num_images=dataset.num_images, problems=_loading_problems(dataset))
    _check_tables(dataset, report)
    count = dataset.num_images if max_images is None else min(max_images, dataset.num_images)
    # Evenly spaced, not the first ones: files are often sorted by class or by origin.
    chosen = np.unique(evenly_spaced(max(dataset.num_images - 1, 0), count)).astype(int)
    used = _check_images(dataset, report, chosen.tolist(), decode, progress)
    # Some findings of a reader are known once the masks have been read.
    report.problems += [p for p in _loading_problems(dataset) if p not in report.problems]
    _check_counts(dataset, report, used)
    return report


def _check_images(
    dataset: Dataset,
    report: DatasetReport,
    image_ids: list[int],
    decode: bool,
    progress: Progress,
) -> Counter[int]:
    """Check images; return the number of instances of each class, those of crowds negative."""
    used: Counter[int] = Counter()
    boxes, sizes = [report.boxes], [report.box_image_sizes]
    for image_id in progress(image_ids):
        checked = ImageCheck(dataset, image_id, decode).run()
        used.update(checked.class_ids)
        report.problems += checked.problems
        report.num_rectangles += checked.num_rectangles
        boxes.append(checked.boxes)
        sizes.append(np.tile(np.array(checked.size or (0, 0), np.int32), (len(checked.boxes), 1)))
        if checked.digest is not None:
            report.digests[checked.reference] = checked.digest
        report.num_checked += 1
    report.num_instances = sum(used.values())
    report.boxes, report.box_image_sizes = np.concatenate(boxes), np.concatenate(sizes)
    return used


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
        problem = _label_problem(dataset) if is_complete else None
        if problem is not None:
            add(Problem("error", "nothing_to_learn", problem))
            return
        add(Problem("warning", "no_instances", "no image that was checked has an instance"))
    elif report.num_instances and is_complete:
        _check_balance(dataset, report, used)
    if report.num_rectangles >= _MIN_RECTANGLES:
        share = report.num_rectangles / len(report.boxes)
        message = (
            f"{report.num_rectangles} of {counted(len(report.boxes), 'mask')} fill their boxes, as "
            "masks made from boxes do: a model learns rectangles from them"
        )
        add(Problem("warning" if share > 0.5 else "note", "rectangles", message))


def _check_balance(dataset: Dataset, report: DatasetReport, used: Counter[int]) -> None:
    """Add the findings about classes without instances, and with few."""
    counts = {n: used[n] + used[-n] for n in range(1, dataset.num_classes)}
    unused = [dataset.class_names[n] for n, count in counts.items() if not count]
    if unused:
        verb = "has" if len(unused) == 1 else "have"
        number = counted(len(unused), "class", "classes")
        message = f"{number} {verb} no instance: {listed_names(unused)}"
        report.problems.append(Problem("note", "unused_classes", message))
    limit = min(_RARE, _RARE_SHARE * max(counts.values(), default=0))
    rare = [f"{dataset.class_names[n]} {count}" for n, count in counts.items() if 0 < count < limit]
    if rare:
        verb = "has" if len(rare) == 1 else "have"
        number = counted(len(rare), "class", "classes")
        message = f"{number} {verb} fewer than {_RARE} instances: {listed_names(rare)}"
        report.problems.append(Problem("note", "rare_classes", message))


def _check_tables(dataset: Dataset, report: DatasetReport) -> None:
    """Add the findings that need no image to be opened."""
    add = report.problems.append
    if not dataset.num_images:
        if not report.ok:
            return  # the cause is known
        add(Problem("error", "no_images", "the dataset has no image"))
    if dataset.num_classes < 2:
        add(Problem("error", "no_classes", "the dataset has no class besides the background"))
    for name, count in Counter(dataset.class_names).items():
        if count > 1:
            add(Problem("warning", "duplicate_class", f"{count} classes are called {name!r}"))
    for name, other, difference in similar_names(dataset.class_names[1:]):
        severity = "note" if difference == "one letter" else "warning"
        message = f"the classes {name!r} and {other!r} may be one: they differ by {difference}"
        add(Problem(severity, "similar_classes", message))
    without = {i["source"] for i in dataset.image_info} - set(dataset.sources)
    for source in sorted(without) if dataset.num_classes > 1 else ():
        message = f"images have the source {source!r}, for which no class was added"
        add(Problem("error", "source_without_classes", message))
    keys = Counter((i["source"], i["id"]) for i in dataset.image_info)
    for (source, image_id), count in keys.items():
        if count > 1:
            message = f"{count} images have the id '{source}.{image_id}'"
            add(Problem("warning", "duplicate_image", message))
