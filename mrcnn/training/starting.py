"""The start of a training: weights, the settings that belong to them, and the datasets.

The weights may be a backbone alone, or have been trained on other classes: layers that depend on
the classes then start with random values, except for the classes that both know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mrcnn.checkpoints import LoadReport
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset

MAX_VALIDATION_STEPS = 50


@dataclass
class StartingPoint:
    """Weights to start a training from.

    Attributes:
        config: the settings that belong to the weights, before those of datasets and users.
        weights: the file to load; None for random values.
        class_names: the classes of these weights, the background first; None for a backbone
            alone.
        resumed: whether the training continues an earlier one.
    """

    config: Config
    weights: str | None
    class_names: list[str] | None = None
    resumed: bool = False


def find_starting_point(
    weights: str,
    *,
    backbone: str | None = None,
    config_path: Path | None = None,
    resumed: bool = False,
) -> StartingPoint:
    """Find weights and the settings that come with them.

    Args:
        weights: `none` (random values), `imagenet` or another known name, or a path.
        backbone: the backbone for `none`; other weights must have it.
        config_path: JSON file with settings that override those of the weights.
        resumed: whether these weights are a checkpoint of the training to continue.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds neither a Mask R-CNN nor a known backbone, or not `backbone`.
    """
    from mrcnn.checkpoints.description import (
        IncompleteWeightsError,
        describe_weights,
        read_description,
    )
    from mrcnn.config import Config

    settings = read_description(config_path)["config"] if config_path else {}
    if weights.lower() == "none":
        return StartingPoint(
            Config.from_dict({"BACKBONE": backbone or "resnet50", **settings}), None
        )
    try:
        described = describe_weights(weights, config_path)
    except IncompleteWeightsError as error:
        found = error.info.backbone
        if found == "other":
            raise
        start = StartingPoint(Config.from_dict({"BACKBONE": found, **settings}), error.info.path)
    else:
        start = StartingPoint(described.config, str(described.path), described.class_names, resumed)
    if backbone not in (None, start.config.BACKBONE):
        raise ValueError(
            f"backbone is {backbone}; it must be {start.config.BACKBONE}, that of the weights "
            f"{weights}, or not be given"
        )
    return start


def configure_for_datasets(
    config: Config, train: Dataset, val: Dataset | None = None, steps: int | None = None
) -> None:
    """Set the settings that follow from the datasets, and validate all.

    Args:
        config: the settings; `NUM_CLASSES`, `GPU_COUNT` (1), `STEPS_PER_EPOCH` and
            `VALIDATION_STEPS` are set.
        train: prepared dataset to train on.
        val: prepared dataset to validate on, or None.
        steps: steps per epoch; None for as many as it takes to see every image once.

    Raises:
        ValueError: a setting is wrong, nothing can be learned from `train`, or the datasets have
            different classes.
    """
    from mrcnn.datasets.report import require_learnable

    require_learnable(train)
    if val is not None:
        require_same_classes(train, val)
    config.NUM_CLASSES = train.num_classes
    config.GPU_COUNT = 1
    config.validate()
    config.STEPS_PER_EPOCH = steps or math.ceil(train.num_images / config.BATCH_SIZE)
    if val is not None:
        once = math.ceil(val.num_images / config.BATCH_SIZE)
        config.VALIDATION_STEPS = min(once, MAX_VALIDATION_STEPS)


def require_same_classes(train: Dataset, val: Dataset) -> None:
    """Refuse datasets whose class ids mean different classes.

    Raises:
        ValueError: with both tables of classes.
    """
    tables = [list(dataset.class_names) for dataset in (train, val)]
    if tables[0] != tables[1]:
        raise ValueError(
            f"classes of the validation dataset are {_table(tables[1])}; they must be those of the "
            f"training dataset: {_table(tables[0])}"
        )


def _table(class_names: Sequence[str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(class_names) if number)


def load_starting_weights(
    model: Any, start: StartingPoint, class_names: Sequence[str]
) -> tuple[LoadReport | None, list[str]]:
    """Load the weights of a starting point into a model for training.

    Args:
        model: a `MaskRCNN` of mode "training", built with `start.config`.
        start: from `find_starting_point`.
        class_names: the classes to train, the background first.

    Returns:
        The report of what was loaded, None for random values; and the names of the classes that
        the weights have, if their classes are others than `class_names`.

    Raises:
        ValueError: a training is to be resumed with other classes, or the file does not fit.
    """
    from mrcnn.checkpoints import load_class_rows
    from mrcnn.checkpoints.description import CLASS_LAYERS

    if start.weights is None:
        return None, []
    same = start.class_names is None or list(start.class_names) == list(class_names)
    if start.resumed and not same:
        raise ValueError(
            f"cannot resume: classes of the dataset are {_table(class_names)}; they must be those "
            f"of {start.weights}: {_table(start.class_names or [])}"
        )
    report = model.load_weights(start.weights, by_name=True, exclude=None if same else CLASS_LAYERS)
    known: list[str] = []
    if not same:
        known = load_class_rows(
            model.keras_model,
            start.weights,
            start.class_names,
            class_names,
            class_agnostic_mask=start.config.CLASS_AGNOSTIC_MASK,
        )
    if not start.resumed:
        # The name of a checkpoint makes the model continue its folder and epoch.
        model.set_log_dir()
    return report, known


def flip_left_right(
    image: np.ndarray, mask: np.ndarray, rng: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image and its masks with a probability of one half.

    Args:
        image: [height, width, channels].
        mask: [height, width, instances].
        rng: a NumPy generator; None makes one.

    Returns:
        Views of both, mirrored together or not at all.
    """
    if rng is None:
        import numpy as np

        rng = np.random.default_rng()
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)
