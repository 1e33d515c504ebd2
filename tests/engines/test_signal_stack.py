"""Signals after OpenVINO's cores have come and gone."""

import importlib.util
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="OpenVINO sets signal stacks on Linux"),
    pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None, reason="needs openvino: pip install openvino"
    ),
]

HANDLE = """
import faulthandler, os, signal, sys
from mrcnn.engines.signal_stack import kept_signal_stack
if sys.argv[1] == "faulthandler":  # has a stack of its own, which must come back
    faulthandler.enable()
def end():
    signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
    os.kill(os.getpid(), signal.SIGTERM)
"""
CORES = """
from mrcnn.engines.openvino_package import import_openvino
@kept_signal_stack()
def core():
    core = import_openvino().Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core
first, second = core(), core()
"""
CALIBRATED = """
import numpy as np
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.openvino_engine import OpenVINOEngine
from mrcnn.engines.quantization import quantized
ov = import_openvino()
from openvino import opset13 as ops
x = ops.parameter([1, 3, 8, 8], np.float32, name="x")
kernel = np.random.RandomState(0).randn(4, 3, 3, 3).astype(np.float32)
network = ops.convolution(x, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
models = {"trunk": ov.Model([ops.result(network)], [x], "trunk")}
engine = OpenVINOEngine.__new__(OpenVINOEngine)
engine.precision, engine._requests, engine._mapped = "int8", {}, []
engine._compile(models)
models = quantized(models, {"trunk": [np.ones((1, 3, 8, 8), np.float32)]})
first = engine._requests.pop("trunk")
engine._compile(models)
del first
engine._requests.clear()
"""


def run(code, argument=""):
    return subprocess.run(
        [sys.executable, "-c", code, argument], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("argument", ["faulthandler", "none"])
@pytest.mark.parametrize("order", ["del first, second", "del second, first", "pass"])
def test_a_signal_is_handled_after_two_cores(order, argument):
    done = run(f"{HANDLE}{CORES}{order}\nend()", argument)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_a_signal_is_handled_after_calibration():
    if importlib.util.find_spec("nncf") is None:
        pytest.skip("needs nncf: pip install openvino nncf")
    done = run(f"{HANDLE}{CALIBRATED}end()")
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["handled"]), done.stderr
