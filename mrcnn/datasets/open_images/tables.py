"""The Open Images tables: where they are, and streaming readers for them.

The train tables have millions of rows, so every reader here is a generator that yields the
wanted rows and holds one at a time. Columns are found by their names in the header line, since
the v5, v6 and v7 files differ in some. Image ids and mask file names become parts of addresses
and paths; a row whose id or name has another form is refused.

Format: https://storage.googleapis.com/openimages/web/download_v7.html
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mrcnn.files.names import printable

SPLITS = ("train", "validation", "test")

# Where each table is under https://storage.googleapis.com/openimages/. Only the last part of
# the address is used on disk.
CLASS_TABLE = "v7/oidv7-class-descriptions-boxable.csv"
CLASS_TABLE_V5 = "v5/class-descriptions-boxable.csv"
MASK_CLASSES = "v5/classes-segmentation.txt"
MASK_TABLES = {split: f"v5/{split}-annotations-object-segmentation.csv" for split in SPLITS}
BOX_TABLES = {
    "train": "v6/oidv6-train-annotations-bbox.csv",
    "validation": "v5/validation-annotations-bbox.csv",
    "test": "v5/test-annotations-bbox.csv",
}
IMAGE_TABLES = {
    "train": "2018_04/train/train-images-boxable-with-rotation.csv",
    "validation": "2018_04/validation/validation-images-with-rotation.csv",
    "test": "2018_04/test/test-images-with-rotation.csv",
}

_MASK_COLUMNS = ("MaskPath", "ImageID", "LabelName", "BoxYMin", "BoxXMin", "BoxYMax", "BoxXMax")
_BOX_COLUMNS = (
    "ImageID", "LabelName", "YMin", "XMin", "YMax", "XMax",
    "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside",
)  # fmt: skip
_IMAGE_COLUMNS = ("ImageID", "OriginalLandingURL", "License", "Author", "Title", "Rotation")
_CLASS_ID = re.compile(r"/[a-z]/[0-9a-z_]+")
_IMAGE_ID = re.compile(r"[0-9a-f]{16}")
_MASK_FILE = re.compile(r"[0-9a-f]{16}_[0-9a-z_]+_[0-9a-f]{8}\.png")
# Up to this number of classes a search for ",CLASS," in the line is faster than splitting it.
_MAX_NEEDLES = 16
# Characters of a line that an error message shows.
_SHOWN = 80


class OpenImagesFolder:
    """The layout of a folder that `mrcnn download open-images` fills.

    DIR/tables/NAME.csv             the official tables, under their own names
    DIR/images/SPLIT/IMAGEID.jpg
    DIR/masks/SPLIT/IMAGEID_CLASS_BOXID.png
    DIR/archives/SPLIT-masks-X.zip  while they are needed, or with --keep-archives
    DIR/classes.csv                 the classes asked for, as id,name
    DIR/manifest.jsonl              size and checksum of each finished file
    """

    def __init__(self, root: str | os.PathLike[str]):
        """Name the files of a folder, which need not exist.

        Args:
            root: the folder.
        """
        self.root = Path(root)
        self.classes = self.root / "classes.csv"
        self.manifest = self.root / "manifest.jsonl"

    def table(self, address: str) -> Path:
        """Return the path of the table whose address under the official server is given."""
        return self.root / "tables" / address.rpartition("/")[2]

    def find_table(self, *addresses: str) -> Path:
        """Return the first of some tables that exists, in `tables/` or in DIR itself.

        Raises:
            FileNotFoundError: none exists.
        """
        for address in addresses:
            for path in (self.table(address), self.root / self.table(address).name):
                if path.is_file():
                    return path
        names = " or ".join(self.table(address).name for address in addresses)
        raise FileNotFoundError(f"no {names} in {self.root / 'tables'} or {self.root}")

    def images(self, split: str) -> Path:
        """Return the folder of the images of a split."""
        return self.root / "images" / split

    def masks(self, split: str) -> Path:
        """Return the folder of the masks of a split."""
        return self.root / "masks" / split

    def archive(self, split: str, first: str) -> Path:
        """Return the path of the mask archive of the image ids that begin with `first`."""
        return self.root / "archives" / f"{split}-masks-{first}.zip"


class MaskRow(NamedTuple):
    """One row of the segmentation table: one instance and its mask file.

    `box` is (y1, x1, y2, x2) as fractions of height and width in 0..1.
    """

    file_name: str
    image_id: str
    class_id: str
    box: tuple[float, float, float, float]


class BoxRow(NamedTuple):
    """One row of the box table.

    `box` is (y1, x1, y2, x2) as fractions of height and width in 0..1. The flags are True,
    False or None (unknown).
    """

    image_id: str
    class_id: str
    box: tuple[float, float, float, float]
    is_occluded: bool | None
    is_truncated: bool | None
    is_group_of: bool | None
    is_depiction: bool | None
    is_inside: bool | None


class ImageRow(NamedTuple):
    """One row of the image table: where an image is from, and how it is rotated.

    `rotation` is 0, 90, 180 or 270: degrees counter-clockwise by which the stored pixels, and
    with them boxes and masks, must be rotated to be upright; None if unknown.
    """

    image_id: str
    landing_url: str
    license: str
    author: str
    title: str
    rotation: int | None


def read_class_table(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return class id -> class name, in file order, with or without the header line.

    Raises:
        ValueError: a row is not a class id and a name.
    """
    names = {}
    with open(path, encoding="utf-8-sig", newline="") as stream, _csv_errors(path):
        for number, row in enumerate(csv.reader(stream), 1):
            if not row or row[:2] == ["LabelName", "DisplayName"]:
                continue
            if len(row) < 2 or not _CLASS_ID.fullmatch(row[0]) or not row[1].strip():
                shown = printable(",".join(row)[:_SHOWN])
                raise ValueError(f"{path}, line {number}: {shown!r} is not a class id and a name")
            names[row[0]] = row[1]
    return names


def read_class_ids(path: str | os.PathLike[str]) -> list[str]:
    """Return the class ids of a file with one in each line, such as classes-segmentation.txt."""
    with open(path, encoding="utf-8-sig") as stream, _csv_errors(path):
        return [line.strip() for line in stream if line.strip()]


def resolve_classes(wanted: Iterable[str], table: dict[str, str]) -> dict[str, str]:
    """Return {class id: class name} of class names or ids, in the order asked for.

    Names are compared without regard to case: `motorcycle` is `Motorcycle`.

    Args:
        wanted: names (`Motorcycle`) and ids (`/m/04_sv`), mixed.
        table: id -> name, of `read_class_table`.

    Raises:
        ValueError: no class at all, a class twice, or one that the table does not have.
    """
    if isinstance(wanted, str):
        raise ValueError(f"classes is {wanted!r}; it must be a list of class names or ids")
    by_name = {name.casefold(): class_id for class_id, name in table.items()}
    found: dict[str, str] = {}
    for item in wanted:
        class_id = item if item in table else by_name.get(item.strip().casefold())
        if class_id is None:
            near = difflib.get_close_matches(item.casefold(), by_name, n=3)
            hint = " or ".join(table[by_name[name]] for name in near)
            raise ValueError(
                f"classes has {item!r}: no Open Images class has this name or id"
                + (f"; did you mean {hint}?" if hint else "")
            )
        if class_id in found:
            raise ValueError(f"classes has {table[class_id]!r} ({class_id}) twice")
        found[class_id] = table[class_id]
    if not found:
        raise ValueError("classes is empty: name at least one class")
    return found


def iter_masks(
    path: str | os.PathLike[str], class_ids: Collection[str] | None = None, first: str = ""
) -> Iterator[MaskRow]:
    """Yield the rows of a segmentation table.

    Args:
        path: `{split}-annotations-object-segmentation.csv`.
        class_ids: only rows of these classes; None for all.
        first: only image ids that begin with these digits; mask archives are split by one.
    """
    for file_name, image_id, class_id, *corners in _rows(path, _MASK_COLUMNS, class_ids, first):
        if class_ids is None or class_id in class_ids:
            _require(_MASK_FILE, file_name, path, "MaskPath")
            _require(_IMAGE_ID, image_id, path, "ImageID")
            yield MaskRow(file_name, image_id, class_id, _box(corners, path, image_id))


def iter_boxes(
    path: str | os.PathLike[str], class_ids: Collection[str] | None = None
) -> Iterator[BoxRow]:
    """Yield the rows of a box table (v5 and v6 columns), of these classes or of all."""
    known = {"1": True, "0": False}
    for image_id, class_id, *values in _rows(path, _BOX_COLUMNS, class_ids):
        if class_ids is None or class_id in class_ids:
            _require(_IMAGE_ID, image_id, path, "ImageID")
            box = _box(values[:4], path, image_id)
            yield BoxRow(image_id, class_id, box, *map(known.get, values[4:]))


def iter_images(
    path: str | os.PathLike[str], image_ids: Collection[str] | None = None
) -> Iterator[ImageRow]:
    """Yield the rows of an image table, of these image ids or of all."""
    for image_id, *texts, rotation in _rows(path, _IMAGE_COLUMNS):
        if image_ids is None or image_id in image_ids:
            landing_url, license_url, author, title = texts
            yield ImageRow(
                image_id, landing_url, license_url, author, title, _angle(rotation, path, image_id)
            )


def check_table(path: str | os.PathLike[str], address: str) -> None:
    """Check that a file is the table of an address: its columns, and that no line is cut.

    Raises:
        ValueError: it is something else, such as a login page, or cut.
    """
    if address in (CLASS_TABLE, CLASS_TABLE_V5):
        if not read_class_table(path):
            raise ValueError(f"{path} has no classes")
        return
    if address == MASK_CLASSES:
        names = read_class_ids(path)
        if not names or not all(map(_CLASS_ID.fullmatch, names)):
            raise ValueError(f"{path} is not a list of class ids")
        return
    columns = {**dict.fromkeys(MASK_TABLES.values(), _MASK_COLUMNS),
               **dict.fromkeys(BOX_TABLES.values(), _BOX_COLUMNS),
               **dict.fromkeys(IMAGE_TABLES.values(), _IMAGE_COLUMNS)}[address]  # fmt: skip
    if next(_rows(path, columns), None) is None:
        raise ValueError(f"{path} has no rows")
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise ValueError(f"{path}: its last line is cut")


def image_ids_of(
    path: str | os.PathLike[str], address: str, class_ids: Collection[str]
) -> set[str]:
    """Return the image ids of an image table, or those with these classes of a box table."""
    if address in IMAGE_TABLES.values():
        return {row.image_id for row in iter_images(path)}
    return {row.image_id for row in iter_boxes(path, class_ids)}


def is_mask_name(name: str) -> bool:
    """Return whether a text has the form of a mask file's name."""
    return _MASK_FILE.fullmatch(name) is not None


def _angle(text: str, path: str | os.PathLike[str], image_id: str) -> int | None:
    if text in ("", "nan"):
        return None
    try:
        return int(float(text)) % 360
    except (ValueError, OverflowError):
        raise ValueError(
            f"{path}: the Rotation of {image_id} is {text!r}; it must be a number"
        ) from None


def _rows(
    path: str | os.PathLike[str],
    columns: tuple[str, ...],
    class_ids: Collection[str] | None = None,
    first: str = "",
) -> Iterator[list[str]]:
    """Yield the values of `columns`, row by row.

    `class_ids` and `first` drop only lines that cannot match, before they are split; the
    caller looks at the rest. (A line is a row where they are given: the mask and box tables
    quote nothing, while a title in the image table may hold anything.)
    """
    with open(path, encoding="utf-8-sig", newline="") as stream, _csv_errors(path):
        header = next(csv.reader(stream), [])
        missing = [name for name in columns if name not in header]
        if missing:
            shown = printable(",".join(header)[:_SHOWN])
            raise ValueError(
                f"{path} has no column {', '.join(missing)}; its first line is {shown!r}"
            )
        positions = [header.index(name) for name in columns]
        lines: Iterable[str] = stream
        if first:
            lines = (line for line in lines if line.startswith(first))
        if class_ids is not None and len(class_ids) <= _MAX_NEEDLES:
            needles = [f",{class_id}," for class_id in class_ids]
            lines = (line for line in lines if any(needle in line for needle in needles))
        for row in csv.reader(lines):
            if row and len(row) != len(header):
                shown = printable(",".join(row)[:_SHOWN])
                raise ValueError(
                    f"{path}: {shown!r} has {len(row)} values; it must have {len(header)}"
                )
            if row:
                yield [row[position] for position in positions]


@contextlib.contextmanager
def _csv_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise what is no CSV or no UTF-8 as a ValueError with the file's name."""
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV table in UTF-8 ({error})") from error


def _require(form: re.Pattern[str], text: str, path: str | os.PathLike[str], column: str) -> None:
    if not form.fullmatch(text):
        shown = printable(repr(text[:_SHOWN]))
        raise ValueError(f"{path}: {column} is {shown}; it must have the form {form.pattern}")


def _box(
    values: list[str], path: str | os.PathLike[str], image_id: str
) -> tuple[float, float, float, float]:
    try:
        y1, x1, y2, x2 = map(float, values)
        usable = all(-1 <= edge <= 2 for edge in (y1, x1, y2, x2))  # also not nan
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"{path}: a box of {image_id} is {values}; it must be four fractions of the image"
        )
    return y1, x1, y2, x2
