"""YOLO text labels: one file a picture, one line an instance, coordinates from 0 to 1.

A line holds a class id and then x y pairs (a polygon), or centre, width and height (a box).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.rasterize import box_mask, polygon_mask
from mrcnn.datasets.reader import DatasetReader, choose_subset, read_json

_YAML_FILES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_JSON_FILES = ("category_ids.json", "names.json", "classes.json")
_TEXT_FILES = ("classes.txt", "obj.names", "labels.names")
# Tools overshoot the picture a little; much more means that these are pixels.
_RANGE = (-0.5, 1.5)


class YoloDataset(DatasetReader):
    """Pictures with YOLO polygons or boxes.

    Polygons become masks (pixel (0, 0) covers 0..1), boxes become filled boxes. A picture
    without a label file, or with an empty one, is a negative.
    """

    format_name = "yolo"
    looks_for = "labels/*.txt beside images/, a line being a class id and numbers from 0 to 1"
    loader = "load_yolo"

    def load_yolo(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        names: Mapping[int, str] | Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        source: str = "yolo",
    ) -> None:
        """Loads labels in YOLO's form.

        Args:
            dataset_dir: folder with images/ and labels/ (with a sub-folder in each a subset, or
                none), or with sub-folders that hold images/ and labels/.
            subset: "train", "val", ...
            names: class id -> name, or the names of the ids 0, 1, ... The ids may be any
                numbers. None reads data.yaml, category_ids.json, classes.txt or the like; if
                there is none, `classes` are the names of the ids 0, 1, ...
            classes: names of the classes to load; None loads all. Other instances are left out.
            source: name of the data set.

        Raises:
            ValueError: no labels or names are found, or a line is not understood.
        """
        root = Path(dataset_dir)
        if not root.is_dir():
            raise FileNotFoundError(f"dataset_dir is '{root}': no such folder")
        layout = _find_layout(root, subset)
        table = _names(root, names, classes)
        wanted = list(table.values()) if classes is None else _wanted(classes, table)
        kept = {number: name for number, name in table.items() if name in wanted}
        # Model classes in the order asked for; without `classes` in that of the ids.
        for number in sorted(kept, key=lambda n: (wanted.index(kept[n]), n)):
            self.add_class(source, number, kept[number])
        for picture in image_files.list_images(layout.image_dir):
            label_file = layout.label_dir / f"{picture.stem}.txt"
            lines = read_labels(label_file) if label_file.is_file() else []
            for line in lines:
                if line["class_id"] not in table:
                    raise ValueError(
                        f"{label_file}: class id {line['class_id']} has no name; names has "
                        f"{sorted(table)}"
                    )
            annotations = [line for line in lines if line["class_id"] in kept]
            self.add_image(source, picture.stem, str(picture), annotations=annotations)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a folder holds YOLO label files."""
        if not path.is_dir():
            return False
        names = cls.subsets(path)
        try:
            layout = _find_layout(path, names[0] if names else None)
            files = sorted(layout.label_dir.glob("*.txt"))
            # The first file may be empty, and classes.txt is none.
            labels = [f for f in files if f.name not in _TEXT_FILES and f.stat().st_size]
            return bool(labels) and bool(read_labels(labels[0]))
        except ValueError:
            return False

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Sub-folders found in images/ and labels/, or holding images/ and labels/."""
        return _subset_names(path)

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """See `DatasetReader.draw_instance`."""
        numbers = annotation["numbers"]
        if len(numbers) == 4:
            x, y, box_width, box_height = numbers * np.array([width, height, width, height])
            corner = x - box_width / 2, y - box_height / 2
            return box_mask(*corner, corner[0] + box_width, corner[1] + box_height, height, width)
        return polygon_mask(
            numbers[0::2] * width, numbers[1::2] * height, height, width, pixel_center=0.5
        )


@dataclass(frozen=True)
class _Layout:
    image_dir: Path
    label_dir: Path


def read_labels(path: Path) -> list[dict[str, Any]]:
    """The lines of a label file: "class_id" and "numbers" (4 for a box, else x y pairs).

    Raises:
        ValueError: a line has another form or is out of range.
    """
    labels = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id, values = int(fields[0]), np.array(fields[1:], np.float64)
        except ValueError:
            raise ValueError(
                f"{path} line {number}: a class id and numbers are needed, it begins {line[:40]!r}"
            ) from None
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise ValueError(
                f"{path} line {number}: 4 numbers (a box) or at least 3 pairs (a polygon) are "
                f"needed after the class id, it has {len(values)} numbers"
            )
        if not (np.isfinite(values).all() and _RANGE[0] <= values.min()) or (
            values.max() > _RANGE[1]
        ):
            raise ValueError(
                f"{path} line {number}: coordinates must be fractions of the picture, from 0 to "
                f"1; they reach from {values.min()} to {values.max()}"
            )
        labels.append({"class_id": class_id, "numbers": values})
    return labels


def _wanted(classes: Sequence[str], table: Mapping[int, str]) -> list[str]:
    wanted = [classes] if isinstance(classes, str) else list(classes)
    unknown = [name for name in wanted if name not in table.values()]
    if unknown or not wanted:
        raise ValueError(f"classes is {wanted}: the names are {sorted(table.values())}")
    return wanted


def _names(
    root: Path, names: Mapping[int, str] | Sequence[str] | None, classes: Sequence[str] | None
) -> dict[int, str]:
    """Class id -> name, in the order of the ids."""
    if names is None:
        names = _names_in_files(root)
    if names is None:
        names = [classes] if isinstance(classes, str) else classes
    if not names:
        files = ", ".join((*_YAML_FILES[:2], *_JSON_FILES[:2], *_TEXT_FILES[:2]))
        raise ValueError(f"names is None: {root} has no file with class names ({files})")
    if not isinstance(names, Mapping):
        names = dict(enumerate(names))
    return {int(number): str(names[number]) for number in sorted(names, key=int)}


def _names_in_files(root: Path) -> Any:
    """The class names that lie with the data set, None when there are none."""
    folders = (root, root / "labels")
    for file in (folder / name for folder in folders for name in _YAML_FILES):
        if file.is_file():
            return _yaml_names(file)
    for file in (folder / name for folder in folders for name in _JSON_FILES):
        if file.is_file():
            return read_json(file)
    for file in (folder / name for folder in folders for name in _TEXT_FILES):
        if file.is_file():
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return None


def _yaml_names(file: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError(f"{file}: PyYAML is needed to read it; or give names=...") from None
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not content.get("names"):
        raise ValueError(f'{file}: it has no "names"')
    return content["names"]


def _subset_names(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    images, labels = path / "images", path / "labels"
    if images.is_dir() and labels.is_dir():
        if next(labels.glob("*.txt"), None) and image_files.list_images(images):
            return []
        shared = {p.name for p in images.iterdir() if p.is_dir()}
        return sorted(shared & {p.name for p in labels.iterdir() if p.is_dir()})
    return sorted(
        p.name
        for p in path.iterdir()
        if p.is_dir() and (p / "images").is_dir() and (p / "labels").is_dir()
    )


def _find_layout(root: Path, subset: str | None) -> _Layout:
    names = _subset_names(root)
    name = choose_subset(root, subset, names) if names or subset else None
    if name is not None and (root / name / "labels").is_dir():
        return _Layout(root / name / "images", root / name / "labels")
    if name is not None:
        return _Layout(root / "images" / name, root / "labels" / name)
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return _Layout(root / "images", root / "labels")
    if image_files.list_images(root) and next(root.glob("*.txt"), None):
        return _Layout(root, root)
    raise ValueError(f"{root}: looked for {YoloDataset.looks_for}")
