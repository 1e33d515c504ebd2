"""Common parts of the samples' command lines: options, and a model from `--weights`.

The settings are those of the sample's own `Config`. Only those of the network are
replaced by the description of the weights, if they have one: the small model is no ResNet.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.checkpoints.description import (
    ANY_NETWORK,
    CLASS_LAYERS,
    INPUT,
    NETWORK,
    class_names_of_weights,
    follow_network,
)
from mrcnn.checkpoints.known import resolve_weights
from mrcnn.cli.train import last_checkpoint
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN

__all__ = ["INPUT", "NETWORK", "sample_parser", "start_model", "weights_class_names"]

_NOISE = "its detections would be noise. Train first, then use 'last'."


def sample_parser(description: str, commands: Sequence[str], logs: str) -> argparse.ArgumentParser:
    """Return a parser with the options that Matterport's samples have in common.

    Args:
        description: what the sample does.
        commands: choices of the first word.
        logs: default of `--logs`.
    """
    parser = argparse.ArgumentParser(description=description)
    words = " or ".join(repr(command) for command in commands)
    parser.add_argument("command", choices=commands, metavar="<command>", help=words)
    parser.add_argument("--dataset", metavar="/path/to/dataset/", help="folder of the dataset")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="/path/to/weights.h5",
        help="path of weights, or coco, imagenet, small, last, none",
    )
    parser.add_argument(
        "--logs", default=logs, metavar="/path/to/logs/", help="folder of weights and logs"
    )
    return parser


def start_model(
    mode: str,
    config: Config,
    weights: str,
    logs: str,
    follow: Sequence[str] = NETWORK,
    names: Sequence[str] | None = None,
) -> MaskRCNN:
    """Build a model and load the weights that the command line of a sample names.

    Args:
        mode: "training" or "inference".
        config: settings of the sample; those in `follow` are replaced by those of the weights.
        weights: `coco`, `imagenet`, `small`, `none` (random values), `last` (the newest checkpoint
            of this `NAME` in `logs`), or the path of a weight file. The layers that depend on the
            number of classes are not loaded where the weights have another number.
        logs: folder of trainings.
        follow: names of settings, at least `NETWORK`; `(*NETWORK, *INPUT)` for a sample that
            accepts images of any size.
        names: class names of the sample, the background first. Where the weights have another
            number of classes, those of the same name are loaded.

    Returns:
        A `mrcnn.model.MaskRCNN`.

    Raises:
        FileNotFoundError: there is no such file, or no checkpoint yet.
        ValueError: the weights do not fit, or lack a part of the network in mode "inference".
    """
    word = str(weights).lower()
    if word == "last":
        weights = str(last_checkpoint(Path(logs), config.NAME or ""))
    class_names = list(COCO_CLASS_NAMES) if word == "coco" else None
    if word not in ANY_NETWORK:
        class_names = follow_network(config, weights, follow)
    if mode == "inference":
        _require_complete(config, weights, class_names)
    config.display()
    from mrcnn.startup.backend import import_backend

    import_backend()
    from mrcnn.model import MaskRCNN

    model = MaskRCNN(mode=mode, config=config, model_dir=logs)
    if word != "none":
        _load_weights(model, weights, class_names, names)
    return model


def _load_weights(
    model: MaskRCNN,
    weights: str,
    class_names: list[str] | None,
    names: Sequence[str] | None,
) -> None:
    """Load weights, without the class layers where these belong to other classes."""
    from mrcnn.checkpoints import load_class_rows
    from mrcnn.checkpoints.class_rows import describe_class_match

    print("Loading weights", printable(weights))
    other_classes = class_names is not None and len(class_names) != model.config.NUM_CLASSES
    exclude = CLASS_LAYERS if other_classes else None
    report = model.load_weights(weights, by_name=True, exclude=exclude)
    if report is not None:
        print(report.summary())
    if class_names is not None and other_classes and names:
        known = load_class_rows(model.keras_model, resolve_weights(weights), class_names, names)
        for line in describe_class_match(names, known):
            print("Classes", line)
    if model.mode == "inference" and report is not None and report.missing_in_file:
        raise ValueError(f"weights is {weights}, which lacks layers: {_NOISE}")


def _require_complete(config: Config, weights: str, class_names: list[str] | None) -> None:
    """Refuse, before anything is built, weights that cannot detect the classes of the sample."""
    if class_names is None:
        raise ValueError(f"weights is {weights}, which lacks layers: {_NOISE}")
    if len(class_names) != config.NUM_CLASSES:
        names = ", ".join(class_names[1:6]) + (", ..." if len(class_names) > 6 else "")
        raise ValueError(
            f"weights is {weights}, which was trained on {len(class_names)} classes with the "
            f"background ({names}), not on these {config.NUM_CLASSES} classes: {_NOISE}"
        )


def weights_class_names(weights: str, logs: str, name: str) -> list[str] | None:
    """Return the class names of the weights that the command line of a sample names.

    Args:
        weights: as for `start_model`.
        logs: as for `start_model`.
        name: `NAME` of the trainings among which `last` looks.

    Returns:
        The names, the background first; None for weights without class heads.
    """
    if str(weights).lower() == "last":
        weights = str(last_checkpoint(Path(logs), name))
    return class_names_of_weights(weights)
