"""What is written with an export: settings, class names and how it was made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn import __version__
from mrcnn.checkpoints.description import (
    DescribedWeights,
    checked_config,
    checked_description,
    default_class_names,
)
from mrcnn.config import model_name
from mrcnn.exports.formats import MASKS, PRECISIONS, ExportFormat, open_runner
from mrcnn.files.names import counted, printable, shown

if TYPE_CHECKING:
    from mrcnn.checkpoints.held_out import HeldOut
    from mrcnn.config import Config

# Number of the layout of inputs and outputs.
LAYOUT = 1


@dataclass(frozen=True)
class DescribedExport(DescribedWeights):
    """An exported model, loaded in its runtime, with the settings that it was made with.

    Attributes:
        export_format: its format.
        runner: see `mrcnn.exports.formats.open_runner`.
        masks: kind of the masks, "image" or "box".
        precision: "float32" or "float16", of the stored weights.
        min_confidence: score in 0..1 below which the export leaves out detections.
        backbone: name of the backbone; None for a function.
        written_by: version of this package that wrote it, as text; None if that is not recorded.
    """

    export_format: ExportFormat | None = None
    runner: Any = None
    masks: str = "image"
    precision: str = "float32"
    min_confidence: float = 0.0
    backbone: str | None = None
    written_by: str | None = None

    def __str__(self) -> str:
        size = "x".join(str(side) for side in self.config.IMAGE_SHAPE[:2])
        return (
            f"{printable(self.name)}: {counted(self.config.NUM_CLASSES - 1, 'class', 'classes')}, "
            f"{size} ({self.runner.version})"
        )


def written_text(
    config: Config,
    class_names: Sequence[str] | None,
    masks: str,
    precision: str,
    held_out: HeldOut | None = None,
) -> str:
    """Return the text that is written with an export.

    Args:
        config: settings of the model.
        class_names: names by class id; None if they are not known.
        masks: see `DescribedExport`.
        precision: see `DescribedExport`.
        held_out: the images that the training of the weights held out, for an evaluation of the
            export; None if that is not known.
    """
    settings = config.to_dict()
    if callable(config.BACKBONE):  # of which only the name would be written
        del settings["BACKBONE"], settings["COMPUTE_BACKBONE_SHAPE"]
    content = {
        "layout": LAYOUT,
        "mrcnn": __version__,
        "masks": masks,
        "precision": precision,
        "class_names": None if class_names is None else list(class_names),
        "config": settings,
        "held_out": None if held_out is None else held_out.to_dict(),
    }
    return json.dumps(content)


def describe_export(name: str, path: Path, export_format: ExportFormat) -> DescribedExport:
    """Load an exported model and read what was written with it.

    Args:
        name: what the user wrote.
        path: the file or folder.
        export_format: its format.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the runtime is not installed.
        ValueError: the file cannot be read, or is none that `export` has written.
    """
    runner = open_runner(path, export_format)
    content = _read_text(runner.description, printable(path))
    config = checked_config(content["config"], f"the description in {printable(path)}")
    class_names = content.get("class_names") or default_class_names(config.NUM_CLASSES)
    return DescribedExport(
        *(name, path, config, class_names, "settings: in the file"),
        held_out=content.get("held_out"),
        model=model_name(config),
        export_format=export_format,
        runner=runner,
        masks=content["masks"],
        precision=content["precision"],
        min_confidence=float(config.DETECTION_MIN_CONFIDENCE or 0),
        backbone=content["config"].get("BACKBONE"),
        written_by=printable(content["mrcnn"])[:20] if content.get("mrcnn") else None,
    )


def _read_text(text: str | None, source: str) -> dict[str, Any]:
    """Return the content of what was written with an export, checked.

    Args:
        text: the text; None where there is none.
        source: the path of the export, for error messages.
    """
    if text is None:
        raise ValueError(
            f"{source} has no description of a Mask R-CNN; it must be a file that `mrcnn export` "
            "has written"
        )
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the description in {source} is damaged: {error}") from error
    layout = content.get("layout") if isinstance(content, dict) else None
    is_known = layout == LAYOUT and content.get("masks") in MASKS
    if not is_known or content.get("precision") not in PRECISIONS:
        raise ValueError(
            f"the layout of {source} is {shown(layout, 20)}; it must be {LAYOUT} for this version "
            "of the package"
        )
    if content.get("class_names") is None:
        content.pop("class_names", None)
    return checked_description(content, source)
