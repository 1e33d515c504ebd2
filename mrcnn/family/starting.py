"""The start of a training of the family: its weights, and the settings that belong to them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.checkpoints.description import check_names_of_settings, read_description
from mrcnn.checkpoints.known import weights_manifest
from mrcnn.family.models import DEFAULT, Model, find_model
from mrcnn.family.weights import check_config, describe, model_of
from mrcnn.files.names import printable
from mrcnn.training.starting import StartingPoint, require_same_classes

if TYPE_CHECKING:
    from mrcnn.datasets import Dataset

# Words for weights that are no file.
_WORDS = ("none", "imagenet")


def choose_model(model: str | None, weights: str | None) -> Model:
    """Return the model to train: the one that is named, that of the weights, or Mask R-CNN.

    Args:
        model: its name, or None.
        weights: what the training starts from, or None.

    Raises:
        ValueError: there is no such model, or it is not trained.
    """
    if model is not None:
        entry = find_model(model)
        if not entry.is_trained:
            raise ValueError(
                f"model is {entry.name}; it must be another one to train: it takes the classes of "
                "ImageNet as they are (rcnn learns those of a dataset)"
            )
        return entry
    is_known = weights is None or weights.lower() in {*_WORDS, *weights_manifest()}
    if is_known or not Path(str(weights)).expanduser().exists():
        return find_model(DEFAULT)
    return find_model(model_of(str(weights)))


def default_weights(entry: Model, backbone: str | None) -> str:
    """Return what a training starts from where nothing is said.

    Args:
        entry: the model to train.
        backbone: the backbone that is named, which the usual weights may not have, or None.
    """
    return entry.weights if backbone is None or entry.weights == "none" else "imagenet"


def find_start(
    entry: Model,
    weights: str,
    train: Dataset,
    val: Dataset | None,
    *,
    config_path: Path | None = None,
    resumed: bool = False,
) -> StartingPoint:
    """Find weights and settings of a training, with the classes of its dataset.

    Args:
        entry: the model.
        weights: "none", "imagenet", or the path of a weight file: one of the same model, of another
            semantic network, or of Darknet, also of its first layers alone.
        train: the dataset to train on.
        val: the dataset to validate on, or None.
        config_path: JSON file with settings that override those of the weights.
        resumed: whether these weights are a checkpoint of the training to continue.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights are of another model, a setting breaks a rule, or the datasets have
            other classes than each other or than the training to continue.
    """
    if val is not None:
        require_same_classes(train, val)
    word, class_names = weights.lower(), None
    if entry.family == "rcnn":
        config = _configured(entry, config_path)
    elif word in _WORDS or _is_first_layers(entry, weights):
        _check_word(entry, word)
        config = _configured(entry, config_path)
    else:
        described = describe(weights, None, config_path)
        found = find_model(described.model)
        if found.family != entry.family or (entry.family == "yolo" and found != entry):
            raise ValueError(
                f"weights is {printable(weights)}, which holds the model {found.name}; it must be "
                f"weights of {entry.name}"
            )
        config, class_names, weights = (
            described.config, described.class_names, str(described.path),
        )  # fmt: skip
    if resumed and class_names != list(train.class_names):
        raise ValueError(
            f"cannot resume: classes of the dataset are {', '.join(train.class_names)}; they must "
            f"be those of {printable(weights)}: {', '.join(class_names or [])}"
        )
    config.NUM_CLASSES, config.GPU_COUNT = train.num_classes, 1
    start = None if word == "none" else weights
    return StartingPoint(config, start, class_names, resumed, entry.name)


def finish_settings(config: Any, entry: Model, train: Dataset, steps: int | None) -> None:
    """Set the settings that follow from the dataset, and check all.

    Raises:
        ValueError: a setting breaks a rule.
    """
    if entry.family == "yolo":
        config.IMAGE_MIN_DIM = config.IMAGE_MAX_DIM
    check_config(config, entry, entry.title)
    if entry.family == "rcnn":
        return
    config.STEPS_PER_EPOCH = steps or math.ceil(train.num_images / config.BATCH_SIZE)


def load_start(model: Any, start: StartingPoint) -> str:
    """Load the weights of a starting point into a model; return a line about them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not fit.
        OSError: ImageNet's values cannot be downloaded.
    """
    entry = find_model(start.model)
    if start.weights is None:
        return "none: random values"
    if start.weights.lower() == "imagenet":
        model.load_imagenet()
        return "imagenet: the layers of VGG-16; the others start from random values"
    name = printable(start.weights)
    has_classes = start.class_names == model.class_names
    if entry.family == "semantic":
        report = model.load_weights(start.weights, skip_mismatch=not has_classes)
        missing = len(report.missing_in_file) + len(getattr(report, "mismatched", ()))
    elif _is_first_layers(entry, start.weights):
        model.load_weights(start.weights, num_classes=0)
        return f"{name}: the first layers; the others start from random values"
    else:
        count = len(start.class_names or ()) - 1
        model.load_weights(start.weights, num_classes=None if has_classes else count)
        missing = 0 if has_classes else 1
    if start.resumed:
        model.set_log_dir(start.weights)
    if not missing:
        return f"{name}: all layers"
    return f"{name}: the layers that do not depend on the classes or the network; others are random"


def _configured(entry: Model, config_path: Path | None) -> Any:
    """Return the settings of a training that starts from no weights of the model."""
    config = entry.make_new_config()
    if config_path is None:
        return config
    settings = read_description(config_path)["config"]
    check_names_of_settings(settings, config_path, type(config))
    return type(config).from_dict({**_as_dict(config), **settings})


def _check_word(entry: Model, word: str) -> None:
    if word == "imagenet" and entry.family == "yolo":
        raise ValueError(
            f"weights is imagenet; it must be a weight file, or none, for the model {entry.name}"
        )


def _is_first_layers(entry: Model, weights: str) -> bool:
    """Return whether a file holds the first layers of a Darknet network, by its usual name."""
    path = Path(weights).expanduser()
    return entry.family == "yolo" and ".conv." in path.name and path.is_file()


def _as_dict(config: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if name.isupper()}
