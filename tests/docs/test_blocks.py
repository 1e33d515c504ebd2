"""Every block of code of the documentation runs, in the order of its page.

The pages' names of files are those of `workplace.write_files`: a new user's photographs, but small.
Trainings take one step. Every block is also checked without running it, which takes no time.
"""

import ast
import importlib
import inspect
import json
import re
import runpy

import pytest

import mrcnn
from tests.docs.pages import BLOCKS, NAMES, ROOT, blocks_of
from tests.docs.workplace import fresh_folder, run_command, run_python, shorten_trainings

# Needs several processes, buckets and a cluster; its commands and arguments are checked only.
NOT_HERE = "guides/millions.md"
RUN = [
    name
    for name in NAMES
    if name != NOT_HERE and any(b.language in ("python", "bash") for b in blocks_of(name))
]
# Pages that train, or that convert a network.
SLOW = {
    "faq.md",
    "guides/backbone.md",
    "guides/boxes-only.md",
    "guides/channels.md",
    "guides/deploy.md",
    "guides/family.md",
    "guides/few-photographs.md",
    "guides/large-images.md",
    "guides/negative-images.md",
    "guides/own-photographs.md",
    "guides/partly-labeled.md",
    "guides/sharper-masks.md",
    "guides/speed.md",
    "five-minutes.md",
}
# Packages of an extra without which the commands of a page do not run.
PACKAGES = {"guides/deploy.md": ("onnx", "tf2onnx", "onnxruntime")}
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [(b, words) for b in BLOCKS if b.language == "bash" for words in b.commands]
LANGUAGES = {"python", "bash", "json", "text"}
# What a command line may begin with, beside `mrcnn`.
PROGRAMS = {"make", "pip", "python", "python3", "source", "curl", "docker"}
# A server does not end, downloads need a network, and a region classifier needs ImageNet's values;
# the other commands run.
NOT_RUN = {"download", "serve", "region_classifier"}


@pytest.mark.parametrize(
    "page", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in RUN]
)
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    for package in PACKAGES.get(page, ()):
        pytest.importorskip(package)
    fresh_folder(tmp_path, monkeypatch)
    shorten_trainings(monkeypatch)
    blocks, names = blocks_of(page), {}
    for block in blocks:
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    for block in blocks:
        if block.language == "python" and block.title:
            runpy.run_path(block.title)
        elif block.language == "python":
            run_python(block, names)
        elif block.language == "bash":
            for words in block.commands:
                if words[0] == "mrcnn" and NOT_RUN.isdisjoint(words):
                    code = run_command(words)
                    assert code == 0, (str(block), words, capsys.readouterr())


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_languages_are_known(block):
    assert block.language in LANGUAGES
    if block.language == "json":
        json.loads(block.text)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_imports_and_arguments_exist(block):
    owners = {"mrcnn": mrcnn, "model": mrcnn.MaskRCNN, "refiner": mrcnn.Refiner}
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mrcnn":
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = owners.get(ast.unparse(node.func.value))
        if owner is not None:
            parameters = inspect.signature(getattr(owner, node.func.attr)).parameters
            if inspect.Parameter.VAR_KEYWORD not in [one.kind for one in parameters.values()]:
                assert {keyword.arg for keyword in node.keywords} <= set(parameters)


@pytest.mark.parametrize(("block", "words"), COMMANDS, ids=lambda value: str(value)[:60])
def test_commands_and_options_exist(block, words):
    if words[0] == "mrcnn":
        check_mrcnn(words[1:])
    elif words[0] == "make":
        targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(" ".join(targets).split())
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
        known = (ROOT / "pyproject.toml").read_text()
        wanted = {one for extra in extras for one in extra.split(",")}
        assert [one for one in wanted if f"\n{one} = [" not in known] == []
    elif words[0] == "python" and words[1].endswith(".py"):
        titles = {one.title for one in blocks_of(block.page)}
        assert words[1] in titles or (ROOT / words[1]).is_file()
    else:
        assert words[0] in PROGRAMS


def commands():
    """The subcommands of `mrcnn` by name."""
    import typer

    from mrcnn.cli import app

    return typer.main.get_command(app).commands


def options_of(name):
    """The options of a subcommand."""
    parameters = commands()[name].params
    return {option for one in parameters for option in (*one.opts, *one.secondary_opts)}


def check_mrcnn(words):
    """Check the name of a command and those of its options."""
    if words[0].startswith("--"):
        assert words[0] in ("--version", "--help")
        return
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
    assert given <= options_of(words[0]) | {"--help"}


def test_there_are_blocks():
    assert len(PYTHON) >= 20 and len(COMMANDS) > 30
    assert SLOW <= set(RUN)


def test_the_harness_sees_a_broken_block(tmp_path, monkeypatch):
    fresh_folder(tmp_path, monkeypatch)
    assert run_command(["mrcnn", "check", "no_such_folder"]) == 2
    assert run_command(["mrcnn", "detect", "new_photos", "--no-such-option"]) == 2
