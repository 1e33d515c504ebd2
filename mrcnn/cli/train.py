"""`mrcnn train`: train on a dataset, from COCO, ImageNet, the small model or random weights."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mrcnn.cli import train_options as options_of
from mrcnn.cli.flags import given_options
from mrcnn.cli.models import TrainModelName, refuse_options
from mrcnn.cli.options import Classes, DatasetPath, Format, ReaderOptions
from mrcnn.training.options import TrainOptions

if TYPE_CHECKING:
    from mrcnn.model_training import TrainingPlan


def train(
    ctx: typer.Context,
    dataset: DatasetPath,
    format: Format = None,
    classes: Classes = None,
    option: ReaderOptions = None,
    val: options_of.Val = None,
    val_fraction: options_of.ValFraction = 0.2,
    model: TrainModelName = None,
    weights: options_of.Weights = None,
    rename: options_of.Rename = None,
    backbone: options_of.Backbone = None,
    proposals: options_of.Proposals = None,
    image_size: options_of.ImageSize = None,
    config: options_of.ConfigFile = None,
    layers: options_of.Layers = None,
    epochs: options_of.Epochs = 10,
    steps: options_of.Steps = None,
    batch_size: options_of.BatchSize = None,
    augment: options_of.Augment = "flips",
    loss: options_of.Loss = "cross_entropy",
    class_weights: options_of.ClassWeights = None,
    seed: options_of.Seed = None,
    learning_rate: options_of.LearningRate = None,
    schedule: options_of.Schedule = "constant",
    warmup: options_of.Warmup = 0.0,
    optimizer: options_of.Optimizer = "sgd",
    accumulate: options_of.Accumulate = None,
    precision: options_of.Precision = None,
    ap: options_of.MeasureAP = True,
    ap_images: options_of.ApImages = 50,
    average: options_of.Average = True,
    early_stopping: options_of.EarlyStopping = False,
    best: options_of.Best = False,
    output: options_of.Output = Path("logs"),
    name: options_of.Name = None,
    keep: options_of.Keep = "1",
    resume: options_of.Resume = False,
    hosts: options_of.Hosts = None,
    quiet: options_of.Quiet = False,
) -> None:
    """Train on a dataset.

    Examples:
    - `mrcnn train photos --epochs 20 --schedule cosine --warmup 1 --augment light`

    - `mrcnn train camvid --model segnet --class-weights median` (another model)

    A new folder gets the last weights and the best (best.h5), their settings and class names
    (config.json), the figures of every epoch (history.csv, curves.png, and TensorBoard logs if
    TensorBoard is installed) and predictions beside the ground truth (validation_0001.jpg, ...).
    Use the weights with `mrcnn detect` and `mrcnn evaluate`.
    """
    from mrcnn.cli.data import open_data, split_names
    from mrcnn.cli.output_folder import prepare_folder
    from mrcnn.cli.terminal import echo
    from mrcnn.family.starting import choose_model, default_weights
    from mrcnn.model_training import (
        agree_on,
        describe_results,
        describe_training,
        experiment_name,
        plan_training,
        run_training,
    )
    from mrcnn.startup.lean_start import start_backend
    from mrcnn.training.hosts import is_first, joined

    with joined(hosts), silent_stdout(quiet or not is_first()):
        options = TrainOptions.choose(ctx.params)
        entry = choose_model(model, weights)
        refuse_options(ctx, entry)
        name = experiment_name(name, dataset, format, entry.name)
        checkpoint = checkpoint_to_resume(output, name) if resume else None
        if checkpoint is not None:
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
        plan = plan_training(
            dataset,
            default_weights(entry, backbone) if weights is None else weights,
            options,
            model=entry.name,
            val=options.val,
            name=name,
            format=format,
            classes=split_names(classes),
            reader_options=option,
            open_part=open_data,
            config_path=config,
            backbone=backbone,
            rename=parse_renames(rename),
            image_size=image_size,
            batch_size=batch_size,
            accumulate=accumulate,
            precision=precision,
            proposals=proposals,
            resumed=checkpoint is not None,
            best=best,
        )
        prepare_folder(output, "--output")
        if proposals is not None:
            prepare_folder(proposals.parent, "the folder of --proposals")
        agree_on(plan)
        echo(describe_training(plan))
        find_proposals(plan, proposals)
        start_backend()
        trained = run_training(plan, output, verbose=0 if quiet else 1)
        echo(describe_results(trained.log_dir))
        echo(next_step(trained.log_dir, dataset, format))


def find_proposals(plan: TrainingPlan, path: Path | None) -> None:
    """Find the proposals of a Fast R-CNN, with a progress bar on a terminal."""
    from tqdm import tqdm

    from mrcnn.model_training import add_proposals

    with tqdm(unit="image", desc="Selective search", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        add_proposals(plan, path, progress)


def next_step(log_dir: str, dataset: str, format: str | None) -> str:
    """Return the command that measures the weights of a training in detail, on a page."""
    best = Path(log_dir) / "best.h5"
    words = ["mrcnn", "evaluate", dataset, *(["--format", format] if format else [])]
    words += ["--weights", str(best if best.is_file() else log_dir)]
    words += ["--report", "report"]
    return f"Next: {shlex.join(words)}"


@contextlib.contextmanager
def silent_stdout(wanted: bool) -> Iterator[None]:
    """Print nothing to stdout within the block; errors and warnings, on stderr, are shown."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


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


def last_checkpoint(folder: Path, name: str) -> Path:
    """Return the newest checkpoint of the newest training of a name.

    Raises:
        FileNotFoundError: there is none.
    """
    from mrcnn.training.log_folders import newest_checkpoint

    return Path(newest_checkpoint(folder, name))


def checkpoint_to_resume(folder: Path, name: str) -> Path | None:
    """Return the checkpoint to continue from.

    On several hosts it is the one that process 0 finds; or None, with a line that says so, where
    there is none yet: the same command then starts a job and starts it again.

    Raises:
        FileNotFoundError: there is none.
    """
    from mrcnn.cli.terminal import echo
    from mrcnn.training import hosts

    if hosts.count() == 1:
        return last_checkpoint(folder, name)
    found = None
    if hosts.is_first():
        with contextlib.suppress(FileNotFoundError):
            found = last_checkpoint(folder, name)
    place = hosts.of_first(None if found is None else [found.parent.name, found.name])
    if place is None:
        echo("There is no checkpoint to continue from yet: the training begins")
        return None
    path = folder.joinpath(*place)
    hosts.wait_for_folder(str(path.parent), path.name)
    return path


def finished_epochs(checkpoint: Path) -> int:
    """Return the number of epochs that were finished when a checkpoint was written."""
    from mrcnn.training.log_folders import choose_folder

    return choose_folder("", "", checkpoint)[1]
