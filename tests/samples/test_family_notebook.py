"""The notebook from R-CNN to Mask R-CNN: it runs from top to bottom, and its images are stored."""

from __future__ import annotations

import pytest

from tests.conftest import REPOSITORY

nbformat = pytest.importorskip("nbformat")
NOTEBOOK = REPOSITORY / "samples" / "family" / "from_rcnn_to_mask_rcnn.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def num_images(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_outputs_are_stored_and_small():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(map(num_images, cells)) >= 10
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert NOTEBOOK.stat().st_size < 3e6


@pytest.mark.slow
def test_notebook_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("sklearn")
    # conftest chooses a backend of figures without notebooks.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = [num_images(cell) for cell in code_cells(notebook)]
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=1200, resources=resources).execute()
    assert [num_images(cell) for cell in code_cells(notebook)] == stored
