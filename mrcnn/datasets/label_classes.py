"""What the numbers and colors of label images mean, from a file in the folder of the dataset."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcnn.datasets.entries import AnnotationError, normalize_name, read_text
from mrcnn.files.names import printable, shown

# Files that list the classes, in the order in which they are looked for.
CLASS_FILES = ("classes.txt", "class_names.txt", "label_colors.txt", "class_dict.csv", "labels.txt")
_LINE = re.compile(r"(?:(\d+)[\s,;:]+(?:(\d+)[\s,;:]+(\d+)[\s,;:]+)?)?(\S.*)")


def find_class_file(root: Path) -> Path | None:
    """Return the file in a folder that lists the classes of its label images, or None."""
    return next((root / name for name in CLASS_FILES if (root / name).is_file()), None)


def read_class_file(path: Path) -> list[str] | dict[Any, str]:
    """Read a file that lists classes.

    Each line is a name (the classes are numbered in their order), a number and a name, or a color
    (red, green, blue) and a name. A CSV file has a header with `name`, `r`, `g` and `b`.

    Returns:
        Names by number, or a mapping from numbers or colors to names, as `LabelTable` takes them.

    Raises:
        AnnotationError: a line has another form.
    """
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path, text)
    names: list[str] = []
    values: dict[Any, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        name = normalize_name(match[4]) if match else ""
        if match is None or not name:
            raise AnnotationError(
                f"{printable(path)}, line {number} is {shown(line, 60)}; it must be a name, a "
                "number and a name, or a color and a name"
            )
        first, *others = match[1], match[2], match[3]
        if first is None:
            names.append(name)
        else:
            key: Any = int(first) if others[0] is None else (int(first), *map(int, others))
            values[key] = name
    if names and values:
        raise AnnotationError(
            f"{printable(path)} has lines with and without a number; all must be of one kind"
        )
    if not names and not values:
        raise AnnotationError(f"{printable(path)} names no class; it must have one per line")
    return values or names


def _read_csv(path: Path, text: str) -> dict[Any, str]:
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    values: dict[Any, str] = {}
    for number, row in enumerate(rows, start=2):
        plain = {str(key).strip().lower(): str(value).strip() for key, value in row.items()}
        color = [plain.get(key, "") for key in ("r", "g", "b")]
        name = normalize_name(plain.get("name", ""))
        if not name or not all(part.isdecimal() for part in color):
            raise AnnotationError(
                f"{printable(path)}, line {number} is {shown(list(row.values()), 60)}; it must "
                "have name, r, g and b"
            )
        values[tuple(int(part) for part in color)] = name
    if not values:
        raise AnnotationError(f"{printable(path)} names no class; it must have one per line")
    return values


def choose_classes(
    root: Path, classes: str | Sequence[str] | Mapping[Any, str] | None, layout: str | None
) -> str | Sequence[str] | Mapping[Any, str]:
    """Return what label images mean: what the user gave, the file in the folder, or the layout.

    Args:
        root: folder of the dataset.
        classes: as for `LabelTable`; also a list that holds "camvid" or "voc" alone.
        layout: "camvid" or "voc" where the folders are those of that dataset, or None.

    Raises:
        ValueError: nothing says it.
    """
    if classes is not None:
        given = None if isinstance(classes, str | Mapping) else list(classes)
        is_word = given is not None and len(given) == 1 and given[0] in ("camvid", "voc")
        return given[0] if given is not None and is_word else classes
    file = find_class_file(root)
    if file is not None:
        return read_class_file(file)
    if layout is not None:
        return layout
    raise ValueError(
        f"classes is None; it must name the classes of the label images of {printable(root)} in "
        f"the order of their numbers, or a file there must: {', '.join(CLASS_FILES)}"
    )
