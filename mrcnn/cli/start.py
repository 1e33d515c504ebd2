"""What the samples share: their options, and from the word behind `--weights` to a model.

The settings are those of the sample's own `Config`. Only the network itself follows the weights,
where these say which one they belong to: the small model has other layers than a ResNet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.checkpoints import load_class_rows
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.checkpoints.description import (
    ANY_NETWORK,
    CLASS_LAYERS,
    INPUT,
    NETWORK,
    follow_network,
)
from mrcnn.checkpoints.description import weights_class_names as class_names_of
from mrcnn.checkpoints.known import resolve_weights
from mrcnn.cli.train import last_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mrcnn.config import Config

__all__ = ["INPUT", "NETWORK", "sample_parser", "start_model", "weights_class_names"]


def sample_parser(description: str, commands: Sequence[str], logs: str) -> argparse.ArgumentParser:
    """The options that Matterport's samples have in common.

    Args:
        description: what the sample does.
        commands: choices of the first word.
        logs: default of `--logs`.
    """
    parser = argparse.ArgumentParser(description=description)
    words = " or ".join(repr(command) for command in commands)
    parser.add_argument("command", choices=commands, metavar="<command>", help=words)
    parser.add_argument("--dataset", metavar="/path/to/dataset/", help="the data set")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="/path/to/weights.h5",
        help="path of weights, or coco, imagenet, small, last, none",
    )
    parser.add_argument("--logs", default=logs, metavar="/path/to/logs/", help="weights and logs")
    return parser


def start_model(
    mode: str,
    config: Config,
    weights: str,
    logs: str,
    follow: Sequence[str] = NETWORK,
    names: Sequence[str] | None = None,
) -> Any:
    """Build a model and load the weights that a sample's command line names.

    Args:
        mode: "training" or "inference".
        config: the sample's settings; those in `follow` are replaced by the weights' own.
        weights: `coco`, `imagenet`, `small`, `none` (random), `last` (the newest checkpoint of
            this `NAME` in `logs`), or the path of a weight file. The layers that depend on the
            number of classes are left out where the weights have another number.
        logs: folder of trainings.
        follow: names of settings, at least `NETWORK`; `(*NETWORK, *INPUT)` for a sample whose
            pictures may have any size.
        names: the sample's class names, the background first: where the weights have another
            number of classes, those of the same name are taken over.

    Returns:
        A `mrcnn.model.MaskRCNN`.

    Raises:
        FileNotFoundError: there is no such file, or no checkpoint yet.
        ValueError: the weights do not fit, or are to detect and lack a part of the network.
    """
    word = str(weights).lower()
    if word == "last":
        weights = str(last_checkpoint(Path(logs), config.NAME))
    class_names = list(COCO_CLASS_NAMES) if word == "coco" else None
    if word not in ANY_NETWORK:
        class_names = follow_network(config, weights, follow)
    if mode == "inference":
        _check_complete(config, weights, class_names)
    config.display()
    from mrcnn.startup.backend import import_backend

    import_backend()
    from mrcnn.model import MaskRCNN

    model = MaskRCNN(mode=mode, config=config, model_dir=logs)
    if word == "none":
        return model
    print("Loading weights", weights)
    other_classes = class_names is not None and len(class_names) != config.NUM_CLASSES
    exclude = CLASS_LAYERS if other_classes else None
    report = model.load_weights(weights, by_name=True, exclude=exclude)
    if report is not None:
        print(report.summary())
    if other_classes and names:
        known = load_class_rows(model.keras_model, resolve_weights(weights), class_names, names)
        if known:
            print("Classes that the weights know:", ", ".join(known))
    if mode == "inference" and getattr(report, "missing_in_file", ()):
        raise ValueError(f"weights is {weights}, which lacks layers: {_NOISE}")
    return model


_NOISE = "what it detects would be noise. Train first, then use 'last'."


def _check_complete(config: Config, weights: str, class_names: list[str] | None) -> None:
    """Refuse, before anything is built, weights that cannot detect what the sample looks for."""
    if class_names is None:
        raise ValueError(f"weights is {weights}, which lacks layers: {_NOISE}")
    if len(class_names) != config.NUM_CLASSES:
        names = ", ".join(class_names[1:6]) + (", ..." if len(class_names) > 6 else "")
        raise ValueError(
            f"weights is {weights}, which was trained on {len(class_names)} classes with the "
            f"background ({names}), not on these {config.NUM_CLASSES} classes: {_NOISE}"
        )


def weights_class_names(weights: str, logs: str, name: str) -> list[str] | None:
    """Return the class names of the weights that a sample's command line names.

    Args:
        weights: as for `start_model`.
        logs: as for `start_model`.
        name: `NAME` of the trainings that `last` looks for.

    Returns:
        The names, the background first; None for weights without class heads.
    """
    if str(weights).lower() == "last":
        weights = str(last_checkpoint(Path(logs), name))
    return class_names_of(weights)
