"""Models for other runtimes: TensorFlow's SavedModel, ONNX, OpenVINO and LiteRT.

    export       write a model, and check it in its own runtime
    open_export  load an exported model for `detect`

An export takes raw images of any size and number and returns boxes in pixels, classes, scores and
masks, without this package. Writing needs Keras on TensorFlow and the extra "export".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.startup.lazy import lazy_names

if TYPE_CHECKING:
    from mrcnn.exports.opening import open_export
    from mrcnn.exports.writing import ExportError, ExportReport, export

_HOMES = {
    "ExportError": "mrcnn.exports.writing",
    "ExportReport": "mrcnn.exports.writing",
    "export": "mrcnn.exports.writing",
    "open_export": "mrcnn.exports.opening",
}
__all__ = ["ExportError", "ExportReport", "export", "open_export"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
