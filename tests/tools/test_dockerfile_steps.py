"""The Dockerfile is built and started without Docker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.scripts import import_script

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
tool = import_script("dockerfile_steps")


def test_the_container_runs_without_rights_and_is_checked():
    steps = tool.read_steps(TEXT)
    names = [name for name, _ in steps]
    assert names[0] == "FROM" and names[-1] == "ENTRYPOINT"
    values = dict(steps)
    assert re.fullmatch(r"python:3\.\d+-slim", values["FROM"])
    assert values["USER"].isdecimal() and values["USER"] != "0"
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert f":{values['EXPOSE']}/healthz" in values["HEALTHCHECK"]
    assert json.loads(values["ENTRYPOINT"])[:2] == ["mrcnn", "serve"]


def test_what_is_copied_exists_and_is_sent_to_docker():
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name, rest in tool.read_steps(TEXT):
        for path in rest.split()[:-1] if name == "COPY" else ():
            assert (ROOT / path).exists() and f"!{path}" in sent


def test_an_unknown_instruction():
    with pytest.raises(ValueError, match="instruction is ADD; it must be one of FROM, ENV, "):
        tool.read_steps("FROM x\nADD a b\n")


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="the steps are shell commands")
def test_the_steps_run(tmp_path):
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    pytest.importorskip("openvino", reason="the extra fast is not installed")
    # A user without rights must reach it.
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder.owner() == Path.home().owner() and str(folder) != "/tmp":
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "dockerfile_steps.py", tmp_path / "image", "--shared"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert '"model":"small","width":64,"height":64' in done.stdout
    # Each step that takes long is named before it begins, and again with its time.
    for begin in ("RUN python source", "RUN pip install", "ENTRYPOINT"):
        assert re.search(rf"begins +{begin}.*^ *\d+\.\d s +{begin}", done.stdout, re.S | re.M)
