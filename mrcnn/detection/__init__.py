"""Detection: molding, the detector, streams, tiles, inner tensors, video, and results in files.

Exports `Detector`, `ImageError` of streams, `DetectionResult`, `Detections` and the writers of
results, `VideoReader`, `VideoWriter` and `Tracker`, and `detect_files`: `mrcnn detect` from Python.
Importing the package loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.detection.detector import Detector
    from mrcnn.detection.files import detect_files
    from mrcnn.detection.result_dict import DetectionResult
    from mrcnn.detection.results import Detections, save_csv, save_json, to_coco
    from mrcnn.detection.streaming import ImageError
    from mrcnn.detection.tracking import Tracker
    from mrcnn.detection.video import VideoReader, VideoWriter

_HOMES = {
    "DetectionResult": ".result_dict",
    "Detections": ".results",
    "Detector": ".detector",
    "ImageError": ".streaming",
    "Tracker": ".tracking",
    "VideoReader": ".video",
    "VideoWriter": ".video",
    "detect_files": ".files",
    "save_csv": ".results",
    "save_json": ".results",
    "to_coco": ".results",
}

__all__ = [
    "DetectionResult",
    "Detections",
    "Detector",
    "ImageError",
    "Tracker",
    "VideoReader",
    "VideoWriter",
    "detect_files",
    "save_csv",
    "save_json",
    "to_coco",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
