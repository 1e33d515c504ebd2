"""The functions that CONTRIBUTING.md follows an image and a dataset through exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = re.findall(r"`([\w/]+\.py): ([\w.]+)`", (ROOT / "CONTRIBUTING.md").read_text())


def test_the_paths_are_found():
    assert len(PLACES) > 25
    assert len(set(PLACES)) == len(PLACES)  # none is visited twice


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_the_function_exists(file, name):
    body = ast.parse((ROOT / "mrcnn" / file).read_text()).body
    for part in name.split("."):
        found = [
            node
            for node in body
            if part in {getattr(node, "name", None), *map(target_name, targets(node))}
        ]
        assert found, f"{part} is not in {file}"
        body = getattr(found[0], "body", [])


def targets(node):
    """The targets of an assignment."""
    return getattr(node, "targets", None) or [getattr(node, "target", None)]


def target_name(target):
    return getattr(target, "id", None)
