"""The README's Python: the first example runs as it stands, the others are valid."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import cv2
import pytest
import skimage.data

import mrcnn

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def test_first_example_detects(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cv2.imwrite("street.jpg", skimage.data.astronaut()[:, :, ::-1])
    names = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    count = len(names["result"]["rois"])
    assert "person" in ast.literal_eval(printed[0])
    assert printed[1] == f"({count}, 4) (512, 512, {count})"
    assert cv2.imread("found.jpg").shape == (512, 512, 3)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_examples_compile_and_import_names_that_exist(number):
    tree = ast.parse(BLOCKS[number])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_calls_of_examples_have_arguments_that_exist(number):
    owners = {"mrcnn": mrcnn, "model": mrcnn.MaskRCNN, "refiner": mrcnn.Refiner}
    for node in ast.walk(ast.parse(BLOCKS[number])):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = owners.get(ast.unparse(node.func.value))
        if owner is not None:
            parameters = inspect.signature(getattr(owner, node.func.attr)).parameters
            if inspect.Parameter.VAR_KEYWORD not in [one.kind for one in parameters.values()]:
                given = {keyword.arg for keyword in node.keywords}
                assert given <= set(parameters), node.func.attr


def test_there_are_examples():
    assert len(BLOCKS) == 6 and "mrcnn.load(" in BLOCKS[0]
