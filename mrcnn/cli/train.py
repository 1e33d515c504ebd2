"""`mrcnn train`: train on a dataset, from COCO, ImageNet, the small model or random weights."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mrcnn.cli import train_options as options_of
from mrcnn.cli.options import Classes, DatasetPath, Format, ReaderOptions
from mrcnn.cli.train_options import TrainOptions

if TYPE_CHECKING:
    from mrcnn.checkpoints import HeldOut
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset
    from mrcnn.training.starting import StartingPoint


def train(
    ctx: typer.Context,
    dataset: DatasetPath,
    format: Format = None,
    classes: Classes = None,
    option: ReaderOptions = None,
    val: options_of.Val = None,
    val_fraction: options_of.ValFraction = 0.2,
    weights: options_of.Weights = "coco",
    rename: options_of.Rename = None,
    backbone: options_of.Backbone = None,
    image_size: options_of.ImageSize = None,
    config: options_of.ConfigFile = None,
    layers: options_of.Layers = "heads",
    epochs: options_of.Epochs = 10,
    steps: options_of.Steps = None,
    batch_size: options_of.BatchSize = None,
    augment: options_of.Augment = "flips",
    seed: options_of.Seed = None,
    learning_rate: options_of.LearningRate = None,
    schedule: options_of.Schedule = "constant",
    warmup: options_of.Warmup = 0.0,
    optimizer: options_of.Optimizer = "sgd",
    accumulate: options_of.Accumulate = None,
    precision: options_of.Precision = None,
    ap: options_of.MeasureAP = True,
    ap_images: options_of.ApImages = 50,
    early_stopping: options_of.EarlyStopping = False,
    best: options_of.Best = False,
    output: options_of.Output = Path("logs"),
    name: options_of.Name = None,
    keep: options_of.Keep = "1",
    resume: options_of.Resume = False,
    quiet: options_of.Quiet = False,
) -> None:
    """Train on a dataset.

    Example: `mrcnn train photos --epochs 20 --schedule cosine --warmup 1 --augment light`

    A new folder gets the last weights and the best (best.h5), their settings and class names
    (config.json), the figures of every epoch (history.csv, curves.png, and TensorBoard logs if
    TensorBoard is installed) and predictions beside the ground truth (validation_0001.jpg, ...).
    Use the weights with `mrcnn detect` and `mrcnn evaluate`.
    """
    from mrcnn.cli.data import split_names
    from mrcnn.cli.terminal import echo
    from mrcnn.training.starting import find_starting_point, match_classes, recorded_split

    with silent_stdout(quiet):
        options = TrainOptions.choose(ctx.params)
        name = experiment_name(name, dataset, format)
        if resume:
            checkpoint = last_checkpoint(output, name)
            options = options.with_saved(checkpoint.parent, given_options(ctx))
            finished = finished_epochs(checkpoint)
            if finished >= options.epochs:
                echo(
                    f"Already at epoch {finished} of {options.epochs}: nothing to do "
                    "(a higher --epochs trains further)"
                )
                return
            weights = str(checkpoint)
            echo(f"Continuing from {weights}")
        options.check()
        data = open_parts(
            *(dataset, format, options.val, options.val_fraction, split_names(classes), option),
            earlier=recorded_split(weights),
            resumed=resume,
        )
        check_validation(options, best, data[1])
        start = find_starting_point(weights, backbone=backbone, config_path=config, resumed=resume)
        renamed = parse_renames(rename)
        match_classes(start, data[0].class_names, renamed)  # an error before the model is built
        change_settings(start.config, name, batch_size, image_size, accumulate, precision)
        run(start, data, renamed, options, output, quiet)


@contextlib.contextmanager
def silent_stdout(wanted: bool) -> Iterator[None]:
    """Print nothing to stdout within the block; errors and warnings, on stderr, are shown."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def given_options(ctx: typer.Context) -> set[str]:
    """Return the names of the parameters that are given on the command line."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def check_validation(options: TrainOptions, best: bool, val_data: Dataset | None) -> None:
    """Raise ValueError for options that need AP where it cannot be measured."""
    wanted = [name for name, on in (("--best", best), ("--early-stopping", options.early_stopping))
              if on]  # fmt: skip
    if wanted and val_data is None:
        raise ValueError(f"{wanted[0]} needs images to validate on; there are none")
    if wanted and not options.ap:
        raise ValueError(f"{wanted[0]} needs AP; it must not be given with --no-ap")


def change_settings(
    settings: Config,
    name: str,
    batch_size: int | None,
    image_size: int | None,
    accumulate: int | None,
    precision: str | None,
) -> None:
    """Set the settings that have an option of their own, as far as it is given."""
    settings.NAME = name
    if batch_size is not None:
        settings.IMAGES_PER_GPU = batch_size
    if image_size is not None:
        settings.IMAGE_MIN_DIM = settings.IMAGE_MAX_DIM = image_size
    if accumulate is not None:
        settings.ACCUMULATE_STEPS = accumulate
    if precision is not None:
        settings.PRECISION = precision


def run(
    start: StartingPoint,
    data: tuple[Dataset, Dataset | None, HeldOut | None],
    renamed: Mapping[str, str],
    options: TrainOptions,
    output: Path,
    quiet: bool,
) -> None:
    """Build the model, train it, and print where the results are.

    Args:
        start: weights and settings.
        data: the datasets to train and to validate on, and the record of their split.
        renamed: names of classes in the weights by those in the dataset.
        options: further options.
        output: the folder of log folders.
        quiet: whether to print nothing.
    """
    from mrcnn.cli.image_paths import prepare_folder
    from mrcnn.cli.terminal import echo
    from mrcnn.loading import find_augmentation
    from mrcnn.training.starting import configure_for_datasets

    settings = start.config
    configure_for_datasets(settings, *data[:2], options.steps)
    prepare_folder(output, "--output")
    train_data, val_data, held_out = data
    echo(describe_training(settings, train_data, val_data))
    model = build_model(start, train_data.class_names, output, renamed)
    rate = options.learning_rate_of(settings)
    own_optimizer = None
    if options.optimizer != "sgd":
        from mrcnn.training import make_optimizer

        own_optimizer = make_optimizer(options.optimizer, settings, rate)
    model.train(
        train_data,
        val_data,
        learning_rate=rate,
        epochs=options.epochs,
        layers=options.layers,
        augmentation=find_augmentation(options.augment),
        custom_callbacks=make_callbacks(model, val_data, options),
        optimizer=own_optimizer,
        keep=options.num_kept,
        seed=options.seed,
        held_out=held_out,
        verbose=0 if quiet else 1,
    )
    echo(describe_results(model.log_dir))


def make_callbacks(model: Any, val_data: Dataset | None, options: TrainOptions) -> list[Any]:
    """Return the callbacks of `MaskRCNN.train`: AP, the best weights, and the saved options."""
    from keras.callbacks import LambdaCallback

    from mrcnn.training import ValidationAP

    # The log folder is known when the training begins.
    callbacks: list[Any] = [LambdaCallback(on_train_begin=lambda logs: options.save(model.log_dir))]
    if val_data is not None and options.ap:
        callbacks.append(ValidationAP(model, val_data, max_images=options.ap_images, verbose=0))
        callbacks += ["best", *(["early_stopping"] if options.early_stopping else [])]
    return callbacks


def describe_results(log_dir: str) -> str:
    """Return the lines about the files of a training that close it."""
    from mrcnn.files.names import printable
    from mrcnn.files.reading import read_json

    lines = [f"Weights and logs are in {printable(log_dir)}"]
    note = Path(log_dir) / "best.h5.json"
    if note.is_file():
        content = read_json(note)
        lines.append(
            f"The best weights, best.h5, are those of epoch {content['epoch']}: AP "
            f"{content['value']:.3f}"
        )
    return "\n".join(lines)


def describe_training(settings: Config, train_data: Dataset, val_data: Dataset | None) -> str:
    """Return the lines about datasets and model that open a training."""
    from mrcnn.files.names import counted, printable

    num_val = 0 if val_data is None else val_data.num_images
    classes = printable(", ".join(train_data.class_names[1:]))
    size = "x".join(map(str, settings.IMAGE_SHAPE[:2]))
    return (
        f"Dataset   {counted(train_data.num_images, 'image')} to train on, {num_val} to validate "
        f"on, classes: {classes}\n"
        f"Model     {settings.BACKBONE}, {size}, batches of {settings.BATCH_SIZE}, "
        f"{counted(settings.STEPS_PER_EPOCH, 'step')} per epoch"
    )


def parse_renames(words: Sequence[str] | None) -> dict[str, str]:
    """Return the `NEW=OLD` words of --rename as a mapping.

    Raises:
        ValueError: a word has another form, or a class occurs twice.
    """
    renamed: dict[str, str] = {}
    for word in words or []:
        own, _, stored = (part.strip() for part in word.partition("="))
        if not own or not stored or own in renamed:
            raise ValueError(
                f"--rename is {word!r}; it must be NEW=OLD: a class of the dataset, once, and one "
                "of the weights"
            )
        renamed[own] = stored
    return renamed


def build_model(
    start: StartingPoint,
    class_names: Sequence[str],
    output: Path,
    renamed: Mapping[str, str] | None = None,
) -> Any:
    """Build the model for training, load what it starts from, and print what was loaded."""
    from mrcnn.checkpoints.class_rows import describe_class_match
    from mrcnn.cli.terminal import echo
    from mrcnn.startup.lean_start import start_backend
    from mrcnn.training.starting import load_starting_weights

    start_backend()
    from mrcnn.model import MaskRCNN

    model = MaskRCNN(mode="training", config=start.config, model_dir=str(output))
    report, known = load_starting_weights(model, start, class_names, renamed)
    if report is not None:
        echo(f"Weights   {report.summary()}")
    if known is not None:
        for line in describe_class_match(class_names, known):
            echo(f"Classes   {line}")
    return model


def last_checkpoint(folder: Path, name: str) -> Path:
    """Return the newest checkpoint of the newest training of a name.

    Raises:
        FileNotFoundError: there is none.
    """
    from mrcnn.training.log_folders import newest_checkpoint

    return Path(newest_checkpoint(folder, name))


def finished_epochs(checkpoint: Path) -> int:
    """Return the number of epochs that were finished when a checkpoint was written."""
    from mrcnn.training.log_folders import choose_folder

    return choose_folder("", "", checkpoint)[1]


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
