"""How a run detects, draws and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcnn.detection.results import SEGMENTATIONS
from mrcnn.detection.sources import Source
from mrcnn.detection.writers import SAVE_KINDS, check_save
from mrcnn.files.names import shown
from mrcnn.value_types import is_integer

DEFAULT_SAVE = ("image", "coco", "video")
COLOR_BY = ("auto", "class", "instance", "track")
# Pixels by which the outlines of `save="polygons"` are simplified where no tolerance is given.
POLYGON_TOLERANCE = 1.0


@dataclass(frozen=True)
class RunOptions:
    """Settings of detecting, drawing and writing.

    Attributes:
        output: folder of the results.
        save: kinds of files, of `mrcnn.detection.writers.SAVE_KINDS`, or their names separated by
            commas. "image" writes the frames of a video only without "video".
        wanted: ids of the classes to keep; None keeps all.
        color_by: "class", "instance" or "track": what gets a color of its own. "auto": the track
            in a video with `track`, the instance in an image with objects of one class, else the
            class.
        segmentation: "rle", "polygon" or "none": how the records hold masks.
        tolerance: pixels by which polygons may be off; None for `POLYGON_TOLERANCE` in the
            files of "polygons", and for every corner in the records.
        batch_size: images that go into the network together.
        tile: side of the tiles in pixels; None detects on whole images.
        refiner: a mask refiner, or None.
        track: give the objects of a video a number that lasts.
        allowed: kinds of files that the model can give.

    Raises:
        ValueError: an option has no valid value.
        ImportError: `save` needs a package that is not installed.
    """

    output: Path
    save: str | Sequence[str] = DEFAULT_SAVE
    wanted: Sequence[int] | None = None
    color_by: str = "auto"
    segmentation: str = "rle"
    tolerance: float | None = None
    batch_size: int = 1
    tile: int | None = None
    refiner: Any = None
    track: bool = False
    allowed: Sequence[str] = SAVE_KINDS

    def __post_init__(self) -> None:
        for name, choices in (("segmentation", SEGMENTATIONS), ("color_by", COLOR_BY)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}"
                )
        if self.tolerance is not None and not (
            math.isfinite(self.tolerance) and self.tolerance >= 0
        ):
            raise ValueError(f"tolerance is {self.tolerance}; it must be a number of at least 0")
        # Before any file of an earlier run is replaced.
        sizes = {"batch_size": self.batch_size}
        if self.tile is not None:
            sizes["tile"] = self.tile
        for name, value in sizes.items():
            if not is_integer(value) or value < 1:
                raise ValueError(f"{name} is {shown(value)}; it must be a whole number above 0")
        if self.color_by == "track" and not self.track:
            raise ValueError(
                "color_by is 'track'; it must be auto, class or instance without track"
            )
        object.__setattr__(self, "save", check_save(self.save, allowed=self.allowed))

    def kinds_of(self, source: Source) -> Sequence[str]:
        """Return the kinds of files to write for a source."""
        useless = "video" if source.kind == "image" else "image" if "video" in self.save else ""
        return [kind for kind in self.save if kind != useless]

    def influence(self) -> dict[str, Any]:
        """Return the options that the results depend on, as JSON holds them."""
        names = ("save", "color_by", "segmentation", "tolerance", "tile", "track")
        options = {name: getattr(self, name) for name in names}
        options["save"] = ",".join(self.save)
        if self.color_by == "auto":  # continues runs from before it was the default
            options["color_by"] = "class"
        options["classes"] = None if self.wanted is None else sorted(self.wanted)
        return options
