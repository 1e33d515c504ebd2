"""What the line that names the engine says about bfloat16."""

import json
import types

import pytest

from mrcnn.engines import bfloat16

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
        (ARM, "bf16", "0xd40"),
        (ARM, "crc32", None),
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
    monkeypatch.setattr(bfloat16.time, "perf_counter", lambda: next(clock))
    assert bfloat16._gain(lambda: None, lambda: 0) == 1.5


def test_products_of_openvino(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(bfloat16, "_SIDE", 16)
    library, measure = bfloat16._products("openvino")
    assert library.startswith("OpenVINO 20") and measure() > 0
