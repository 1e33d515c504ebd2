"""`mrcnn train`: trains on a data set, from COCO, ImageNet, the small model or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from mrcnn.config import Config
    from mrcnn.datasets import Dataset

# The layers whose shapes depend on the number of classes.
CLASS_LAYERS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
MAX_VALIDATION_STEPS = 50


def train(
    dataset: Annotated[str, typer.Argument(help="Folder or annotation file of the data set.")],
    format: Annotated[
        str | None, typer.Option(help="coco, via, labelme, voc, masks, ...; found out if left out.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes to load: cat,dog; all if left out."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Data set to validate on, if not a part of the first.")
    ] = None,
    val_fraction: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Share of the pictures kept for validation."),
    ] = 0.2,
    weights: Annotated[
        str, typer.Option(help="Start from: small, coco, imagenet, none, or a weight file.")
    ] = "coco",
    layers: Annotated[
        str, typer.Option(help="heads, 5+, 4+, 3+, all, or a pattern of layer names.")
    ] = "heads",
    epochs: Annotated[int, typer.Option(min=1, help="Number of the last epoch.")] = 10,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps an epoch; once over all pictures if left out.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Learning rate.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=64, help="Side of the input in pixels, a multiple of 64.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="resnet50, resnet101 or squeezenet.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    augment: Annotated[str, typer.Option(help="flips (left to right) or none.")] = "flips",
    output: Annotated[Path, typer.Option(help="Folder for weights and logs.")] = Path("logs"),
    name: Annotated[
        str | None, typer.Option(help="Name of the training; the data set's if left out.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with further settings.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last epoch of this name.")
    ] = False,
    best: Annotated[
        bool, typer.Option("--best", help="Measure mask AP each epoch, keep the best weights.")
    ] = False,
    early_stopping: Annotated[
        bool, typer.Option("--early-stopping", help="Stop after 10 epochs without a better AP.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Makes order and augmentation repeatable.")] = (
        None
    ),
) -> None:
    """Train on a data set.

    Writes the weights of every epoch and config.json (settings and class names) to a new
    folder, TensorBoard's logs too if it is installed. Give the weights to `mrcnn detect` and
    `mrcnn evaluate`.
    """
    from mrcnn.cli.data import split_names

    if augment not in ("flips", "none"):
        raise typer.BadParameter(f"--augment must be flips or none, got {augment}")
    name = experiment_name(name, dataset, format)
    train_data, val_data = open_parts(dataset, format, val, val_fraction, split_names(classes))
    callbacks = [
        word for word, chosen in (("best", best), ("early_stopping", early_stopping)) if chosen
    ]
    if callbacks and val_data is None:
        raise ValueError("--best and --early-stopping need pictures to validate on")
    start = plan_start(weights, backbone, config, output if resume else None, name)
    settings = start.config
    settings.NAME = name
    if batch_size is not None:
        settings.IMAGES_PER_GPU = batch_size
    if image_size is not None:
        settings.IMAGE_MIN_DIM = settings.IMAGE_MAX_DIM = image_size
    fit_to_data(settings, train_data, val_data, steps)
    typer.echo(
        f"Data set  {train_data.num_images} pictures to train on, "
        f"{0 if val_data is None else val_data.num_images} to validate on, classes: "
        f"{', '.join(train_data.class_names[1:])}\n"
        f"Model     {settings.BACKBONE}, {'x'.join(map(str, settings.IMAGE_SHAPE[:2]))}, batches "
        f"of {settings.BATCH_SIZE}, {settings.STEPS_PER_EPOCH} steps an epoch"
    )
    model = build_model(start, train_data.class_names, output)
    model.train(
        train_data,
        val_data,
        learning_rate=settings.LEARNING_RATE if learning_rate is None else learning_rate,
        epochs=epochs,
        layers=layers,
        augmentation=flip if augment == "flips" else None,
        custom_callbacks=callbacks or None,
        seed=seed,
    )
    typer.echo(f"Weights and logs are in {model.log_dir}")


@dataclass
class Start:
    """Where a training starts from.

    Attributes:
        config: Settings before the data set's and the command line's.
        weights: File to load; None for random weights.
        class_names: The classes of those weights; None for a backbone alone.
        resumed: Whether it goes on with an earlier training.
    """

    config: Config
    weights: str | None
    class_names: list[str] | None = None
    resumed: bool = False


def plan_start(
    weights: str,
    backbone: str | None,
    config_path: Path | None,
    resume_from: Path | None,
    name: str,
) -> Start:
    """Find the weights to start from and the settings that come with them.

    Args:
        weights: `none`, `imagenet`, another known name, or a path.
        backbone: Overrules the backbone of `none`.
        config_path: JSON file with settings.
        resume_from: Folder of trainings in which to look for the last checkpoint; None to
            start anew.
        name: Name of the training.
    """
    from mrcnn.checkpoints.description import (
        IncompleteWeightsError,
        describe_weights,
        read_description,
    )
    from mrcnn.config import Config

    if resume_from is not None:
        weights = str(last_checkpoint(resume_from, name))
        typer.echo(f"Going on from {weights}")
    settings = read_description(config_path)["config"] if config_path else {}
    if weights.lower() == "none":
        return Start(Config.from_dict({"BACKBONE": backbone or "resnet50", **settings}), None)
    try:
        described = describe_weights(weights, config_path)
    except IncompleteWeightsError as error:
        found = error.info.backbone
        if found == "other":
            raise
        start = Start(Config.from_dict({"BACKBONE": found, **settings}), error.info.path)
    else:
        start = Start(
            described.config,
            str(described.path),
            described.class_names,
            resumed=resume_from is not None,
        )
    if backbone not in (None, start.config.BACKBONE):
        raise ValueError(
            f"--backbone is {backbone}, but the weights {weights} have "
            f"{start.config.BACKBONE}; leave one of them out"
        )
    return start


def fit_to_data(
    config: Config, train_data: Dataset, val_data: Dataset | None, steps: int | None
) -> None:
    """Set what follows from the data: classes, and steps that go over all pictures once."""
    config.NUM_CLASSES = train_data.num_classes
    config.GPU_COUNT = 1
    config.validate()
    config.STEPS_PER_EPOCH = steps or math.ceil(train_data.num_images / config.BATCH_SIZE)
    if val_data is not None:
        once = math.ceil(val_data.num_images / config.BATCH_SIZE)
        config.VALIDATION_STEPS = min(once, MAX_VALIDATION_STEPS)


def build_model(start: Start, class_names: Sequence[str], output: Path) -> Any:
    """Build the model for training and load what it starts from.

    Where the weights know other classes, those that both know keep what the weights know of them,
    and the others start with random heads.
    """
    from mrcnn.startup.lean_start import import_backend

    import_backend()
    from mrcnn.checkpoints import load_class_rows
    from mrcnn.model import MaskRCNN

    model = MaskRCNN(mode="training", config=start.config, model_dir=str(output))
    if start.weights is None:
        return model
    same = start.class_names is None or list(start.class_names) == list(class_names)
    if start.resumed and not same:
        raise ValueError(
            f"cannot resume: {start.weights} has the classes {start.class_names[1:]}, the data "
            f"set has {list(class_names[1:])}"
        )
    report = model.load_weights(start.weights, by_name=True, exclude=None if same else CLASS_LAYERS)
    if report is not None:
        typer.echo(f"Weights   {report.summary()}")
    if not same:
        known = load_class_rows(model.keras_model, start.weights, start.class_names, class_names)
        new = [name for name in class_names[1:] if name not in known]
        for what, some in (("known to the weights", known), ("new", new)):
            if some:
                typer.echo(f"Classes   {what}: {', '.join(some)}")
    if not start.resumed:
        # A checkpoint's name makes the model go on in its folder and epoch; this is a new start.
        model.set_log_dir()
    return model


def last_checkpoint(folder: Path, name: str) -> Path:
    """Return the newest checkpoint of the newest training of a name.

    Raises:
        FileNotFoundError: there is none.
    """
    from mrcnn.training.log_folders import newest_checkpoint

    return Path(newest_checkpoint(folder, name))


def open_parts(
    path: str,
    format: str | None,
    val: str | None,
    val_fraction: float,
    classes: list[str] | None = None,
) -> tuple[Dataset, Dataset | None]:
    """Open the data to train and to validate on.

    Validation is, in this order: `val`; the part of the data set that is called so; a random
    share of the pictures. The share is the same in every call.
    """
    from mrcnn.cli.data import TRAINING_NAMES, VALIDATION_NAMES, find_part, open_data, subsets_of

    parts = subsets_of(path, format)
    train_part, val_part = find_part(parts, TRAINING_NAMES), find_part(parts, VALIDATION_NAMES)
    if parts and train_part is None:
        raise ValueError(f"{path} has the parts {', '.join(parts)}, none called train")
    data = open_data(path, format, train_part, classes)
    names = list(data.class_names[1:])
    if val is not None:
        parts = subsets_of(val, format)
        part = find_part(parts, VALIDATION_NAMES)
        return data, open_data(val, format, part, classes=names)
    if val_part is not None:
        return data, open_data(path, format, val_part, classes=names)
    if val_fraction == 0 or data.num_images < 2:
        return data, None
    return data.split(val_fraction)


def experiment_name(name: str | None, dataset: str, format: str | None = None) -> str:
    """Return a name for the training that log folders and checkpoints can carry."""
    # "shapes" has no folder to be named after, only a number of pictures.
    raw = name or (Path(dataset).resolve().stem if Path(dataset).exists() else format) or ""
    # Matterport's checkpoint names allow these alone; find_last and --resume rely on it.
    return re.sub(r"[^\w-]+", "_", raw, flags=re.ASCII).strip("_").lower() or "training"


def flip(image: np.ndarray, mask: np.ndarray, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mirror every second picture and its masks, left to right."""
    if rng is None:
        import numpy as np

        rng = np.random.default_rng()
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)
