"""`mrcnn info`: show what a weight file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mrcnn.checkpoints import WeightsInfo


def info(
    weights: Annotated[
        str, typer.Argument(help="Weight file, or a known name: small, coco, balloon, imagenet.")
    ],
    layers: Annotated[bool, typer.Option("--layers", help="List every layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a weight file holds and whether it can detect."""
    from mrcnn import checkpoints
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.drawing.tables import display_table

    path = Path(resolve_weights(weights))
    found = checkpoints.verify(path)
    facts = weight_facts(path, found)
    if as_json:
        content = {key.replace(" ", "_"): value for key, value in facts.items()}
        if layers:
            content["layers"] = {name: dict(weights) for name, weights in found.layers}
        typer.echo(json.dumps(content, indent=1))
        return
    rows = [(key, f"{v:,}" if isinstance(v, int) else v) for key, v in facts.items()]
    if found.num_classes is not None:  # elsewhere, and to users, the background is no class
        classes = f"{found.num_classes - 1:,} and the background"
        rows = [(key, classes if key == "classes" else v) for key, v in rows]
    display_table([row for row in rows if row[1] is not None])
    if layers:
        typer.echo()
        shapes = [
            (layer, name, "x".join(map(str, shape)))
            for layer, stored in found.layers
            for name, shape in stored
        ]
        display_table([("layer", "weight", "shape"), *shapes])


def weight_facts(path: Path, found: WeightsInfo) -> dict[str, Any]:
    """Return the rows of the table: names and values of facts about a weight file."""
    from mrcnn.checkpoints.description import describe_weights

    complete = found.has_rpn and found.has_heads
    facts = {
        "file": str(path),
        "size": f"{path.stat().st_size / 1e6:.1f} MB",
        "format": found.file_format,
        "backbone": found.backbone,
        "parameters": found.num_parameters,
        "classes": found.num_classes,
        "pyramid channels": found.top_down_pyramid_size,
        "anchors per location": found.anchors_per_location,
        "image channels": found.image_channels,
        "complete": "yes, it can detect" if complete else "no, it can start a training",
    }
    if complete and found.backbone != "other":
        described = describe_weights(str(path))
        facts["image size"] = "x".join(str(side) for side in described.config.IMAGE_SHAPE[:2])
        facts["settings"] = described.source.removeprefix("settings: ")
        facts["class names"] = ", ".join(described.class_names[1:])
    return facts
