"""The start of a training: weights, the settings that belong to them, and the datasets.

The weights may be a backbone alone, or have been trained on other classes: layers that depend on
the classes are then taken over class by class (see `mrcnn.checkpoints.class_rows`).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcnn.checkpoints import HeldOut, LoadReport
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset

MAX_VALIDATION_STEPS = 50
# What to say of weights with a backbone, by its name.
_KNOWN_FILES = {"nanodet_pan": " (or small)", "resnet101": " (or coco)"}


@dataclass
class StartingPoint:
    """Weights to start a training from.

    Attributes:
        config: the settings that belong to the weights, before those of datasets and users.
        weights: the file to load; None for random values.
        class_names: the classes of these weights, the background first; None for a backbone
            alone.
        resumed: whether the training continues an earlier one.
        model: name of the model, as in `mrcnn.family.MODELS`.
    """

    config: Config
    weights: str | None
    class_names: list[str] | None = None
    resumed: bool = False
    model: str = "mask_rcnn"

    @property
    def repeats_a_detector(self) -> bool:
        """Whether the RPN was not trained, but set to propose what the backbone's detector finds.

        That of the small model is, see `first_look.choose_layers`.
        """
        if self.model not in ("mask_rcnn", "faster_rcnn") or self.class_names is None:
            return False
        return self.trains_on_proposals and self.config.BACKBONE == "nanodet_pan"

    @property
    def trains_on_proposals(self) -> bool:
        """Whether the heads are trained on the proposals of the RPN."""
        return self.config.USE_RPN and self.config.USE_RPN_ROIS


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
        ValueError: the file holds neither a Mask R-CNN nor a known backbone, or not `backbone`;
            or nothing can be downloaded for `backbone`.
    """
    from mrcnn.checkpoints.description import (
        IncompleteWeightsError,
        check_names_of_settings,
        describe_weights,
        read_description,
    )
    from mrcnn.config import Config
    from mrcnn.config_rules import APPLICATIONS
    from mrcnn.files.names import printable, shown

    settings = read_description(config_path)["config"] if config_path else {}
    check_names_of_settings(settings, config_path or "")
    if weights.lower() == "none":
        return StartingPoint(
            Config.from_dict({"BACKBONE": backbone or "resnet50", **settings}), None
        )
    if weights.lower() == "imagenet" and backbone is not None:
        _require_imagenet_values(backbone)
        if backbone in APPLICATIONS:
            weights = imagenet_weights(backbone)
    try:
        described = describe_weights(weights, config_path)
    except IncompleteWeightsError as error:
        found = error.info.backbone
        if found == "other" and backbone in APPLICATIONS:
            found = backbone  # a file of Keras does not say which network it is of
        if found == "other":
            raise
        start = StartingPoint(Config.from_dict({"BACKBONE": found, **settings}), error.info.path)
    else:
        start = StartingPoint(described.config, str(described.path), described.class_names, resumed)
        found = described.config.BACKBONE
        if "BACKBONE" in settings:
            with contextlib.suppress(ValueError):  # the weights alone do not say
                found = describe_weights(weights).config.BACKBONE
    if settings.get("BACKBONE", found) != found:
        raise ValueError(
            f"BACKBONE in {printable(str(config_path))} is {shown(settings['BACKBONE'])}; it must "
            f"be {found}, that of the weights {printable(weights)}, or not be given"
        )
    if backbone not in (None, start.config.BACKBONE):
        raise ValueError(
            f"backbone is {backbone}; it must be {start.config.BACKBONE}, that of the weights "
            f"{weights}, or not be given"
        )
    return start


def _require_imagenet_values(backbone: str) -> None:
    """Check, before anything is downloaded, that there are values of this backbone to download."""
    from mrcnn.config import Config
    from mrcnn.config_rules import APPLICATIONS, BACKBONES

    if backbone not in (*BACKBONES, *APPLICATIONS):
        Config.from_dict({"BACKBONE": backbone, "NUM_CLASSES": 2}).validate()  # names the nearest
    if backbone not in ("resnet50", *APPLICATIONS):
        raise ValueError(
            f"weights is imagenet, the default with a backbone; with {backbone} it must be none or "
            f"a weight file{_KNOWN_FILES.get(backbone, '')}: ImageNet's values are downloaded for "
            "resnet50 and the networks of keras.applications"
        )


def recorded_split(weights: str) -> HeldOut | None:
    """Return the record of the images that the training of a weight file held out.

    Args:
        weights: a path. There is no record for a known name, which is not downloaded here.

    Raises:
        ValueError: the file, or its description, cannot be read.
    """
    from mrcnn.checkpoints.description import written_description
    from mrcnn.checkpoints.hdf5 import why_not_hdf5

    path = Path(weights).expanduser()
    if not path.is_file() or why_not_hdf5(path) is not None:  # those of Darknet state nothing
        return None
    return written_description(path).held_out


def hold_out(
    data: Dataset,
    fraction: float,
    *,
    dataset: str,
    format: str | None = None,
    part: str | None = None,
    earlier: HeldOut | None = None,
    resumed: bool = False,
) -> tuple[Dataset, Dataset, HeldOut | None]:
    """Hold images out of a dataset, to validate on, and record which.

    The images that the training of the weights held out are held out again if the training is
    resumed, or if dataset, part and fraction are the same: none of them may be trained on, also
    where the dataset has gained or lost images since.

    Args:
        data: the prepared dataset.
        fraction: share of the images, above 0 and below 1.
        dataset: its path as the user gave it.
        format: name of its format; None where it was recognized.
        part: the part of it that `data` is.
        earlier: the record of the weights to start from.
        resumed: whether their training is continued.

    Returns:
        The images to train on, those held out, and the record; None, with a warning, if it would
        be too large to be stored.
    """
    from mrcnn.checkpoints.held_out import HeldOut, absolute
    from mrcnn.files.reading import MAX_JSON_BYTES
    from mrcnn.startup.caller import warn_caller

    numbers: list[int] = []
    if earlier is not None:
        same = (absolute(dataset), part, fraction)
        if resumed or same == (earlier.path, earlier.part, earlier.val_fraction):
            numbers = earlier.numbers_in(data, dataset)
    if 0 < len(numbers) < data.num_images:
        held = set(numbers)
        rest = [number for number in range(data.num_images) if number not in held]
        train, val = data.subset(rest), data.subset(numbers)
    else:
        train, val = data.split(fraction)
    record = HeldOut.of_split(
        data, val, dataset=dataset, format=format, part=part, val_fraction=fraction
    )
    if len(json.dumps(record.to_dict())) > MAX_JSON_BYTES // 2:
        warn_caller(
            f"{val.num_images:,} images are held out for validation; their list is too long to be "
            "stored with the weights"
        )
        return train, val, None
    return train, val, record


def imagenet_weights(backbone: Any) -> str:
    """Return the file of a backbone's ImageNet weights, downloaded unless it is cached.

    Args:
        backbone: `Config.BACKBONE`. Keras downloads those of its `keras.applications`; of any other
            the weights are those of ResNet-50, as in Matterport's package.

    Raises:
        OSError: they cannot be downloaded.
    """
    from mrcnn.checkpoints import known
    from mrcnn.config_rules import APPLICATIONS
    from mrcnn.files.cache_dir import cache_dir

    if callable(backbone) or backbone not in APPLICATIONS:
        return known.get_imagenet_weights()
    from mrcnn.layers.backbones.applications import save_imagenet_weights

    path = cache_dir() / f"{backbone}_imagenet_notop.h5"
    if not path.is_file():
        save_imagenet_weights(backbone, path)
    return str(path)


def configure_for_datasets(
    config: Config, train: Dataset, val: Dataset | None = None, steps: int | None = None
) -> None:
    """Set the settings that follow from the datasets, and validate all.

    Args:
        config: the settings; `NUM_CLASSES`, `STEPS_PER_EPOCH` and
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
    config.validate()
    config.STEPS_PER_EPOCH = steps or math.ceil(train.num_images / config.BATCH_SIZE)
    if val is not None:
        once = math.ceil(val.num_images / config.BATCH_SIZE)
        config.VALIDATION_STEPS = min(once, MAX_VALIDATION_STEPS)


def learn_masks_where_there_are(config: Config, train: Dataset) -> list[str]:
    """Set `PARTIAL_LABELS` if some objects have a box alone: no masks are learned from those.

    Args:
        config: the settings; nothing is done without a mask head.
        train: prepared dataset to train on.

    Returns:
        A note for the user; none where every object has a mask.
    """
    from mrcnn.files.names import counted

    if not config.USE_MASK:
        return []
    flags = [train.image_has_masks(image_id) for image_id in train.image_ids]
    num_boxes = sum(int((~one).sum()) for one in flags if one is not None)
    if not num_boxes:
        return []
    config.PARTIAL_LABELS = True
    if not any(one is None or one.any() for one in flags):
        return [
            "no object has a mask, only boxes: the mask head is not trained, and with USE_MASK = "
            "False (Faster R-CNN) it can be left out"
        ]
    return [
        f"{counted(num_boxes, 'object')} with a box but no mask: masks are learned from the others"
    ]


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


def match_classes(
    start: StartingPoint, class_names: Sequence[str], rename: Mapping[str, str] | None = None
) -> dict[str, str] | None:
    """Find the classes of a dataset that the weights to start from know.

    Args:
        start: from `find_starting_point`.
        class_names: the classes to train, the background first.
        rename: class to train -> class of the weights that it continues.

    Returns:
        See `mrcnn.checkpoints.class_rows.match_class_names`. None if the weights have the same
        classes, or none.

    Raises:
        ValueError: a training is to be resumed with other classes, or `rename` has an unknown one.
    """
    from mrcnn.checkpoints.class_rows import match_class_names

    if rename and (start.resumed or start.class_names is None):
        why = "when a training is resumed" if start.resumed else "with weights without classes"
        raise ValueError(f"rename is {dict(rename)}; it must not be given {why}")
    if start.class_names is None or (list(start.class_names) == list(class_names) and not rename):
        return None
    if start.resumed:
        raise ValueError(
            f"cannot resume: classes of the dataset are {_table(class_names)}; they must be those "
            f"of {start.weights}: {_table(start.class_names)}"
        )
    return match_class_names(start.class_names, class_names, rename)


def load_starting_weights(
    model: Any,
    start: StartingPoint,
    class_names: Sequence[str],
    rename: Mapping[str, str] | None = None,
) -> tuple[LoadReport | None, dict[str, str] | None]:
    """Load the weights of a starting point into a model for training.

    Args:
        model: a `MaskRCNN` of mode "training", built with `start.config`.
        start: from `find_starting_point`.
        class_names: the classes to train, the background first.
        rename: as for `match_classes`.

    Returns:
        The report of what was loaded, None for random values; and what `match_classes` returns.

    Raises:
        ValueError: as for `match_classes`, or the file does not fit.
    """
    from mrcnn.checkpoints import load_class_rows
    from mrcnn.checkpoints.description import CLASS_LAYERS

    known = match_classes(start, class_names, rename)
    if start.weights is None:
        return None, known
    exclude = None if known is None else CLASS_LAYERS
    report = model.load_weights(start.weights, by_name=True, exclude=exclude)
    if known is not None:
        load_class_rows(model.keras_model, start.weights, start.class_names, class_names, rename)
    if not start.resumed:
        # The name of a checkpoint makes the model continue its folder and epoch.
        model.set_log_dir()
    return report, known
