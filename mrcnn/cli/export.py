"""`mrcnn export`: write a model for TensorFlow Serving, ONNX Runtime, OpenVINO or LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcnn.cli.options import ConfigFile

if TYPE_CHECKING:
    from mrcnn.exports import ExportReport


def export(
    weights: Annotated[
        str, typer.Argument(help="small, coco, balloon, or the path of a weight file.")
    ],
    format: Annotated[
        str, typer.Option(help="saved_model, onnx, openvino or litert.", show_default=True)
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write (a folder for saved_model); named after the weights, in the "
            "current folder, if not given."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32; float16 makes a file of half the size.")
    ] = "float32",
    masks: Annotated[
        str,
        typer.Option(
            help="image: masks of the size of the image; box: the network's masks, to be enlarged "
            "to their boxes."
        ),
    ] = "image",
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="The export leaves out objects of a lower score; as in the settings if not given.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Photograph for the check; one with a person if not given."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Write a model for another runtime.

    The exported model takes RGB images of any size in 8 bits, any number at once, and returns
    boxes in pixels, classes, scores and masks; it needs no other package than its runtime. It is
    run beside `mrcnn detect` on a photograph, and is written only if both find the same.

    Examples:
    - `mrcnn export small --format onnx`

    - `mrcnn export logs/photos/best.h5 --format litert --precision float16 --image photo.jpg`

    - `mrcnn detect photo.jpg --weights mask_rcnn_small.onnx` (runs what was exported)
    """
    from mrcnn.checkpoints.description import describe_weights
    from mrcnn.cli.options import load_model
    from mrcnn.cli.terminal import echo
    from mrcnn.exports.formats import MASKS, PRECISIONS, check_choice, check_path, format_named
    from mrcnn.files.names import printable

    export_format = format_named(format, "--format")
    check_choice("--precision", precision, PRECISIONS)
    check_choice("--masks", masks, MASKS)
    export_format.check_packages()
    described = describe_weights(weights, config)
    path = export_format.default_path(described.path.stem) if output is None else output
    check_path(path, export_format, "--output")
    described.config.PRECISION = "float32"
    if min_confidence is not None:
        described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    echo(printable(f"Weights  {described}"))
    echo(printable(f"Writing  {path}, and comparing it with mrcnn detect: a minute or more"))
    model = load_model(described, "keras", None, None)
    from mrcnn.exports import export

    report = export(
        model, path, format=format, precision=precision, masks=masks,
        image=None if image is None else str(image),
    )  # fmt: skip
    for line in report_lines(report):
        echo(printable(line))


def report_lines(report: ExportReport) -> list[str]:
    """Return what is printed about an export."""
    lines = [
        f"Export   {report.path}: {report.export_format.title}, {report.precision}, "
        f"{report.num_bytes / 1e6:.1f} MB",
        f"Check    {report.agreement}",
        f"Speed    {report.milliseconds:.0f} ms for an image with {report.runtime}, "
        f"{report.detect_milliseconds:.0f} ms with mrcnn detect",
    ]
    if not report.agreement.count:
        lines.append("Hint     --image PHOTO checks with a photograph that shows some objects.")
    return lines
