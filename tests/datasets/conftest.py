"""Fixtures of the dataset tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir(shared_dir: Path) -> Path:
    """Folder with small parts of public datasets; skips where it is absent."""
    folder = shared_dir / "data"
    if not folder.is_dir():
        pytest.skip(f"data sets not found at {folder}")
    return folder
