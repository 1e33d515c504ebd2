"""What the line that names the engine says about bfloat16."""

import json
import types

import pytest

from mrcnn.config import Config
from mrcnn.detection import detector
from mrcnn.engines import bfloat16, selection
from mrcnn.model import MaskRCNN
from tests.tiny import tiny_config

X86 = """processor\t: 0
model name\t: Some CPU
cpu family\t: 6
model\t\t: 143
stepping\t: 8
flags\t\t: fpu sse2 {flag}

processor\t: 1
model name\t: Another
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd {flag}\nCPU part\t: 0xd40\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def two_times(monkeypatch):
    """A CPU with the instructions, on which bfloat16 is 2.04 times as fast; returns the calls."""
    calls = []

    def measure():
        calls.append(1)
        return 2.0404

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(bfloat16, "describe_cpu", lambda: "Some CPU 6 143 8")
    monkeypatch.setattr(bfloat16, "_products", lambda name: ("library 1", measure))
    return calls


def engine(precision="float32"):
    return types.SimpleNamespace(name="openvino", precision=precision)


@pytest.mark.parametrize(
    "text, flag, expected",
    [
        (X86, "avx512_bf16", "Some CPU 6 143 8"),
        (X86, "amx_bf16", "Some CPU 6 143 8"),
        (X86, "avx512f", None),
        (X86, "bf16x", None),
        (ARM, "bf16", None),
        ("", "", None),
        ("no colon", "", None),
    ],
)
def test_description_of_the_cpu(tmp_path, text, flag, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(text.format(flag=flag))
    assert bfloat16.describe_cpu(str(path)) == expected


def test_no_description_on_other_systems(tmp_path):
    assert bfloat16.describe_cpu(str(tmp_path / "none")) is None


def test_hint_is_measured_once(two_times, home):
    hint = bfloat16.bfloat16_hint(engine())
    assert hint == '; this CPU multiplies 2.0 times as fast with precision "bfloat16"'
    assert bfloat16.bfloat16_hint(engine()) == hint
    assert len(two_times) == 1
    stored = json.loads((home / "bfloat16.json").read_text())
    assert stored == {"Some CPU 6 143 8, 3 threads, library 1": 2.04}


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"key": "fast"}', '{"key": 0.0}', '{"key": NaN}', '{"key": true}']
)
def test_a_damaged_file_is_replaced(home, content):
    (home / "bfloat16.json").write_text(content)
    assert bfloat16.remembered_gain("key", lambda: 1.5) == 1.5
    assert json.loads((home / "bfloat16.json").read_text()) == {"key": 1.5}


def test_other_numbers_are_kept(home):
    (home / "bfloat16.json").write_text('{"other": 3.0}')
    assert bfloat16.remembered_gain("key", lambda: 1.5) == 1.5
    assert json.loads((home / "bfloat16.json").read_text()) == {"other": 3.0, "key": 1.5}


def test_a_folder_that_cannot_be_written(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("MRCNN_HOME", str(home / "file"))
    assert bfloat16.remembered_gain("key", lambda: 1.5) == 1.5


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_no_hint_for_another_precision(two_times, precision):
    assert bfloat16.bfloat16_hint(engine(precision)) == ""


def test_no_hint_without_instructions(two_times, monkeypatch):
    monkeypatch.setattr(bfloat16, "describe_cpu", lambda: None)
    assert bfloat16.bfloat16_hint(engine()) == "" and not two_times


def test_no_hint_for_a_small_gain(two_times, monkeypatch):
    monkeypatch.setattr(bfloat16, "_products", lambda name: ("library 1", lambda: 1.19))
    assert bfloat16.bfloat16_hint(engine()) == ""


def test_no_hint_for_keras_on_another_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert bfloat16._products("keras") is None


def test_gain_of_the_faster_function(monkeypatch):
    clock = iter([0, 9, 9, 10] + [0, 3, 3, 5] * 6)
    monkeypatch.setattr(bfloat16.time, "process_time", lambda: next(clock))
    assert bfloat16._gain(lambda: None, lambda: 0) == 1.5


def test_products_of_openvino(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(bfloat16, "_SIDE", 16)
    library, measure = bfloat16._products("openvino")
    assert library.startswith("OpenVINO 20") and measure() > 0


@pytest.mark.parametrize(
    "backbone, precision, cpu, expected",
    [
        ("nanodet_pan", "float32", "Some CPU", True),
        ("nanodet_pan", "float32", None, False),
        ("nanodet_pan", "bfloat16", "Some CPU", False),
        ("resnet50", "float32", "Some CPU", False),
        (len, "float32", "Some CPU", False),
    ],
)
def test_where_bfloat16_is_better(monkeypatch, backbone, precision, cpu, expected):
    config = Config()
    config.BACKBONE, config.PRECISION = backbone, precision
    monkeypatch.setattr(bfloat16, "describe_cpu", lambda: cpu)
    assert bfloat16.is_bfloat16_better(config) is expected


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("is_better, may_lower", [(True, True), (True, False), (False, True)])
def test_the_engine_computes_in_bfloat16_where_it_is_better(
    monkeypatch, capsys, two_times, precision, is_better, may_lower
):
    openvino_engine = pytest.importorskip("mrcnn.engines.openvino_engine")

    class Engine:
        name = "openvino"

        def __init__(self, shared, precision, calibration):
            self.precision = precision

        def prepare(self):
            pass

        def __str__(self):
            return self.precision

    monkeypatch.delenv("MRCNN_QUIET", raising=False)
    monkeypatch.setattr(openvino_engine, "OpenVINOEngine", Engine)
    monkeypatch.setattr(selection, "is_bfloat16_better", lambda config: is_better)
    shared = types.SimpleNamespace(config=None)
    made = selection.make_engine("openvino", shared, precision, fallback=True, may_lower=may_lower)
    line = capsys.readouterr().err
    if precision == "int8":
        assert made.precision == "int8" and line == "Engine   int8\n"
    elif is_better and may_lower:
        assert made.precision == "bfloat16"
        assert line.startswith("Engine   bfloat16 (faster on this CPU, AP within 0.3 points; ")
    else:
        assert made.precision == "float32"
        assert line.startswith("Engine   float32; this CPU multiplies 2.0 times as fast")


def test_a_quiet_engine_measures_nothing(monkeypatch, capsys, two_times):
    monkeypatch.setenv("MRCNN_QUIET", "1")
    monkeypatch.setattr("mrcnn.engines.keras_engine.KerasEngine", lambda shared: engine())
    selection.make_engine("keras", None, fallback=True)
    assert capsys.readouterr().err == "" and not two_times


@pytest.mark.parametrize(
    "options, variable, expected",
    [
        ({}, "auto", True),
        ({"precision": "float32"}, "auto", False),
        ({"engine": "keras"}, "auto", False),
        ({}, "keras", False),
    ],
)
def test_a_precision_by_name_is_kept(monkeypatch, tmp_path, options, variable, expected):
    asked = {}
    monkeypatch.setenv("MRCNN_ENGINE", variable)
    monkeypatch.setattr(detector, "make_engine", lambda *args, **named: asked.update(named))
    model = MaskRCNN("inference", tiny_config(), tmp_path, **options)
    assert model.engine is None
    assert asked["may_lower"] is expected
