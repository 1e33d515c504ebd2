"""COCO's JSON files: where they are, their required content, and the classes they share."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mrcnn.datasets.entries import AnnotationError, Entry, marks_no_object, read_json
from mrcnn.datasets.image_files import pixel_limit
from mrcnn.datasets.layout import IMAGE_FOLDERS, visible_files, visible_folders
from mrcnn.datasets.outline import json_outline, late_keys
from mrcnn.datasets.reader import SUBSET_SYNONYMS
from mrcnn.files.names import printable, shown
from mrcnn.geometry.rle import decode_rle, encode_rle, read_polygons, read_size

_LISTS = ("images", "annotations", "categories")
# A file of this name describes the whole folder it lies in.
_WHOLE_FILES = ("_annotations.coco.json", "annotations.json")
_USUAL_NAMES = re.compile(r"_annotations\.coco\.json|instances_.*\.json")
_MAX_SUBSET_FILES = 16
# Captions and key points are beside COCO's instances; they are other tasks.
_OTHER_TASKS = re.compile(r"(captions|person_keypoints|stuff|panoptic|image_info)_")
# Of another part only the categories are needed; a larger file is not parsed for them.
_PARSED_BYTES = 32 * 2**20

ClassRow = tuple[int | str, str]  # id in the file, name


class CocoFile:
    """A parsed COCO file.

    Attributes:
        path: the file.
        data: its content; "images", "annotations" and "categories" are lists.
        categories: (id, name) of each category, in the order of the file.
        uses_zero: whether an annotation has the category 0.
    """

    def __init__(self, path: Path, is_part: bool = False):
        """Parse a file.

        Args:
            path: the file.
            is_part: whether it is one of several; then it may lack "categories".

        Raises:
            FileNotFoundError: there is no such file.
            AnnotationError: it is no JSON, or lacks one of COCO's lists.
        """
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such annotation file")
        data = read_json(path)
        if is_part and isinstance(data, dict):
            data["categories"] = data.get("categories") or []
        for key in _LISTS:
            if not isinstance(data, dict) or not isinstance(data.get(key), list):
                raise AnnotationError(f"{printable(path)}: a COCO file must have a list {key!r}")
        self.data = data
        self.categories = self._read_categories()
        self.uses_zero = any(
            isinstance(a, dict) and a.get("category_id") in (0, "0") for a in data["annotations"]
        )

    @classmethod
    def table_only(cls, path: Path) -> CocoFile:
        """Read the categories of a file; a large one is not parsed for them."""
        if not path.is_file() or path.stat().st_size <= _PARSED_BYTES:
            return cls(path, is_part=True)
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            categories = _find_categories(text)
            if categories is None:
                return cls(path, is_part=True)
            self = cls.__new__(cls)
            self.path, self.data = path, {"categories": categories}
            self.categories = self._read_categories()
            self.uses_zero = re.search(rb'"category_id"\s*:\s*"?0\b(?!\.[1-9])', text) is not None
            return self

    def place(self, noun: str, data: Any, position: int) -> str:
        """Return "FILE, annotation ID" for error messages."""
        name = data.get("id", position) if isinstance(data, dict) else position
        return f"{printable(self.path)}, {noun} {shown(name)}"

    def _read_categories(self) -> list[ClassRow]:
        names: dict[int | str, str] = {}
        for position, data in enumerate(self.data["categories"]):
            entry = Entry(data, self.place("category", data, position))
            class_id, name = entry.identifier("id"), entry.name("name")
            if names.setdefault(class_id, name) != name:
                raise entry.error("id", f"an id that no other category has, as {names[class_id]!r}")
        return list(names.items())


def normalize_annotation(annotation: Any, place: str) -> dict[str, Any]:
    """Return an annotation with ids, flag, box and polygons in the form that COCO itself writes.

    Args:
        annotation: the parsed annotation.
        place: "FILE, annotation ID" for error messages.

    Raises:
        AnnotationError: it is no object, or an id, the flag or a box that is needed is broken.
            Run lengths and coordinates are not read: drawing them names what is wrong.
    """
    entry = Entry(annotation, place)
    annotation = dict(entry.data)
    annotation["image_id"] = entry.identifier("image_id")
    annotation["category_id"] = entry.identifier("category_id")
    annotation["iscrowd"] = int(entry.flag("iscrowd", default=False))
    segmentation = _parse_text(entry, "segmentation") or []
    if isinstance(segmentation, list) and segmentation:
        if all(isinstance(item, dict) and "counts" in item for item in segmentation):
            segmentation = _joined_rles(segmentation)
    if isinstance(segmentation, dict):
        segmentation = _plain_rle(segmentation)
    elif isinstance(segmentation, list):
        try:
            segmentation = [polygon.ravel().tolist() for polygon in read_polygons(segmentation)]
        except ValueError:
            pass  # drawing it names what is wrong
    else:
        raise entry.error("segmentation", "a list of polygons or run lengths")
    annotation["segmentation"] = segmentation
    if entry.get("bbox", []) != [] or not segmentation:
        annotation["bbox"] = _read_box(entry)
    else:
        annotation.pop("bbox", None)
    try:
        annotation["area"] = entry.number("area", 0, 1e14)
    except AnnotationError:  # nothing is learned from it, and evaluation measures it itself
        annotation.pop("area", None)
    return annotation


def _parse_text(entry: Entry, key: str) -> Any:
    """Return the value of a key, also where it is written as JSON text; None where it is absent."""
    value = entry.get(key, None)
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # the caller names what is wrong
    return value


def _read_box(entry: Entry) -> list[float]:
    """Return the box [x, y, width, height], whose sides must not be negative."""
    parsed = _parse_text(entry, "bbox")
    if parsed is not None and parsed is not entry.data["bbox"]:
        entry = Entry({**entry.data, "bbox": parsed}, entry.where)
    box = entry.numbers("bbox", count=4)
    if min(box[2:]) < 0:
        raise entry.error("bbox", "[x, y, width, height] with sides of at least 0")
    return box


def _joined_rles(rles: list[Any]) -> Any:
    """Return the union of run lengths; a broken one alone, so that drawing it names the cause."""
    if len(rles) == 1:
        return rles[0]
    mask: Any = None
    for rle in map(_plain_rle, rles):
        try:
            height, width = read_size(rle)
            if height * width > pixel_limit():
                return rles  # of no image that can be opened
            part = decode_rle(rle)
        except ValueError:
            return rle
        if mask is not None and mask.shape != part.shape:
            return rles
        mask = part if mask is None else mask | part
    return encode_rle(mask, compressed=False)


def _plain_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """Run lengths whose counts are a text in a form that pycocotools does not write.

    Known are the `repr` of Python's bytes, and lengths between blanks or commas: neither of these
    characters occurs in pycocotools' own texts.
    """
    counts = rle.get("counts")
    if not isinstance(counts, str):
        return rle
    text = counts.strip()
    if re.fullmatch(r"""b'.*'|b".*\"""", text):
        return {**rle, "counts": text[2:-1].replace("\\\\", "\\")}
    if re.search(r"[\s,]", text) and re.fullmatch(r"\[?[-\d.\s,]+\]?", text):
        return {**rle, "counts": re.findall(r"[^\s,]+", text.strip("[]"))}
    return rle


def is_plain(annotation: Any) -> bool:
    """Return whether an annotation has COCO's own form; coordinates are not read."""
    if type(annotation) is not dict:
        return False
    flag, box = annotation.get("iscrowd", 0), annotation.get("bbox", [0, 0, 0, 0])
    polygons = annotation.get("segmentation")
    return (
        type(annotation.get("image_id")) is int
        and type(annotation.get("category_id")) is int
        and type(flag) is int
        and flag in (0, 1)
        and type(box) is list
        and len(box) == 4
        and all(type(side) in (int, float) for side in box)
        and not (box[2] < 0 or box[3] < 0)
        and (_is_plain_rle(polygons) or _are_plain_polygons(polygons))
    )


def _is_plain_rle(rle: Any) -> bool:
    return type(rle) is dict and _plain_rle(rle) is rle


def _are_plain_polygons(polygons: Any) -> bool:
    return (
        type(polygons) is list
        and len(polygons) > 0
        and all(
            type(polygon) is list and len(polygon) >= 6 and type(polygon[0]) in (int, float)
            for polygon in polygons
        )
    )


def _find_categories(text: mmap.mmap) -> list[Any] | None:
    """Return the value of "categories" in a JSON text; None where it cannot be told."""
    found = list(re.finditer(rb'"categories"\s*:\s*', text))
    if len(found) != 1:
        return None
    start = found[0].end()
    try:
        value, _ = json.JSONDecoder().raw_decode(
            text[start : start + 2**22].decode(errors="ignore")
        )
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def common_classes(parts: Sequence[CocoFile]) -> dict[str, int | str]:
    """Return the classes of a dataset: name -> the first id it has in one of the parts.

    The training part comes first, and each part in the order of its ids. Equal names are one
    class. A category 0 without an instance in any part is left out: Roboflow writes one. So are
    LabelMe's names for what is no object.
    """
    keep_zero = any(part.uses_zero for part in parts)
    table: dict[str, int | str] = {}
    for part in sorted(parts, key=lambda part: _part_order(part.path)):
        for class_id, name in sorted(part.categories, key=lambda row: id_order(row[0])):
            if marks_no_object(name):
                continue
            if class_id != 0 or keep_zero or len(part.categories) == 1:
                table.setdefault(name, class_id)
    return table


def part_classes(
    content: CocoFile, table: dict[str, int | str], wanted: Iterable[str]
) -> list[ClassRow]:
    """Return the classes of one part: every wanted name, with its ids in this file.

    A name that the file lacks gets an id that is free in it.
    """
    taken = {class_id for class_id, _ in content.categories}
    rows: list[ClassRow] = []
    for name in wanted:
        own = sorted((i for i, n in content.categories if n == name), key=id_order)
        if own and own[0] == 0 and table.get(name) != 0:
            own = own[1:] or own  # the unused category 0
        if not own:
            free = table.get(name, 1)
            free = 1 if free in taken else free
            while free in taken:
                free += 1  # type: ignore[operator]
            taken.add(free)
            own = [free]
        rows += [(class_id, name) for class_id in own]
    return rows


def id_order(class_id: int | str) -> tuple[bool, Any]:
    """Return a key that sorts numbers before texts."""
    return isinstance(class_id, str), class_id


def _part_order(path: Path) -> tuple[int, str]:
    text = f"{path.parent.name}/{path.stem}".lower()
    for position, names in enumerate(SUBSET_SYNONYMS):
        if any(name in text for name in names):
            return position, str(path)
    return len(SUBSET_SYNONYMS), str(path)


def is_coco_file(path: Path) -> bool:
    """Return whether a JSON file, broken or not, has COCO's keys and no other format's."""
    outline = json_outline(path)
    if outline is None or not (outline.is_list or outline.keys):
        return _USUAL_NAMES.fullmatch(path.name.lower()) is not None  # empty or broken
    if outline.is_list:
        return False
    keys = outline.keys
    if "annotations" in keys and not outline.is_complete:
        keys |= late_keys(path, ("images", "categories"))
    if "shapes" in keys or "items" in keys or any(key.startswith("_via_") for key in keys):
        return False
    return "images" in keys or {"annotations", "categories"} <= keys


def annotation_files(path: Path) -> dict[str | None, Path]:
    """Return subset -> JSON file; the key None stands for a dataset in one piece."""
    if path.is_file():
        return {None: path} if path.suffix.lower() == ".json" and is_coco_file(path) else {}
    files: dict[str | None, Path] = {
        re.sub(r"^instances_", "", file.stem): file
        for folder in visible_folders(path)
        if folder.name.lower() == "annotations"
        for file in _coco_files(folder)
    }
    if not files:
        for folder in visible_folders(path):
            if folder.name not in IMAGE_FOLDERS and (file := _whole_file(_coco_files(folder))):
                files[folder.name] = file
    if not files:
        own = _coco_files(path)
        if (whole := _whole_file(own)) is not None:
            return {None: whole}
        if len(own) <= _MAX_SUBSET_FILES:  # else one file for each image: another format
            files = {file.stem: file for file in own}
    return files


def _coco_files(folder: Path) -> list[Path]:
    files = [f for f in visible_files(folder, ".json") if not _OTHER_TASKS.match(f.name)]
    return [file for file in files if is_coco_file(file)]


def _whole_file(files: Sequence[Path]) -> Path | None:
    """Return the file that describes its folder: by its name, or the only one."""
    named = [file for file in files if file.name.lower() in _WHOLE_FILES]
    return named[0] if named else files[0] if len(files) == 1 else None


def image_folders(annotation_file: Path, root: Path) -> list[Path]:
    """Return the folders in which the images of a file usually lie, the likeliest first."""
    folder = annotation_file.parent
    subset = re.sub(r"^(instances_)?((minival|valminusminival)(?=\d))?", "", annotation_file.stem)
    if subset.isdigit():
        subset = f"val{subset}"  # the parts of val share its images
    candidates = [root / subset, root / "images" / subset, folder]
    candidates += [parent / name for parent in (folder, root) for name in IMAGE_FOLDERS]
    return [candidate for candidate in candidates if candidate.is_dir()]
