"""The files of one image for a model that tells what it found before suppression as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.detection.image_results import ImageResults
from mrcnn.detection.results import Detections
from mrcnn.detection.sources import Source


@dataclass(frozen=True, eq=False)
class Suppressed(Detections):
    """Detections after suppression.

    Attributes:
        before: those before it; None for the same.
    """

    before: Detections | None = None


class RegionResults(ImageResults):
    """Makes entries and files as `ImageResults`, and of the kind "before" what was suppressed."""

    file_kinds: tuple[str, ...] = (*ImageResults.file_kinds, "before")

    def read(self, result: Mapping[str, Any]) -> Detections:
        """Return the detections of the wanted classes, with those before suppression."""
        found = super().read(result)
        before = super().read(result["before"])
        return Suppressed(found.boxes, found.class_ids, found.scores, found.masks, before)

    def write(
        self,
        source: Source,
        output: str,
        image: np.ndarray,
        found: Detections,
        fields: Mapping[str, Any],
        frame: int | None,
    ) -> np.ndarray | None:
        """Write the files of one image or frame, among them `before/NAME.jpg` if it is wanted.

        Arguments and result are those of `ImageResults.write`.
        """
        drawn = super().write(source, output, image, found, fields, frame)
        before = getattr(found, "before", None)
        if before is not None and "before" in self.options.kinds_of(source):
            name = output if frame is None else f"{output}/{frame:06}"
            path = self.options.output / "before" / f"{name}.jpg"
            self._draw(path, image, before, [], in_video=False, in_file=True)
        return drawn
