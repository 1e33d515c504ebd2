"""Messages about weights that do not fit the model: all differences, and what to do."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mrcnn.checkpoints.model_weights import ModelWeight, describe_model, some
from mrcnn.checkpoints.names import RESNET_BLOCKS
from mrcnn.checkpoints.weight_file import StoredWeight, WeightsFile
from mrcnn.checkpoints.weights_info import WeightsInfo
from mrcnn.files.names import printable
from mrcnn.startup.caller import warn_caller

COCO_CLASSES = 81
MAX_TABLE_ROWS = 20
# How names of layers begin that Mask R-CNN alone has, whatever its backbone.
_OWN_LAYERS = ("rpn_", "fpn_", "mrcnn_")
# Layer, weight, shape in the file, shape in the model.
Mismatch = tuple[str, str, Any, Any]


def mismatch_message(
    file: WeightsFile,
    layers: Mapping[str, list[ModelWeight]],
    mismatches: Sequence[Mismatch],
    excluded: Collection[str],
) -> str:
    """Return all differing shapes, their settings, and the `exclude` that loads the rest."""
    names = list(dict.fromkeys(layer for layer, *_ in mismatches))
    found, model = file.describe(), describe_model(layers)
    remedy = [*sorted(set(excluded) & set(layers)), *names]
    lines = [
        f"{printable(file.path)}: {len(names)} layers have another shape in the file than in the "
        f"model. Nothing was loaded.",
        *_shape_table(mismatches),
        *_differing_settings(found, model),
        "To load all but the differing layers, which keep their initial values:",
        f"  exclude={json.dumps(remedy)}",
    ]
    if found.num_classes == 2 and model.num_classes == COCO_CLASSES:
        lines.append(
            "If COCO weights were meant: mask_rcnn_balloon.h5, of Matterport's release v2.1, has "
            "2 classes; mask_rcnn_coco.h5 is in release v2.0 (the name 'coco' fetches it)."
        )
    return "\n".join(lines)


def _shape_table(mismatches: Sequence[Mismatch]) -> list[str]:
    rows = [
        (f"{layer}/{weight}".rstrip("/"), str(in_file), str(in_model))
        for layer, weight, in_file, in_model in mismatches
    ]
    header, shown = ("layer", "in the file", "in the model"), rows[:MAX_TABLE_ROWS]
    widths = [max(len(row[i]) for row in [header, *shown]) for i in (0, 1)]
    table = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in [header, *shown]]
    if len(rows) > len(shown):
        table.append(f"  ... and {len(rows) - len(shown)} more")
    return table


def _differing_settings(found: WeightsInfo, model: WeightsInfo) -> list[str]:
    in_file, in_model = found.config_settings(), model.config_settings()
    lines = [
        f"  {name} = {in_file[name]!r} (the model has {in_model[name]!r})"
        for name in in_file
        if name in in_model and in_file[name] != in_model[name]
    ]
    if found.anchors_per_location and model.anchors_per_location:
        if found.anchors_per_location != model.anchors_per_location:
            lines.append(
                f"  {found.anchors_per_location} RPN_ANCHOR_RATIOS "
                f"(the model has {model.anchors_per_location})"
            )
    return ["To use all of the file, build the model with its settings:", *lines] if lines else []


def no_overlap_message(
    file: WeightsFile,
    layers: Mapping[str, list[ModelWeight]],
    stored: Mapping[str, list[StoredWeight]],
    excluded: Collection[str],
    any_mismatch: bool,
) -> str:
    """Return the reason why no weight can be loaded."""
    start = f"{printable(file.path)}: nothing to load. "
    if not stored:
        return start + "The file holds no weights"
    if any_mismatch:
        return start + "All layers shared with the model have other shapes there"
    if any(name in layers for name in stored):
        return (
            start + f"exclude leaves out all layers shared with the model: {some(sorted(excluded))}"
        )
    is_mask_rcnn = any(name.startswith(_OWN_LAYERS) for name in layers)
    return start + (
        f"No layer of the file has the name of a layer of the model: the file has "
        f"{len(stored)} layers with weights ({some(list(stored))}), the model {len(layers)} "
        f"({some(list(layers))}). It belongs to another network"
        + (
            "; weights for this one have Matterport's layer names, such as mask_rcnn_coco.h5 (the "
            "name 'coco' fetches it)"
            if is_mask_rcnn
            else ""
        )
    )


def warn_of_little_use(
    file: WeightsFile, layers: Mapping[str, list[ModelWeight]], loaded: Sequence[str]
) -> None:
    """Warn of files that load by name without an error and are probably not the intended ones."""
    found, model = file.describe(), describe_model(layers)
    path = printable(file.path)
    both = {found.backbone, model.backbone}
    if len(both) == 2 and both <= set(RESNET_BLOCKS):
        rest = "keep their initial values" if model.backbone == "resnet101" else "are ignored"
        warn_caller(
            f"{path} has the backbone {found.backbone}, the model {model.backbone}: the blocks "
            f"that only the deeper one has {rest}"
        )
    elif len(loaded) < len(layers) / 2 and len(loaded) < len(found.layers) / 2:
        warn_caller(
            f"{path} shares only {len(loaded)} layers ({some(loaded)}) with the model, of "
            f"{len(found.layers)} and {len(layers)}; is it of another network?"
        )
