"""What the packaging files name exists, and the requirements are what they say."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "requirements.py"))
MANIFEST = [
    line.split() for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines() if line
]


@pytest.mark.parametrize("words", MANIFEST, ids=" ".join)
def test_each_pattern_of_the_manifest_matches(words):
    command, *patterns = words
    if command == "include":
        assert [name for name in patterns if not (ROOT / name).is_file()] == []
    elif command == "graft":
        assert [name for name in patterns if not (ROOT / name).is_dir()] == []
    elif command == "recursive-include":
        folder, *patterns = patterns
        assert [one for one in patterns if not any((ROOT / folder).rglob(one))] == []
    else:
        assert command == "global-exclude"


def test_every_folder_of_the_samples_is_a_package():
    folders = {path.parent for path in (ROOT / "samples").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_conda_environment_takes_no_extra_that_brings_another_opencv():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    (extras,) = re.findall(r"- -e \.\[(.*)\]", text)
    assert set(extras.split(",")) <= {"dev", "fast"}


@pytest.mark.parametrize(
    ("line", "bound"),
    [
        ("numpy>=2.0", "numpy==2.0"),
        ("tensorflow-cpu >= 2.18, <3", "tensorflow-cpu==2.18"),
        ("jax[cuda12]>=0.4.34; sys_platform == 'linux'", "jax[cuda12]==0.4.34; sys_platform =="),
    ],
)
def test_lower_bounds(line, bound):
    assert TOOL["lower_bound"](line).startswith(bound)


@pytest.mark.parametrize("line", ["keras", "keras==3.8", "keras<4", "keras>=a b"])
def test_a_requirement_without_a_lower_bound(line):
    with pytest.raises(ValueError, match=r"requirement is '.*'; it must have a lower bound"):
        TOOL["lower_bound"](line)


def test_oldest_pins_every_requirement():
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "requirements.py"), "--oldest", "aug", "dev"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.split()
    assert "keras==3.8" in lines and "opencv-python-headless==4.10.0.84" in lines
    unpinned = [line for line in lines if "==" not in line]
    assert unpinned == TOOL["IMGAUG_NEEDS"]
    assert not any(line.startswith(("imgaug", "opencv-python=")) for line in lines)
