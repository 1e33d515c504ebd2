"""The entries and files of one image: annotated image, instance ids, outlines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.detection.results import Detections
from mrcnn.detection.run_options import POLYGON_TOLERANCE, RunOptions
from mrcnn.detection.sources import Source
from mrcnn.detection.writers import (
    TRACK_COLUMN,
    Records,
    write_joined,
    write_masks,
    write_polygons,
)
from mrcnn.files.names import found_text

# Different enough for the numbers of one frame; after these, colors repeat.
_TRACK_COLORS = 60


def categories(class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return `id` and `name` of every class, with COCO's own ids for the classes of COCO."""
    from mrcnn.checkpoints.coco_names import coco_category_ids

    ids = coco_category_ids(class_names)
    return [
        {"id": number if ids is None else ids[number], "name": name}
        for number, name in enumerate(class_names)
        if number
    ]


class ImageResults:
    """Makes entries and files of images.

    Args:
        class_names: names by class id, the background first.
        options: see `RunOptions`.
    """

    # Kinds of files for single images.
    file_kinds: tuple[str, ...] = ("image", "masks", "polygons")
    # What is counted in the closing lines.
    noun: str | None = "object"

    def __init__(self, class_names: Sequence[str], options: RunOptions) -> None:
        from mrcnn.checkpoints.coco_names import coco_category_ids

        self.class_names = class_names
        self.options = options
        self._category_ids = coco_category_ids(class_names)

    def read(self, result: Mapping[str, Any]) -> Detections:
        """Return the detections of the wanted classes in a result."""
        return Detections.from_result(result).of_classes(self.options.wanted)

    def fields(
        self,
        found: Detections,
        image_id: int,
        file_name: str,
        frame: Mapping[str, Any],
        track_ids: Sequence[int] | None,
    ) -> tuple[dict[str, Any], list[int]]:
        """Return what the record of an image gets, `objects`, and their class ids.

        The objects are in COCO's results format.

        Args:
            found: N detections.
            image_id: id of the image.
            file_name: name of the image or video.
            frame: `frame` and `seconds` of a frame; empty for an image.
            track_ids: [N] numbers of the tracks, or None.
        """
        options = self.options
        entries = found.to_coco(
            image_id,
            file_name,
            self.class_names,
            self._category_ids,
            options.segmentation,
            options.tolerance or 0.0,
        )
        for i, entry in enumerate(entries):
            entry |= frame
            if track_ids is not None:
                entry[TRACK_COLUMN] = track_ids[i]
        return {"objects": entries}, found.class_ids.tolist()

    def write(
        self,
        source: Source,
        output: str,
        image: np.ndarray,
        found: Detections,
        fields: Mapping[str, Any],
        frame: int | None,
    ) -> np.ndarray | None:
        """Write the files of one image or frame.

        Args:
            source: where it came from.
            output: name of the source's result files, without suffix. Those of frames lie in a
                folder of this name.
            image: [height, width, 3] uint8 RGB.
            found: N detections.
            fields: what `fields` made of them.
            frame: number of the frame; None for an image.

        Returns:
            The annotated frame, if an annotated video is written.
        """
        entries = fields["objects"]
        kinds, folder = self.options.kinds_of(source), self.options.output
        name = output if frame is None else f"{output}/{frame:06}"
        height, width = image.shape[:2]
        if "masks" in kinds:
            write_masks(folder / "masks" / name, found, entries, (height, width))
        if "polygons" in kinds:
            path = folder / "polygons" / f"{name}.json"
            tolerance = self.options.tolerance
            tolerance = POLYGON_TOLERANCE if tolerance is None else tolerance
            image_path = _relative(source, path.parent)
            write_polygons(path, found, entries, (height, width), image_path, tolerance)
        in_video = frame is not None and "video" in kinds
        if not in_video and "image" not in kinds:
            return None
        return self._draw(folder / f"{name}.jpg", image, found, entries, in_video, "image" in kinds)

    def join(self, records: Records, columns: Sequence[str]) -> list[Path]:
        """Write the files that hold the results of all images; see `write_joined`.

        Args:
            records: returns an iterator over the records.
            columns: columns of tables beside the usual ones.
        """
        options = self.options
        return write_joined(
            options.output,
            options.save,
            records,
            categories(self.class_names),
            segmentation=options.segmentation,
            columns=columns,
        )

    def text(self, record: Mapping[str, Any]) -> str:
        """Return "person 3, car 1"; "nothing" without objects."""
        names = [entry["category_name"] for entry in record["objects"]]
        return found_text(Counter(names))

    def _draw(
        self,
        path: Path,
        image: np.ndarray,
        found: Detections,
        entries: Sequence[Mapping[str, Any]],
        in_video: bool,
        in_file: bool,
    ) -> np.ndarray | None:
        """Draw the instances into an image file, or return the annotated frame, or both."""
        from mrcnn.drawing import rendering
        from mrcnn.drawing.colors import fixed_colors

        options: dict[str, Any] = {"class_names": self.class_names}
        numbers = [entry[TRACK_COLUMN] for entry in entries if TRACK_COLUMN in entry]
        if len(numbers) == len(entries) and numbers:
            options["captions"] = [
                f"{entry['category_name']} {number}" for entry, number in zip(entries, numbers)
            ]
        in_frame = any("frame" in entry for entry in entries)
        color_by = self._color_by(found.class_ids, in_frame, "captions" in options)
        if color_by == "track" and "captions" in options:
            palette = fixed_colors(_TRACK_COLORS)
            options["colors"] = [palette[(number - 1) % _TRACK_COLORS] for number in numbers]
        elif color_by != "track":
            options["color_by"] = color_by
        result = found.to_result()
        if not in_video:
            rendering.save_instances(path, image, result, **options)
            return None
        drawn = rendering.draw_instances(image, result, **options)
        if in_file:
            rendering.write_image(path, drawn)
        return drawn

    def _color_by(self, class_ids: np.ndarray, in_frame: bool, has_tracks: bool) -> str:
        """Return what gets a color of its own in one image or frame."""
        if self.options.color_by != "auto":
            return self.options.color_by
        if has_tracks:
            return "track"
        # The instances of the next frame have another order: their colors would flicker.
        return "instance" if not in_frame and len(set(class_ids.tolist())) == 1 else "class"


def _relative(source: Source, folder: Path) -> str:
    """Return the path of a source's file as seen from a folder; an address as it is."""
    if not source.is_local:
        return source.path
    try:
        return os.path.relpath(source.path, folder)
    except ValueError:  # on another drive of Windows
        return source.place
