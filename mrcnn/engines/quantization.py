"""int8 networks by post-training quantization with NNCF, OpenVINO's own quantizer."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.startup.logs import log_level

# int8 costs a fitting network a point of AP; one that loses half of its objects does not fit.
_LEAST_SHARE = 0.5


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


def check_same_objects(expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    """Check that a quantized network finds the objects that the network before it finds.

    Args:
        expected: detections of the network in float32 for each calibration image, `[N, 6]` of
            (y1, x1, y2, x2, class_id, score), zero rows last.
        found: those of the quantized network.

    Raises:
        ValueError: fewer than half of the objects are found, with their class and an IoU of at
            least 0.5.
    """
    total = same = 0
    for before, after in zip(expected, found):
        before, after = before[before[:, 4] > 0], after[after[:, 4] > 0]
        total += len(before)
        if len(before) and len(after):
            overlaps = compute_overlaps(before[:, :4], after[:, :4])
            overlaps[before[:, None, 4] != after[None, :, 4]] = 0
            same += int((overlaps.max(axis=1) >= 0.5).sum())
    if same < _LEAST_SHARE * total:
        raise ValueError(
            "precision is 'int8'; it must be 'float32' or 'bfloat16' for these weights: of "
            f"{total} objects in the calibration images, the network in 8 bits finds {same}"
        )
