"""YOLO text labels: a file for each image, a line for each instance, coordinates from 0 to 1.

A line holds a class id and then x y pairs (a polygon), or center, width and height (a box).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.datasets import image_files
from mrcnn.datasets.entries import (
    AnnotationError,
    as_integer,
    as_name,
    marks_no_object,
    normalize_name,
    read_json,
)
from mrcnn.datasets.layout import visible_files, visible_folders
from mrcnn.datasets.rasterize import box_mask, polygon_mask
from mrcnn.datasets.reader import DatasetReader, choose_subset
from mrcnn.datasets.yolo_parts import IMAGE_FOLDERS, LABEL_FOLDERS, ListedLayout, listed_parts
from mrcnn.files.names import printable, shown

# Files with class names, the most specific kind first.
_YAML_FILES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_JSON_FILES = ("category_ids.json", "names.json", "classes.json")
_TEXT_FILES = ("classes.txt", "obj.names", "labels.names", "classes.names", "labels.txt")
_YAML_ENDINGS = (".yaml", ".yml")
# The folders of Darknet, as CVAT exports them, which hold images and labels together.
_DARKNET_FOLDER = re.compile(r"obj_(\w+)_data", re.IGNORECASE)
# Tools overshoot the image a little; much more means that these are pixels.
_RANGE = (-0.5, 1.5)
_MAX_CLASS_ID = 10**6
# Files that are looked at to recognize the format: the first ones may be empty.
_MAX_LOOKED_AT = 100
# Levels of sub-folders in Darknet's folders.
_MAX_DEPTH = 5
_MAX_BYTES = 64 << 20


class YoloDataset(DatasetReader):
    """Images with YOLO polygons or boxes.

    Polygons become masks (pixel (0, 0) covers 0..1), boxes become filled boxes. An image without
    a label file, or with an empty one, is a negative.
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
        """Load labels in YOLO's form.

        Args:
            dataset_dir: folder with images/ and labels/ (with a sub-folder in each for a subset, or
                none), with sub-folders that hold images/ and labels/, with images and label files
                together, or with Darknet's obj_train_data/. Where its YAML file lists other
                folders or text files as "train", "val" and "test", these are the parts. Or that
                YAML file.
            subset: "train", "val", ...
            names: class id -> name, or the names of the ids 0, 1, ... The ids may be any
                numbers. None reads a YAML file with names, category_ids.json, classes.txt,
                obj.names or the like in the folder or in the one above it; if there is none,
                `classes` are the names of the ids 0, 1, ... Equal names are one class.
            classes: names of the classes to load; None loads all. Other instances are left out.
            source: name of the dataset.

        Raises:
            FileNotFoundError: there is no such folder.
            AnnotationError: a line or a file with names is not understood.
            ValueError: no labels or names are found, or the subset or a class does not exist.
        """
        path = Path(dataset_dir)
        root = _root(path)
        if not path.exists() or not root.is_dir():
            raise FileNotFoundError(f"dataset_dir is '{path}': no such folder")
        layout = _find_layout(path, subset)
        table = _names(path, names, classes, _layouts(path).values())
        every = [name for name in dict.fromkeys(table.values()) if not marks_no_object(name)]
        wanted = every if classes is None else _wanted(classes, table)
        first_ids: dict[str, int] = {}
        for number, name in table.items():
            first_ids.setdefault(name, number)
        for name in wanted:  # in the order asked for; without `classes` in that of the ids
            self.add_class(source, first_ids[name], name)
        label_files = layout.label_files()
        images = layout.images()
        for name, image in images:
            label_file = label_files.get(name)
            annotations = []
            if label_file is not None:
                with self.tolerate(label_file):
                    annotations = _annotations(label_file, table, first_ids, wanted)
            self.add_image(source, name, str(image), annotations=annotations)
        self.leave_out(
            "these label files have no image",
            [
                label_files[name].name
                for name in sorted(label_files.keys() - {name for name, _ in images})
                if looks_like_labels(label_files[name])
            ],
        )

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a folder holds YOLO label files, right or wrong ones; or its YAML file."""
        if path.is_file():
            return path.suffix.lower() in _YAML_ENDINGS and bool(_names_or_none(path))
        if not path.is_dir():
            return False
        layouts = list(_layouts(path).values())
        files = [file for layout in layouts for file in layout.label_files().values()]
        if any(looks_like_labels(file) for file in files[:_MAX_LOOKED_AT]):
            return True
        # A dataset of negatives, or of broken labels, is known by its file of names alone.
        apart = any(isinstance(a, ListedLayout) or a.label_dir != a.image_dir for a in layouts)
        known = (*_YAML_FILES, *(_TEXT_FILES if files else ()))
        return apart and any(file.name.lower() in known for file in visible_files(path))

    @classmethod
    def subsets(cls, path: Path) -> list[str]:
        """Return the names of the parts: see `dataset_dir` of `load_yolo`."""
        return sorted(name for name in _layouts(path) if name)

    def draw_instance(
        self, annotation: dict[str, Any], height: int, width: int
    ) -> np.ndarray | None:
        """Return the mask of one line; see `DatasetReader.draw_instance`."""
        numbers = annotation["numbers"]
        if len(numbers) == 4:
            x, y, box_width, box_height = numbers * np.array([width, height, width, height])
            left, top = x - box_width / 2, y - box_height / 2
            return box_mask(left, top, left + box_width, top + box_height, height, width)
        return polygon_mask(numbers[0::2] * width, numbers[1::2] * height, height, width, 0.5)

    def has_mask(self, annotation: dict[str, Any]) -> bool:
        """Return whether the line is a polygon; see `DatasetReader.has_mask`."""
        return len(annotation["numbers"]) > 4


@dataclass(frozen=True)
class _Layout:
    """Where images and label files of a part are; Darknet's folders have sub-folders."""

    image_dir: Path
    label_dir: Path
    has_folders: bool = False

    def images(self) -> list[tuple[str, Path]]:
        """Return the images with their names in the part, without ending."""
        return self._named(self.image_dir, image_files.list_images)

    def label_files(self) -> dict[str, Path]:
        """Return the label files by name, without ending."""
        return dict(self._named(self.label_dir, _label_files))

    def _named(
        self, root: Path, list_files: Callable[[Path], list[Path]]
    ) -> list[tuple[str, Path]]:
        found = []
        folders = [root]
        for folder in folders:
            found += [
                (file.relative_to(root).with_suffix("").as_posix(), file)
                for file in list_files(folder)
            ]
            if self.has_folders and len(folder.relative_to(root).parts) < _MAX_DEPTH:
                folders.extend(visible_folders(folder))
        return found


def read_labels(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a label file: "class_id", "line" and "numbers" (4 for a box, else x y).

    Raises:
        AnnotationError: a line has another form or is out of range.
    """
    labels = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        where = f"{printable(path)} line {number}"
        try:
            values = np.array(fields[1:], np.float64)
            float(fields[0])
        except ValueError:
            raise AnnotationError(
                f"{where}: a class id and numbers are needed, it begins {shown(line[:40])}"
            ) from None
        class_id = as_integer(fields[0], where, "class id", 0, _MAX_CLASS_ID)
        _check_numbers(values, where)
        labels.append({"class_id": class_id, "numbers": values, "line": number})
    return labels


def _check_numbers(values: np.ndarray, where: str) -> None:
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        hint = "; a number too many may be a confidence" if len(values) % 2 else ""
        raise AnnotationError(
            f"{where}: 4 numbers (a box) or at least 3 pairs (a polygon) are needed after the "
            f"class id, it has {len(values)} numbers{hint}"
        )
    if not (np.isfinite(values).all() and _RANGE[0] <= values.min() <= values.max() <= _RANGE[1]):
        raise AnnotationError(
            f"{where}: coordinates must be fractions of the image, from 0 to 1; they reach from "
            f"{values.min()} to {values.max()}"
        )
    if len(values) == 4 and min(values[2:]) < 0:
        raise AnnotationError(
            f"{where}: width and height are {values[2]} and {values[3]}; they must not be negative"
        )


def looks_like_labels(path: Path) -> bool:
    """Return whether the first line of a file that is not blank holds five or more numbers."""
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return False
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe").decode("ascii", "replace")
    fields = next((line.split() for line in text.splitlines() if line.strip()), [])
    try:
        return len([float(field) for field in fields]) >= 5
    except ValueError:
        return False


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        AnnotationError: it is too large or in another encoding.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise AnnotationError(
            f"{printable(path)}: its size is {size} bytes; it must be at most {_MAX_BYTES}"
        )
    data = path.read_bytes()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            f"{printable(path)} line {line}: it is not UTF-8 ({error.reason}); save it as UTF-8"
        ) from error


def _annotations(
    label_file: Path, table: Mapping[int, str], first_ids: Mapping[str, int], wanted: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the lines of a label file whose classes are wanted."""
    annotations = []
    for line in read_labels(label_file):
        name = table.get(line["class_id"])
        if name is None:
            raise AnnotationError(
                f"{printable(label_file)} line {line['line']}: class id {line['class_id']} has no "
                f"name; names has {shown(sorted(table))}"
            )
        if name in wanted:
            annotations.append({**line, "class_id": first_ids[name]})
    return annotations


def _label_files(folder: Path) -> list[Path]:
    """Return the text files of a folder that are no lists of classes."""
    return [f for f in visible_files(folder, ".txt") if f.name.lower() not in _TEXT_FILES]


def _wanted(classes: Sequence[str], table: Mapping[int, str]) -> list[str]:
    wanted = [normalize_name(n) for n in ([classes] if isinstance(classes, str) else classes)]
    unknown = [name for name in wanted if name not in table.values()]
    if unknown or not wanted:
        raise ValueError(f"classes is {wanted}: the names are {sorted(table.values())}")
    return list(dict.fromkeys(wanted))


def _names(
    path: Path,
    names: Mapping[int, str] | Sequence[str] | None,
    classes: Sequence[str] | None,
    layouts: Iterable[_Layout | ListedLayout],
) -> dict[int, str]:
    """Class id -> name, in the order of the ids."""
    root = _root(path)
    where: object = "names"
    given: Any = names
    if given is None:
        if path != root:
            found: tuple[Path, Any] | None = path, _yaml_names(path)
        else:
            folders = [a.image_dir.parent for a in layouts if isinstance(a, _Layout)]
            found = _names_in_files(root, list(dict.fromkeys(folders)))
        if found is not None:
            where, given = found
    if given is None:
        where, given = "classes", [classes] if isinstance(classes, str) else classes
    if not given:
        files = ", ".join((*_YAML_FILES[:2], *_JSON_FILES[:2], *_TEXT_FILES[:2]))
        raise ValueError(f"names is None: {root} has no file with class names ({files})")
    if isinstance(given, Mapping):
        numbers: dict[int, Any] = {}
        for key in given:
            number = as_integer(key, where, "a class id", 0, _MAX_CLASS_ID)
            if number in numbers:
                raise AnnotationError(
                    f"{printable(where)}: names has the class id {number} twice, as "
                    f"{shown(numbers[number])} and {shown(key)}; ids must differ"
                )
            numbers[number] = key
        return {n: as_name(given[numbers[n]], where, f"name {n}") for n in sorted(numbers)}
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise AnnotationError(
            f"{printable(where)}: names is {shown(given)}; it must be a list of names, or names by "
            "their class ids"
        )
    return {n: as_name(name, where, f"name {n}") for n, name in enumerate(given)}


def _names_in_files(root: Path, parts: Sequence[Path]) -> tuple[Path, Any] | None:
    """Return the class names that lie with the dataset or in the folder above, and their file.

    Args:
        root: the folder of the dataset.
        parts: the folders of all its parts, which may hold such a file too.

    Raises:
        ValueError: there are files with different names in equal places.
    """
    root = root.absolute()
    inner = [folder for name in LABEL_FOLDERS if (folder := _inner(root, name)) is not None]
    for folder in (root, *inner):
        if found := _names_in_folder(folder, is_strict=folder == root):
            return found
    tables = [found for folder in parts if (found := _names_in_folder(folder))]
    for file, names in tables:
        if names != tables[0][1]:
            raise ValueError(
                f"names is None: {tables[0][0]} and {file} have different names; give the names"
            )
    return tables[0] if tables else _names_in_folder(root.parent)


def _names_in_folder(folder: Path, is_strict: bool = False) -> tuple[Path, Any] | None:
    """The class names in the files of one folder; `is_strict` refuses files that differ."""
    files = visible_files(folder)
    by_name = {file.name.lower(): file for file in reversed(files)}
    for name in _YAML_FILES:
        if name in by_name:
            return by_name[name], _yaml_names(by_name[name])
    others = [f for f in files if f.suffix.lower() in (".yaml", ".yml")]
    tables = [(file, names) for file in others if (names := _names_or_none(file))]
    if tables and all(names == tables[0][1] for _, names in tables):
        return tables[0]
    if tables and is_strict:
        listed = ", ".join(printable(file.name) for file, _ in tables)
        raise ValueError(
            f"names is None: {folder} has several files with different names ({listed}); give "
            "the names"
        )
    for name in _JSON_FILES:
        if name in by_name:
            return by_name[name], read_json(by_name[name])
    texts = [by_name[name] for name in _TEXT_FILES if name in by_name]
    for file in [*texts, *(f for f in files if f.suffix.lower() == ".names")]:
        if looks_like_labels(file):  # labels.txt of an image called labels.jpg
            continue
        lines = [line.strip() for line in read_text(file).splitlines()]
        return file, [line for line in lines if line]
    return None


def _yaml_names(file: Path) -> Any:
    content = _read_yaml(file)
    if not isinstance(content, dict) or not content.get("names"):
        raise AnnotationError(f'{printable(file)}: it has no "names"')
    if "kpt_shape" in content:  # its keypoints would be read as polygons
        raise AnnotationError(
            f"{printable(file)}: kpt_shape is {shown(content['kpt_shape'])}; it must be a dataset "
            "of boxes or polygons, not of keypoints"
        )
    return content["names"]


def _names_or_none(file: Path) -> Any:
    """Return the names of a YAML file that may have another purpose."""
    try:
        content = _read_yaml(file)
    except AnnotationError:
        return None
    return content.get("names") if isinstance(content, dict) else None


def _read_yaml(file: Path) -> Any:
    """Parse a YAML file; every scalar is text, so that "no" and "1" are names too."""
    import yaml

    text = read_text(file)
    try:
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.BaseLoader), file)
        return yaml.load(text, Loader=yaml.BaseLoader)
    except RecursionError as error:
        raise AnnotationError(f"{printable(file)}: not valid YAML (nested too deeply)") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise AnnotationError(
            f"{printable(file)}{place}: not valid YAML ({printable(problem)})"
        ) from error


def _refuse_repeated_keys(node: Any, file: Path, levels: int = 2) -> None:
    """Raise for a mapping that has a key twice: YAML's readers take the last one silently."""
    pairs = node.value if getattr(node, "id", None) == "mapping" else []
    seen = set()
    for key, value in pairs:
        if isinstance(key.value, str) and key.value in seen:
            raise AnnotationError(
                f"{printable(file)} line {key.start_mark.line + 1}: the key {shown(key.value)} "
                "occurs twice; keys must differ"
            )
        if isinstance(key.value, str):
            seen.add(key.value)
        if levels > 1:
            _refuse_repeated_keys(value, file, levels - 1)


def _inner(folder: Path, name: str) -> Path | None:
    return image_files.first_folder(folder, [name])


def _root(path: Path) -> Path:
    """Return the folder of the dataset, also where its YAML file was given."""
    return path.parent if path.suffix.lower() in _YAML_ENDINGS and path.is_file() else path


def _layouts(path: Path) -> dict[str, _Layout | ListedLayout]:
    """Part -> its folders; the part "" is the whole dataset.

    Args:
        path: the folder, or its YAML file.
    """
    root = _root(path)
    if not root.is_dir():
        return {}
    found = _folder_layouts(root)
    listed = _listed_parts(root, path if path != root else None)
    places = {place for a in found.values() for place in (a.image_dir, a.image_dir.parent)}
    # A list that says what the folders say changes no name of a part.
    same = all(len(a.sources) == 1 and a.sources[0] in places for a in listed.values())
    return {**found} if same else {**listed}


def _listed_parts(root: Path, file: Path | None) -> dict[str, ListedLayout]:
    files = [file] if file is not None else visible_files(root, *_YAML_ENDINGS)
    files.sort(key=lambda f: f.name.lower() not in _YAML_FILES)
    for candidate in files:
        try:
            content = _read_yaml(candidate)
        except ValueError:  # reading the names says what is wrong
            continue
        if isinstance(content, dict) and content.get("names"):
            return listed_parts(root, content)
    return {}


def _folder_layouts(path: Path) -> dict[str, _Layout]:
    whole = _image_and_label_folders(path)
    if whole is not None:
        images, labels = whole
        if _label_files(labels) and image_files.list_images(images):
            return {"": _Layout(images, labels)}
        inner = {p.name.lower(): p for p in visible_folders(labels)}
        shared = [p for p in visible_folders(images) if p.name.lower() in inner]
        if shared:
            return {p.name: _folders(p, inner[p.name.lower()]) for p in shared}
    found = dict(_parts_in_folders(path))
    if found:
        return found
    if whole is not None:
        return {"": _folders(*whole)}
    if image_files.list_images(path) and _label_files(path):
        return {"": _Layout(path, path)}
    return {}


def _parts_in_folders(path: Path) -> Iterator[tuple[str, _Layout]]:
    """Return the parts that are folders of their own."""
    for folder in visible_folders(path):
        both = _image_and_label_folders(folder)
        darknet = _DARKNET_FOLDER.fullmatch(folder.name)
        if both is not None:
            yield folder.name, _folders(*both)
        elif darknet:
            yield darknet[1], _Layout(folder, folder, has_folders=True)
        elif folder.name.lower() not in (*LABEL_FOLDERS, *map(str.lower, IMAGE_FOLDERS)) and any(
            looks_like_labels(file) for file in _label_files(folder)[:_MAX_LOOKED_AT]
        ):
            if image_files.list_images(folder):
                yield folder.name, _Layout(folder, folder)


def _folders(images: Path, labels: Path) -> _Layout:
    """Return the layout of two folders; images that lie only in sub-folders are found there."""
    return _Layout(images, labels, has_folders=not image_files.list_images(images))


def _image_and_label_folders(path: Path) -> tuple[Path, Path] | None:
    images = image_files.first_folder(path, IMAGE_FOLDERS)
    labels = image_files.first_folder(path, LABEL_FOLDERS)
    return (images, labels) if images is not None and labels is not None else None


def _find_layout(root: Path, subset: str | None) -> _Layout | ListedLayout:
    layouts = _layouts(root)
    names = sorted(name for name in layouts if name)
    name = choose_subset(root, subset, names) if names or subset else ""
    if name not in layouts:
        raise ValueError(f"{root}: looked for {YoloDataset.looks_for}")
    return layouts[name or ""]
