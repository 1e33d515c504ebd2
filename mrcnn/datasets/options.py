"""What a reader can be told besides path, part and classes, for command lines.

Each reader documents its options as arguments of its `load_...` method; this module finds them by
looking at the signature, so that a command line can list and parse them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mrcnn.datasets.entries import AnnotationError, as_flag, as_integer, as_number
from mrcnn.datasets.registry import find_format, load_reader

# Arguments that have options of their own, or make no sense on a command line.
_NOT_OPTIONS = {
    "cls", "self", "path", "dataset_dir", "subset", "classes", "keep_going", "class_map",
    "class_ids", "return_coco", "auto_download", "options", "count",
}  # fmt: skip


@dataclass(frozen=True)
class ReaderOption:
    """One option of a reader.

    Attributes:
        name: its name, an argument of the reader.
        kind: "flag", "integer", "number", "list" (of texts, separated by commas) or "text".
        default: its value when it is not given.
        help: what it does, from the reader's documentation.
    """

    name: str
    kind: str
    default: Any
    help: str

    def parse(self, text: str) -> Any:
        """Return the value that a text spells.

        Raises:
            ValueError: it is no value of this kind.
        """
        if self.kind == "flag":
            return as_flag(text, "option", self.name)
        if self.kind == "integer":
            return as_integer(text, "option", self.name)
        if self.kind == "number":
            return as_number(text, "option", self.name)
        if self.kind == "list":
            return [part.strip() for part in text.split(",") if part.strip()]
        return text


def reader_options(format: str) -> dict[str, ReaderOption]:
    """Return the options of a format's reader by name.

    Raises:
        ValueError: there is no such format.

    Example:
        >>> list(reader_options("via"))
        ['class_name', 'attribute', 'source']
    """
    reader = load_reader(format)
    functions = [reader.from_path]
    if reader.loader:
        functions.append(getattr(reader, reader.loader))
    options: dict[str, ReaderOption] = {}
    for function in functions:
        texts = _argument_texts(inspect.getdoc(function) or "")
        for name, parameter in inspect.signature(function).parameters.items():
            usable = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if usable and name not in _NOT_OPTIONS and name not in options:
                kind, default = _kind(str(parameter.annotation)), parameter.default
                default = None if default is parameter.empty else default
                options[name] = ReaderOption(name, kind, default, texts.get(name, ""))
    return options


def parse_options(path: Any, format: str | None, settings: Iterable[str]) -> dict[str, Any]:
    """Return keyword arguments for `open_dataset` from texts "NAME=VALUE".

    Args:
        path: the dataset, whose format is found out where `format` is None.
        format: one of `READERS`, or None.
        settings: texts such as "attribute=kind".

    Raises:
        ValueError: a text has another form, the format has no such option, or the value does not
            fit.
    """
    settings = list(settings)
    if not settings:
        return {}
    format = format or find_format(path)
    options = reader_options(format)
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in options:
            raise ValueError(
                f"option is {setting!r}; it must be NAME=VALUE with a NAME of the format {format}: "
                f"{', '.join(options) or 'none'}"
            )
        try:
            values[name] = options[name].parse(text)
        except AnnotationError as error:
            raise ValueError(str(error).removeprefix("option: ")) from error
    return values


def describe_options(format: str) -> str:
    """Return one line for each option of a format: its name, kind and meaning."""
    return "\n".join(
        f"{option.name} ({option.kind}): {option.help}"
        for option in reader_options(format).values()
    )


def _kind(annotation: str) -> str:
    """The kind of an argument by its annotation."""
    for word, kind in (("Sequence", "list"), ("Mapping", "list"), ("bool", "flag"),
                       ("int", "integer"), ("float", "number")):  # fmt: skip
        if re.search(rf"\b{word}\b", annotation):
            return kind
    return "text"


def _argument_texts(docstring: str) -> dict[str, str]:
    """The texts of a docstring's "Args" section by argument."""
    match = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
    texts: dict[str, str] = {}
    name = ""
    for line in match.group(1).splitlines() if match else ():
        if start := re.match(r"^ {4}(\w+): (.*)", line):
            name = start.group(1)
            texts[name] = start.group(2)
        elif name:
            texts[name] += f" {line.strip()}"
    return {key: text.strip() for key, text in texts.items()}
