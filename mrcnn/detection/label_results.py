"""The files of one image whose pixels got a class each: annotated image, label image, areas."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.detection.run_options import RunOptions
from mrcnn.detection.sources import Source
from mrcnn.detection.writers import Records, write_list
from mrcnn.drawing.label_maps import draw_labels, label_palette
from mrcnn.drawing.rendering import write_image
from mrcnn.files.atomic import atomic_path

CSV_COLUMNS = ("image_id", "file_name", "class_id", "class_name", "pixels", "share")
# Classes that the line of an image names, the largest.
_MAX_LISTED = 4


class LabelResults:
    """Makes records and files of label maps, as `ImageResults` does of instances.

    Args:
        class_names: names by class number.
        options: see `RunOptions`; of its kinds of files "image", "video", "labels" and "csv".
    """

    # Kinds of files for single images.
    file_kinds = ("image", "labels")
    # What is counted in the closing lines; None for nothing.
    noun: str | None = None

    def __init__(self, class_names: Sequence[str], options: RunOptions) -> None:
        self.class_names = class_names
        self.options = options

    def read(self, result: Mapping[str, Any]) -> np.ndarray:
        """Return the label map [H, W] of a result."""
        return np.asarray(result["labels"])

    def fields(
        self,
        found: np.ndarray,
        image_id: int,
        file_name: str,
        frame: Mapping[str, Any],
        track_ids: Sequence[int] | None,
    ) -> tuple[dict[str, Any], list[int]]:
        """Return what the record of an image gets, `classes` by falling area, and their numbers."""
        del image_id, file_name, frame, track_ids
        numbers, counts = np.unique(found, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        classes: list[dict[str, Any]] = [
            {
                "id": int(numbers[i]),
                "name": self.class_names[int(numbers[i])],
                "pixels": int(counts[i]),
                "share": round(float(counts[i] / found.size), 6),
            }
            for i in order
        ]
        return {"classes": classes}, [entry["id"] for entry in classes]

    def write(
        self,
        source: Source,
        output: str,
        image: np.ndarray,
        found: np.ndarray,
        fields: Mapping[str, Any],
        frame: int | None,
    ) -> np.ndarray | None:
        """Write the files of one image or frame; arguments as for `ImageResults.write`.

        Returns:
            The annotated frame, without a legend, if an annotated video is written.
        """
        del fields
        kinds, folder = self.options.kinds_of(source), self.options.output
        name = output if frame is None else f"{output}/{frame:06}"
        if "labels" in kinds:
            write_label_image(folder / "labels" / f"{name}.png", found, self.class_names)
        if "image" in kinds:
            write_image(folder / f"{name}.jpg", draw_labels(image, found, self.class_names))
        if frame is not None and "video" in kinds:
            return draw_labels(image, found, self.class_names, legend=False)
        return None

    def join(self, records: Records, columns: Sequence[str]) -> list[Path]:
        """Write the files that hold the areas of all images, each whole or not at all.

        Args:
            records: returns an iterator over the records.
            columns: names of further entries, those of frames.

        Returns:
            Their paths: `labels.json`, and `labels.csv` if wanted.
        """
        keys = ("image_id", "file_name", "width", "height", *columns, "classes")
        path = self.options.output / "labels.json"
        # Names of files need not be UTF-8.
        with (
            atomic_path(path) as temporary,
            open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            entries = (r for r in records() if "classes" in r)
            write_list(file, ({k: r[k] for k in keys if k in r} for r in entries))
            file.write("\n")
        paths = [path]
        if "csv" in self.options.save:
            paths.append(self.options.output / "labels.csv")
            self._write_csv(paths[1], records, columns)
        return paths

    def _write_csv(self, path: Path, records: Records, columns: Sequence[str]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*CSV_COLUMNS, *columns])
        for record in records():
            for entry in record.get("classes", ()):
                values = [entry[key] for key in ("id", "name", "pixels", "share")]
                more = [record.get(column, "") for column in columns]
                writer.writerow([record["image_id"], record["file_name"], *values, *more])
        with atomic_path(path) as temporary:
            temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))

    def text(self, record: Mapping[str, Any]) -> str:
        """Return "road 41%, sky 30%", the largest classes of an image."""
        classes = record["classes"]
        rest = f" and {len(classes) - _MAX_LISTED} more" if len(classes) > _MAX_LISTED else ""
        listed = [f"{entry['name']} {entry['share']:.0%}" for entry in classes[:_MAX_LISTED]]
        return ", ".join(listed) + rest


def write_label_image(path: Path, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Write a label map as a palette PNG: class numbers, shown in the colors of the classes.

    Args:
        path: the file.
        labels: [H, W] uint8.
        class_names: names by class number.
    """
    from PIL import Image

    image = Image.fromarray(np.asarray(labels, np.uint8))
    image.putpalette(label_palette(class_names).tobytes())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
