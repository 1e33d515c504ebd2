"""int8 networks by post-training quantisation with NNCF, OpenVINO's own quantiser."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np

from mrcnn.engines.openvino_package import import_openvino


def quantized(models: dict[str, Any], samples: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Quantise convolutions and matrix products to 8 bits.

    Args:
        models: OpenVINO models by name.
        samples: typical inputs of those that are to be quantised. One without samples (no
            detection in any picture) stays as it is.

    Returns:
        The models by name.

    Raises:
        ImportError: without the package `nncf`.
    """
    try:
        import_openvino()  # NNCF sends its reports through the same package
        with _quiet():
            import nncf
    except ImportError as error:
        raise ImportError(f'precision "int8" needs the package nncf: {error}') from error
    result = dict(models)
    for name, inputs in samples.items():
        if not inputs:
            continue
        dataset = nncf.Dataset(inputs, lambda value: {0: value})
        with _quiet():
            result[name] = nncf.quantize(
                models[name],
                dataset,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(inputs),
            )
    return result


@contextlib.contextmanager
def _quiet():
    """Without NNCF's advice; its warnings and its progress still appear."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
