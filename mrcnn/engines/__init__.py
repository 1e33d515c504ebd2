"""Engines that run the inference graph: images in, detections and masks out."""

from __future__ import annotations

from mrcnn.startup.lazy import lazy_names

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "Engine",
    "KerasEngine",
    "OpenVINOEngine",
    "check_choice",
    "make_engine",
]

_HOMES = {
    "ENGINES": "mrcnn.engines.selection",
    "PRECISIONS": "mrcnn.engines.selection",
    "Engine": "mrcnn.engines.base",
    "KerasEngine": "mrcnn.engines.keras_engine",
    "OpenVINOEngine": "mrcnn.engines.openvino_engine",
    "check_choice": "mrcnn.engines.selection",
    "make_engine": "mrcnn.engines.selection",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
