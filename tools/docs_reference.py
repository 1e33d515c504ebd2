"""Two habits of the docstrings that the reference of the documentation has to know.

`mkdocs.yml` lists this file among the extensions of mkdocstrings. Sections of examples are called
"Example:", and settings of `Config` are described by the comment above them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SESSION = re.compile(r"^Example:$", re.M)
_CODE = re.compile(r"^Example:\n((?:    .*\n|\n)*    .*)", re.M)


class ReadHabits(griffe.Extension):
    """Give griffe's objects the docstrings that it would not see."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Call a section of examples as griffe does, and mark code in it as code."""
        if obj.docstring is None or "Example:" not in obj.docstring.value:
            return
        text = obj.docstring.value
        if ">>>" in text:
            text = _SESSION.sub("Examples:", text)
        else:
            text = _CODE.sub(r"Examples:\n    ```python\n\1\n    ```", text)
        obj.docstring.value = text

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Describe the settings of `Config` by their comments; the last comment holds on."""
        if cls.path != "mrcnn.config.Config":
            return
        lines, text = cls.lines_collection[cls.filepath], ""
        for member in cls.members.values():
            if not isinstance(member, griffe.Attribute) or member.name.startswith("_"):
                continue
            text = _comment_above(lines, member.lineno) or text
            member.docstring = griffe.Docstring(text, parent=member)


def _comment_above(lines: list[str], number: int | None) -> str:
    """Return the comment above a line, counted from 1, as one text without titles of groups."""
    last = (number or 1) - 1
    first = last
    while first and lines[first - 1].lstrip().startswith("# "):
        first -= 1
    words = [line.strip()[2:] for line in lines[first:last]]
    return " ".join(word for word in words if not word.startswith("---"))
