"""Which engine runs: by name, or the fastest that is there."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import keras

from mrcnn.engines.keras_engine import KerasEngine

ENGINES = ("auto", "keras", "openvino")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


def check_choice(engine: str, precision: str | None, mode: str) -> str:
    """The engine that will run: "keras" or "openvino".

    Args:
        engine: "auto", "keras" or "openvino". The environment variable MRCNN_ENGINE says what
            "auto" means.
        precision: one of `PRECISIONS`, or None for the settings' own.
        mode: "training" or "inference". The weights of a model in training change all the time,
            and each change means a conversion, so there "auto" is Keras.

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
        elif mode == "inference" and precision != "float16" and not problem:
            # Where the CPU has no bfloat16, OpenVINO computes it in float32: faster than Keras.
            wanted = precision == "bfloat16" or _openvino_is_faster()
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


def _openvino_is_faster() -> bool:
    """Whether OpenVINO beats TensorFlow on this CPU.

    With bfloat16 instructions it does in float32 too, or is as fast: with AMX 1.81 s for the
    ResNet-101 trunk at 1024 x 1024 where TensorFlow took 2.78 s, with AVX-512 BF16 3.04 and 3.19 s,
    and 77 and 89 ms for a detection of the small model. Without them TensorFlow's float32 was 1.3
    to 1.4 times as fast as OpenVINO's (benchmarks/README.md, November 2026).
    """
    from mrcnn.engines.openvino_engine import has_bfloat16

    try:
        return has_bfloat16()
    except (ImportError, RuntimeError):  # installed, but it does not run here
        return False


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
