"""Values of annotation files, read with their type and range checked.

Every value that a reader takes from a JSON, XML, YAML or text file goes through an `Entry` or one
of the `as_...` functions, so that a broken file ends in an `AnnotationError` that names the file,
the entry, the key, the value and the rule, and never in a TypeError of an inner line. Numbers and
flags written as text ("10", "0", "true") or as 1.0 are accepted, as labeling tools write them.
"""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mrcnn.files.names import printable, shown

# A coordinate or a size beyond this is an error of the file: no image is so large, and arrays
# made from such a number would fill the memory.
MAX_NUMBER = 1e7
_MAX_ID = 2**63
_MAX_TEXT_BYTES = 4 * 2**30
_MAX_NAME_BYTES = 255
# Longer values are cut in messages.
_MAX_SHOWN = 80
_TRUE, _FALSE = {"1", "true", "yes", "y", "t", "on"}, {"0", "false", "no", "n", "f", "off", ""}
# Characters without a width: zero-width space, word joiner, byte order mark, soft hyphen and the
# marks of direction. Joiners stay: some scripts need them.
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad\u200e\u200f\u202a\u202b\u202c"))
# Labels by which LabelMe and converters of its files mark what is no object.
_NO_OBJECTS = {"_background_", "__background__", "__ignore__", "_ignore_"}

_REQUIRED: Any = object()


class AnnotationError(ValueError):
    """A value in an annotation file breaks its rule; the message names file, entry and key."""


class Entry:
    """One object of an annotation file, with the place it comes from.

    Values that are missing or null count as absent: they give `default`, or an error where the
    method is called without one.

    Attributes:
        data: the object itself.
        where: its place for error messages, such as "instances.json, annotation 12".

    Example:
        >>> entry = Entry({"iscrowd": "0", "bbox": [1, 2]}, "a.json, annotation 12")
        >>> entry.flag("iscrowd", default=False)
        False
        >>> entry.numbers("bbox", count=4)
        Traceback (most recent call last):
        ...
        mrcnn.datasets.entries.AnnotationError: a.json, annotation 12: bbox is [1, 2]; it must be \
a list of 4 numbers
    """

    __slots__ = ("data", "where")

    def __init__(self, data: Any, where: str | os.PathLike[str]):
        """Check that the value is an object.

        Args:
            data: the parsed value.
            where: its place for error messages.

        Raises:
            AnnotationError: `data` is not a mapping with text keys.
        """
        self.where = printable(os.fspath(where))
        if not isinstance(data, Mapping):
            raise AnnotationError(
                f"{self.where}: is {shown(data, _MAX_SHOWN)}; it must be an object"
            )
        self.data = data

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return the value unchanged, of any type.

        Raises:
            AnnotationError: it is absent and there is no default.
        """
        value = self.data.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            state = "null" if key in self.data else "missing"
            raise AnnotationError(f"{self.where}: {key} is {state}; it must be given")
        return default

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """Return a text; a number is written out. See `as_text`."""
        return self._read(as_text, key, default)

    def name(self, key: str, default: Any = _REQUIRED) -> str:
        """Return the name of a class, normalized and not empty. See `as_name`."""
        return self._read(as_name, key, default)

    def file_name(self, key: str, default: Any = _REQUIRED) -> str:
        """Return a text that can be the name or the path of a file. See `as_file_name`."""
        return self._read(as_file_name, key, default)

    def identifier(self, key: str, default: Any = _REQUIRED) -> int | str:
        """Return an id: a whole number where it can be read as one, else text."""
        return self._read(as_identifier, key, default)

    def integer(
        self,
        key: str,
        low: float = -MAX_NUMBER,
        high: float = MAX_NUMBER,
        default: Any = _REQUIRED,
    ) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return self._read(as_integer, key, default, low, high)

    def number(
        self,
        key: str,
        low: float = -MAX_NUMBER,
        high: float = MAX_NUMBER,
        default: Any = _REQUIRED,
    ) -> float:
        """Return a finite number from `low` to `high`, both included."""
        return self._read(as_number, key, default, low, high)

    def numbers(
        self,
        key: str,
        count: int | None = None,
        low: float = -MAX_NUMBER,
        high: float = MAX_NUMBER,
        default: Any = _REQUIRED,
    ) -> list[float]:
        """Return a list of finite numbers, of the length `count` unless that is None."""
        values = self.get(key, default)
        if values is default:
            return values
        if not isinstance(values, list | tuple) or (count is not None and len(values) != count):
            length = "" if count is None else f"{count} "
            raise self.error(key, f"a list of {length}numbers")
        return [as_number(v, self.where, f"{key}[{i}]", low, high) for i, v in enumerate(values)]

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """Return a truth value: true, 1, "1", 1.0, "yes" and their opposites. See `as_flag`."""
        return self._read(as_flag, key, default)

    def list(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a list of any values."""
        value = self.get(key, default)
        if value is not default and not isinstance(value, list):
            raise self.error(key, "a list")
        return value

    def entry(self, key: str, default: Any = _REQUIRED) -> Entry:
        """Return an inner object as an `Entry`; a default is taken as its data."""
        value = self.get(key, default)
        if not isinstance(value, Mapping):
            raise self.error(key, "an object")
        return Entry(value, f"{self.where}, {key}")

    def entries(self, key: str, noun: str, default: Any = _REQUIRED) -> Iterator[Entry]:
        """Yield the objects of a list, each an `Entry` called by its "id" or its position.

        Args:
            key: where the list is.
            noun: what an object is, for error messages: "annotation", "shape".
            default: the list to take where it is absent.

        Raises:
            AnnotationError: it is no list, or one of its items is no object.
        """
        for position, item in enumerate(self.list(key, default)):
            name = item.get("id", position) if isinstance(item, Mapping) else position
            yield Entry(item, f"{self.where}, {noun} {shown(name, _MAX_SHOWN)}")

    def error(self, key: str, rule: str) -> AnnotationError:
        """Return the error "WHERE: KEY is VALUE; it must be RULE", to be raised."""
        return _broken(self.where, key, self.data.get(key), rule)

    def _read(self, convert: Any, key: str, default: Any, *limits: float) -> Any:
        value = self.get(key, default)
        return value if value is default else convert(value, self.where, key, *limits)


def as_text(value: Any, where: object, key: str) -> str:
    """Return a text without blanks at its ends; whole numbers and flags are written out.

    Raises:
        AnnotationError: it is a list or an object, or holds a character that is none.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_ID:
        value = int(value)
    if not isinstance(value, str | int | float):
        raise _broken(where, key, value, "a text")
    text = str(value).strip()
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _broken(where, key, value, "a text of whole characters, without surrogates")
    return text


def as_name(value: Any, where: object, key: str) -> str:
    """Return the name of a class; see `normalize_name`.

    Raises:
        AnnotationError: it is no text, or empty.
    """
    name = normalize_name(as_text(value, where, key))
    if not name:
        raise _broken(where, key, value, "a name that is not empty")
    return name


def normalize_name(name: str) -> str:
    r"""Return a class name with single blanks inside, none around, and composed characters.

    Names that look the same are one class: "cat", "cat ", "cat\u00a0" and "c\u200bat".
    """
    return " ".join(unicodedata.normalize("NFC", name).translate(_INVISIBLE).split())


def marks_no_object(name: str) -> bool:
    """Return whether a class name is one by which LabelMe marks what is no object."""
    return name.lower() in _NO_OBJECTS


def as_file_name(value: Any, where: object, key: str) -> str:
    """Return a text whose parts between slashes can be names of files.

    Raises:
        AnnotationError: it is empty, too long for a file system, or holds a NUL.
    """
    text = as_text(value, where, key)
    parts = text.replace("\\", "/").split("/")
    usable = text and "\0" not in text and len(text) <= 4096
    if not usable or any(len(part.encode()) > 4 * _MAX_NAME_BYTES for part in parts):
        raise _broken(where, key, value, "the name of a file")
    return text


def as_identifier(value: Any, where: object, key: str) -> int | str:
    """Return an id: 1, 1.0, "1" and "1.0" are 1, and "a7" is "a7".

    Raises:
        AnnotationError: it is neither a whole number nor a text.
    """
    rule = "a whole number or a text"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _broken(where, key, value, rule)
    if isinstance(value, str):
        text = as_text(value, where, key)
        digits = text.removesuffix(".0").removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
            return text
        # "007" and "7" are different texts.
        return text if digits != "0" and digits.startswith("0") else int(text.removesuffix(".0"))
    if isinstance(value, float) and not value.is_integer():
        raise _broken(where, key, value, rule)
    if abs(value) >= _MAX_ID:
        raise _broken(where, key, value, f"a whole number below {_MAX_ID}")
    return int(value)


def as_number(
    value: Any, where: object, key: str, low: float = -MAX_NUMBER, high: float = MAX_NUMBER
) -> float:
    """Return a finite number from `low` to `high`, also when it is written as text.

    Raises:
        AnnotationError: it is no number, not finite, or out of range.
    """
    number = _parse_number(value)
    if number is None:
        raise _broken(where, key, value, "a finite number")
    if not low <= number <= high:
        raise _broken(where, key, value, f"a number from {low:.10g} to {high:.10g}")
    return number


def as_integer(
    value: Any, where: object, key: str, low: float = -MAX_NUMBER, high: float = MAX_NUMBER
) -> int:
    """Return a whole number from `low` to `high`: 7, 7.0, "7" and "7.0" are 7.

    Raises:
        AnnotationError: it is no whole number, or out of range.
    """
    number = _parse_number(value)
    if number is None or not number.is_integer() or not low <= number <= high:
        raise _broken(where, key, value, f"a whole number from {low:.10g} to {high:.10g}")
    return int(number)


def as_flag(value: Any, where: object, key: str) -> bool:
    """Return a truth value; true, 1, 1.0, "1", "true" and "yes" are True.

    Raises:
        AnnotationError: it is something else than these and their opposites.
    """
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, str) and word in _TRUE | _FALSE:
        return word in _TRUE
    number = _parse_number(value)
    if number not in (0.0, 1.0):
        raise _broken(where, key, value, "true or false")
    return number == 1.0


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: the file is too large, or in another encoding.
    """
    path = Path(path)
    name = printable(path)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such file")
    size = path.stat().st_size
    if size > _MAX_TEXT_BYTES:
        raise AnnotationError(f"{name} has {size} bytes; it must have at most {_MAX_TEXT_BYTES}")
    data = path.read_bytes()
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{name}: byte {error.start} is {data[error.start : error.start + 1]!r}, which is not "
            f"{encoding.upper()}; it must be saved as UTF-8"
        ) from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a JSON file; encodings as for `read_text`.

    NaN and Infinity are parsed as Python does; `as_number` refuses them.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: the file is too large, in another encoding, no JSON, or nested too deeply.
    """
    name = printable(path)
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise AnnotationError(f"{name}: not valid JSON (nested too deeply)") from error
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        raise AnnotationError(f"{name}: not valid JSON ({error})") from error


def _parse_number(value: Any) -> float | None:
    """Return the finite number that a value is or spells, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _broken(where: object, key: str, value: Any, rule: str) -> AnnotationError:
    place = printable(where)
    return AnnotationError(
        f"{place}: {printable(key)} is {shown(value, _MAX_SHOWN)}; it must be {rule}"
    )
