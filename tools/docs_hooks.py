"""What MkDocs does beyond docs/: pages of other files, links to them, and the reference.

`mkdocs.yml` lists this file under `hooks`. Links in Markdown files name files of the repository, so
that they work where the repository is read; here they become links between the pages of the site.
A link to a file that has no page becomes its text alone.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
from base64 import b64decode
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# File of the repository -> page of the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    **{
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "weights").glob("*.md"))
    },
    **{
        path.relative_to(ROOT).as_posix(): f"notebooks/{path.stem}.md"
        for path in sorted((ROOT / "samples").rglob("*.ipynb"))
    },
}
# `mrcnn.config` is a module, the others are packages of `tools/api_list.py`.
EXTRA_REFERENCE = {"mrcnn.config": ["mrcnn.config.Config"]}
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, target in PAGES.items():
        path = ROOT / source
        if source.endswith(".ipynb"):
            add_notebook(files, config, path, target)
        elif source != "README.md":
            add(files, config, target, path.read_text(encoding="utf-8"))
    for name, objects in reference_pages().items():
        text = "\n\n".join([f"# `{name}`", *(f"::: {one}" for one in objects)])
        add(files, config, f"reference/{name}.md", text + "\n")
    return files


def add(files: Files, config: MkDocsConfig, target: str, content: str | bytes) -> None:
    """Add a file with the given content to the site."""
    files.append(File.generated(config, target, content=content))


def reference_pages() -> dict[str, list[str]]:
    """Return the objects of each page of the reference by the name of its package."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
    from api_list import PACKAGES, rows

    pages = dict(EXTRA_REFERENCE)
    for package in PACKAGES:
        if package in ("mrcnn.cli", "mrcnn.startup", "mrcnn.files", "mrcnn.engines") or (
            package == "mrcnn.layers.backbones"
        ):
            continue  # not for users of the library
        listed = {one for objects in EXTRA_REFERENCE.values() for one in objects}
        names = [(name, home) for name, home, _ in rows(package) if name != "__version__"]
        names = [(name, home) for name, home in names if f"{home}.{name}" not in listed]
        if package != "mrcnn":  # what a package shares with `mrcnn` is described there
            taken = {*pages.get("mrcnn", ())}
            names = [(name, home) for name, home in names if f"{home}.{name}" not in taken]
        pages[package] = [f"{home}.{name}" for name, home in names]
    return pages


def add_notebook(files: Files, config: MkDocsConfig, path: Path, target: str) -> None:
    """Add a notebook as a page, with its images beside it."""
    parts, folder = [], posixpath.dirname(target)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for index, output in enumerate(cell["outputs"]):
            data = output.get("data", {})
            printed = "".join(output.get("text", data.get("text/plain", [])))
            kind = next((one for one in ("image/png", "image/jpeg") if one in data), None)
            if kind is not None:
                name = f"{path.stem}_{number}_{index}.{kind[-4:].lstrip('/')}"
                add(files, config, f"{folder}/{name}", b64decode("".join(data[kind])))
                parts.append(f"![Output of the cell above]({name})")
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            elif printed:
                parts.append(f'<div class="output" markdown>\n\n```text\n{printed}\n```\n\n</div>')
    source = path.relative_to(ROOT).as_posix()
    parts.append(f"*This page is the notebook `{source}` with its stored outputs.*")
    add(files, config, target, "\n\n".join(parts) + "\n")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links between pages."""
    uri = page.file.src_uri
    sources = {target: source for source, target in PAGES.items() if source != "README.md"}
    source = sources.get(uri, f"docs/{uri}")
    blocks = re.split(r"(^```.*?^```)", markdown, flags=re.M | re.S)
    for index in range(0, len(blocks), 2):
        blocks[index] = LINK.sub(lambda match: relink(match, source, uri), blocks[index])
    return "".join(blocks)


def relink(match: re.Match[str], source: str, uri: str) -> str:
    """Return a link for the site.

    Args:
        match: a match of `LINK`.
        source: the file that it stands in, from the root of the repository.
        uri: the page of that file, from the root of the site.

    Raises:
        FileNotFoundError: there is no such file.
    """
    text, target = match.groups()
    if re.match(r"[a-z]+:|#", target):
        return match.group()
    path, _, anchor = target.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    exists = (ROOT / place).exists()
    if place.startswith("docs/reference/") or (place.startswith("docs/") and exists):
        page = place[len("docs/") :]
    elif place in PAGES:
        page = PAGES[place]
        if page == "index.md":  # another text than the README, with other headings
            anchor = ""
    elif exists:
        return text
    else:
        raise FileNotFoundError(f"{source} has a link to {target}; it must name a file")
    link = os.path.relpath(page, posixpath.dirname(uri) or ".").replace(os.sep, "/")
    return f"[{text}]({link}{'#' + anchor if anchor else ''})"
