"""Selection of the engine: by name, or the fastest that is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

from mrcnn.engines.base import Engine, Inputs
from mrcnn.engines.bfloat16 import bfloat16_hint, is_bfloat16_better
from mrcnn.files.names import printable
from mrcnn.startup.backend import backend_name

# Values of `engine`; "auto" is OpenVINO where it can run, else Keras.
ENGINES = ("auto", "keras", "openvino")
# Values of `precision`; "int8" needs OpenVINO.
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


def check_choice(engine: str, precision: str | None, mode: str, config: Any) -> str:
    """Return the engine to use: "keras" or "openvino".

    Args:
        engine: "auto", "keras" or "openvino". The environment variable MRCNN_ENGINE replaces
            "auto".
        precision: one of `PRECISIONS`, or None for `config.PRECISION`.
        mode: "training" or "inference". Each change of the weights means a conversion for
            OpenVINO, so "auto" is Keras in training.
        config: `Config`.

    Raises:
        ValueError: an unknown name, or a precision or a network that the engine does not have.
        ImportError: OpenVINO is requested by name, or by precision "int8", and cannot run on this
            installation.
    """
    source = "engine"
    if engine == "auto" and os.environ.get("MRCNN_ENGINE"):
        source, engine = "MRCNN_ENGINE", os.environ["MRCNN_ENGINE"]
    if engine not in ENGINES:
        raise ValueError(f"{source} is {engine!r}; it must be one of {', '.join(ENGINES)}")
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    missing = _missing_for_openvino()
    unsuited = _unsuited_for_openvino(config)
    chosen = engine
    if engine == "auto":
        can_run = not (missing or unsuited) or precision == "int8"
        chosen = _fastest(precision, mode, config) if can_run else "keras"
    cause = "engine is 'openvino'" if engine == "openvino" else "precision is 'int8'"
    if chosen == "openvino" and unsuited:
        raise ValueError(f"{cause}; it {unsuited}")
    if chosen == "openvino" and missing:
        raise ImportError(f"{cause}; it {missing}")
    if chosen == "openvino" and precision == "float16":
        raise ValueError(
            "precision is 'float16'; it must be 'float32', 'bfloat16' or 'int8' for engine "
            "'openvino'"
        )
    if chosen == "keras" and precision == "int8":
        raise ValueError("precision is 'int8'; it must be another one for engine 'keras'")
    return chosen


def is_automatic(engine: str) -> bool:
    """Return whether neither the argument nor the environment variable names an engine."""
    return engine == "auto" and os.environ.get("MRCNN_ENGINE", "auto") == "auto"


def make_engine(
    chosen: str,
    shared: Any,
    precision: str = "float32",
    calibration: Callable[[], list[Inputs]] | None = None,
    fallback: bool = False,
    may_lower: bool = False,
) -> Engine:
    """Return the engine of that name on the weights of `shared`, ready to run.

    Args:
        chosen: "keras" or "openvino", see `check_choice`.
        shared: `mrcnn.graphs.SharedLayers`. Keras computes in the precision it was built with.
        precision: of OpenVINO.
        calibration: see `OpenVINOEngine`.
        fallback: no engine is requested by name. Print which one runs, and use Keras with a line of
            warning where OpenVINO cannot start. int8 has no such substitute.
        may_lower: no precision is requested by name. OpenVINO computes in bfloat16 instead of
            float32 where that is better, see `lowered_precision`.

    Raises:
        ImportError: a library of the engine cannot be loaded.
        ValueError: int8 without anything to calibrate with.
        RuntimeError: the engine cannot start for another reason.
    """
    engine: Engine
    is_lowered = False
    if chosen == "keras":
        from mrcnn.engines.keras_engine import KerasEngine

        engine = KerasEngine(shared)
    else:
        try:
            from mrcnn.engines.openvino_engine import OpenVINOEngine

            running = lowered_precision(precision, shared.config) if may_lower else precision
            is_lowered = running != precision
            engine = OpenVINOEngine(shared, running, calibration)
            engine.prepare()
        # Any exception of another library: NameError on a new Python, OSError for a shared
        # library, its own exceptions.
        except Exception as error:
            reason = printable(str(error).strip().partition("\n")[0]) or "no reason given"
            if fallback and precision != "int8":
                _print_line(
                    f"Warning  OpenVINO cannot start ({type(error).__name__}: {reason}); "
                    "Keras runs instead"
                )
                return make_engine("keras", shared, fallback=True)
            if isinstance(error, ValueError) and precision == "int8":
                raise
            kind = ImportError if isinstance(error, ImportError) else RuntimeError
            raise kind(
                f"engine 'openvino' cannot start: {type(error).__name__}: {reason}"
            ) from error
    if fallback:
        announce(engine, is_lowered)
    return engine


def can_compile() -> bool:
    """Return whether OpenVINO may run networks beside the detector's: nothing speaks for Keras."""
    return os.environ.get("MRCNN_ENGINE") != "keras" and _missing_for_openvino() is None


def lowered_precision(precision: str, config: Any) -> str:
    """Return the precision of OpenVINO where none is requested by name: bfloat16 if it is better.

    Args:
        precision: that of the settings.
        config: `Config` of the network.
    """
    return "bfloat16" if precision == "float32" and is_bfloat16_better(config) else precision


def announce(engine: Engine, is_lowered: bool = False) -> None:
    """Print a line about the engine that runs to stderr unless MRCNN_QUIET is set.

    Args:
        engine: it is named.
        is_lowered: `lowered_precision` chose its precision.
    """
    if not _is_quiet():
        _print_line(f"Engine   {engine}{bfloat16_hint(engine, is_lowered)}")


def _missing_for_openvino() -> str | None:
    """Return the reason why OpenVINO cannot run here; None if there is none."""
    if backend_name() != "tensorflow":
        return f"needs Keras on TensorFlow; this is Keras on {backend_name()}"
    try:
        is_installed = importlib.util.find_spec("openvino") is not None
    except ValueError:  # a module without a specification: whether it works is seen at the start
        is_installed = True
    return None if is_installed else "needs the package openvino: pip install openvino"


def _unsuited_for_openvino(config: Any) -> str | None:
    """Return the reason why OpenVINO cannot run this network; None if there is none."""
    if not config.USE_RPN:
        return "needs a network with RPN; USE_RPN is False"
    return None if config.ROI_POOLING == "align" else "needs ROI_POOLING 'align'; it is 'max'"


def _fastest(precision: str | None, mode: str, config: Any) -> str:
    """Return the engine for "auto" where OpenVINO is installed.

    In float32 OpenVINO is faster where all images have one size: 1.2 times with the ResNets on
    AVX2, 1.1 times with ResNet-101 on AVX-512. With the small model Keras was 1.1 times as fast on
    AVX2 and OpenVINO on AVX-512. A network for any size has direct convolutions (see
    `mrcnn.engines.conversion.convert`) and is as fast as Keras or slower. In bfloat16 on a CPU
    without such instructions OpenVINO computes in float32, where TensorFlow emulates bfloat16
    slowly (benchmarks/README.md, November 2026).
    """
    from mrcnn.engines.conversion import fixed_sides

    if precision == "int8":
        return "openvino"
    if mode != "inference":
        return "keras"
    precision = precision or config.PRECISION
    if precision == "float32" and fixed_sides(config) is not None:
        return "openvino"
    return "openvino" if precision == "bfloat16" else "keras"


def _print_line(line: str) -> None:
    """Print a line to stderr unless MRCNN_QUIET is set."""
    if not _is_quiet():
        print(line, file=sys.stderr)


def _is_quiet() -> bool:
    """Return whether MRCNN_QUIET is set."""
    return os.environ.get("MRCNN_QUIET", "") not in ("", "0")
