"""PASCAL VOC: an XML file for each image, with boxes or polygons and sometimes instance masks.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010.
"""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.entries import AnnotationError, Entry, as_number, marks_no_object, read_text
from mrcnn.datasets.layout import ImageFinder, visible_files, visible_folders
from mrcnn.datasets.problems import Problem
from mrcnn.datasets.rasterize import box_mask, polygon_mask
from mrcnn.datasets.reader import DatasetReader, choose_subset, class_table, logger
from mrcnn.datasets.voc_colors import palette_indices
from mrcnn.datasets.xml_files import element_content, parse_xml, xml_root_tag
from mrcnn.files.names import printable

ANNOTATION_FOLDERS = ("Annotations", "annots", "Annotation", "xml", "xmls", "labels", "")
IMAGE_FOLDERS = ("JPEGImages", "images", "PNGImages", "imgs", "image", "img", "")
MASK_FOLDER = "SegmentationObject"
_LISTS = ("Segmentation", "Main", "")
# Inner elements of an object that describe no shape of it.
_NO_SHAPES = {"bndbox", "polygon", "robndbox", "part", "parts", "actions", "attributes", "point"}
# Inner elements that some tools fill with a text that describes a shape.
_SHAPE_TEXTS = {"segmentation", "mask", "rle", "points", "polyline", "contour", "keypoints"}
# Elements that are read, in whatever letters they are written.
_TAGS = frozenset(
    "annotation annotations filename path folder source database object name difficult deleted "
    "bndbox xmin ymin xmax ymax polygon pt point vertex x y robndbox cx cy w h angle".split()
)
# What tools write for a flag that was not set.
_UNSPECIFIED = ("Unspecified", "unspecified", "UNSPECIFIED", "None", "null")
# A coordinate beyond this is no position in an image.
_MAX_COORDINATE = 1e7
# A file of another kind may lie before the annotations: this many are looked at.
_MAX_LOOKED_AT = 100


class VocDataset(DatasetReader):
    """Images with PASCAL VOC annotations.

    The mask of an object is the k-th value of SegmentationObject/NAME.png for the k-th object
    where that file exists; otherwise its polygon (Roboflow, LabelMe of MIT), its rotated box
    (roLabelImg) or its box, in this order. Many scripts train on sets that have boxes only; use a
    box loss alone if masks must not be learned from boxes.
    """

    format_name = "voc"
    looks_for = "XML files with <annotation> in Annotations/, annots/ or beside the images"
    loader = "load_voc"

    def load_voc(
        self,
        dataset_dir: str | Path,
        subset: str | None = None,
        classes: Sequence[str] | None = None,
        one_based: bool | None = None,
        skip_difficult: bool = False,
        source: str = "voc",
    ) -> None:
        """Load annotations in PASCAL VOC's form.

        Args:
            dataset_dir: folder with Annotations/ and JPEGImages/ (or annots/ and images/, or
                both kinds of files together), or with such folders for each subset.
            subset: a list in ImageSets/Segmentation or ImageSets/Main, or a sub-folder (of
                `dataset_dir`, or of its annotation folder).
            classes: names of the classes to load, in the order of their ids; None takes all
                that occur in any subset, sorted.
            one_based: whether the first pixel is 1 and xmax, ymax belong to the box, as VOC
                defines it. If False, the first pixel is 0 and xmax, ymax do not belong to it, as
                labelImg and most other tools write. None: True for files of VOC itself (their
                <folder> or <database> names VOC), else False.
            skip_difficult: leave out objects marked difficult.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is no such folder.
            AnnotationError: a file is not VOC's, or a value in it is wrong.
            ValueError: no annotations are found, or the subset or a class does not exist.
        """
        root = Path(dataset_dir)
        if not root.is_dir():
            raise FileNotFoundError(f"dataset_dir is '{root}': no such folder")
        layout = _find_layout(root, subset)
        parsed = self._parse_files(layout.annotation_files)
        names = {item.name for annotation in parsed.values() for item in annotation.objects}
        if classes is None:  # each subset gets the same class ids
            own = set(layout.annotation_files)
            others = [file for file in _all_annotations(root) if file not in own]
            for annotation in self._parse_files(others).values():
                names.update(item.name for item in annotation.objects)
        names = {name for name in names if not marks_no_object(name)}
        table = class_table(names, classes, root)
        for name, number in table.items():
            self.add_class(source, number, name)
        finder = ImageFinder(root, layout.image_folders, _part_names(root) - {layout.part or ""})
        images = _images_by_stem(layout.image_folders)
        shapeless: list[str] = []
        for file, annotation in parsed.items():
            path = _find_image(annotation, file, images, finder)
            mask_path = layout.mask_dir / f"{file.stem}.png" if layout.mask_dir else None
            has_mask = mask_path is not None and mask_path.is_file()
            shift = annotation.is_voc if one_based is None else one_based
            objects = []
            for number, item in enumerate(annotation.objects, start=1):
                if item.name not in table or (skip_difficult and item.difficult):
                    continue
                if not (item.has_shape or has_mask):
                    shapeless.append(f"{file.name} object {number}")
                    continue
                objects.append(
                    {
                        "class_id": table[item.name],
                        "box": _box(item.box, shift),
                        "polygons": item.polygons,
                        "one_based": shift,
                        "index": number if has_mask else 0,
                    }
                )
            extra = {"mask_path": str(mask_path)} if has_mask else {}
            self.add_image(
                source,
                file.stem,
                str(path),
                annotations=objects,
                annotation_file=str(file),
                **extra,
            )
        self.leave_out("they have no box and no polygon", shapeless)
        self._report_shapes(parsed)

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a folder holds VOC XML files.

        Raises:
            AnnotationError: it holds an export of CVAT that is not read.
        """
        if path.is_file() and path.suffix.lower() == ".xml":
            if xml_root_tag(path) == "annotations":
                _refuse_other_root(parse_xml(path), path)
            return False
        if not path.is_dir():
            return False
        if _is_wrapper(path):
            return False
        tags = {}
        for file in _all_annotations(path)[:_MAX_LOOKED_AT]:
            tags[file] = xml_root_tag(file)
            if tags[file].lower() == "annotation":
                return True
        for file, tag in tags.items():
            if tag.lower() == "annotations":
                _refuse_other_root(parse_xml(file), file)
        return False

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the lists in ImageSets, or the sub-folders with annotations."""
        return sorted(list_files(path)) or sorted(_parts(path))

    def has_mask(self, annotation: dict[str, Any]) -> bool:
        """Return whether there is more than a box; see `DatasetReader.has_mask`."""
        return annotation["index"] > 0 or bool(annotation["polygons"])

    def _draw_instances(self, image_id: int) -> Sequence[np.ndarray | None]:
        """Return the masks of SegmentationObject where there are any, else polygons and boxes.

        Raises:
            ValueError: the mask file cannot be read, or has another size than the image.
        """
        info = self.image_info[image_id]
        if "mask_path" not in info:
            return super()._draw_instances(image_id)
        height, width = self.image_size(image_id)
        indices = palette_indices(image_files.read_indices(info["mask_path"]), info["mask_path"])
        if indices.shape != (height, width):
            raise ValueError(
                f"{info['mask_path']}: its shape is {indices.shape}; it must be that of the image, "
                f"{(height, width)}"
            )
        return [indices == a["index"] for a in info["annotations"]]

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """Return the mask of one object; see `DatasetReader.draw_instance`."""
        if not annotation["polygons"]:
            if annotation["box"] is None:
                return None
            x1, y1, x2, y2 = annotation["box"]
            return box_mask(x1, y1, x2, y2, height, width)
        # VOC's own coordinates name pixels from 1; others are positions, pixel 0 covers 0..1.
        shift, center = (1.0, 0.0) if annotation["one_based"] else (0.0, 0.5)
        mask = np.zeros((height, width), bool)
        for xs, ys in annotation["polygons"]:
            mask |= polygon_mask(xs - shift, ys - shift, height, width, center)
        return mask

    def _parse_files(self, files: Sequence[Path]) -> dict[Path, _Annotation]:
        parsed = {}
        for file in files:
            with self.tolerate(file):
                parsed[file] = _parse(file)
        return parsed

    def _report_shapes(self, parsed: dict[Path, _Annotation]) -> None:
        """Name the shapes that are not read, and those that are read in a way to be checked."""
        unknown: dict[str, list[str]] = {}
        rotated = []
        for file, annotation in parsed.items():
            for number, item in enumerate(annotation.objects, start=1):
                place = f"{file.name} object {number}"
                for shape in item.unknown_shapes:
                    unknown.setdefault(shape, []).append(place)
                if item.is_rotated:
                    rotated.append(place)
        for shape, places in sorted(unknown.items()):
            message = f"the shape <{shape}> is not read ({first_places(places)})"
            logger.warning("%s", message)
            self.findings.append(Problem("warning", "unknown_shape", message))
        if rotated:
            message = f"<robndbox> is drawn as a rotated rectangle ({first_places(rotated)})"
            self.findings.append(Problem("note", "rotated_box", message))


def first_places(places: Sequence[str], count: int = 5) -> str:
    """Return the first few of a list of places, for a message."""
    return printable(", ".join(places[:count]) + (", ..." if len(places) > count else ""))


@dataclass(frozen=True)
class _Object:
    """One <object>: coordinates as in the file, polygons as (xs, ys)."""

    name: str
    box: tuple[float, ...] | None
    difficult: bool
    polygons: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    unknown_shapes: list[str] = field(default_factory=list)
    is_rotated: bool = False

    @property
    def has_shape(self) -> bool:
        return bool(self.polygons) or self.box is not None


@dataclass(frozen=True)
class _Annotation:
    file_name: str
    path: str
    is_voc: bool
    objects: list[_Object]


@dataclass(frozen=True)
class _Layout:
    annotation_files: list[Path]
    image_folders: list[Path]
    mask_dir: Path | None
    part: str | None = None


@dataclass(frozen=True)
class _Part:
    """One piece of a dataset: its XML files, and where its images and masks are."""

    xml_folder: Path
    folders: tuple[Path, ...]


def _parse(file: Path) -> _Annotation:
    root = parse_xml(file)
    for element in root.iter():  # some tools write <Object>, or a namespace
        tag = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
        if tag in _TAGS:
            element.tag = tag
    _refuse_other_root(root, file)
    head = Entry(
        {e.tag: element_content(e) for e in root if isinstance(e.tag, str) and e.tag != "object"},
        file,
    )
    read = [_parse_object(item, file, n) for n, item in enumerate(root.iter("object"), start=1)]
    origin = (root.findtext("folder") or "") + (root.findtext("source/database") or "")
    file_name, path = (
        head.file_name(key, default="") if isinstance(head.get(key, ""), str) else ""
        for key in ("filename", "path")
    )
    objects = [item for item in read if item is not None]
    return _Annotation(file_name, path, "VOC" in origin, objects)


def _refuse_other_root(root: ElementTree.Element, file: Path) -> None:
    if root.tag == "annotation":
        return
    if root.tag == "annotations" and (
        root.find("image") is not None or root.find("track") is not None
    ):
        raise AnnotationError(
            f"{file}: it is an export 'CVAT for images' or 'CVAT for video', which is not read; "
            "export the task from CVAT as 'COCO 1.0' or 'Segmentation mask 1.1'"
        )
    if root.tag == "annotations":
        raise AnnotationError(f"{file}: it is an export 'CVAT for images' without an image")
    raise AnnotationError(
        f"{file}: not a VOC file, the outermost element is <{root.tag}>; it must be <annotation>"
    )


def _parse_object(element: ElementTree.Element, file: Path, number: int) -> _Object | None:
    """Read one <object>; None for one that is marked as deleted."""
    where = f"{file}, object {number}"
    content = element_content(element)
    entry = Entry(content if isinstance(content, dict) else {}, where)
    if entry.flag("deleted", default=False):
        return None
    polygons = [
        polygon
        for item in element.iterfind("polygon")
        if (polygon := _polygon(item, where)) is not None
    ]
    is_rotated = "robndbox" in entry
    if is_rotated and not polygons:
        polygons = [_rotated_box(entry.entry("robndbox"))]
    box = _edges(entry.entry("bndbox")) if isinstance(entry.get("bndbox", None), dict) else None
    unknown = [
        tag
        for tag, value in entry.data.items()
        if tag not in _NO_SHAPES
        and (isinstance(value, dict) or (value is not None and tag.lower() in _SHAPE_TEXTS))
    ]
    difficult = entry.get("difficult", None) not in (None, *_UNSPECIFIED) and entry.flag(
        "difficult", default=False
    )
    return _Object(entry.name("name"), box, difficult, polygons, unknown, is_rotated)


def _edges(entry: Entry) -> tuple[float, ...] | None:
    keys = ("xmin", "ymin", "xmax", "ymax")
    if not any(key in entry for key in keys):
        return None
    return tuple(_coordinate(entry, key) for key in keys)


def _coordinate(entry: Entry, key: str) -> float:
    return entry.number(key, -_MAX_COORDINATE, _MAX_COORDINATE)


def _polygon(element: ElementTree.Element, where: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the corners of <polygon>; None if it is empty.

    Roboflow writes <x1>, <y1>, <x2>, ..., LabelMe of MIT <pt> with <x> and <y>, others <point>,
    attributes instead of elements, or a text of numbers.
    """
    points: list[tuple[float, float]] = []
    corner = next((tag for tag in ("pt", "point", "vertex") if element.find(tag) is not None), "")
    text = (element.text or "").strip() or element.get("points", "").strip()
    if not len(element) and text:
        numbers = [as_number(n, where, "polygon") for n in re.split(r"[\s,;()\[\]]+", text) if n]
        if len(numbers) % 2:
            raise AnnotationError(
                f"{where}: polygon has {len(numbers)} numbers; they must be pairs"
            )
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
    elif corner:
        for number, point in enumerate(element.iterfind(corner), start=1):
            content = element_content(point)
            content = {**point.attrib, **(content if isinstance(content, dict) else {})}
            entry = Entry(content, f"{where}, polygon, {corner} {number}")
            points.append((_coordinate(entry, "x"), _coordinate(entry, "y")))
    else:
        content = element_content(element)
        if content is None:
            return None
        entry = Entry(content, f"{where}, polygon")
        corners = {int(key[1:]) for key in entry.data if re.fullmatch(r"[xy]\d{1,6}", str(key))}
        for number in sorted(corners):
            points.append((_coordinate(entry, f"x{number}"), _coordinate(entry, f"y{number}")))
    if len(points) < 3:
        raise AnnotationError(f"{where}: polygon has {len(points)} points; it must have at least 3")
    xs, ys = np.array(points, np.float64).T
    return xs, ys


def _rotated_box(entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of roLabelImg's <robndbox>: center, size, clockwise angle in radians."""
    x, y, width, height = (_coordinate(entry, key) for key in ("cx", "cy", "w", "h"))
    angle = entry.number("angle", -1e4, 1e4, default=0.0)
    along = np.array([-1, 1, 1, -1]) * (width / 2)
    across = np.array([-1, -1, 1, 1]) * (height / 2)
    cosine, sine = math.cos(angle), math.sin(angle)
    return x + along * cosine - across * sine, y + along * sine + across * cosine


def _box(box: tuple[float, ...] | None, one_based: bool) -> tuple[float, ...] | None:
    """Return the box from 0, right and lower edge exclusive."""
    if box is None or not one_based:
        return box
    x1, y1, x2, y2 = box
    return x1 - 1, y1 - 1, x2, y2


def _images_by_stem(folders: Sequence[Path]) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = {}
    for folder in folders:
        for path in image_files.list_images(folder):
            images.setdefault(path.stem, []).append(path)
    return images


def _find_image(
    annotation: _Annotation, file: Path, images: dict[str, list[Path]], finder: ImageFinder
) -> Path:
    """Return the image of an XML file: that of its own name, else the one that it names."""
    recorded = os.path.basename(annotation.file_name.replace("\\", "/"))
    candidates = images.get(file.stem, [])
    if candidates:
        return next((path for path in candidates if path.name == recorded), candidates[0])
    names = [name for name in (annotation.file_name, annotation.path) if name]
    return finder.locate(*(names or [f"{file.stem}.jpg"]))


def _xml_folders(path: Path) -> Iterator[Path]:
    """Return the folders of a dataset that may hold XML files, by custom."""
    for name in ANNOTATION_FOLDERS:
        folder = image_files.first_folder(path, [name])
        if folder is not None:
            yield folder


def _xml_folder(path: Path) -> Path | None:
    return next((f for f in _xml_folders(path) if visible_files(f, ".xml")), None)


def _parts(path: Path) -> dict[str, _Part]:
    """Return the sub-folders with XML files, of the dataset or of its annotation folder."""
    if not path.is_dir():
        return {}
    parts: dict[str, _Part] = {}
    if _xml_folder(path) is None:
        for folder in _xml_folders(path):
            for inner in visible_folders(folder):
                xml_folder = inner if visible_files(inner, ".xml") else _xml_folder(inner)
                if xml_folder is not None:
                    parts.setdefault(inner.name, _Part(xml_folder, _part_folders(path, inner)))
    return parts


def _is_wrapper(path: Path) -> bool:
    """Return whether a folder has nothing but one VOC dataset with lists, as VOCdevkit/VOC2012."""
    parts = _parts(path)
    return len(parts) == 1 and all(
        part.folders[0].parent == path and bool(list_files(part.folders[0]))
        for part in parts.values()
    )


def _part_folders(path: Path, inner: Path) -> tuple[Path, ...]:
    """Where the images of a part may be: in it, or in images/PART."""
    if inner.parent == path:
        return (inner,)
    beside = [image_files.first_folder(path, [name]) for name in IMAGE_FOLDERS if name]
    folders = [image_files.first_folder(folder, [inner.name]) for folder in beside if folder]
    return (*(folder for folder in folders if folder is not None), path, inner)


def _part_names(path: Path) -> set[str]:
    return set(_parts(path))


def list_files(path: Path) -> dict[str, Path]:
    """Return subset -> its list of names; that of the segmentation task goes first."""
    lists: dict[str, Path] = {}
    sets = image_files.first_folder(path, ["ImageSets"])
    if sets is None:
        return lists
    for name in _LISTS:
        folder = image_files.first_folder(sets, [name])
        files = visible_files(folder, ".txt") if folder is not None else []
        stems = {file.stem for file in files}
        for file in files:
            # Main has a list for each class too: aeroplane_train.txt beside train.txt.
            if file.stem.rpartition("_")[2] not in stems - {file.stem}:
                lists.setdefault(file.stem, file)
    return lists


def _all_annotations(path: Path) -> list[Path]:
    """Return the XML files of all subsets."""
    own = _xml_folder(path)
    folders = [own] if own else [part.xml_folder for part in _parts(path).values()]
    return [file for folder in folders for file in visible_files(folder, ".xml")]


def _find_layout(root: Path, subset: str | None) -> _Layout:
    lists, parts = list_files(root), _parts(root)
    part = None
    if parts and not (lists and subset in lists):
        part = choose_subset(root, subset, sorted(parts))
    folders = parts[part].folders if part else (root,)
    xml_folder = parts[part].xml_folder if part else _xml_folder(root)
    if xml_folder is None:
        raise ValueError(f"{root}: looked for {VocDataset.looks_for}")
    files = visible_files(xml_folder, ".xml")
    if part is None and subset is not None:
        name = choose_subset(root, subset, sorted(lists))
        if name is not None:
            files = _listed_files(lists[name], files)
    images = [f for base in folders for name in IMAGE_FOLDERS
              if (f := image_files.first_folder(base, [name])) is not None]  # fmt: skip
    masks = [image_files.first_folder(base, [MASK_FOLDER]) for base in folders]
    mask_dir = next((folder for folder in masks if folder is not None), None)
    return _Layout(files, list(dict.fromkeys([*images, xml_folder])), mask_dir, part)


def _listed_files(list_file: Path, files: Sequence[Path]) -> list[Path]:
    """Return the XML files that a list of ImageSets names."""
    by_stem = {file.stem: file for file in files}
    return [by_stem[stem] for stem in listed(read_list(list_file), by_stem, list_file, "XML file")]


def listed(lines: Sequence[str], known: Collection[str], list_file: Path, noun: str) -> list[str]:
    """Return the known names that the lines of a list in ImageSets mean, each once.

    Raises:
        ValueError: a line means none of them.
    """
    found, missing = [], []
    for line in lines:
        name = next((reading for reading in _list_readings(line) if reading in known), None)
        if name is None:
            missing.append(line)
        else:
            found.append(name)
    if missing:
        raise ValueError(
            f"{list_file}: {len(missing)} names have no {noun} ({printable(missing[0][:80])})"
        )
    return list(dict.fromkeys(found))


def read_list(list_file: Path) -> list[str]:
    """Return the lines of a list in ImageSets that are not empty.

    Raises:
        AnnotationError: it is neither UTF-8 nor UTF-16.
    """
    text = read_text(list_file)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _list_readings(line: str) -> Iterator[str]:
    """Return the names that a line of a list may mean: `my a`, `a.png`, `a 1`, `sub/a.png -1`."""
    texts = [line, re.sub(r"\s+-?[01]$", "", line)]
    for text in texts:
        base = text.replace("\\", "/").rpartition("/")[2]
        for name in (text, base):
            yield name
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in image_files.IMAGE_EXTENSIONS | {".xml"}:
                yield stem
