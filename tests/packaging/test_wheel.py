"""The wheel works on its own: installed into a fresh environment, it detects offline."""

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import mrcnn

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTION = "mrcnn-keras3"
# What the build reads, copied so that it leaves nothing behind in the checkout.
SOURCES = ("mrcnn", "weights", "pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in")

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    # The build tools of this environment where they are new enough; otherwise pip fetches them.
    has_tools = int(version("setuptools").partition(".")[0]) >= 77
    isolation = ["--no-build-isolation"] if has_tools else []
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation)
    run(*pip, "--wheel-dir", folder, source)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The `bin` folder of an environment with the wheel and, by path, this one's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    shared = [sysconfig.get_paths()["purelib"], *site.getsitepackages()]
    Path(paths["purelib"], "shared.pth").write_text("\n".join(dict.fromkeys(shared)))
    python = Path(paths["scripts"], "python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel)
    return Path(paths["scripts"])


@pytest.fixture
def offline(tmp_path):
    """An environment without this checkout, without a cache and without a way to a server."""
    dropped = ("PYTHONPATH", "MRCNN_", "KERAS_BACKEND", "TF_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    nowhere = "http://127.0.0.1:9"
    return {
        **kept,
        "MRCNN_HOME": str(tmp_path / "home"),
        "MRCNN_ENGINE": "keras",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
    }


def test_the_wheel_holds_the_files_that_are_no_code(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    templates = ROOT / "mrcnn" / "evaluation" / "templates"
    files = {f"mrcnn/evaluation/templates/{path.name}" for path in templates.iterdir()}
    assert {"mrcnn/py.typed", "mrcnn/evaluation/templates/page.html", *files} <= names


def test_the_wheel_is_what_is_imported(environment, offline, tmp_path):
    program = (
        "import mrcnn, importlib.metadata as m;"
        f"print(mrcnn.__file__, mrcnn.__version__, m.version({DISTRIBUTION!r}))"
    )
    output = run(environment / "python", "-c", program, cwd=tmp_path, env=offline)
    file, own, metadata = output.split()
    assert Path(file).is_relative_to(environment.parent)
    assert own == metadata == mrcnn.__version__
    told = run(environment / "mrcnn", "--version", cwd=tmp_path, env=offline)
    assert told == f"mrcnn {mrcnn.__version__}\n"


def test_the_wheel_detects_offline(environment, offline, tmp_path):
    run(environment / "mrcnn", "demo", "--output", "found", cwd=tmp_path, env=offline)
    found = json.loads((tmp_path / "found" / "detections.json").read_text(encoding="utf-8"))
    assert "motorcycle" in json.dumps(found)
    assert list((tmp_path / "found").glob("*.jp*g"))
