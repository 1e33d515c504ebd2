"""The files of the VGG Image Annotator, versions 1 to 3, as one list of images and regions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrcnn.datasets.entries import (
    AnnotationError,
    Entry,
    as_name,
    as_text,
    read_json,
    read_text,
)
from mrcnn.datasets.outline import json_outline
from mrcnn.files.names import printable

CSV_HEADER = "filename,file_size,file_attributes"
# Version 3 writes the kind of a shape as a number in front of its coordinates.
_KINDS_V3 = {
    1: "point",
    2: "rect",
    3: "circle",
    4: "ellipse",
    5: "line",
    6: "polyline",
    7: "polygon",
    8: "extreme_rect",
    9: "extreme_circle",
}
_FIELDS = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"),
           "ellipse": ("cx", "cy", "rx", "ry")}  # fmt: skip


@dataclass(frozen=True)
class Region:
    """One region of an image.

    Attributes:
        file: the annotation file.
        place: "a.png region 3", for error messages.
        shape: VIA's "shape_attributes"; {} where it has none.
        attributes: region attribute -> value as in the file.
    """

    file: Path
    place: str
    shape: Mapping[str, Any]
    attributes: Mapping[str, Any]

    def class_name(self, attribute: str) -> str:
        """Return the class in an attribute, normalized; "" when there is none.

        Raises:
            AnnotationError: the value is a list, or holds broken characters.
        """
        value = self.attributes.get(attribute)
        if isinstance(value, Mapping):  # a group of check boxes: {"cat": true}
            ticked = [name for name, on in value.items() if on]
            value = ticked[0] if len(ticked) == 1 else None
        where = f"{self.file}, {self.place}"
        if value is None or not as_text(value, where, attribute):
            return ""
        return as_name(value, where, attribute)


@dataclass(frozen=True)
class ViaImage:
    """One image: its id, the names under which its file is looked for, and its regions."""

    name: str
    recorded: list[str]
    regions: list[Region] = field(default_factory=list)


def is_via_file(path: Path) -> bool:
    """Return whether a file, broken or not, has the keys of a VIA export or project."""
    if path.suffix.lower() == ".csv":
        try:
            return path.is_file() and _csv_delimiter(read_text(path)) is not None
        except ValueError:
            return False
    outline = json_outline(path) if path.suffix.lower() == ".json" else None
    if outline is None:
        return False
    keys = outline.keys
    return (
        any(key.startswith("_via_") for key in keys)
        or {"project", "metadata", "attribute"} <= keys
        or {"regions", "filename"} <= outline.inner
    )


def read_via(path: Path) -> list[ViaImage]:
    """Read a VIA file: one image for each entry, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: the file is broken, or not VIA's.
    """
    if path.suffix.lower() == ".csv":
        return list(_read_csv(path))
    content = read_json(path)
    if isinstance(content, dict) and {"project", "metadata"} <= content.keys():
        return _read_version_3(Entry(content, path), path)
    return list(_read_version_2(content, path))


def _read_version_2(content: Any, path: Path) -> Iterator[ViaImage]:
    """Return exports of versions 1 and 2, and projects of version 2, which wrap them once more."""
    folder: Any = ""
    if isinstance(content, dict) and "_via_img_metadata" in content:
        settings = content.get("_via_settings")
        core = settings.get("core") if isinstance(settings, dict) else None
        folder = core.get("default_filepath") if isinstance(core, dict) else ""
        content = content["_via_img_metadata"]
    entries = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise AnnotationError(f"{printable(path)}: not a VIA file, it holds no entries")
    for position, data in enumerate(entries):
        entry = Entry(data, f"{path}, entry {position}")
        if "filename" not in entry:
            raise AnnotationError(f'{entry.where}: not a VIA file, the entry has no "filename"')
        name = entry.file_name("filename")
        recorded = [f"{folder}{name}", name] if isinstance(folder, str) and folder else [name]
        yield ViaImage(name, recorded, list(_read_regions(entry, name, path)))


def _read_regions(entry: Entry, name: str, path: Path) -> Iterator[Region]:
    regions = entry.get("regions", [])
    if isinstance(regions, dict):  # version 1
        regions = list(regions.values())
    if not isinstance(regions, list):
        raise entry.error("regions", "a list or an object")
    for number, data in enumerate(regions):
        region = Entry(data, f"{entry.where}, region {number}")
        shape = _inner_object(region, "shape_attributes")
        yield Region(
            path, f"{name} region {number}", shape, _inner_object(region, "region_attributes")
        )


def _inner_object(entry: Entry, key: str) -> Mapping[str, Any]:
    """Return an object, also where it is written as JSON text once more; {} without one."""
    value = entry.get(key, {})
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as error:
            raise entry.error(key, "an object") from error
    if not isinstance(value, dict):
        raise entry.error(key, "an object")
    return value


def _csv_delimiter(text: str) -> str | None:
    """Return the separator of the columns of VIA's CSV export; None for another file."""
    head = text[:200].removeprefix("\ufeff").removeprefix("#").replace('"', "")
    return next((mark for mark in ",;\t" if head.startswith(CSV_HEADER.replace(",", mark))), None)


def _read_csv(path: Path) -> Iterator[ViaImage]:
    """Return an export as CSV: one line for each region, JSON in two of its columns."""
    images: dict[str, ViaImage] = {}
    try:
        text = read_text(path)
        # Spreadsheet programs write semicolons; some users remove the "#".
        text = text.removeprefix("\ufeff").removeprefix("#")
        rows = csv.DictReader(io.StringIO(text), delimiter=_csv_delimiter(text) or ",")
        for line, row in enumerate(rows, start=2):
            entry = Entry(row, f"{path}, line {line}")
            name = entry.file_name("filename")
            image = images.setdefault(name, ViaImage(name, [name]))
            shape = _inner_object(entry, "region_shape_attributes")
            if shape:
                place = f"{name} region {len(image.regions)}"
                attributes = _inner_object(entry, "region_attributes")
                image.regions.append(Region(path, place, shape, attributes))
    except csv.Error as error:
        raise AnnotationError(f"{printable(path)}: not valid CSV ({error})") from error
    return iter(images.values())


def _read_version_3(content: Entry, path: Path) -> list[ViaImage]:
    """Return a project of version 3: files, views of files, and regions that refer to a view."""
    images: dict[str, ViaImage] = {}
    files = content.entry("file", default={})
    for key in files.data:
        file = files.entry(key)
        name = file.file_name("fname")
        source = file.text("src", default="")
        images[str(key)] = ViaImage(name, [name, source] if source else [name])
    views: dict[str, ViaImage] = {}
    view_table = content.entry("view", default={})
    for key in view_table.data:
        for file_id in view_table.entry(key).list("fid_list", default=[]):
            if str(file_id) in images:
                views.setdefault(str(key), images[str(file_id)])
    attributes = content.entry("attribute", default={})
    metadata = content.entry("metadata")
    for key in metadata.data:
        region = metadata.entry(key)
        image = views.get(region.text("vid"))
        if image is None or not region.list("xy", default=[]):
            continue  # a label of a stretch of time, or of a whole file
        place = f"{image.name} region {len(image.regions)}"
        image.regions.append(Region(path, place, _shape_v3(region), _values_v3(region, attributes)))
    return list(images.values())


def _shape_v3(region: Entry) -> dict[str, Any]:
    """Return the shape of version 3 in the form of version 2."""
    kind, *numbers = region.numbers("xy")
    name = _KINDS_V3.get(int(kind), f"shape {kind:g}")
    if name in ("polyline", "polygon"):
        return {"name": name, "all_points_x": numbers[0::2], "all_points_y": numbers[1::2]}
    if name == "extreme_rect" and len(numbers) >= 4:
        xs, ys = numbers[0::2], numbers[1::2]
        sides = {"width": max(xs) - min(xs), "height": max(ys) - min(ys)}
        return {"name": "rect", "x": min(xs), "y": min(ys), **sides}
    return {"name": name, **dict(zip(_FIELDS.get(name, ()), numbers, strict=False))}


def _values_v3(region: Entry, attributes: Entry) -> dict[str, Any]:
    """Return attribute name -> value; choices are recorded by the number of the option."""
    values: dict[str, Any] = {}
    recorded = region.entry("av", default={})
    for key in recorded.data:
        if key not in attributes:
            continue
        attribute = attributes.entry(key)
        options = attribute.entry("options", default={})
        value = recorded.text(key, default="")
        values[attribute.text("aname", default=str(key))] = options.get(value, value)
    return values
