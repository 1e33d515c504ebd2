"""Links of all Markdown files: internal ones lead to a file and a heading, others are addresses."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import ROOT

FILES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "weights/*.md")
    for path in sorted(ROOT.glob(pattern))
]
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def links_of(path):
    """The targets of the links and images of a file, without those in code."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", lambda code: "x" * len(code.group()), text)
    return _LINK.findall(text)


def anchors_of(path):
    """The anchors of the headings of a file, as GitHub and MkDocs make them."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.*)$", text, re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    problems = []
    for target in links_of(path):
        if re.match(r"[a-z]+:", target):
            parts = urlsplit(target)
            if parts.scheme not in ("https", "http") or "." not in parts.netloc:
                problems.append(f"{target}: no address")
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        if place.parent == ROOT / "docs" / "reference":
            if f"reference/{place.name}" not in _NAVIGATION:
                problems.append(f"{target}: no page of the reference")
        elif not place.exists():
            problems.append(f"{target}: no such file")
        elif anchor and anchor not in anchors_of(place):
            problems.append(f"{target}: no such heading")
    assert problems == []


def test_every_page_is_in_the_navigation():
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in _NAVIGATION] == []


def test_every_notebook_is_listed():
    text = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    notebooks = [path.relative_to(ROOT) for path in (ROOT / "samples").rglob("*.ipynb")]
    assert len(notebooks) >= 6
    assert [one.as_posix() for one in notebooks if f"(../{one.as_posix()})" not in text] == []


def test_images_of_the_documentation_are_small_and_used():
    images = [path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in images) < 3 * 1024 * 1024
    used = {(file.parent / link).resolve() for file in FILES for link in links_of(file)}
    assert [path.name for path in images if path not in used] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [a](b.md#c) and ![d](e.png)", ["b.md#c", "e.png"]),
        ("[`x[0]`](y.md)", ["y.md"]),
        ("`[no](link)`", []),
        ("```python\nlinks[0](x)\n```\n", []),
    ],
)
def test_links_are_found(tmp_path, text, expected):
    path = Path(tmp_path) / "a.md"
    path.write_text(text)
    assert links_of(path) == expected
