"""From the name of a weight file to the model it belongs to: settings and class names.

Weights alone do not say which image size, anchors or class names they were trained with. A
description, JSON `{"config": {...}, "class_names": [...]}`, does. It is looked for in

1. `<stem>.json` beside the weight file (`mask_rcnn_small.json` for `mask_rcnn_small.h5`),
2. `config.json` in the same folder (training writes it there),
3. the metadata inside the file.

Without one the shapes of the weights tell backbone, number of classes and pyramid; the other
settings are the defaults, and the names are COCO's where there are 81 classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcnn.checkpoints import WeightsInfo
    from mrcnn.config import Config

BACKGROUND = "BG"


class IncompleteWeightsError(ValueError):
    """A file that holds no whole network; `info` says what it holds."""

    def __init__(self, info: WeightsInfo) -> None:
        self.info = info
        super().__init__(
            f"{info.path} holds no complete Mask R-CNN (backbone {info.backbone}, RPN: "
            f"{info.has_rpn}, heads: {info.has_heads}); it can start a training, not detect"
        )


@dataclass(frozen=True)
class DescribedWeights:
    """A weight file together with what is needed to use it.

    Attributes:
        name: What the user wrote.
        path: The file.
        config: Settings of its model.
        class_names: Names by class id, the background first.
        source: Where settings and names come from, for people.
    """

    name: str
    path: Path
    config: Config
    class_names: list[str]
    source: str

    def __str__(self) -> str:
        config = self.config
        size = "x".join(str(side) for side in config.IMAGE_SHAPE[:2])
        return (
            f"{self.name}: {config.BACKBONE}, {config.NUM_CLASSES - 1} classes, "
            f"{size} ({self.source})"
        )


def describe_weights(name_or_path: str, config_path: Path | None = None) -> DescribedWeights:
    """Find a weight file and the settings and class names that belong to it.

    Args:
        name_or_path: `small`, `coco` or another known name (downloaded where needed), or a path.
        config_path: A JSON file whose settings overrule those found: a description as above,
            or settings alone.

    Raises:
        FileNotFoundError: there is no such file.
        IncompleteWeightsError: the file holds a backbone alone, say.
        ValueError: a file cannot be read as what it should be, or class names and number of
            classes disagree.
    """
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.config import Config

    path = Path(resolve_weights(name_or_path))
    settings, class_names, source = _find_description(path)
    if config_path is not None:
        overruling = read_description(config_path)
        settings = {**settings, **overruling["config"]}
        class_names = overruling.get("class_names", class_names)
        source = f"{source}, {config_path}"
    config = Config.from_dict(settings)
    # Names and number may come from different places; either alone is enough.
    if class_names is not None and "NUM_CLASSES" not in settings:
        config.NUM_CLASSES = len(class_names)
    if class_names is None:
        class_names = default_class_names(config.NUM_CLASSES)
    if len(class_names) != config.NUM_CLASSES:
        raise ValueError(
            f"class_names must have NUM_CLASSES = {config.NUM_CLASSES} entries, the background "
            f"included; {source} has {len(class_names)}"
        )
    if not config.NAME:
        config.NAME = path.stem
    return DescribedWeights(str(name_or_path), path, config, list(class_names), source)


def read_description(path: Path) -> dict[str, Any]:
    """Read a JSON file of settings and, if it has them, class names.

    Returns:
        `{"config": {...}}` and perhaps `"class_names"`, also where the file holds settings alone.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    if "config" not in content and "class_names" not in content:
        content = {"config": content}
    return {"config": {}, **content}


def default_class_names(num_classes: int) -> list[str]:
    """Return COCO's names for 81 classes, else numbered ones; the background first."""
    from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES

    if num_classes == len(COCO_CLASS_NAMES):
        return list(COCO_CLASS_NAMES)
    return [BACKGROUND, *(f"class {k}" for k in range(1, num_classes))]


def inference_model(weights: DescribedWeights, **options: Any) -> Any:
    """Build the model for detection and load its weights, all of them.

    Args:
        weights: From `describe_weights`.
        **options: `engine`, `precision` and `calibration` of `MaskRCNN`.

    Raises:
        ValueError: the settings do not work, or the file lacks a part of the network.
    """
    from mrcnn.startup.lean_start import start_backend

    start_backend()
    from mrcnn.model import MaskRCNN

    config = weights.config
    config.GPU_COUNT = config.IMAGES_PER_GPU = 1
    if config.IMAGE_RESIZE_MODE == "crop":
        # Random crops are for training; a whole picture is wanted here.
        config.IMAGE_RESIZE_MODE = "pad64"
    model = MaskRCNN(mode="inference", config=config, model_dir="logs", **options)
    report = model.load_weights(str(weights.path), by_name=True)
    missing = getattr(report, "missing_in_file", ())
    if missing:
        raise ValueError(
            f"{weights.path} lacks weights of {len(missing)} layers ({', '.join(missing[:4])}, "
            "...): its results would be noise. Train it first, or take other weights."
        )
    return model


def _find_description(path: Path) -> tuple[dict[str, Any], list[str] | None, str]:
    """Return settings, class names and their source, from the first place that has any."""
    for place in (path.with_suffix(".json"), path.with_name("config.json")):
        if place.is_file():
            content = read_description(place)
            if isinstance(content["config"], Mapping) and "NUM_CLASSES" in content["config"]:
                return dict(content["config"]), content.get("class_names"), f"settings: {place}"
    from mrcnn import checkpoints

    info = checkpoints.verify(path)
    metadata = info.metadata
    if "NUM_CLASSES" in metadata.get("config", {}):
        return dict(metadata["config"]), metadata.get("class_names"), "settings: in the file"
    return settings_from_shapes(info), metadata.get("class_names"), "settings: from the weights"


def settings_from_shapes(info: WeightsInfo) -> dict[str, Any]:
    """Return the settings that the weights themselves tell.

    Raises:
        IncompleteWeightsError: the file holds no complete network.
        ValueError: its network is of another design.
    """
    if not (info.has_rpn and info.has_heads):
        raise IncompleteWeightsError(info)
    if info.backbone == "other":
        raise ValueError(
            f"{info.path} has an unknown backbone: put its settings beside it in "
            f"{Path(info.path).with_suffix('.json').name}"
        )
    return info.config_settings()
