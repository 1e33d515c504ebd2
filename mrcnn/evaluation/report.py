"""The result of a COCO evaluation as numbers, json and a printed table."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, fields
from typing import Any

from mrcnn.files.atomic import write_text
from mrcnn.files.names import counted, printable

__all__ = ["ClassReport", "CocoMetrics", "CocoReport"]

_NAN = float("nan")


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's twelve figures, each 0..1, or nan where no true object defines it.

    AP is the mean of the average precision over the IoU thresholds 0.50, 0.55 .. 0.95 and
    over the classes; AP50 and AP75 are those of one threshold. s, m and l restrict it to
    objects of fewer than 32^2, up to 96^2, and more pixels. AR is the mean best recall with
    at most 1, 10 and 100 detections of a class in an image.
    Definition: https://cocodataset.org/#detection-eval.
    """

    AP: float = _NAN
    AP50: float = _NAN
    AP75: float = _NAN
    APs: float = _NAN
    APm: float = _NAN
    APl: float = _NAN
    AR1: float = _NAN
    AR10: float = _NAN
    AR100: float = _NAN
    ARs: float = _NAN
    ARm: float = _NAN
    ARl: float = _NAN

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the figures in COCO's order."""
        return [one.name for one in fields(cls)]


@dataclass(frozen=True)
class ClassReport:
    """Figures of one class; nan where there is no true object.

    Attributes:
        class_id: class id in this package (1 is the first class).
        name: name of the class.
        num_objects: True objects that are not crowds.
        num_detections: detections of the class.
        box: figures of the boxes.
        mask: figures of the masks, or None where only boxes were evaluated.
    """

    class_id: int
    name: str
    num_objects: int
    num_detections: int
    box: CocoMetrics = CocoMetrics()
    mask: CocoMetrics | None = None

    @property
    def box_AP(self) -> float:
        """AP of the boxes over IoU 0.50..0.95."""
        return self.box.AP

    @property
    def box_AP50(self) -> float:
        """AP of the boxes at IoU 0.50."""
        return self.box.AP50

    @property
    def mask_AP(self) -> float:
        """AP of the masks over IoU 0.50..0.95; nan where masks were not evaluated."""
        return self.mask.AP if self.mask else _NAN

    @property
    def mask_AP50(self) -> float:
        """AP of the masks at IoU 0.50; nan where masks were not evaluated."""
        return self.mask.AP50 if self.mask else _NAN

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the figures as `box_AP` .. `mask_ARl`; nan becomes None."""
        return {
            "class_id": self.class_id,
            "name": self.name,
            "num_objects": self.num_objects,
            "num_detections": self.num_detections,
            **_without_nan(_flat(self.box, self.mask)),
        }


@dataclass(frozen=True)
class CocoReport:
    """Result of `CocoEvaluator.summarize`.

    `report.mask.AP50` and `report["mask_AP50"]` are the same number; `print(report)`
    shows a table, `report.save(path)` writes json.

    Attributes:
        box: figures of the boxes.
        mask: figures of the masks, or None where only boxes were evaluated.
        classes: one entry per class that has true objects or detections, by class id.
        num_images: images evaluated.
        num_objects: True objects that are not crowds.
        num_crowds: True crowds.
        num_detections: detections.
        num_unreadable: further images, which could not be read and are in none of the figures.
        seconds_per_image: wall time of `detect` per image, or None where not measured; without
            the first batch if there are others, as the network is compiled for it.
    """

    box: CocoMetrics
    mask: CocoMetrics | None
    classes: list[ClassReport] = field(default_factory=list)
    num_images: int = 0
    num_objects: int = 0
    num_crowds: int = 0
    num_detections: int = 0
    num_unreadable: int = 0
    seconds_per_image: float | None = None

    def metrics(self) -> dict[str, float]:
        """Return flat figures, `box_AP` .. `box_ARl` and `mask_AP` .. `mask_ARl`."""
        return _flat(self.box, self.mask)

    def __getitem__(self, name: str) -> float:
        """Return a flat figure by name (`"mask_AP"`)."""
        metrics = self.metrics()
        if name not in metrics:
            raise KeyError(f"{name!r} is not one of {', '.join(metrics)}")
        return metrics[name]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain types that json can hold; nan becomes None."""
        return {
            "num_images": self.num_images,
            "num_objects": self.num_objects,
            "num_crowds": self.num_crowds,
            "num_detections": self.num_detections,
            "num_unreadable": self.num_unreadable,
            "seconds_per_image": self.seconds_per_image,
            **_without_nan(self.metrics()),
            "classes": [entry.to_dict() for entry in self.classes],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to `path`."""
        write_text(path, self.to_json() + "\n")

    def __str__(self) -> str:
        return "\n\n".join([self._heading(), self._summary(), self._per_class()]).rstrip()

    def _heading(self) -> str:
        counts = [
            counted(self.num_images, "image"),
            counted(self.num_objects, "object"),
            counted(self.num_crowds, "crowd"),
            counted(self.num_detections, "detection"),
        ]
        text = f"COCO evaluation: {', '.join(counts)}"
        if self.seconds_per_image is not None:
            text += f", {self.seconds_per_image:.3f} s/image"
        return text

    def _summary(self) -> str:
        names = CocoMetrics.names()
        kinds = [("box", self.box)] + ([("mask", self.mask)] if self.mask else [])
        rows = [
            [kind, *(format_figure(getattr(metrics, name)) for name in names)]
            for kind, metrics in kinds
        ]
        return _table(["", *names], rows)

    def _per_class(self) -> str:
        names = ["box_AP", "box_AP50"] + (["mask_AP", "mask_AP50"] if self.mask else [])
        rows = [
            [
                short_name(entry.name),
                str(entry.num_objects),
                str(entry.num_detections),
                *(format_figure(getattr(entry, name)) for name in names),
            ]
            for entry in self.classes
            if entry.num_objects
        ]
        lines = []
        if rows:
            header = ["class", "objects", "detections", *(n.replace("_", " ") for n in names)]
            lines.append(_table(header, rows))
        if others := [entry for entry in self.classes if not entry.num_objects]:
            lines.append(_without_objects(others))
        return "\n\n".join(lines)


def _without_objects(classes: list[ClassReport]) -> str:
    """Return the line about the detected classes that the images show no object of."""
    classes = sorted(classes, key=lambda entry: -entry.num_detections)
    total = sum(entry.num_detections for entry in classes)
    most = ", ".join(f"{short_name(entry.name)} {entry.num_detections}" for entry in classes[:5])
    return (
        f"{counted(total, 'detection')} of {counted(len(classes), 'class', 'classes')} without a "
        f"true object: {most}{', ...' if len(classes) > 5 else ''}"
    )


def short_name(name: str, limit: int = 30) -> str:
    """Return a class name on one line, printable and cut to a number of letters."""
    name = printable(name)
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _flat(box: CocoMetrics, mask: CocoMetrics | None) -> dict[str, float]:
    """Return `box_AP` .. `mask_ARl`."""
    kinds = {"box": box, **({"mask": mask} if mask else {})}
    return {
        f"{kind}_{name}": getattr(metrics, name)
        for kind, metrics in kinds.items()
        for name in CocoMetrics.names()
    }


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    """Return the values with None for nan, which JSON lacks."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def format_figure(value: float) -> str:
    """Return a figure with three decimals, "-" for nan."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    """Return a text table: the first column to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
