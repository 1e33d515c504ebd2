"""Execution of notebooks, and checks of what is stored in them.

book = run_notebook(path)             # executes a copy; an error of a cell is raised
assert stored_problems(path) == []    # outputs complete, small, without paths or warnings
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 2 * 1024 * 1024
# Folders of the machine that a notebook was executed on, and processes that complained there.
_PLACES = re.compile(r"/(?:tmp|home|root|work|Users|var)/\w|site-packages|\bW0000\b|\bI0000\b")


def run_notebook(path, timeout=600, monkeypatch=None, replaced=None):
    """Execute a copy of a notebook in its folder.

    Args:
        path: the notebook.
        timeout: seconds that a cell may take.
        monkeypatch: pytest's; with it, the environment of the kernel is set for this test only.
        replaced: text of the notebook -> what is executed instead.

    Returns:
        The notebook with new outputs, as nbformat reads it.
    """
    nbformat = pytest.importorskip("nbformat", reason="needs the extra docs")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra docs")
    # Not imported: where it is, progress is shown as in a notebook.
    if importlib.util.find_spec("ipykernel") is None:
        pytest.skip("ipykernel is not installed; it needs the extra docs")
    variables = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    for name, value in variables.items():
        if monkeypatch is not None:
            monkeypatch.setenv(name, value)
        else:
            os.environ[name] = value
    book = nbformat.read(path, as_version=4)
    for text, other in (replaced or {}).items():
        cells = [cell for cell in book["cells"] if text in cell["source"]]
        assert len(cells) == 1, text
        cells[0]["source"] = cells[0]["source"].replace(text, other)
    client = nbclient.NotebookClient(
        book, timeout=timeout, resources={"metadata": {"path": str(Path(path).parent)}}
    )
    client.execute()
    return book


def texts_of(cell):
    """Return what a cell has printed or returned, as texts."""
    for output in cell.get("outputs", []):
        if "text" in output:
            yield "".join(output["text"])
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield "".join(value)


def images_of(book):
    """Return the number of images in the outputs of a notebook."""
    kinds = [
        kind
        for cell in book["cells"]
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    return sum(kind.startswith("image/") for kind in kinds)


def stored_problems(path):
    """Return what is wrong with the stored outputs of a notebook, a sentence each."""
    nbformat = pytest.importorskip("nbformat", reason="needs the extra docs")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    problems = []
    if (size := Path(path).stat().st_size) > MAX_BYTES:
        problems.append(f"the file has {size} bytes; it must have at most {MAX_BYTES}")
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    if counts != [*range(1, len(code) + 1)]:
        problems.append(f"cells were executed in the order {counts}")
    for number, cell in enumerate(code, 1):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                problems.append(f"cell {number} ended with {output['ename']}")
            if output.get("name") == "stderr":
                problems.append(f"cell {number} wrote to stderr: {output['text'][:80]!r}")
        problems += [
            f"cell {number} shows {found.group()!r}"
            for text in texts_of(cell)
            if (found := _PLACES.search(text))
        ]
    return problems
