"""Options that several subcommands have: the dataset, the network and the refiner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.checkpoints.description import DescribedWeights


def existing_settings(path: Path | None) -> Path | None:
    """Return the path that --config has, if it is that of a file.

    Raises:
        ValueError: there is no such file, or it is no ordinary file.
    """
    from mrcnn.files.reading import check_regular_file

    if path is not None:
        try:
            check_regular_file(path, "settings file")
        except (OSError, ValueError) as error:
            raise ValueError(f"--config: {error}") from error
    return path


DatasetPath = Annotated[str, typer.Argument(help="Folder or annotation file of the dataset.")]
Format = Annotated[
    str | None,
    typer.Option(
        help="coco, via, labelme, voc, masks, yolo, ...; found automatically if not given."
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(help="Names of the classes to load, separated by commas; all if not given."),
]
ReaderOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="Option of the format's reader; may be repeated. Examples: attribute=kind (via), "
        "mode=binary (masks), image_dir=photos (coco, masks).",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="small, coco, balloon, or the path of a weight file or of an exported model."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="JSON file with settings that override those of the weights.",
        callback=existing_settings,
    ),
]
Refine = Annotated[
    str | None,
    typer.Option(
        help="Refine the masks: general, or the path of a refiner; by default general with the "
        "weights small, none with others."
    ),
]
NoRefine = Annotated[bool, typer.Option("--no-refine", help="Leave the masks as they are.")]
Engine = Annotated[
    str,
    typer.Option(help="What runs the network: auto (the fastest available), keras or openvino."),
]
Precision = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16 or int8 (openvino); as in the settings if not given."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Folder of typical images for int8; needed once for each weight file."),
]


def load_model(
    weights: DescribedWeights, engine: str, precision: str | None, calibration: Path | None
) -> Any:
    """Build the model for detection with the options of the command line.

    What was guessed about the weights is said on stderr.
    """
    from mrcnn.cli.terminal import echo
    from mrcnn.exports.formats import format_of
    from mrcnn.startup.lean_start import start_backend_when_needed

    if format_of(weights.path):
        return open_exported(weights, engine, precision, calibration)
    if weights.guess:
        echo(f"mrcnn: note: {weights.guess}", err=True)
    start_backend_when_needed()  # the network may be in the cache, where nothing else is needed
    from mrcnn.model import MaskRCNN

    model = MaskRCNN.from_weights(
        weights, engine=engine, precision=precision, calibration=calibration
    )
    if weights.config.USE_RPN:
        return model
    from mrcnn.family.weights import with_proposals

    return with_proposals(model)


def open_exported(
    described: Any, engine: str, precision: str | None, calibration: Path | None
) -> Any:
    """Return the model of an export that is loaded already.

    Raises:
        ValueError: an engine, a precision or a calibration is given.
    """
    options = {
        "--engine": None if engine == "auto" else engine,
        "--precision": precision,
        "--calibration": calibration,
    }
    for option, value in options.items():
        if value is not None:
            raise ValueError(
                f"{option} is {printable(value)}; it must not be given with an exported model, "
                "which has its own runtime"
            )
    from mrcnn.exports.detector import ExportedModel

    return ExportedModel(described)
