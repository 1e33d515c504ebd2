"""int8 networks by post-training quantization with NNCF, OpenVINO's own quantizer."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.startup.logs import log_level


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
        with log_level("nncf", logging.WARNING):  # without its informational messages
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
        with log_level("nncf", logging.WARNING):  # without its informational messages
            result[name] = nncf.quantize(
                models[name],
                dataset,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(inputs),
            )
    return result
