"""Export of a model: write it, load it in its own runtime, compare, and only then keep it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mrcnn.detection.eager import eager_mode
from mrcnn.detection.molding import read_if_path
from mrcnn.exports.agreement import Agreement, compare
from mrcnn.exports.description import describe_export, written_text
from mrcnn.exports.detector import ExportedModel
from mrcnn.exports.formats import (
    MASKS,
    PRECISIONS,
    ExportFormat,
    check_choice,
    check_path,
    format_named,
)
from mrcnn.exports.graph import ExportGraph
from mrcnn.files.atomic import atomic_files

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN

_TIMED_RUNS = 3


class ExportError(ArithmeticError):
    """An export disagrees with the model that it was made from; nothing was written."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how it compares with `detect`.

    Attributes:
        path: the file or folder.
        export_format: its format.
        precision: "float32" or "float16", of the stored weights.
        num_bytes: size of the file or files.
        agreement: of the export with `detect`, on a photograph and its mirror image.
        milliseconds: time for one image of that size with the export.
        detect_milliseconds: time of `detect` for it.
        runtime: name and version of what ran the export.
    """

    path: Path
    export_format: ExportFormat
    precision: str
    num_bytes: int
    agreement: Agreement
    milliseconds: float
    detect_milliseconds: float
    runtime: str


def export(
    model: MaskRCNN | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    format: str = "onnx",
    *,
    precision: str = "float32",
    masks: str = "image",
    image: Any = None,
) -> ExportReport:
    """Write a model for another runtime, and check it there.

    The exported model takes raw images, `[batch, height, width, channels]` uint8 RGB of any size
    and number, and returns boxes in their pixels, classes, scores and masks; see the outputs in
    `mrcnn.exports.graph.ExportGraph`. Resizing, anchors and non-maximum suppression are part of the
    graph. `mrcnn.exports.open_export` loads it for `detect`.

    Args:
        model: a `MaskRCNN` with `IMAGE_RESIZE_MODE` "square", or what `mrcnn.load` takes.
        path: the file (for "saved_model" the folder) to write. None makes a name from that of the
            weights, in the current folder.
        format: "saved_model", "onnx", "openvino" or "litert".
        precision: "float32", or "float16" for files of half the size. Either way sums are computed
            in float32 on a CPU.
        masks: "image" for masks of the size of the image, which cost memory for large images with
            many objects; "box" for the network's own masks, to be enlarged to their boxes.
        image: photograph for the check, an array or a path; None for one that comes with
            scikit-image.

    Returns:
        The size, the agreement with `detect` and the times.

    Raises:
        ImportError: a package of the format is not installed.
        ValueError: an argument or a setting does not work.
        ExportError: the export disagrees with `detect`. No file is left.
    """
    export_format = format_named(format)
    check_choice("precision", precision, PRECISIONS)
    check_choice("masks", masks, MASKS)
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(f"KERAS_BACKEND is {backend!r}; it must be 'tensorflow' for an export")
    export_format.check_packages()
    stem = "mask_rcnn" if not isinstance(model, str | os.PathLike) else Path(model).stem
    target = export_format.default_path(stem) if path is None else Path(path).expanduser()
    check_path(target, export_format)
    if isinstance(model, str | os.PathLike):
        from mrcnn.model import MaskRCNN

        settings = {"PRECISION": "float32"}
        model = MaskRCNN.from_weights(model, engine="keras", config=settings)
    _check_settings(model)
    photograph = _photograph(image)
    is_half = precision == "float16"
    text = written_text(model.config, model.class_names, masks, precision, model.held_out)
    with eager_mode(), atomic_files(target.parent) as folder:
        written = folder / target.name
        graph = ExportGraph(model._shared, masks, is_half)
        export_format.implementation().write(graph, written, text, is_half)
        report = _check(model, written, export_format, precision, photograph)
        if report.agreement.problem:
            raise ExportError(
                f"the {export_format.title} export disagrees with detect and was not kept: "
                f"{report.agreement.problem}"
            )
    return replace(report, path=target)


def _check_settings(model: MaskRCNN) -> None:
    """Raise ValueError for settings of which no fixed graph can be made."""
    mode, precision = model.config.IMAGE_RESIZE_MODE, model._shared.config.PRECISION
    if mode != "square":
        raise ValueError(
            f"IMAGE_RESIZE_MODE is {mode!r}; it must be 'square' for an export, in which the "
            "network's input has one size"
        )
    if not getattr(model.config, "USE_RPN", True):
        raise ValueError("USE_RPN is False; it must be True for an export")
    if precision != "float32":
        raise ValueError(
            f"PRECISION is {precision!r}; it must be 'float32' for an export (its argument "
            "`precision` is that of the file)"
        )


def _photograph(image: Any) -> np.ndarray:
    """Return the image of the check."""
    if image is None:
        from skimage.data import astronaut

        return astronaut()
    image = read_if_path(image)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image is {type(image).__name__}; it must be an array or a path")
    return image


def _check(
    model: MaskRCNN,
    written: Path,
    export_format: ExportFormat,
    precision: str,
    photograph: np.ndarray,
) -> ExportReport:
    """Load an export and run it beside the model, alone and in a batch of two."""
    described = describe_export(written.name, written, export_format)
    exported = ExportedModel(described)
    exported.config.IMAGES_PER_GPU = 2
    images = [photograph, np.ascontiguousarray(photograph[:, ::-1])]
    expected, found = model.detect(images, refiner=None), exported.detect(images)
    agreement = compare(
        expected, found, precision, described.min_confidence, model.config.MASK_SCORES
    )
    return ExportReport(
        written,
        export_format,
        precision,
        export_format.size(written),
        agreement,
        _milliseconds(lambda: exported.detect(images[:1])),
        _milliseconds(lambda: model.detect(images[:1], refiner=None)),
        described.runner.version,
    )


def _milliseconds(function: Callable[[], object]) -> float:
    """Return the median time of some calls after a first one."""
    function()
    times = []
    for _ in range(_TIMED_RUNS):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return 1000 * sorted(times)[_TIMED_RUNS // 2]
