"""docs/api.md lists the public names as they are, and each is described."""

import importlib
import importlib.util
from pathlib import Path

import pytest

import mrcnn

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "api.md"


@pytest.fixture(scope="module")
def api_list():
    spec = importlib.util.spec_from_file_location("api_list", REPOSITORY / "tools" / "api_list.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_document_is_up_to_date(api_list):
    assert DOCUMENT.read_text(encoding="utf-8") == api_list.markdown(), (
        "docs/api.md is out of date; run: python tools/api_list.py > docs/api.md"
    )


def test_every_package_is_listed_and_described(api_list):
    folders = [path.parent for path in (REPOSITORY / "mrcnn").rglob("__init__.py")]
    packages = {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders}
    assert packages == set(api_list.PACKAGES)
    for package in packages:
        assert importlib.import_module(package).__doc__.split("\n")[0].endswith(".")


def test_every_public_name_is_described(api_list):
    undescribed = [
        f"{package}.{name}"
        for package in api_list.PACKAGES
        for name, _, text in api_list.rows(package)
        if not text
    ]
    assert undescribed == []


def test_names_of_the_package_are_documented():
    text = DOCUMENT.read_text(encoding="utf-8") + (REPOSITORY / "README.md").read_text("utf-8")
    for name in mrcnn.__all__:
        assert f"`{name}`" in text or f"mrcnn.{name}" in text


def test_a_name_that_does_not_exist_is_an_error(api_list):
    with pytest.raises(LookupError, match=r"mrcnn\.config has no Nothing"):
        api_list.describe("mrcnn.config", "Nothing")
