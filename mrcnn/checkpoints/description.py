"""From the name of a weight file to the model it belongs to: settings and class names.

Weights alone do not determine which image size, anchors or class names they were trained with. A
description, JSON `{"config": {...}, "class_names": [...]}`, does. The first of these places that
has settings counts:

1. the weight file itself: every file that this package writes has them, and they cannot belong to
   other weights (see `mrcnn.checkpoints.save_weights`). Class names in it count also where it has
   no settings; where it has settings but no names, they may come from the next places;
2. `<stem>.json` beside the weight file (`mask_rcnn_small.json` for `mask_rcnn_small.h5`);
3. `config.json` in the same folder (training writes it there).

Settings that the user gives (`--config`) overrule all of them, one by one.

Without a description, the shapes of the weights determine backbone, number of classes and pyramid;
the other settings are the defaults, and the names are COCO's where there are 81 classes. That is a
guess, which `DescribedWeights.guess` puts into words; for published weights with a known name it is
known to be right.

A description may also have `epoch`, the number of epochs trained, and `held_out`, the images that
the training held out (see `HeldOut`).

Settings from a description obey the rules of `Config.validate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.checkpoints.held_out import HeldOut
from mrcnn.files.names import counted, printable, shown
from mrcnn.files.reading import read_json_object
from mrcnn.startup.caller import warn_caller

if TYPE_CHECKING:
    from mrcnn.checkpoints.weights_info import WeightsInfo
    from mrcnn.config import Config

BACKGROUND = "BG"
# The model of files that name none.
MODEL = "mask_rcnn"
# The layers whose shapes depend on the number of classes.
CLASS_LAYERS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
# The settings that decide which layers there are, of what shape, and how their outputs are read.
NETWORK = (
    "BACKBONE",
    "TOP_DOWN_PYRAMID_SIZE",
    "RPN_CHANNELS",
    "MASK_CHANNELS",
    "CANONICAL_BOX_SIZE",
    "FPN_CLASSIF_FC_LAYERS_SIZE",
    "POOL_SIZE",
    "ROI_POOLING",
    "ROI_LEVEL",
    "USE_RPN",
    "USE_MASK",
    "CLASS_AGNOSTIC_MASK",
    "JOINT_SCORES",
    "MASK_SCORES",
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
MAX_EPOCH = 10**9
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
        epoch: number of epochs trained; None if that is not recorded.
        held_out: the images that the training held out of its dataset by itself; None if it did
            not, or if that is not recorded.
        guess: what was guessed, in two sentences with the way to state it; None if nothing was.
        model: name of the model, as in `mrcnn.family.MODELS`.
        refiner: name of the refiner that sharpens its masks by default; None for none.
    """

    name: str
    path: Path
    config: Config
    class_names: list[str]
    source: str
    epoch: int | None = None
    held_out: HeldOut | None = None
    guess: str | None = None
    model: str = MODEL
    refiner: str | None = None

    def __str__(self) -> str:
        config = self.config
        size = "x".join(str(side) for side in config.IMAGE_SHAPE[:2])
        kind = "" if self.model == MODEL else f"{self.model} on "
        return (
            f"{printable(self.name)}: {kind}{config.BACKBONE}, "
            f"{counted(config.NUM_CLASSES - 1, 'class', 'classes')}, "
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
    from mrcnn.checkpoints.known import resolve_weights, weights_manifest
    from mrcnn.config import model_name

    path = Path(resolve_weights(name_or_path))
    found = find_description(path)
    if found.model != MODEL:
        raise ValueError(
            f"{printable(path)} holds the model {printable(found.model)}; it must hold a Mask "
            "R-CNN here (mrcnn.family.load opens any model)"
        )
    settings, class_names, source = found.settings, found.class_names, found.source
    known = weights_manifest().get(str(name_or_path).lower())
    if class_names is None and known is not None and known.class_names is not None:
        class_names = list(known.class_names)
    is_stated = found.is_stated or known is not None
    if config_path is not None:
        overruling = read_description(config_path)
        check_names_of_settings(overruling["config"], config_path)
        settings = _overruled(settings, overruling["config"])
        class_names = overruling.get("class_names", class_names)
        source = f"{source}, {config_path}"
        is_stated = is_stated or not set(INPUT).isdisjoint(overruling["config"])
    # Names and number may come from different places; either alone is enough.
    if class_names is not None and "NUM_CLASSES" not in settings:
        settings = {**settings, "NUM_CLASSES": len(class_names)}
    origin = f"{printable(path)}, {printable(source)}"
    config = checked_config(settings, origin)
    names_are_stated = class_names is not None or known is not None
    if class_names is None:
        class_names = default_class_names(config.NUM_CLASSES)
    if len(class_names) != config.NUM_CLASSES:
        raise ValueError(
            f"{origin}: class_names has {len(class_names)} entries; it must have NUM_CLASSES = "
            f"{config.NUM_CLASSES}, the background included"
        )
    guess = describe_guess(path, config, class_names, is_stated, names_are_stated)
    if not config.NAME:
        config.NAME = printable(path.stem)[:MAX_NAME]
    return DescribedWeights(
        *(str(name_or_path), path, config, list(class_names), source),
        epoch=found.epoch,
        held_out=found.held_out,
        guess=guess,
        model=model_name(config),
        refiner=None if known is None or not config.USE_MASK else known.refiner,
    )


def describe_guess(
    path: Path,
    config: Config,
    class_names: Sequence[str],
    settings_are_stated: bool,
    names_are_stated: bool,
) -> str | None:
    """Return what was guessed about a weight file, and how to state it; None if nothing was."""
    lacking, guessed = [], []
    if not settings_are_stated:
        size = "x".join(str(side) for side in config.IMAGE_SHAPE[:2])
        lacking.append("settings")
        guessed.append(f"the default settings ({size} pixels, usual anchors and mean pixel)")
    if not names_are_stated:
        names = ", ".join(class_names[1:4]) + (", ..." if len(class_names) > 4 else "")
        lacking.append("class names")
        guessed.append(f"the class names {names}")
    if not guessed:
        return None
    return (
        f"{printable(path)} does not say which {' and '.join(lacking)} it was trained with. "
        f"Guessed: {' and '.join(guessed)}. If that is wrong, so are the detections; state what is "
        'right with --config FILE, for example {"config": {"IMAGE_MIN_DIM": 512, "IMAGE_MAX_DIM": '
        '512}, "class_names": ["BG", "cat", "dog"]}'
    )


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
    return checked_description(content, str(path))


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


@dataclass(frozen=True)
class FoundDescription:
    """What is written about a weight file, or else follows from its shapes.

    Attributes:
        settings: names and values, not checked.
        class_names: names by class id; None where none are written.
        source: where the settings come from, as text; empty where there are none.
        is_stated: whether they are written somewhere.
        epoch: see `DescribedWeights`.
        held_out: see `DescribedWeights`.
        model: see `DescribedWeights`.
    """

    settings: dict[str, Any]
    class_names: list[str] | None
    source: str
    is_stated: bool = True
    epoch: int | None = None
    held_out: HeldOut | None = None
    model: str = MODEL


def find_description(path: Path) -> FoundDescription:
    """Find what is written about a weight file, in the order that the module describes.

    Raises:
        FileNotFoundError: there is no such file.
        IncompleteWeightsError: nothing is written, and the file holds no complete network.
        ValueError: a file cannot be read as what it should be.
    """
    from mrcnn import checkpoints

    written = written_description(path)
    if written.settings:
        return written
    settings = settings_from_shapes(checkpoints.verify(path))
    return replace(
        written, settings=settings, source="settings: guessed from the weights", is_stated=False
    )


def written_description(path: Path) -> FoundDescription:
    """Find what is written about a weight file; no settings where nothing is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file cannot be read as what it should be.
    """
    from mrcnn.checkpoints.weight_file import read_metadata

    inside = checked_description(read_metadata(path), f"the metadata of {path}")
    names = inside.get("class_names")
    if "NUM_CLASSES" in inside["config"]:
        found = _found(inside, names, "settings: in the file")
        _warn_of_other_settings(path, found)
        return found if names else _with_names_beside(path, found)
    for place, content in _descriptions_beside(path):
        return _found(content, names or content.get("class_names"), f"settings: {place}")
    return FoundDescription({}, names, "", model=inside.get("model", MODEL))


def _descriptions_beside(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the JSON files beside a weight file that have settings, and their content."""
    for place in (path.with_suffix(".json"), path.with_name("config.json")):
        content = _read_beside(place)
        if content is not None:
            yield place, content


def _read_beside(place: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file that has settings; None if it has none or is absent."""
    # What a killed process of earlier versions left: an empty file describes nothing.
    if not place.is_file() or not place.stat().st_size:
        return None
    content = read_description(place)
    return content if "NUM_CLASSES" in content["config"] else None


def _warn_of_other_settings(path: Path, found: FoundDescription) -> None:
    """Warn of a JSON file with the name of the weights that disagrees with what is inside them.

    A user may have edited it to change the settings, as was possible in earlier versions.
    """
    place = path.with_suffix(".json")
    try:
        beside = _read_beside(place)
    except ValueError as error:
        warn_caller(f"{error}; it is ignored, as {printable(path)} has settings itself")
        return
    if beside is None:
        return
    inside, settings = found.settings, beside["config"]
    differ = [name for name in inside if name in settings and settings[name] != inside[name]]
    names = beside.get("class_names")
    if names is not None and found.class_names is not None and names != found.class_names:
        differ.append("class_names")
    if differ:
        warn_caller(
            f"{printable(place)} and {printable(path)} disagree about "
            f"{printable(', '.join(differ[:3]))}{', ...' if len(differ) > 3 else ''}; the weight "
            "file itself counts. To overrule it, state the settings with --config"
        )


def _with_names_beside(path: Path, found: FoundDescription) -> FoundDescription:
    """Add the class names of a JSON file beside the weights, if they are as many as the classes.

    Weights that were saved before the names were known, for example.
    """
    for place, content in _descriptions_beside(path):
        names = content.get("class_names")
        if names is not None and len(names) == found.settings["NUM_CLASSES"]:
            return replace(found, class_names=names, source=f"{found.source}, names: {place}")
    return found


def _found(content: Mapping[str, Any], names: list[str] | None, source: str) -> FoundDescription:
    return FoundDescription(
        *(content["config"], names, source),
        epoch=content.get("epoch"),
        held_out=content.get("held_out"),
        model=content.get("model", MODEL),
    )


def checked_description(content: Mapping[str, Any], source: str) -> dict[str, Any]:
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
    if not isinstance(content.get("model", MODEL), str):
        raise ValueError(
            f"model of {printable(source)} is {shown(content['model'], 60)}; it must be a name"
        )
    _check_record(checked, source)
    return checked


def _check_record(content: dict[str, Any], source: str) -> None:
    """Replace what is written about the training by checked values, or leave it out with a warning.

    Detection does not need it: a file is of use without.
    """
    epoch = content.get("epoch")
    if epoch is not None and (type(epoch) is not int or not 0 <= epoch <= MAX_EPOCH):
        warn_caller(
            f"{printable(source)}: epoch is {shown(epoch, 60)}; it must be a whole number of at "
            "least 0; the record is ignored"
        )
        content["epoch"] = None
    if content.get("held_out") is not None:
        try:
            content["held_out"] = HeldOut.from_dict(content["held_out"])
        except ValueError as error:
            warn_caller(f"{printable(source)}: {error}; the record is ignored")
            content["held_out"] = None


def checked_config(settings: Mapping[str, Any], origin: str) -> Config:
    """Return the settings as a `Config` that keeps all rules; `origin` is for the message."""
    from mrcnn.config import Config

    config = Config.from_dict(settings)
    try:
        config.validate()
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
    return config


def _overruled(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes, which derived settings such as IMAGE_SHAPE follow.

    A derived setting is kept only where it is not what the other settings give.
    """
    from mrcnn.config import DERIVED, Config

    assigned = vars(Config.from_dict(settings))
    kept = {k: v for k, v in settings.items() if k not in DERIVED or k in assigned}
    return {**kept, **changes}


def check_names_of_settings(
    settings: Mapping[str, Any], path: str | Path, config_class: type[Config] | None = None
) -> None:
    """Raise ValueError for an entry of a file of settings that is no setting's name.

    Args:
        settings: the entries.
        path: the file.
        config_class: the class of the settings; None for `Config`.
    """
    from mrcnn.config import Config, nearest_setting

    for name in settings:
        if not hasattr(config_class or Config, str(name)):
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
