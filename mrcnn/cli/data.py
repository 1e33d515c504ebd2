"""Opening datasets for the subcommands."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcnn.datasets import Dataset

# Arguments of a reader that are no options: they have words and options of their own.
_NOT_OPTIONS = {
    *("self", "cls", "path", "dataset_dir", "subset", "split", "classes", "class_ids", "class_map"),
    *("source", "keep_going"),
}


def open_data(
    path: str,
    format: str | None,
    subset: str | None,
    classes: list[str] | None = None,
    options: Sequence[str] | None = None,
    keep_going: bool = False,
) -> Dataset:
    """Open one part of a dataset; an empty one is an error.

    Args:
        path: the folder or annotation file.
        format: name of the format; None finds it.
        subset: the part, such as "train"; None for a dataset in one piece.
        classes: names of the classes to load; None loads all.
        options: `name=value` words for the reader of the format, see `parse_options`.
        keep_going: pass over broken annotation files where the reader can, for `check`, which
            lists them; the dataset may then be empty.

    Raises:
        ValueError: an option is unknown or malformed, or the dataset holds no image.
    """
    from mrcnn.datasets.parts import open_part
    from mrcnn.datasets.registry import find_dataset

    place: Any = path
    if format is None:
        format, place = find_dataset(path)
    parsed = parse_options(format, options or [])
    return open_part(place, format, subset, classes, parsed, keep_going)


def parse_options(format: str, words: Sequence[str]) -> dict[str, Any]:
    """Turn `name=value` words into keyword arguments of the reader of a format.

    Args:
        format: one of `mrcnn.datasets.READERS`.
        words: such as "attribute=kind" or "height=64".

    Raises:
        ValueError: a word has another form, the reader has no such option, or it is no text and
            the value is not valid JSON. The message lists the reader's options.
    """
    known = reader_options(format)
    parsed = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            listed = ", ".join(known) if known else "none"
            raise ValueError(
                f"--option is {word!r}; it must be name=value with an option of the format "
                f"{format}: {listed}"
            )
        parsed[name] = _value(word, value, str(known[name].annotation))
    return parsed


def reader_options(format: str) -> dict[str, inspect.Parameter]:
    """Return the options of the reader of a format by name."""
    from mrcnn.datasets.registry import load_reader

    reader = load_reader(format)
    functions = [reader.from_path]
    if reader.loader:
        functions.append(getattr(reader, reader.loader))
    return {
        name: parameter
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in _NOT_OPTIONS and parameter.kind != parameter.VAR_KEYWORD
    }


def _value(word: str, value: str, annotation: str) -> Any:
    """Return an option's value as the type that the reader's annotation names."""
    kinds = {kind.strip() for kind in annotation.split("|")}
    if "str" in kinds:
        return value
    if kinds & {"Sequence[str]", "list[str]"}:
        return split_names(value)
    try:
        return json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        raise ValueError(f"--option is {word!r}; its value must be of type {annotation}") from None


def split_names(names: str | None) -> list[str] | None:
    """Return the names in a comma-separated list; None for None."""
    if names is None:
        return None
    return [name.strip() for name in names.split(",") if name.strip()]
