"""From the name of a weight file to the model it belongs to: settings and class names.

Weights alone do not determine which image size, anchors or class names they were trained with. A
description, JSON `{"config": {...}, "class_names": [...]}`, does. It is looked for in

1. `<stem>.json` beside the weight file (`mask_rcnn_small.json` for `mask_rcnn_small.h5`),
2. `config.json` in the same folder (training writes it there),
3. the metadata inside the file.

Without one, the shapes of the weights determine backbone, number of classes and pyramid; the other
settings are the defaults, and the names are COCO's where there are 81 classes.

Settings from a description obey the rules of `Config.validate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.files.names import printable, shown
from mrcnn.files.reading import read_json_object

if TYPE_CHECKING:
    from mrcnn.checkpoints.weights_info import WeightsInfo
    from mrcnn.config import Config

BACKGROUND = "BG"
# The layers whose shapes depend on the number of classes.
CLASS_LAYERS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
# The settings that decide which layers there are, and of what shape.
NETWORK = (
    "BACKBONE",
    "TOP_DOWN_PYRAMID_SIZE",
    "RPN_CHANNELS",
    "MASK_CHANNELS",
    "CANONICAL_BOX_SIZE",
    "FPN_CLASSIF_FC_LAYERS_SIZE",
    "POOL_SIZE",
)
# Further settings of a network that was trained at a size of its own: images and anchors.
INPUT = (
    "IMAGE_RESIZE_MODE",
    "IMAGE_MIN_DIM",
    "IMAGE_MAX_DIM",
    "IMAGE_MIN_SCALE",
    "MEAN_PIXEL",
    "RPN_ANCHOR_SCALES",
    "RPN_ANCHOR_RATIOS",
    "PRE_NMS_LIMIT",
    "POST_NMS_ROIS_TRAINING",
    "POST_NMS_ROIS_INFERENCE",
    "TRAIN_ROIS_PER_IMAGE",
    "DETECTION_NMS_THRESHOLD",
)
# Published weights that Matterport's samples load into any network.
ANY_NETWORK = ("coco", "imagenet", "none")
MAX_CLASSES = 10**6
MAX_NAME = 50


class IncompleteWeightsError(ValueError):
    """A weight file lacks a part of the network; `info` describes its content."""

    def __init__(self, info: WeightsInfo) -> None:
        self.info = info
        super().__init__(
            f"{printable(info.path)} holds no complete Mask R-CNN (backbone {info.backbone}, RPN: "
            f"{info.has_rpn}, heads: {info.has_heads}); it can start a training, not detect"
        )


@dataclass(frozen=True)
class DescribedWeights:
    """A weight file together with what is needed to use it.

    Attributes:
        name: what the user wrote.
        path: the file.
        config: settings of its model.
        class_names: names by class id, the background first, without control characters.
        source: where settings and names come from, as text.
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
            f"{printable(self.name)}: {config.BACKBONE}, {config.NUM_CLASSES - 1} classes, "
            f"{size} ({printable(self.source)})"
        )


def describe_weights(name_or_path: str, config_path: Path | None = None) -> DescribedWeights:
    """Find a weight file and the settings and class names that belong to it.

    Args:
        name_or_path: `small`, `coco` or another known name (downloaded where needed), or a path.
        config_path: a JSON file whose settings overrule those found: a description as above,
            or settings alone. Each must have the name of a setting.

    Raises:
        FileNotFoundError: there is no such file.
        IncompleteWeightsError: the file holds a backbone alone, for example.
        ValueError: a file cannot be read as what it should be, a setting breaks a rule, an entry of
            `config_path` is no setting, or class names and number of classes disagree.
    """
    from mrcnn.checkpoints.known import resolve_weights

    path = Path(resolve_weights(name_or_path))
    settings, class_names, source = _find_description(path)
    if config_path is not None:
        overruling = read_description(config_path)
        check_names_of_settings(overruling["config"], config_path)
        settings = {**settings, **overruling["config"]}
        class_names = overruling.get("class_names", class_names)
        source = f"{source}, {config_path}"
    # Names and number may come from different places; either alone is enough.
    if class_names is not None and "NUM_CLASSES" not in settings:
        settings = {**settings, "NUM_CLASSES": len(class_names)}
    config = _checked_config(settings, source)
    if class_names is None:
        class_names = default_class_names(config.NUM_CLASSES)
    if len(class_names) != config.NUM_CLASSES:
        raise ValueError(
            f"class_names has {len(class_names)} entries; it must have NUM_CLASSES = "
            f"{config.NUM_CLASSES}, the background included ({printable(source)})"
        )
    if not config.NAME:
        config.NAME = printable(path.stem)[:MAX_NAME]
    return DescribedWeights(str(name_or_path), path, config, list(class_names), source)


def read_description(path: str | Path) -> dict[str, Any]:
    """Read a JSON file of settings and, if it has them, class names.

    Args:
        path: the file.

    Returns:
        `{"config": {...}}` and perhaps `"class_names"`, also where the file holds settings alone.
        The values of the settings are not checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON object, `config` no object, or `class_names` no list of names.
    """
    content = read_json_object(path, "settings file")
    if "config" not in content and "class_names" not in content:
        content = {"config": content}
    return _checked_description(content, str(path))


def default_class_names(num_classes: int) -> list[str]:
    """Return COCO's names for 81 classes, else numbered ones; the background first."""
    from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES

    if num_classes == len(COCO_CLASS_NAMES):
        return list(COCO_CLASS_NAMES)
    return [BACKGROUND, *(f"class {k}" for k in range(1, num_classes))]


def class_names_of_weights(weights: str) -> list[str] | None:
    """Return the class names of weights, the background first.

    Args:
        weights: `none`, a known name, or the path of a weight file.

    Returns:
        None for weights without class heads.
    """
    word = str(weights).lower()
    if word in ("imagenet", "none"):
        return None
    if word == "coco":
        from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES

        return list(COCO_CLASS_NAMES)
    try:
        return describe_weights(weights).class_names
    except IncompleteWeightsError:
        return None


def follow_network(
    config: Config, weights: str, follow: Sequence[str] = NETWORK
) -> list[str] | None:
    """Give `config` the network of a weight file.

    Args:
        config: the settings to change.
        weights: a known name, or the path of a weight file.
        follow: names of the settings to take over, at least `NETWORK`.

    Returns:
        The names of the classes of the weights, "BG" first; None for a backbone alone.
    """
    try:
        described = describe_weights(weights)
    except IncompleteWeightsError as error:
        if error.info.backbone != "other":
            config.BACKBONE = error.info.backbone
        return None
    for name in follow:
        setattr(config, name, getattr(described.config, name))
    return described.class_names


def _find_description(path: Path) -> tuple[dict[str, Any], list[str] | None, str]:
    """Return settings, class names and their source, from the first place that has any."""
    for place in (path.with_suffix(".json"), path.with_name("config.json")):
        # What a killed process of earlier versions left: an empty file describes nothing.
        if place.is_file() and place.stat().st_size:
            content = read_description(place)
            if "NUM_CLASSES" in content["config"]:
                return content["config"], content.get("class_names"), f"settings: {place}"
    from mrcnn import checkpoints

    info = checkpoints.verify(path)
    content = _checked_description({"config": {}, **info.metadata}, f"the metadata of {path}")
    if "NUM_CLASSES" in content["config"]:
        return content["config"], content.get("class_names"), "settings: in the file"
    return settings_from_shapes(info), content.get("class_names"), "settings: from the weights"


def _checked_description(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a description of which `config` is an object and `class_names` a list of names."""
    settings = content.get("config", {})
    if not isinstance(settings, dict):
        raise ValueError(
            f"config of {printable(source)} is a {type(settings).__name__}; it must be an object"
        )
    checked = {**content, "config": settings}
    if "class_names" in content:
        names = content["class_names"]
        is_list = isinstance(names, list) and 0 < len(names) <= MAX_CLASSES
        if not is_list or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"class_names of {printable(source)} is {shown(names, 100)}; it must be "
                "a list of names, the background first"
            )
        checked["class_names"] = [printable(name) for name in names]
    return checked


def _checked_config(settings: Mapping[str, Any], source: str) -> Config:
    """Return the settings as a `Config` that keeps all rules."""
    from mrcnn.config import Config

    config = Config.from_dict(settings)
    try:
        config.validate()
    except ValueError as error:
        raise ValueError(f"{printable(source)}: {error}") from error
    return config


def check_names_of_settings(settings: Mapping[str, Any], path: str | Path) -> None:
    """Raise ValueError for an entry of a file of settings that is no setting's name."""
    from mrcnn.config import Config, nearest_setting

    for name in settings:
        if not hasattr(Config, str(name)):
            near = nearest_setting(str(name), cutoff=0.5)
            raise ValueError(
                f"{printable(path)} has the entry {printable(name)!r}; it must be the name of a "
                f"setting{f', such as {near}' if near else ''}"
            )


def settings_from_shapes(info: WeightsInfo) -> dict[str, Any]:
    """Return the settings that follow from the shapes of the weights.

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
