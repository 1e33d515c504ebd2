"""The built site: no warning, and nothing in it is loaded from elsewhere."""

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import NAMES, ROOT

pytest.importorskip("mkdocs", reason='the site needs the extra docs: pip install ".[docs]"')
pytest.importorskip("material", reason='the site needs the extra docs: pip install ".[docs]"')
pytest.importorskip("mkdocstrings", reason='the site needs the extra docs: pip install ".[docs]"')
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, and what the build has printed."""
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder, run.stdout + run.stderr


def test_no_warning(site):
    assert "WARNING" not in site[1] and "ERROR" not in site[1]


def test_every_page_is_there(site):
    pages = [name.replace(".md", ".html") for name in NAMES]
    pages += ["benchmarks.html", "notebooks/demo.html", "reference/mrcnn.config.html"]
    assert [page for page in pages if not (site[0] / page).is_file()] == []


def test_nothing_is_loaded_from_elsewhere(site):
    found = set()
    for path in site[0].rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text)
        found |= {tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)}
    assert found == set()


def test_settings_are_described(site):
    text = (site[0] / "reference" / "mrcnn.config.html").read_text(encoding="utf-8")
    assert "Detections that score lower are dropped." in text
    assert "Examples:" in text


def test_links_to_files_are_links_to_pages_or_text(site):
    text = (site[0] / "how-it-works.html").read_text(encoding="utf-8")
    assert 'href="notebooks.html"' in text
    assert "layers/fpn.py</code>" in text and 'fpn.py"' not in text
