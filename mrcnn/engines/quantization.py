"""int8 networks by post-training quantization with NNCF, OpenVINO's own quantizer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack


@kept_signal_stack()
def quantized(models: dict[str, Any], samples: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Return models with convolutions and matrix products in 8 bits.

    Args:
        models: OpenVINO models by name.
        samples: typical inputs of those to quantize, by name. A model without samples (no
            detection in any image) is left unchanged.

    Returns:
        All models by name.

    Raises:
        ImportError: the package `nncf` is not installed.
    """
    try:
        import_openvino()  # NNCF reports its use through the same package
        with _without_advice():
            import nncf
    except ImportError as error:
        raise ImportError(
            f"precision is 'int8'; it needs the package nncf (pip install nncf): {error}"
        ) from error
    result = dict(models)
    for name, inputs in samples.items():
        if not inputs:
            continue
        dataset = nncf.Dataset(inputs, lambda value: {0: value})
        with _without_advice():
            result[name] = nncf.quantize(
                models[name],
                dataset,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(inputs),
            )
    return result


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Hide NNCF's informational messages inside the block; its warnings still appear."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
