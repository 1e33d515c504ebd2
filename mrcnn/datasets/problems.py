"""One thing that is wrong with a dataset, as `check` lists it."""

from __future__ import annotations

from dataclasses import dataclass

from mrcnn.files.names import printable


@dataclass(frozen=True)
class Problem:
    """One thing that `check` found.

    Attributes:
        severity: "error" (training would fail or learn something wrong), "warning" (look at
            it) or "note" (worth knowing).
        kind: a fixed word, for programs; see `mrcnn.datasets.report.check_dataset`.
        message: one sentence.
        image_id: number of the image, None when it concerns the dataset.
        reference: the image's path or source id, or the annotation file; "" without one.
    """

    severity: str
    kind: str
    message: str
    image_id: int | None = None
    reference: str = ""

    def __str__(self) -> str:
        place = f"{self.reference}: " if self.reference else ""
        return printable(f"{self.severity}: {place}{self.message} [{self.kind}]")
