"""Print the public names of every package of `mrcnn` as tables in Markdown.

    python tools/api_list.py > docs/api.md

Descriptions are the first lines of docstrings, read from the source: no module that defines a name
is imported, so this takes a fraction of a second.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (
    "mrcnn",
    "mrcnn.detection",
    "mrcnn.drawing",
    "mrcnn.datasets",
    "mrcnn.datasets.open_images",
    "mrcnn.loading",
    "mrcnn.training",
    "mrcnn.evaluation",
    "mrcnn.refinement",
    "mrcnn.exports",
    "mrcnn.family",
    "mrcnn.family.rcnn",
    "mrcnn.family.semantic",
    "mrcnn.family.yolo",
    "mrcnn.checkpoints",
    "mrcnn.engines",
    "mrcnn.layers",
    "mrcnn.layers.backbones",
    "mrcnn.geometry",
    "mrcnn.files",
    "mrcnn.service",
    "mrcnn.scaling",
    "mrcnn.startup",
    "mrcnn.cli",
)
HEAD = """# Public names

Every package names its public names in `__all__`; each loads on first use. `help(name)` prints the
whole docstring. `mrcnn.model`, `mrcnn.utils`, `mrcnn.visualize` and `mrcnn.parallel_model` also
hold the names of Matterport's modules.

Written by `python tools/api_list.py > docs/api.md`.
"""


@functools.cache
def source(module: str) -> tuple[list[str], ast.Module]:
    """Return the lines of a module's source and its syntax tree."""
    path = REPOSITORY / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text)


def comment_above(lines: list[str], number: int) -> str:
    """Return the comment that ends above line `number`, counted from 0, as one text."""
    first = number
    while first and lines[first - 1].startswith("# "):
        first -= 1
    comment = [line[2:] for line in lines[first:number] if not line.startswith("# fmt:")]
    return " ".join(comment)


def describe(module: str, name: str) -> tuple[str, str]:
    """Find the first line of the docstring of a name, or the comment above a constant.

    Args:
        module: the module that defines or imports the name.
        name: a class, a function or a constant.

    Returns:
        The module that defines the name, and the text.

    Raises:
        LookupError: the module neither defines nor imports the name.
    """
    lines, tree = source(module)
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return module, (ast.get_docstring(node) or "").split("\n")[0]
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if name in [ast.unparse(target) for target in targets]:
                return module, comment_above(lines, node.lineno - 1)
        if isinstance(node, ast.ImportFrom) and name in [one.name for one in node.names]:
            return describe(node.module or "", name)
    raise LookupError(f"{module} has no {name}")


def find_home(package: str, name: str) -> str:
    """Return the module that a package takes a public name from."""
    homes = getattr(importlib.import_module(package), "_HOMES", {})
    if name not in homes:
        return package
    module = importlib.util.resolve_name(homes[name], package)
    is_package = (REPOSITORY / Path(*module.split("."))).is_dir()
    return find_home(module, name) if is_package else module


def rows(package: str) -> list[tuple[str, str, str]]:
    """Return name, module and description of each public name of a package."""
    result = []
    for name in importlib.import_module(package).__all__:
        home, text = describe(find_home(package, name), name)
        result.append((name, home, text))
    return result


def markdown() -> str:
    """Return the tables of all packages."""
    parts = [HEAD]
    for package in PACKAGES:
        title = (ast.get_docstring(source(package)[1]) or "").split("\n")[0]
        parts.append(f"\n## `{package}`\n\n{title}\n")
        parts.append("| name | module | description |\n| --- | --- | --- |")
        for name, home, text in rows(package):
            text = text.replace("|", "\\|")
            parts.append(f"| `{name}` | `{home}` | {text} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    sys.stdout.write(markdown())
