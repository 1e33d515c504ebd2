"""LabelMe: a JSON file for each image, from https://github.com/wkentaro/labelme and its kin."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.entries import AnnotationError, Entry, as_number, marks_no_object, read_json
from mrcnn.datasets.layout import IMAGE_FOLDERS, ImageFinder, dataset_root, visible_files
from mrcnn.datasets.outline import json_outline
from mrcnn.datasets.rasterize import box_mask, ellipse_mask, polygon_mask
from mrcnn.datasets.reader import FolderReader, class_table, other_parts, recorded_size
from mrcnn.files.names import printable, shown

_SHAPES = ("polygon", "rectangle", "oriented_rectangle", "rotation", "circle", "mask")
# Circles and masks of too few points are errors: nothing draws them by accident.
_MIN_POINTS = {"polygon": 3, "rectangle": 2, "oriented_rectangle": 3, "rotation": 3}
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class _LabelmeFile:
    path: Path
    shapes: list[Entry]
    recorded: list[str]
    size: tuple[int | None, int | None]
    has_data: bool


class LabelmeDataset(FolderReader):
    """Images with LabelMe shapes.

    Polygons, rectangles, circles and the base64 images of its "mask" shapes become masks;
    pixel (0, 0) covers 0..1, as LabelMe draws it. Shapes of one label that share a `group_id`
    are parts of one instance. Points and lines have no area and are left out, and so are the
    labels `_background_` and `__ignore__`.

    LabelMe shows images upright as their EXIF orientation says, so they are read that way.
    """

    format_name = "labelme"
    looks_for = 'JSON files with "shapes" and "imagePath", one for each image'
    loader = "load_labelme"
    exif_orientation = True

    def load_labelme(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        source: str = "labelme",
    ) -> None:
        """Load a folder of LabelMe files.

        The images are those named by "imagePath", or a file of the JSON file's name; the copy
        of the image inside the JSON file is used only where there is none of them.

        Args:
            dataset_dir: the folder, the folder above the parts, or one JSON file.
            subset: sub-folder such as "train".
            classes: labels to load, in the order of their ids; None takes all that occur in any
                part, sorted. Shapes with other labels are left out.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is nothing at `dataset_dir`.
            ValueError: there is no LabelMe file, or one is broken.
        """
        root = Path(dataset_dir)
        paths = self.part_files(root, subset)
        files = self._read_files(paths)
        read = set(paths)
        others = [] if classes is not None else [f for f in self.all_files(root) if f not in read]
        labels = {
            shape.name("label")
            for file in [*files, *self._read_files(others)]
            for shape in file.shapes
        }
        labels = {label for label in labels if not marks_no_object(label)}
        table = class_table(labels, classes, root)
        for name, number in table.items():
            self.add_class(source, number, name)
        finder = _image_finder(files[0].path if files else root, root)
        shapeless: list[str] = []
        short: list[str] = []
        ignored: list[str] = []
        for file in files:
            annotations = _group_shapes(file, table, shapeless, short, ignored)
            path = finder.find(*file.recorded)
            height, width = file.size
            extra: dict[str, Any] = {} if height is None else {"height": height, "width": width}
            if path is None and file.has_data:
                extra["embedded_in"] = str(file.path)
            self.add_image(
                source,
                file.path.stem,
                str(path or finder.locate(*file.recorded)),
                annotations=annotations,
                annotation_file=str(file.path),
                **extra,
            )
        self.leave_out(f"the shape_type is not one of {', '.join(_SHAPES)}", shapeless)
        self.leave_out("they have too few points for their shape", short)
        self.leave_out("their labels mark no object", ignored, "note")

    def _read_files(self, paths: Sequence[Path]) -> list[_LabelmeFile]:
        files = []
        for path in paths:
            with self.tolerate(path):
                files.append(_read(path))
        return files

    @classmethod
    def own_files(cls, folder: Path) -> list[Path]:
        """Return the LabelMe files of a folder, or the file itself."""
        if folder.is_file():
            return [folder] if _is_labelme(folder) else []
        return [file for file in visible_files(folder, ".json") if _is_labelme(file)]

    def load_image(self, image_id: int) -> np.ndarray:
        """Read the image as `Dataset.load_image`, or the copy of it inside the JSON file."""
        info = self.image_info[image_id]
        if "embedded_in" not in info:
            return super().load_image(image_id)
        from mrcnn.geometry.images import as_rgb

        entry = Entry(read_json(info["embedded_in"]), info["embedded_in"])
        return as_rgb(_decode_embedded(entry, "imageData"))

    def _image_file(self, image_id: int) -> Any:
        info = self.image_info[image_id]
        return None if "embedded_in" in info else info["path"]

    def image_size(self, image_id: int) -> tuple[int, int]:
        """See `Dataset.image_size`."""
        info = self.image_info[image_id]
        if "height" not in info and "embedded_in" in info:
            info["height"], info["width"] = self.load_image(image_id).shape[:2]
        return self._recorded_or_header_size(image_id)

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """Return the union of the parts; see `DatasetReader.draw_instance`."""
        masks = [
            _draw_shape(Entry(shape, f"shape {number}"), height, width)
            for number, shape in zip(annotation["numbers"], annotation["shapes"], strict=True)
        ]
        return np.logical_or.reduce(masks)


def _draw_shape(shape: Entry, height: int, width: int) -> np.ndarray:
    points = _points(shape)
    kind = _kind(shape)
    if kind == "rectangle" and len(points) == 2:
        (x1, y1), (x2, y2) = points.tolist()
        return box_mask(x1, y1, x2, y2, height, width)
    if kind == "circle":
        if len(points) != 2:
            raise shape.error("points", "2 points of a circle: its center and one on its outline")
        (x, y), (outline_x, outline_y) = points.tolist()
        radius = math.hypot(outline_x - x, outline_y - y)
        return ellipse_mask(x, y, radius, radius, height, width, pixel_center=0.5)
    if kind == "mask":
        return _paste_mask(shape, points, height, width)
    return polygon_mask(points[:, 0], points[:, 1], height, width, pixel_center=0.5)


def _kind(shape: Entry) -> str:
    """Return the shape's type in lower case; a polygon where it is not given."""
    return shape.text("shape_type", default="").lower() or "polygon"


def _points(shape: Entry) -> np.ndarray:
    """Return the points of a shape, [points, (x, y)] float64."""
    points = shape.list("points")
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise shape.error("points", "a list of [x, y]")
    numbers = [as_number(n, shape.where, "points") for point in points for n in point]
    return np.array(numbers, np.float64).reshape(-1, 2)


def _paste_mask(shape: Entry, points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the small image of a "mask" shape at its first point, clipped at the edges."""
    if not len(points):
        raise shape.error("points", "the corners of the mask")
    pixels = _decode_embedded(shape, "mask")
    part = np.asarray(pixels if pixels.ndim == 2 else pixels[..., :3].max(axis=2)) > 0
    left, top = np.floor(points[0]).astype(int).tolist()
    mask = np.zeros((height, width), bool)
    part = part[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    top, left = max(top, 0), max(left, 0)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask


def _decode_embedded(entry: Entry, key: str) -> np.ndarray:
    """Return the pixels of an image inside a JSON file, as `image_files.read_pixels`."""
    text = entry.text(key)
    try:
        # Some tools write a data URL: "data:image/png;base64,..."
        return image_files.decode_pixels(base64.b64decode(text.rpartition(",")[2]), key)
    except ValueError as error:
        raise entry.error(key, f"an image in base64 ({printable(error)[:200]})") from error


def _group_shapes(
    file: _LabelmeFile,
    table: dict[str, int],
    shapeless: list[str],
    short: list[str],
    ignored: list[str],
) -> list[dict[str, Any]]:
    """Return the instances of a file; shapes of one label and group are one of them.

    Places of shapes that are left out are added to `shapeless`, `short` and `ignored`.
    """
    annotations: list[dict[str, Any]] = []
    groups: dict[tuple[str, int | str], dict[str, Any]] = {}
    for number, shape in enumerate(file.shapes):
        label, kind = shape.name("label"), _kind(shape)
        if marks_no_object(label):
            ignored.append(f"{file.path.name} shape {number}: {label}")
        elif kind not in _SHAPES:
            shapeless.append(f"{file.path.name} shape {number}: {shown(kind)}")
        elif len(shape.list("points")) < _MIN_POINTS.get(kind, 0):
            short.append(f"{file.path.name} shape {number}: {shown(kind)}")
        elif label in table:
            group = shape.identifier("group_id", default="")
            is_grouped = group != ""
            annotation = groups.get((label, group)) if is_grouped else None
            if annotation is None:
                annotation = {"class_id": table[label], "shapes": [], "numbers": []}
                annotations.append(annotation)
                if is_grouped:
                    groups[label, group] = annotation
            annotation["shapes"].append(shape.data)
            annotation["numbers"].append(number)
    return annotations


def _read(path: Path) -> _LabelmeFile:
    """Parse a file without its copy of the image."""
    content = Entry(read_json(path), path)
    if not isinstance(content.get("shapes", None), list):
        raise AnnotationError(f'{printable(path)}: not a LabelMe file, it has no list "shapes"')
    shapes = [
        Entry(shape, f"{path}, shape {number}")
        for number, shape in enumerate(content.data["shapes"])
    ]
    for shape in shapes:
        shape.name("label")
        shape.list("points")
        shape.identifier("group_id", default=None)
        if _kind(shape) == "mask":
            shape.text("mask")
    recorded = content.file_name("imagePath", default=f"{path.stem}.jpg")
    suffix = Path(recorded.replace("\\", "/")).suffix
    names = [recorded, *(f"{path.stem}{ending}" for ending in (suffix, *_IMAGE_ENDINGS))]
    size = recorded_size(content, "imageHeight", "imageWidth")
    return _LabelmeFile(path, shapes, names, size, "imageData" in content)


def _image_finder(file: Path, root: Path) -> ImageFinder:
    """Return the search for the images of LabelMe files; `root` is what was opened."""
    folder = file.parent
    top = dataset_root(file)
    places = [
        place / name
        for place in dict.fromkeys([folder, top])
        for name in ("", *IMAGE_FOLDERS)
        if (place / name).is_dir()
    ]
    if root.is_file():
        return ImageFinder(top, places)
    return ImageFinder(root, places, other_parts(LabelmeDataset.subsets(root), file, root))


def _is_labelme(path: Path) -> bool:
    """Return whether a JSON file, broken or not, has LabelMe's keys."""
    outline = json_outline(path) if path.suffix.lower() == ".json" else None
    return outline is not None and (
        "shapes" in outline.keys or {"imageData", "imagePath"} <= outline.keys
    )
