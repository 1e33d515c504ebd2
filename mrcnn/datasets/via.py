"""VIA: the files of the VGG Image Annotator, versions 1 to 3.

Dutta and Zisserman, "The VIA Annotation Software for Images, Audio and Video",
https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets.entries import Entry, marks_no_object, normalize_name
from mrcnn.datasets.layout import IMAGE_FOLDERS, ImageFinder, dataset_root, visible_files
from mrcnn.datasets.rasterize import box_mask, ellipse_mask, polygon_mask
from mrcnn.datasets.reader import FolderReader, class_names_argument, class_table, other_parts
from mrcnn.datasets.via_file import Region, ViaImage, is_via_file, read_via
from mrcnn.files.names import shown

DEFAULT_CLASS = "object"
_DEFAULT_FILE = "via_region_data.json"
_SHAPES = ("polygon", "polyline", "rect", "circle", "ellipse")


class ViaDataset(FolderReader):
    """Images with VIA regions.

    Exports as JSON and CSV and saved projects are read. Polygons, closed polylines, rectangles,
    circles and ellipses become masks, with whole coordinates as pixel centers like
    `skimage.draw.polygon`; what lies outside the image is cut off. Points are left out.
    """

    format_name = "via"
    looks_for = (
        'via_region_data.json, or a JSON file with "regions" and "shape_attributes", or VIA\'s '
        "CSV export"
    )
    loader = "load_via"

    def load_via(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        class_name: str | None = None,
        attribute: str | None = None,
        classes: Sequence[str] | None = None,
        source: str = "via",
    ) -> None:
        """Load a VIA file and the images beside it.

        Images without a region are negatives. Image sizes are not in the file; they are read from
        the images' headers when they are needed.

        Args:
            dataset_dir: the VIA file, the folder with it, or the folder above the parts.
            subset: sub-folder such as "train".
            class_name: name of the one class of all regions, regardless of their attributes.
            attribute: region attribute that holds the class; None takes, for each file, the only
                one there is. Attributes that agree on every region count as one.
            classes: names of the classes to load, in the order of their ids; None takes all
                that occur in any part, sorted. Regions of other classes are left out.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is nothing at `dataset_dir`.
            ValueError: there is no VIA file, it is broken, or it is not clear which attribute is
                the class.
        """
        root = Path(dataset_dir)
        files = self.part_files(root, subset)
        contents: dict[Path, list[tuple[ViaImage, list[str]]]] = {}
        for path in dict.fromkeys([*files, *self.all_files(root)]):
            with self.tolerate(path):
                images = read_via(path)
                contents[path] = self._with_names(images, path, class_name, attribute, classes)
        found = {n for images in contents.values() for _, names in images for n in names if n}
        found = {name for name in found if not marks_no_object(name)}
        table = class_table(found, classes, root)
        for name, number in table.items():
            self.add_class(source, number, name)
        for file in self._different_files(files, contents):
            self._add_images(file, contents.get(file, []), table, root, source)

    def _different_files(
        self, files: Sequence[Path], contents: dict[Path, list[tuple[ViaImage, list[str]]]]
    ) -> list[Path]:
        """Return the files of a part that do not describe the images of earlier ones again."""
        taken: list[Path] = []
        known: set[str] = set()
        left = []
        for file in files:
            names = {image.name for image, _ in contents.get(file, [])}
            if names & known:
                left.append(file.name)
            else:
                taken.append(file)
                known |= names
        reason = f"images of theirs are in {', '.join(file.name for file in taken)} too"
        self.leave_out(reason, left, noun="annotation files")
        return taken

    def _with_names(
        self,
        images: list[ViaImage],
        path: Path,
        class_name: str | None,
        attribute: str | None,
        classes: Sequence[str] | None,
    ) -> list[tuple[ViaImage, list[str]]]:
        """Yield each image of a file with the class of each of its regions, "" without one."""
        if class_name is None and attribute is None:
            with self.tolerate(path):
                attribute = _class_attribute([r for i in images for r in i.regions], path)
            if attribute is None:
                class_name = _single_class(classes)
        if attribute is None or class_name is not None:
            name = normalize_name(class_name or DEFAULT_CLASS)
            return [(image, [name] * len(image.regions)) for image in images]
        return [(image, [r.class_name(attribute) for r in image.regions]) for image in images]

    def _add_images(
        self,
        file: Path,
        images: list[tuple[ViaImage, list[str]]],
        table: dict[str, int],
        root: Path,
        source: str,
    ) -> None:
        finder = _image_finder(file, root)
        unnamed, shapeless, short = [], [], []
        for image, names in images:
            annotations = []
            for region, name in zip(image.regions, names, strict=True):
                kind = region.shape.get("name")
                if kind not in _SHAPES:
                    shapeless.append(f"{region.place}: {shown(kind)}")
                elif marks_no_object(name):
                    continue
                elif _is_short(region.shape):
                    short.append(region.place)
                elif not name:
                    unnamed.append(region.place)
                elif name in table:
                    annotations.append(
                        {"class_id": table[name], "shape": region.shape, "place": region.place}
                    )
            self.add_image(
                source,
                image.name,
                str(finder.locate(*image.recorded)),
                annotations=annotations,
                annotation_file=str(file),
            )
        self.leave_out("the region attribute of the class has no value", unnamed)
        self.leave_out("their polygons have fewer than three points", short)
        self.leave_out(f"the shape is not one of {', '.join(_SHAPES)}", shapeless)

    @classmethod
    def own_files(cls, folder: Path) -> list[Path]:
        """Return the VIA files of a folder, or the file itself.

        The file of VIA's default name is the only one where it exists, as in Matterport's sample.
        """
        if folder.is_file():
            return [folder] if is_via_file(folder) else []
        files = [file for file in visible_files(folder, ".json", ".csv") if is_via_file(file)]
        files.sort(key=lambda f: f.suffix.lower() == ".csv")
        return [file for file in files if file.name.lower() == _DEFAULT_FILE][:1] or files

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """See `DatasetReader.draw_instance`."""
        shape = Entry(annotation["shape"], annotation["place"])
        kind = shape.get("name")
        if kind in ("polygon", "polyline"):
            xs, ys = shape.numbers("all_points_x"), shape.numbers("all_points_y")
            if len(xs) != len(ys):
                raise shape.error("all_points_x", f"a list of {len(ys)} numbers, as all_points_y")
            return polygon_mask(xs, ys, height, width)
        if kind == "rect":
            x, y = shape.number("x"), shape.number("y")
            right = x + shape.number("width", low=0)
            bottom = y + shape.number("height", low=0)
            return box_mask(x, y, right, bottom, height, width)
        radii = ("r", "r") if kind == "circle" else ("rx", "ry")
        rx, ry = (shape.number(name, low=0) for name in radii)
        angle = shape.number("theta", default=0.0)  # radians; version 1 has none
        return ellipse_mask(shape.number("cx"), shape.number("cy"), rx, ry, height, width, angle)

    def has_mask(self, annotation: dict[str, Any]) -> bool:
        """Return whether the shape is no rectangle; see `DatasetReader.has_mask`."""
        return annotation["shape"].get("name") != "rect"


def _is_short(shape: Mapping[str, Any]) -> bool:
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    return isinstance(xs, list) and isinstance(ys, list) and max(len(xs), len(ys)) < 3


def _image_finder(file: Path, root: Path) -> ImageFinder:
    """Return the search for the images of a VIA file; `root` is what was opened."""
    folder = file.parent
    places = [folder, *(folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir())]
    if root.is_file():
        return ImageFinder(dataset_root(file), places)
    return ImageFinder(root, places, other_parts(ViaDataset.subsets(root), file, root))


def _class_attribute(regions: Sequence[Region], path: Path) -> str | None:
    """Return the region attribute that must be the class, or None when regions have none."""
    values: dict[str, tuple[str, ...]] = {}
    for attribute in sorted({key for region in regions for key in region.attributes}):
        names = tuple(region.class_name(attribute) for region in regions)
        if any(names) and names not in values.values():
            values[attribute] = names
    if len(values) > 1:
        found = ", ".join(
            f"{shown(key)} ({', '.join(shown(n) for n in sorted(set(names) - {''})[:3])})"
            for key, names in values.items()
        )
        raise ValueError(
            f"attribute is None: the regions of {path} have the attributes {found}; name the one "
            "that holds the class with the option attribute=NAME, or one class for all regions "
            "with class_name=NAME"
        )
    return next(iter(values), None)


def _single_class(classes: Sequence[str] | None) -> str:
    """Return the class of regions without attributes."""
    names = class_names_argument(classes) or [DEFAULT_CLASS]
    if len(names) != 1:
        raise ValueError(f"classes is {names}: the regions have no attribute to tell them apart")
    return names[0]
