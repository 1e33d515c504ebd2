"""The blocks of code in the Markdown files of the documentation."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NAMES = [path.relative_to(ROOT / "docs").as_posix() for path in PAGES]
# A block of Markdown: language, what else its first line says, and the text; or a comment that
# says how the next one is tested.
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^ *```$", re.M | re.S
)


@dataclass
class Block:
    """A block of code.

    Attributes:
        page: path of the page within docs/.
        line: number of its first line.
        language: python, bash, json, text, ...
        title: name of the file that it shows, or "".
        text: its content.
    """

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        """The words of each command of a bash block, without comments and variables."""
        joined = self.text.replace("\\\n", " ")
        lines = [shlex.split(line, comments=True) for line in joined.splitlines()]
        return [words for words in map(_without_variables, lines) if words]


def _without_variables(words):
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def blocks_of(page):
    """Return the blocks of a page, which is given by its path within docs/."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', match["rest"])
        line = text.count("\n", 0, match.start()) + 1
        lines = [one.removeprefix(match["indent"]) for one in match["text"].splitlines()]
        found.append(
            Block(page, line, match["language"], title[1] if title else "", "\n".join(lines) + "\n")
        )
    return found


BLOCKS = [block for page in NAMES for block in blocks_of(page)]
