"""`mrcnn detect` in processes of their own: the second one needs no deep learning library."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow
PROGRAM = """
import atexit, sys
names = ("keras", "tensorflow", "scipy", "pandas", "matplotlib")
atexit.register(lambda: print("loaded", [name for name in names if name in sys.modules]))
from mrcnn.cli import main
main()
"""


def detect(photo, output, home, *options):
    """Return the detections, the libraries that were loaded, and stderr."""
    environment = {**os.environ, "MRCNN_HOME": str(home), "PYTHONPATH": os.getcwd()}
    for name in ("MRCNN_QUIET", "MRCNN_ENGINE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "detect", photo, "--output", output, *options],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1]
    return json.loads((output / "detections.json").read_text()), loaded, done.stderr


@pytest.mark.parametrize("options", [(), ("--no-refine",)])
def test_the_second_detect_finds_the_same_without_keras(options, tmp_path):
    pytest.importorskip("openvino")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("OpenVINO reads Keras on TensorFlow")
    data = pytest.importorskip("skimage.data")
    photo = tmp_path / "astronaut.png"
    cv2.imwrite(str(photo), np.ascontiguousarray(data.astronaut()[..., ::-1]))
    first, loaded, err = detect(photo, tmp_path / "1", tmp_path / "home", *options)
    assert "'tensorflow'" in loaded and first
    assert err.startswith("Engine   OpenVINO")
    second, loaded, again = detect(photo, tmp_path / "2", tmp_path / "home", *options)
    assert loaded == "loaded []"
    assert second == first and again == err
    drawn = [(tmp_path / name / "astronaut.jpg").read_bytes() for name in "12"]
    assert drawn[0] == drawn[1]
