"""The option --model: which model a command runs, and which other options it has no use for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli.flags import given_options
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.checkpoints.description import DescribedWeights
    from mrcnn.exports.description import DescribedExport
    from mrcnn.exports.formats import ExportFormat
    from mrcnn.family.models import Model

# Spelled out: the table would import the settings.
_NAMES = (
    "mask_rcnn, faster_rcnn, fast_rcnn, rcnn, unet, fcn8s, fcn16s, fcn32s, segnet, yolov1, yolov2, "
    "yolov3, yolov3-tiny or, to detect only, region_classifier"
)
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=f"{_NAMES}; that of the weight file if not given.",
    ),
]
TrainModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        rich_help_panel="Model",
        help=f"{_NAMES}; that of the weights, else mask_rcnn.",
    ),
]
Names = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Text file with a class name per line, for weights that name none (Darknet's .names).",
    ),
]

# Why an option makes no sense, for the families without it.
_NO_MASKS = "which has no instance masks"
_OWN_ENGINE = "which runs in Keras alone"
_NO_INSTANCES = "which gives every pixel a class and finds no instances"
_FIXED = "whose network is fixed by its name"
# Options by what the model finds or its family -> reason.
_BOXES_LACK = {
    **dict.fromkeys(("refine", "segmentation", "tolerance"), _NO_MASKS),
    **dict.fromkeys(("engine", "calibration"), _OWN_ENGINE),
    "tile": "which detects in whole images",
    **dict.fromkeys(("rename",), "which takes over no single classes"),
    **dict.fromkeys(("backbone",), _FIXED),
}
_LABELS_LACK = {
    **_BOXES_LACK,
    **dict.fromkeys(
        ("min_confidence", "classes", "track", "color_by", "results"),
        _NO_INSTANCES,
    ),
    "layers": "whose layers are always trained together",
}
# Options of trainings that go over the images again and again.
_OF_EPOCHS = (
    *("layers", "epochs", "steps", "batch_size", "image_size", "augment", "loss", "class_weights"),
    *("learning_rate", "schedule", "warmup", "optimizer", "accumulate", "early_stopping", "keep"),
    *("resume", "ap_images", "average"),
)
_NO_MEANS = "of whose weights no means are measured"
_NO_YOLO = "which is no YOLO network"
_OWN_PROPOSALS = "which takes no proposals"
_FAMILY: Mapping[str, Mapping[str, str]] = {
    "mask_rcnn": {
        "names": _NO_YOLO,
        **dict.fromkeys(("loss", "class_weights"), "which is no semantic network"),
    },
    "yolo": {
        **_BOXES_LACK,
        **dict.fromkeys(("loss", "class_weights"), "whose losses are fixed"),
        "average": _NO_MEANS,
        "proposals": _OWN_PROPOSALS,
    },
    "rcnn": {
        **{name: why for name, why in _BOXES_LACK.items() if name != "backbone"},
        "precision": _OWN_ENGINE,
        **dict.fromkeys(_OF_EPOCHS, "which is not trained in epochs"),
        "proposals": "which keeps the features of its regions",
        "names": _NO_YOLO,
    },
    "semantic": {
        **_LABELS_LACK,
        "average": _NO_MEANS,
        "proposals": _OWN_PROPOSALS,
        "names": "whose weight files name their classes",
    },
}
_MODEL: Mapping[str, Mapping[str, str]] = {
    "mask_rcnn": {"proposals": "whose RPN makes its own"},
    "faster_rcnn": {
        "proposals": "whose RPN makes its own",
        **dict.fromkeys(("refine", "segmentation", "tolerance"), _NO_MASKS),
    },
    "region_classifier": dict.fromkeys(("track", "tile"), "which looks at regions one by one"),
    "fast_rcnn": dict.fromkeys(("refine", "segmentation", "tolerance"), _NO_MASKS),
}


def refuse_options(ctx: typer.Context, model: Model) -> None:
    """Raise ValueError for an option of a command that makes no sense for a model."""
    values = ctx.params
    for name in sorted(given_options(ctx)):
        reason = {**_FAMILY[model.family], **_MODEL.get(model.name, {})}.get(name)
        # Elsewhere it chooses classes of the dataset.
        if reason is None or (name == "classes" and ctx.info_name != "detect"):
            continue
        if values[name] in _NEUTRAL.get(name, ()):
            continue
        option = "--" + name.replace("_", "-")
        value = values[name]
        shown = "given" if value is True or isinstance(value, list | tuple) else value
        raise ValueError(
            f"{option} is {shown}; it must not be given with the model {model.name}, {reason}"
        )


# Values that ask for nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {"engine": ("auto", "keras"), "precision": ("float32",)}


def describe_model(
    weights: str, model: str | None, config: Path | None, names: Path | None
) -> DescribedWeights:
    """Return the description of what `--weights` names: weights, or an exported model.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the runtime of an exported model is not installed.
        ValueError: it is neither, or settings are given with an exported model; see also
            `mrcnn.family.weights.describe`.
    """
    from mrcnn.exports.formats import format_of

    export_format = format_of(weights)
    if export_format is None:
        from mrcnn.family.weights import describe

        return describe(weights, model, config, names)
    options = {"--config": config, "--model": model, "--names": names}
    return describe_exported(weights, export_format, options, starts_backend=True)


def describe_exported(
    weights: str,
    export_format: ExportFormat,
    options: Mapping[str, Any],
    starts_backend: bool,
) -> DescribedExport:
    """Load an exported model and return its description.

    Args:
        weights: its path.
        export_format: its format.
        options: options of the command line for settings, by name; None for those not given.
        starts_backend: whether the model will detect in this process. TensorFlow is then imported
            before the other runtime.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: its runtime is not installed.
        ValueError: it cannot be read, or an option is given.
    """
    from mrcnn.exports.description import describe_export
    from mrcnn.startup.lean_start import start_backend

    for option, value in options.items():
        if value is not None:
            raise ValueError(
                f"{option} is {printable(value)}; it must not be given with an exported model, "
                "whose settings are part of it"
            )
    if starts_backend:
        start_backend()
    return describe_export(weights, Path(weights).expanduser(), export_format)


def load_family_model(described: DescribedWeights) -> Any:
    """Start the backend and build a model of the family with its weights.

    What was guessed about the weights is said on stderr.
    """
    from mrcnn.cli.terminal import echo
    from mrcnn.startup.lean_start import start_backend

    if described.guess:
        echo(f"mrcnn: note: {described.guess}", err=True)
    start_backend()
    from mrcnn.family.weights import load

    return load(described)
