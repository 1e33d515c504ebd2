"""`mrcnn train`: train on a dataset, from COCO, ImageNet, the small model or random weights."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli.options import Classes, DatasetPath, Format, ReaderOptions

if TYPE_CHECKING:
    from mrcnn.checkpoints import HeldOut
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset
    from mrcnn.training.starting import StartingPoint


def train(
    dataset: DatasetPath,
    format: Format = None,
    classes: Classes = None,
    val: Annotated[
        str | None, typer.Option(help="Dataset to validate on, if it is not a part of the first.")
    ] = None,
    val_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the images used for validation.")
    ] = 0.2,
    weights: Annotated[
        str, typer.Option(help="Start from: small, coco, imagenet, none, or a weight file.")
    ] = "coco",
    layers: Annotated[
        str, typer.Option(help="heads, 5+, 4+, 3+, all, or a pattern of layer names.")
    ] = "heads",
    epochs: Annotated[int, typer.Option(min=1, help="Number of the last epoch.")] = 10,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps per epoch; by default, each image is seen once."),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Learning rate.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=64, help="Side of the input in pixels, a multiple of 64.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="resnet50, resnet101 or squeezenet.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None,
    augment: Annotated[str, typer.Option(help="flips (left to right) or none.")] = "flips",
    output: Annotated[Path, typer.Option(help="Folder for weights and logs.")] = Path("logs"),
    name: Annotated[
        str | None, typer.Option(help="Name of the training; by default, that of the dataset.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with further settings.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue after the last epoch of this name.")
    ] = False,
    best: Annotated[
        bool,
        typer.Option("--best", help="Measure mask AP after each epoch and keep the best weights."),
    ] = False,
    early_stopping: Annotated[
        bool, typer.Option("--early-stopping", help="Stop after 10 epochs without a better AP.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Seed of order and augmentation, to repeat a training.")
    ] = None,
    option: ReaderOptions = None,
) -> None:
    """Train on a dataset.

    Writes the weights of every epoch and config.json (settings and class names) to a new folder,
    and TensorBoard logs if TensorBoard is installed. Use the weights with `mrcnn detect` and
    `mrcnn evaluate`.
    """
    from mrcnn.cli.data import split_names
    from mrcnn.cli.image_paths import prepare_folder
    from mrcnn.cli.terminal import echo
    from mrcnn.training.starting import (
        configure_for_datasets,
        find_starting_point,
        flip_left_right,
        recorded_split,
    )

    if augment not in ("flips", "none"):
        raise ValueError(f"--augment is {augment!r}; it must be flips or none")
    name = experiment_name(name, dataset, format)
    if resume:
        weights = str(last_checkpoint(output, name))
        echo(f"Continuing from {weights}")
    train_data, val_data, held_out = open_parts(
        *(dataset, format, val, val_fraction, split_names(classes), option),
        earlier=recorded_split(weights),
        resumed=resume,
    )
    callbacks = [word for word, on in (("best", best), ("early_stopping", early_stopping)) if on]
    if callbacks and val_data is None:
        raise ValueError("--best and --early-stopping need images to validate on")
    start = find_starting_point(weights, backbone=backbone, config_path=config, resumed=resume)
    settings = start.config
    settings.NAME = name
    if batch_size is not None:
        settings.IMAGES_PER_GPU = batch_size
    if image_size is not None:
        settings.IMAGE_MIN_DIM = settings.IMAGE_MAX_DIM = image_size
    configure_for_datasets(settings, train_data, val_data, steps)
    prepare_folder(output, "--output")
    echo(describe_training(settings, train_data, val_data))
    model = build_model(start, train_data.class_names, output)
    model.train(
        train_data,
        val_data,
        learning_rate=settings.LEARNING_RATE if learning_rate is None else learning_rate,
        epochs=epochs,
        layers=layers,
        augmentation=flip_left_right if augment == "flips" else None,
        custom_callbacks=callbacks or None,
        seed=seed,
        held_out=held_out,
        verbose=1 if sys.stdout.isatty() else 2,  # a progress bar is no text for a log file
    )
    echo(f"Weights and logs are in {model.log_dir}")


def describe_training(settings: Config, train_data: Dataset, val_data: Dataset | None) -> str:
    """Return the lines about datasets and model that open a training."""
    from mrcnn.cli.detect import counted
    from mrcnn.files.names import printable

    num_val = 0 if val_data is None else val_data.num_images
    classes = printable(", ".join(train_data.class_names[1:]))
    size = "x".join(map(str, settings.IMAGE_SHAPE[:2]))
    return (
        f"Dataset   {counted(train_data.num_images, 'image')} to train on, {num_val} to validate "
        f"on, classes: {classes}\n"
        f"Model     {settings.BACKBONE}, {size}, batches of {settings.BATCH_SIZE}, "
        f"{counted(settings.STEPS_PER_EPOCH, 'step')} per epoch"
    )


def build_model(start: StartingPoint, class_names: Sequence[str], output: Path) -> Any:
    """Build the model for training, load what it starts from, and print what was loaded."""
    from mrcnn.cli.terminal import echo
    from mrcnn.files.names import printable
    from mrcnn.startup.lean_start import start_backend
    from mrcnn.training.starting import load_starting_weights

    start_backend()
    from mrcnn.model import MaskRCNN

    model = MaskRCNN(mode="training", config=start.config, model_dir=str(output))
    report, known = load_starting_weights(model, start, class_names)
    if report is not None:
        echo(f"Weights   {report.summary()}")
    if start.class_names not in (None, list(class_names)):
        new = [name for name in class_names[1:] if name not in known]
        for kind, names in (("known to the weights", known), ("new", new)):
            if names:
                echo(f"Classes   {kind}: {printable(', '.join(names))}")
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
    options: Sequence[str] | None = None,
    earlier: HeldOut | None = None,
    resumed: bool = False,
) -> tuple[Dataset, Dataset | None, HeldOut | None]:
    """Open the data to train and to validate on.

    Validation is, in this order: `val`; the part of the dataset with such a name; a random share
    of the images, which is the same in every call. Only that share has a record, the third value.
    `earlier` and `resumed` are those of `mrcnn.training.starting.hold_out`.

    Raises:
        ValueError: the dataset has parts, and none of them is called train.
    """
    from mrcnn.cli.data import TRAINING_NAMES, VALIDATION_NAMES, find_part, open_data, subsets_of
    from mrcnn.training.starting import hold_out

    parts = subsets_of(path, format)
    train_part, val_part = find_part(parts, TRAINING_NAMES), find_part(parts, VALIDATION_NAMES)
    if parts and train_part is None:
        raise ValueError(f"dataset is {path} with the parts {', '.join(parts)}; one must be train")
    data = open_data(path, format, train_part, classes, options)
    names = list(data.class_names[1:])
    if val is not None:
        part = find_part(subsets_of(val, format), VALIDATION_NAMES)
        val_data = open_data(val, format, part, classes, options)
        if set(val_data.class_names[1:]) < set(names):
            # It lacks some of the classes; with the names of all it numbers its own alike.
            val_data = open_data(val, format, part, names, options)
        return data, val_data, None
    if val_part is not None:
        return data, open_data(path, format, val_part, names, options), None
    if val_fraction == 0 or data.num_images < 2:
        return data, None, None
    return hold_out(
        *(data, val_fraction),
        dataset=path,
        format=format,
        part=train_part,
        earlier=earlier,
        resumed=resumed,
    )


def experiment_name(name: str | None, dataset: str, format: str | None = None) -> str:
    """Return a name for the training that log folders and checkpoints can have."""
    # "shapes" has no folder to be named after, only a number of images.
    raw = name or (Path(dataset).resolve().stem if Path(dataset).exists() else format) or ""
    # Matterport's checkpoint names allow only these; find_last and --resume rely on it.
    return re.sub(r"[^\w-]+", "_", raw, flags=re.ASCII).strip("_").lower() or "training"
