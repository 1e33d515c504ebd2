"""`mrcnn info`: show what a weight file or an exported model holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.files.names import counted, printable

if TYPE_CHECKING:
    from mrcnn.checkpoints import WeightsInfo
    from mrcnn.checkpoints.description import DescribedWeights, FoundDescription
    from mrcnn.exports.formats import ExportFormat
    from mrcnn.family.models import Model

# Held-out images that the table names; --json has all of them.
MAX_IDS = 4


def info(
    weights: Annotated[
        str,
        typer.Argument(
            help="Weight file, exported model, or a known name: small, coco, balloon, imagenet."
        ),
    ],
    layers: Annotated[bool, typer.Option("--layers", help="List every layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a weight file or an exported model holds and whether it can detect.

    Settings, class names, the number of epochs and the images that training held out are shown as
    far as the file contains them. --json has every setting and every held-out image.

    Example: `mrcnn info logs/photos/best.h5`
    """
    from mrcnn import checkpoints
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.cli.terminal import echo
    from mrcnn.drawing.tables import display_table
    from mrcnn.exports.formats import format_of
    from mrcnn.family.models import DEFAULT, find_model
    from mrcnn.family.weights import model_of

    export_format = format_of(weights)
    if export_format is not None:
        show_export(weights, export_format, layers, as_json)
        return
    path = Path(resolve_weights(weights))
    model = find_model(model_of(str(path)))
    if model.family != DEFAULT:
        show_family_model(path, model, layers, as_json)
        return
    found = checkpoints.verify(path)
    facts = {**shape_facts(path, found), **described_facts(weights, path, found)}
    if model.name != DEFAULT:
        facts = {"model": model.name, **facts}
    if as_json:
        if layers:
            facts["layers"] = {name: dict(weights) for name, weights in found.layers}
        typer.echo(json.dumps(facts, indent=1))
    else:
        display_table(readable_rows(facts))
        if layers:
            show_layers(found)
    if facts["guess"]:
        echo(f"mrcnn: note: {facts['guess']}", err=True)


def show_layers(found: WeightsInfo) -> None:
    """Print the layers of a weight file and the shapes of their weights."""
    from mrcnn.drawing.tables import display_table

    typer.echo()
    shapes = [
        (layer, name, "x".join(map(str, shape)))
        for layer, stored in found.layers
        for name, shape in stored
    ]
    display_table([("layer", "weight", "shape"), *shapes])


def show_export(weights: str, export_format: ExportFormat, layers: bool, as_json: bool) -> None:
    """Show an exported model, which is loaded in its runtime.

    Args:
        weights: its path.
        export_format: its format.
        layers: whether its layers are asked for.
        as_json: print JSON.

    Raises:
        ValueError: it cannot be read, or its layers are asked for.
    """
    from mrcnn.cli.models import describe_exported
    from mrcnn.drawing.tables import display_table

    if layers:
        raise ValueError(
            f"--layers is given; {printable(weights)} must be a weight file, as an exported model "
            "does not name its layers"
        )
    described = describe_exported(weights, export_format, {}, starts_backend=False)
    config, held_out = described.config, described.held_out
    facts: dict[str, Any] = {
        "model": described.model,
        "file": str(described.path),
        "size_bytes": export_format.size(described.path),
        "format": export_format.title,
        "runtime": described.runner.version,
        "precision": described.precision,
        "backbone": described.backbone,
        "masks": described.masks if config.USE_MASK else None,
        "num_classes": config.NUM_CLASSES,
        "class_names": described.class_names,
        "image_size": config.IMAGE_SHAPE[:2].tolist(),
        "min_confidence": described.min_confidence,
        "mrcnn": described.written_by,
        "held_out": None if held_out is None else held_out.to_dict(),
        "config": {**config.to_dict(), "BACKBONE": described.backbone},
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        display_table(export_rows(facts))


def export_rows(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the rows of the table about an exported model, without what is not known."""
    config, size = facts["config"], "x".join(map(str, facts["image_size"]))
    masks = {"image": "of the size of the image", "box": "of the network's size, for the box"}
    rows = [
        ("model", None if facts["model"] == "mask_rcnn" else facts["model"]),
        ("file", facts["file"]),
        ("size", f"{facts['size_bytes'] / 1e6:.1f} MB"),
        ("format", f"exported model, {facts['format']}; it can detect, not be trained"),
        ("runtime", facts["runtime"]),
        ("precision of the weights", facts["precision"]),
        ("backbone", facts["backbone"]),
        ("classes", f"{facts['num_classes'] - 1:,} and the background"),
        ("class names", ", ".join(facts["class_names"][1:])),
        ("images", "RGB in 8 bits, of any size and number" if _is_rgb(config) else None),
        ("network's input", f"{size} pixels"),
        ("masks", masks.get(facts["masks"])),
        ("minimum confidence", f"{facts['min_confidence']:g}"),
        ("exported by", facts["mrcnn"] and f"mrcnn {facts['mrcnn']}"),
        ("held out", facts["held_out"] and held_out_text(facts["held_out"])),
    ]
    return [row for row in rows if row[1] is not None]


def _is_rgb(config: Mapping[str, Any]) -> bool:
    return bool(config["IMAGE_CHANNEL_COUNT"] == 3)


def show_family_model(path: Path, model: Model, layers: bool, as_json: bool) -> None:
    """Show a weight file of another model than Mask R-CNN: Darknet's, a semantic network's, ...

    Args:
        path: the file.
        model: what it holds.
        layers: whether its layers are listed.
        as_json: print JSON.

    Raises:
        ValueError: the layers of one of Darknet's files, which does not name them, are wanted.
    """
    from mrcnn import checkpoints
    from mrcnn.checkpoints.hdf5 import why_not_hdf5
    from mrcnn.cli.terminal import echo
    from mrcnn.drawing.tables import display_table
    from mrcnn.family.weights import describe

    described = describe(str(path))
    facts: dict[str, Any] = {
        "model": model.name,
        "file": str(path),
        "size_bytes": path.stat().st_size,
        **_format_facts(path),
        "num_classes": described.config.NUM_CLASSES,
        "class_names": described.class_names,
        "settings": described.source.removeprefix("settings: "),
        "epoch": described.epoch,
        "held_out": described.held_out and described.held_out.to_dict(),
        "config": {name: described.config.to_dict()[name] for name in model.load_settings()},
        "guess": described.guess,
    }
    is_darknet = why_not_hdf5(path) is not None
    if layers and is_darknet:
        raise ValueError(
            f"--layers is given; {printable(path)} must name its layers, which Darknet's do not"
        )
    found = checkpoints.verify(path) if layers else None
    if as_json:
        if found is not None:
            facts["layers"] = {name: dict(weights) for name, weights in found.layers}
        typer.echo(json.dumps(facts, indent=1))
    else:
        display_table(family_rows(facts, model))
        if found is not None:
            show_layers(found)
    if facts["guess"]:
        echo(f"mrcnn: note: {facts['guess']}", err=True)


def _format_facts(path: Path) -> dict[str, Any]:
    """Return the format of a weight file, and the number of its values."""
    from mrcnn import checkpoints
    from mrcnn.checkpoints.hdf5 import why_not_hdf5

    if why_not_hdf5(path) is None:
        found = checkpoints.verify(path)
        return {"format": found.file_format, "parameters": found.num_parameters}
    from mrcnn.family.yolo.darknet_weights import read_header

    header = read_header(path)
    return {
        "format": f"Darknet {'.'.join(map(str, header.version))}",
        "header_bytes": header.num_bytes,
        "images_seen": header.num_seen,
        "parameters": (path.stat().st_size - header.num_bytes) // 4,
    }


def family_rows(facts: Mapping[str, Any], model: Model) -> list[tuple[str, Any]]:
    """Return the rows of the table, without what is not known."""
    number, names, config = facts["num_classes"], facts["class_names"], facts["config"]
    side = config["IMAGE_MAX_DIM"]
    has_background = model.finds != "labels" or names[0].lower() in ("bg", "background")
    classes = f"{number - 1:,} and the background" if has_background else f"{number:,}"
    seen = facts.get("images_seen")
    header = facts.get("header_bytes")
    rows = [
        ("model", model.title),
        ("file", facts["file"]),
        ("size", f"{facts['size_bytes'] / 1e6:.1f} MB"),
        ("format", facts["format"] + (f", header of {header} bytes" if header else "")),
        ("parameters", f"{facts['parameters']:,}"),
        ("images seen", None if seen is None else f"{seen:,}"),
        ("classes", classes),
        ("class names", ", ".join(names[1:] if has_background else names)),
        ("backbone", model.family == "rcnn" and config["BACKBONE"]),
        ("size of a region", model.family == "rcnn" and f"{side}x{side} pixels"),
        ("image size", _image_size(model, side)),
        ("image channels", config.get("IMAGE_CHANNEL_COUNT")),
        ("base width", config.get("BASE_WIDTH")),
        ("mean pixel", "MEAN_PIXEL" in config and _listed(config["MEAN_PIXEL"])),
        (
            "minimum confidence",
            model.finds == "boxes" and f"{config['DETECTION_MIN_CONFIDENCE'] or 0:g}",
        ),
        ("settings", facts["settings"]),
        ("trained", facts["epoch"] and counted(facts["epoch"], "epoch")),
        ("held out", facts["held_out"] and held_out_text(facts["held_out"])),
    ]
    return [row for row in rows if row[1] not in (None, False)]


def _image_size(model: Model, side: int) -> str:
    """Return the size of the images that a network takes."""
    return f"{side}x{side} pixels" if model.family == "yolo" else "any"


def shape_facts(path: Path, found: WeightsInfo) -> dict[str, Any]:
    """Return what follows from the size of a weight file and the shapes in it."""
    return {
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "format": found.file_format,
        "backbone": found.backbone,
        "parameters": found.num_parameters,
        "num_classes": found.num_classes,  # with the background, as NUM_CLASSES
        "pyramid_channels": found.top_down_pyramid_size,
        "anchors_per_location": found.anchors_per_location,
        "image_channels": found.image_channels,
        "complete": found.is_complete,
    }


def described_facts(weights: str, path: Path, found: WeightsInfo) -> dict[str, Any]:
    """Return what is written about a weight file, and what is guessed where nothing is.

    Args:
        weights: what the user wrote, a known name or a path.
        path: the file.
        found: what `verify` found in it.

    Returns:
        "settings" (the place of the settings), "image_size" (height and width in pixels),
        "class_names" (by class id, the background first), "epoch", "held_out", "config" and
        "guess"; the value is None for what is not known.
    """
    from mrcnn.checkpoints.description import describe_weights, written_description

    if found.is_complete and found.backbone != "other":
        described = describe_weights(weights)
        size, config = described.config.IMAGE_SHAPE[:2].tolist(), described.config.to_dict()
        return {
            **written_facts(described),
            "image_size": size,
            "config": config,
            "guess": described.guess,
        }
    # A backbone alone, or a network that only a script can build.
    written = written_description(path)
    return {
        **written_facts(written),
        "image_size": None,
        "config": written.settings or None,
        "guess": None,
    }


def written_facts(description: DescribedWeights | FoundDescription) -> dict[str, Any]:
    """Return what both kinds of descriptions have."""
    held_out = description.held_out
    return {
        "settings": description.source.removeprefix("settings: ") or None,
        "class_names": description.class_names,
        "epoch": description.epoch,
        "held_out": None if held_out is None else held_out.to_dict(),
    }


def readable_rows(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the facts as rows of a table; the value is None for what is not known."""
    number, names, config = facts["num_classes"], facts["class_names"], facts["config"] or {}
    complete = "yes, it can detect" if facts["complete"] else "no, it can start a training"
    size = "x".join(map(str, facts["image_size"] or ())) or None
    rows = [
        ("model", facts.get("model")),
        ("file", facts["file"]),
        ("size", f"{facts['size_bytes'] / 1e6:.1f} MB"),
        ("format", facts["format"]),
        ("backbone", facts["backbone"]),
        ("parameters", f"{facts['parameters']:,}"),
        # Elsewhere, and to users, the background is no class.
        ("classes", None if number is None else f"{number - 1:,} and the background"),
        ("class names", None if names is None else ", ".join(names[1:])),
        ("complete", complete),
        ("pyramid channels", facts["pyramid_channels"]),
        ("anchors per location", facts["anchors_per_location"]),
        ("image channels", facts["image_channels"]),
        ("image size", size and f"{size} pixels, resize mode {config['IMAGE_RESIZE_MODE']}"),
        ("anchor sizes", size and f"{_listed(config['RPN_ANCHOR_SCALES'])} pixels"),
        ("mean pixel", size and _listed(config["MEAN_PIXEL"])),
        ("minimum confidence", size and f"{config['DETECTION_MIN_CONFIDENCE'] or 0:g}"),
        ("settings", facts["settings"]),
        ("trained", facts["epoch"] and counted(facts["epoch"], "epoch")),
        ("held out", facts["held_out"] and held_out_text(facts["held_out"])),
    ]
    return [row for row in rows if row[1] is not None]


def held_out_text(record: Mapping[str, Any]) -> str:
    """Return a line about the images that a training held out: how many, of what, and the first."""
    ids = record["ids"]
    part = f", part {record['part']}" if record["part"] else ""
    more = ", ..." if len(ids) > MAX_IDS else ""
    return (
        f"{counted(len(ids), 'image')} of {record['dataset']}{part} "
        f"({record['val_fraction']:.0%}): {_listed(ids[:MAX_IDS])}{more}"
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
