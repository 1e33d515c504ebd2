"""What bfloat16 gains on this CPU: for the choice of the precision, and for the line that names it.

The gain is that of a small matrix product, measured once for each CPU, number of threads and
library, and remembered in the cache folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.files.atomic import write_json
from mrcnn.files.cache_dir import cache_dir
from mrcnn.files.reading import read_json_object
from mrcnn.startup.threads import requested_threads

# How Linux names the instructions of x86.
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
# Networks that lose at most 0.3 points of average precision and are at least 1.2 times as fast, see
# benchmarks/README.md.
_MEASURED_BACKBONES = ("nanodet_pan",)
# A smaller gain is not worth a word.
_LEAST_GAIN = 1.2
_SIDE, _ROUNDS = 1024, 6


def is_bfloat16_better(config: Any) -> bool:
    """Return whether OpenVINO is faster in bfloat16 on this CPU, with equal average precision.

    The instructions of the CPU decide, not a measurement: the same images have the same results at
    every start.

    Args:
        config: `Config` of the network. Measured is that of the small model alone.
    """
    is_measured = config.BACKBONE in _MEASURED_BACKBONES and config.PRECISION == "float32"
    return is_measured and describe_cpu() is not None


def bfloat16_hint(engine: Any, is_chosen: bool = False) -> str:
    """Return what the line that names the engine adds about bfloat16; "" for nothing.

    Args:
        engine: an `Engine`.
        is_chosen: the precision of `engine` was chosen by `is_bfloat16_better`.
    """
    if is_chosen:
        return ' (faster on this CPU, AP within 0.3 points; precision "float32" turns it off)'
    if getattr(engine, "precision", None) != "float32":
        return ""
    gain = cpu_gain(engine.name)
    if gain < _LEAST_GAIN:
        return ""
    return f'; this CPU multiplies {gain:.1f} times as fast with precision "bfloat16"'


def cpu_gain(engine: str) -> float:
    """Return how many times as fast this CPU multiplies in bfloat16 as in float32.

    Args:
        engine: "keras" or "openvino"; its library multiplies.

    Returns:
        1 where the CPU has no instructions for it, or the library does not compute on the CPU.
    """
    cpu = describe_cpu()
    products = _products(engine) if cpu else None
    if cpu is None or products is None:
        return 1.0
    library, measure = products
    threads = requested_threads() or os.cpu_count()
    return remembered_gain(f"{cpu}, {threads} threads, {library}", measure)


def describe_cpu(path: str = "/proc/cpuinfo") -> str | None:
    """Return the name, family, model and stepping of a CPU with bfloat16 instructions; else None.

    Args:
        path: Linux' description of the CPU. Other systems have none, and None is returned.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = [line.partition(":")[::2] for line in lines]
    facts = {name.strip(): value.strip() for name, value in reversed(pairs)}
    if not _INSTRUCTIONS & set(facts.get("flags", "").split()):
        return None
    names = ("model name", "cpu family", "model", "stepping")
    return " ".join(facts[name] for name in names if name in facts)


def remembered_gain(key: str, measure: Callable[[], float]) -> float:
    """Return the number stored under a key in the cache folder; measure and store it if missing.

    Args:
        key: what the number depends on.
        measure: returns it.
    """
    try:
        path = cache_dir() / "bfloat16.json"
        stored = read_json_object(path)
    except (OSError, RuntimeError, ValueError):  # no file, no home folder, or another content
        stored = {}
    gain = stored.get(key)
    if isinstance(gain, float) and 0 < gain < 1000:
        return gain
    gain = round(measure(), 2)
    with contextlib.suppress(OSError, RuntimeError):
        write_json(cache_dir() / "bfloat16.json", {**stored, key: gain})
    return gain


def _products(engine: str) -> tuple[str, Callable[[], float]] | None:
    """Return the name of the library that multiplies for an engine, and what measures the gain."""
    if engine == "openvino":
        version = import_openvino().__version__.split("-")[0]
        return f"OpenVINO {version}", lambda: _gain(
            _openvino_product("f32"), _openvino_product("bf16")
        )
    tf = sys.modules.get("tensorflow")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow" or tf is None:
        return None
    if tf.config.list_logical_devices("GPU"):
        return None
    return f"TensorFlow {tf.__version__}", lambda: _gain(
        _tensorflow_product(tf, "float32"), _tensorflow_product(tf, "bfloat16")
    )


def _gain(in_float32: Callable[[], Any], in_bfloat16: Callable[[], Any]) -> float:
    """Return how many times as fast the second function is, by the best of some rounds.

    CPU time of all threads is counted, which other work on the machine hardly changes.
    """
    seconds: dict[Callable[[], Any], list[float]] = {in_float32: [], in_bfloat16: []}
    for _ in range(1 + _ROUNDS):  # the first one warms up
        for product, times in seconds.items():
            begun = time.process_time()
            product()
            times.append(time.process_time() - begun)
    return min(seconds[in_float32][1:]) / min(seconds[in_bfloat16][1:])


@kept_signal_stack()
def _openvino_product(precision: str) -> Callable[[], Any]:
    """Return a function that multiplies two matrices with OpenVINO."""
    ov = import_openvino()
    from openvino import opset13

    values = np.ones((_SIDE, _SIDE), np.float32)
    given = opset13.parameter(values.shape, np.float32)
    product = opset13.matmul(given, opset13.constant(values), False, False)
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
    if threads := requested_threads():
        settings["INFERENCE_NUM_THREADS"] = threads
    model = ov.Core().compile_model(ov.Model([product], [given]), "CPU", settings)
    request = model.create_infer_request()
    request.set_input_tensor(0, ov.Tensor(values))
    return request.infer


def _tensorflow_product(tf: Any, precision: str) -> Callable[[], Any]:
    """Return a function that multiplies two matrices with TensorFlow."""
    matrix = tf.ones((_SIDE, _SIDE), precision)
    return lambda: tf.linalg.matmul(matrix, matrix).numpy()
