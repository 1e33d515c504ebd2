"""Opening of an exported model."""

from __future__ import annotations

import os
from pathlib import Path

from mrcnn.exports.description import describe_export
from mrcnn.exports.detector import ExportedModel
from mrcnn.exports.formats import FORMATS, format_of
from mrcnn.files.names import printable


def open_export(
    path: str | os.PathLike[str], *, min_confidence: float | None = None
) -> ExportedModel:
    """Load an exported model in its own runtime.

    Args:
        path: what `mrcnn.export` has written.
        min_confidence: score below which detections are left out, 0..1; None for that of the
            export, which can only be raised.

    Returns:
        A model with `detect`, `detect_stream`, `detect_tiled` and `class_names`.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the runtime is not installed.
        ValueError: it is no export, or `min_confidence` is below that of the export.
    """
    export_format = format_of(path)
    if export_format is None:
        suffixes = ", ".join(one.suffix for one in FORMATS.values() if one.suffix)
        raise ValueError(
            f"path is {printable(os.fspath(path))}; it must end in {suffixes}, or be the folder of "
            "a SavedModel"
        )
    described = describe_export(os.fspath(path), Path(path).expanduser(), export_format)
    if min_confidence is not None:
        described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    return ExportedModel(described)
