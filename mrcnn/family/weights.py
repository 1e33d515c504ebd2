"""From a weight file to the model that it belongs to: name, settings and class names.

Files that this package writes state all of it. Darknet's `.weights` files state nothing, but their
size tells network and number of classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrcnn.checkpoints.description import (
    BACKGROUND,
    MODEL,
    DescribedWeights,
    FoundDescription,
    check_names_of_settings,
    describe_weights,
    read_description,
    written_description,
)
from mrcnn.checkpoints.hdf5 import why_not_hdf5
from mrcnn.checkpoints.known import resolve_weights
from mrcnn.config import Config, model_name
from mrcnn.config_rules import PRECISIONS, find_own_problems
from mrcnn.family.models import Model, build, find_model
from mrcnn.family.yolo.descriptions import find_by_values
from mrcnn.files.names import counted, printable

__all__ = [
    "FamilyWeights",
    "check_config",
    "choose_precision",
    "describe",
    "load",
    "model_of",
    "read_names",
    "with_proposals",
]

# What a file that is not HDF5 must be called to be taken for one of Darknet's.
DARKNET_SUFFIX = ".weights"
MAX_NAMES = 100_000


@dataclass(frozen=True)
class FamilyWeights(DescribedWeights):
    """A weight file of a model of the family, with what is needed to use it."""

    def __str__(self) -> str:
        entry = find_model(self.model)
        config = self.config
        parts = [entry.title]
        count = config.NUM_CLASSES - (entry.finds == "boxes")
        parts.append(counted(count, "class", "classes"))
        if entry.family == "rcnn":
            parts.append(f"on {config.BACKBONE}")
        elif entry.finds == "boxes":
            parts.append(f"{config.IMAGE_MAX_DIM}x{config.IMAGE_MAX_DIM}")
        return f"{printable(self.name)}: {', '.join(parts)} ({printable(self.source)})"


def describe(
    weights: str,
    model: str | None = None,
    config_path: Path | None = None,
    names_path: Path | None = None,
) -> DescribedWeights:
    """Find a weight file, the model it holds, its settings and its class names.

    Args:
        weights: a known name or a path.
        model: name of the model; None takes that of the file.
        config_path: JSON file with settings that overrule those of the file.
        names_path: text file with a class name per line, without a background, as Darknet's
            `coco.names`; for files that name no classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds another model, cannot be read, or a setting breaks a rule.
    """
    wanted = None if model is None else find_model(model)
    if wanted is not None and not wanted.is_trained:
        return _imagenet_weights(weights, wanted, config_path)
    path = Path(resolve_weights(weights))
    if _is_darknet(path, wanted):
        found = _darknet_description(path, wanted)
    else:
        found = written_description(path)
    entry = find_model(found.model)
    if entry.family == MODEL:
        described = describe_weights(weights, config_path)
        entry = find_model(described.model)
        if wanted is not None and wanted.name == "faster_rcnn" and entry.name == MODEL:
            entry = wanted
            entry.change(described.config)  # its boxes, without its masks
            described = replace(described, model=entry.name, refiner=None)
    if wanted is not None and wanted.name != entry.name:
        raise ValueError(
            f"model is {wanted.name}; it must be {entry.name} with the weights {printable(path)}, "
            "or not be given"
        )
    if entry.family == MODEL:
        if names_path is not None:
            raise ValueError(
                f"names is {printable(names_path)}; it must not be given for {entry.name}, whose "
                "class names are stated in the weight file or with --config"
            )
        return described
    if not found.settings:
        raise ValueError(f"{printable(path)} has no settings; it must state its NUM_CLASSES")
    return _described(weights, path, entry, found, config_path, names_path)


def model_of(weights: str) -> str:
    """Return the name of the model that a weight file holds; Mask R-CNN where it states none.

    Args:
        weights: a path, of a file or a log folder.

    Raises:
        ValueError: the file cannot be read.
    """
    path = Path(resolve_weights(weights, verbose=0))
    if _is_darknet(path, None):
        return _darknet_description(path, None).model
    if not path.is_file() or why_not_hdf5(path) is not None:
        return MODEL
    found = written_description(path)
    if found.model != MODEL or not found.settings:
        return found.model
    return model_name(Config.from_dict(found.settings))


def load(weights: str | DescribedWeights, **options: Any) -> Any:
    """Return any model that is ready to use, from its weight file.

    Args:
        weights: a known name, a path, or what `describe` returns.
        **options: of `describe`.

    Returns:
        A `MaskRCNN`, a `SemanticModel`, a `Yolo`, an `RCNN` or a `RegionClassifier`, with
        `class_names`.

    Example:
        yolo = load("yolov3.weights")
        result = yolo.detect([image])[0]
    """
    described = weights if isinstance(weights, DescribedWeights) else describe(weights, **options)
    entry = find_model(described.model)
    if entry.family == MODEL:
        return with_proposals(entry.load_class().from_weights(described))
    model = build(entry.name, described.config, described.class_names)
    if not entry.is_trained:
        model.load_imagenet(described.path)
        return model
    model.load_weights(described.path)
    model.epoch, model.held_out = described.epoch or 0, described.held_out
    return model


def choose_precision(described: DescribedWeights, precision: str | None) -> None:
    """Set what the network of a model of the family computes in; None leaves it to the weights.

    Raises:
        ValueError: it computes in no such numbers.
    """
    entry = find_model(described.model)
    if precision is None or entry.family == MODEL:
        return
    allowed = PRECISIONS if "PRECISION" in entry.load_settings() else PRECISIONS[:1]
    if precision not in allowed:
        raise ValueError(
            f"precision is {printable(precision)}; it must be one of {', '.join(allowed)} with the "
            f"model {entry.name}"
        )
    described.config.PRECISION = precision


def with_proposals(model: Any) -> Any:
    """Let a network without RPN take the proposals of selective search; return the model."""
    if not model.config.USE_RPN and model.propose is None:
        from mrcnn.family.proposals import propose

        model.propose = propose
    return model


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of class names, one per line, as Darknet's `coco.names`; the background is added.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or holds no name.
    """
    from mrcnn.datasets.entries import normalize_name, read_text

    names = [normalize_name(line) for line in read_text(path).splitlines()]
    names = [printable(name) for name in names if name]
    if not 1 <= len(names) <= MAX_NAMES:
        raise ValueError(
            f"names is {printable(path)} with {len(names)} names; it must have 1 to {MAX_NAMES}, "
            "one per line"
        )
    return [BACKGROUND, *names]


def _is_darknet(path: Path, wanted: Model | None) -> bool:
    """Return whether a file is to be read as one of Darknet's."""
    if not path.is_file() or why_not_hdf5(path) is None:
        return False
    is_yolo = wanted is not None and wanted.family == "yolo"
    return is_yolo or path.suffix.lower() == DARKNET_SUFFIX


def _darknet_description(path: Path, wanted: Model | None) -> FoundDescription:
    """Find network and number of classes from the size of a file."""
    from mrcnn.family.yolo.darknet_weights import read_header

    header = read_header(path)
    num_values, rest = divmod(path.stat().st_size - header.num_bytes, 4)
    found = [] if rest else find_by_values(num_values)
    if wanted is not None:
        found = [pair for pair in found if pair[0].name == wanted.name] or found
    if not found:
        raise ValueError(
            f"weights is {printable(path)} with {path.stat().st_size:,} bytes; it must have the "
            "size of a whole yolov1, yolov2, yolov3 or yolov3-tiny of some number of classes: it "
            "is cut short, or of another network"
        )
    network, num_classes = found[0]
    settings = {"NUM_CLASSES": 1 + num_classes, "IMAGE_MAX_DIM": network.image_size}
    source = f"Darknet {'.'.join(map(str, header.version))}"
    return FoundDescription(settings, None, source, is_stated=False, model=network.name)


def _imagenet_weights(weights: str, entry: Model, config_path: Path | None) -> FamilyWeights:
    """Describe a file of ImageNet's values, which states neither settings nor names."""
    from mrcnn.family.rcnn.imagenet_names import IMAGENET_CLASS_NAMES

    path = Path(resolve_weights(weights))
    if not path.is_file():
        raise FileNotFoundError(f"weights is {printable(path)}; it must be an existing file")
    settings = {"NAME": entry.name, **entry.changes}
    found = FoundDescription(settings, list(IMAGENET_CLASS_NAMES), "ImageNet", model=entry.name)
    return _described(weights, path, entry, found, config_path, None)


def _described(
    name: str,
    path: Path,
    entry: Model,
    found: FoundDescription,
    config_path: Path | None,
    names_path: Path | None,
) -> FamilyWeights:
    settings, class_names, source = dict(found.settings), found.class_names, found.source
    defaults = entry.make_config()
    if config_path is not None:
        overruling = read_description(config_path)
        check_names_of_settings(overruling["config"], config_path, type(defaults))
        settings |= overruling["config"]
        class_names = overruling.get("class_names", class_names)
        source = f"{source}, {config_path}"
    if names_path is not None:
        class_names = read_names(names_path)
    if entry.family == "yolo":
        settings["IMAGE_MIN_DIM"] = settings.get("IMAGE_MAX_DIM", defaults.IMAGE_MAX_DIM)
    config = type(defaults).from_dict(settings)
    check_config(config, entry, f"{printable(path)}, {printable(source)}")
    guess = None
    if class_names is None:
        class_names, guess = _guessed_names(path, entry, config.NUM_CLASSES)
    if len(class_names) != config.NUM_CLASSES:
        hint = f"names is {printable(names_path)}: " if names_path is not None else ""
        first = "the background included" if entry.finds == "boxes" else "one for each number"
        raise ValueError(
            f"{hint}class_names has {len(class_names)} entries; it must have NUM_CLASSES = "
            f"{config.NUM_CLASSES} of {printable(path)}, {first}"
        )
    if not config.NAME:
        config.NAME = entry.name
    return FamilyWeights(
        *(name, path, config, list(class_names), source),
        epoch=found.epoch,
        held_out=found.held_out,
        guess=guess,
        model=entry.name,
    )


def check_config(config: Config, entry: Model, origin: str) -> None:
    """Raise ValueError for settings of a model of the family that break a rule."""
    settings = entry.load_settings()
    problems = find_own_problems(config, settings)
    if problems:
        raise ValueError(f"{origin}: {problems[0]}")


def _guessed_names(path: Path, entry: Model, num_classes: int) -> tuple[list[str], str | None]:
    """Return class names that a file does not state, and what was guessed."""
    from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
    from mrcnn.datasets.cvat import VOC_CLASSES

    if entry.finds != "boxes":
        return list(map(str, range(num_classes))), None
    known: dict[int, Sequence[str]] = {
        len(COCO_CLASS_NAMES): COCO_CLASS_NAMES,
        1 + len(VOC_CLASSES): (BACKGROUND, *VOC_CLASSES),
    }
    origin = {len(COCO_CLASS_NAMES): "COCO's", 1 + len(VOC_CLASSES): "VOC's"}
    names = list(
        known.get(num_classes, (BACKGROUND, *(f"class {k}" for k in range(1, num_classes))))
    )
    what = origin.get(num_classes, "numbers")
    more = ", ..." if num_classes > 4 else ""
    return names, (
        f"{printable(path)} does not name its {num_classes - 1} classes; {what} are taken "
        f"({', '.join(names[1:4])}{more}). State others with --names FILE"
    )
