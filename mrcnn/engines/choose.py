"""Which engine runs: by name, or the fastest that is there."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import keras

from mrcnn.engines.keras_engine import KerasEngine
from mrcnn.engines.openvino_package import import_openvino

ENGINES = ("auto", "keras", "openvino")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


def check_choice(engine: str, precision: str | None, mode: str, config: Any) -> str:
    """The engine that will run: "keras" or "openvino".

    Args:
        engine: "auto", "keras" or "openvino". The environment variable MRCNN_ENGINE says what
            "auto" means.
        precision: one of `PRECISIONS`, or None for the settings' own.
        mode: "training" or "inference". The weights of a model in training change all the time,
            and each change means a conversion, so there "auto" is Keras.
        config: `Config`.

    Raises:
        ValueError: for another name, or a precision that the engine does not have.
        ImportError: when OpenVINO is asked for by name and is not installed.
    """
    source = "engine"
    if engine == "auto" and os.environ.get("MRCNN_ENGINE"):
        source, engine = "MRCNN_ENGINE", os.environ["MRCNN_ENGINE"]
    if engine not in ENGINES:
        raise ValueError(f"{source} is {engine!r}; it must be one of {ENGINES}")
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {PRECISIONS}")
    problem = _why_no_openvino()
    chosen = engine
    if engine == "auto":
        chosen = "keras"
        if precision == "int8":
            chosen = "openvino"
        elif mode == "inference" and not problem and _openvino_runs():
            wanted = _openvino_is_faster(precision or config.PRECISION, config)
            chosen = "openvino" if wanted else "keras"
    if chosen == "openvino" and problem:
        wanted = 'engine "openvino"' if engine == "openvino" else 'precision "int8"'
        raise ImportError(f"{wanted} {problem}")
    if chosen == "openvino" and precision == "float16":
        raise ValueError('precision is "float16"; OpenVINO on a CPU has float32, bfloat16 and int8')
    if chosen == "keras" and precision == "int8":
        raise ValueError('precision is "int8"; only engine "openvino" has it')
    return chosen


def is_free(engine: str) -> bool:
    """Whether neither the argument nor the environment names an engine."""
    return engine == "auto" and os.environ.get("MRCNN_ENGINE", "auto") == "auto"


def _why_no_openvino() -> str | None:
    """What is missing; None where it can run."""
    if keras.backend.backend() != "tensorflow":
        return f"needs Keras on TensorFlow; this is Keras on {keras.backend.backend()}"
    if importlib.util.find_spec("openvino") is None:
        return 'needs the package openvino: pip install "mrcnn[fast]"'
    return None


def _openvino_runs() -> bool:
    try:
        import_openvino()
    except (ImportError, RuntimeError):  # installed, but it does not run here
        return False
    return True


def _openvino_is_faster(precision: str, config: Any) -> bool:
    """Whether OpenVINO beats TensorFlow on a CPU.

    In float32 it does where all pictures have one size: 1.2 times as fast with the ResNets on AVX2,
    1.1 times with ResNet-101's trunk on AVX-512. With the small model Keras was 1.1 times as fast
    on AVX2 and OpenVINO on AVX-512. The network for any size takes longer, as it has direct
    convolutions (`mrcnn.engines.openvino_engine.convert` says why), and then Keras is as fast or
    faster. Where a CPU has no bfloat16, OpenVINO computes in float32, TensorFlow in a slow
    imitation (benchmarks/README.md, November 2026).
    """
    from mrcnn.engines.openvino_engine import fixed_sides

    if precision == "float32":
        return fixed_sides(config) is not None
    return precision == "bfloat16"


def make_engine(
    chosen: str,
    shared: Any,
    precision: str = "float32",
    calibration: Callable[[], list[tuple]] | None = None,
    free: bool = False,
) -> Any:
    """The engine of that name on the weights of `shared`, ready to run.

    Args:
        chosen: from `check_choice`.
        shared: `mrcnn.graphs.SharedLayers`; Keras computes in the precision it was built with.
        precision: of OpenVINO.
        calibration: see `OpenVINOEngine`.
        free: nobody asked for an engine by name: say which one it is, and take Keras where OpenVINO
            fails.
    """
    if chosen == "keras":
        engine = KerasEngine(shared)
        if free:
            say(f"Engine   {engine}")
        return engine
    try:
        from mrcnn.engines.openvino_engine import OpenVINOEngine

        engine = OpenVINOEngine(shared, precision, calibration)
        engine.prepare()
    except (ImportError, RuntimeError) as error:
        if not free or precision == "int8":
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        say(f"Engine   Keras, as OpenVINO fails here: {reason}")
        return KerasEngine(shared)
    if free:
        say(f"Engine   {engine}")
    return engine


def say(line: str) -> None:
    """One line on the terminal; MRCNN_QUIET=1 keeps it back."""
    if os.environ.get("MRCNN_QUIET", "") in ("", "0"):
        print(line, file=sys.stderr)
