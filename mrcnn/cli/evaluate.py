"""`mrcnn evaluate`: COCO's average precision of a weight file on a dataset, and a page about it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli.options import (
    Calibration,
    Classes,
    ConfigFile,
    DatasetPath,
    Engine,
    Format,
    Precision,
    ReaderOptions,
    Refine,
    Weights,
)

if TYPE_CHECKING:
    from mrcnn.checkpoints.description import DescribedWeights
    from mrcnn.checkpoints.held_out import HeldOut
    from mrcnn.datasets import Dataset
    from mrcnn.evaluation import CocoEvaluator, CocoReport

# The word for the whole dataset in `--subset`.
ALL = "all"
# Where there is no terminal, a line of progress is printed this often.
PROGRESS_SECONDS = 30.0


def evaluate(
    dataset: DatasetPath,
    weights: Weights,
    format: Format = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Part to evaluate, or all. If not given: the validation part, or the images that "
            "the training of these weights held out of this dataset, or all."
        ),
    ] = None,
    classes: Classes = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html: figures per class, curves, confusion matrix, best score "
            "threshold, and the worst and best images."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write all figures to this JSON file.")] = (
        None
    ),
    results: Annotated[
        Path | None, typer.Option(help="Write the detections to this file, as COCO results.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures as JSON, and nothing else, to stdout.")
    ] = False,
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Leave out detections of a lower score; AP needs all of them."
        ),
    ] = 0.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluate only this many images, the first ones.")
    ] = None,
    config: ConfigFile = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
    refine: Refine = None,
    option: ReaderOptions = None,
) -> None:
    """Measure a model: COCO's AP and AR of boxes and masks, in total and per class.

    Classes are matched by name. Detections of classes that the dataset lacks are left out, and so
    are objects of classes that the model lacks. Images that cannot be read are left out and
    listed, and the exit code is 1.

    Example: mrcnn evaluate photos --weights logs/photos/best.h5 --report report
    """
    from mrcnn.checkpoints.description import describe_weights
    from mrcnn.cli.data import split_names
    from mrcnn.cli.detect import find_refiner
    from mrcnn.cli.image_paths import prepare_folder
    from mrcnn.cli.options import load_model
    from mrcnn.evaluation.class_matching import RenumberedClasses, match_classes
    from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
    from mrcnn.files.names import printable

    described = describe_weights(weights, config)
    data, choice = open_images(
        dataset, format, subset, split_names(classes), option, held_out_of(described)
    )
    match = match_classes(described.class_names, data.class_names)
    described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    refiner = find_refiner(refine)
    folders = (
        ("--report", report),
        ("the folder of --output", output and output.parent),
        ("the folder of --results", results and results.parent),
    )
    for name, folder in folders:
        if folder is not None:  # an error now, not after hours of work
            prepare_folder(folder, name)
    facts = {
        "Weights": str(described),
        **({"Refiner": refine} if refine is not None else {}),
        "Dataset": f"{dataset}{choice}",
    }
    notes = [*choice.warnings, *match.notes()]
    evaluator = CocoEvaluator(data, choice.image_ids[:limit], class_ids=match.class_ids)
    require_objects(evaluator)
    _say([f"{name:9} {printable(value)}" for name, value in facts.items()], as_json)
    _say([f"Note      {note}" for note in notes], as_json)
    model = RenumberedClasses(
        load_model(described, engine, precision, calibration), match.numbers
    )
    found = evaluate_coco(
        model,
        data,
        evaluator=evaluator,
        results_path=results,
        refiner=refiner,
        progress=True if sys.stderr.isatty() else ProgressLines(),
        keep_going=True,
    )
    show_report(found, facts, notes, evaluator, output, as_json)
    if report is not None:
        from mrcnn.evaluation.page import save_page

        facts = {**facts, "Images": describe_images(evaluator, limit), "Command": command_line()}
        settings = described.config.to_dict()
        path = save_page(evaluator, report, found, facts=facts, settings=settings, notes=notes)
        _say([f"Report    {printable(path)}"], as_json)
    show_unreadable(evaluator)


@dataclass(frozen=True)
class ImageChoice:
    """The images of a dataset that are measured.

    Attributes:
        image_ids: their numbers.
        part: name of the part of the dataset; None for a dataset in one piece.
        reason: why these images; empty where they are all images of the part.
        warnings: what to consider about the figures.
    """

    image_ids: list[int]
    part: str | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        from mrcnn.cli.detect import counted

        part = f" ({self.part})" if self.part else ""
        reason = f" {self.reason}" if self.reason else ""
        return f"{part}: {counted(len(self.image_ids), 'image')}{reason}"


def open_images(
    path: str,
    format: str | None,
    subset: str | None,
    classes: list[str] | None,
    options: Sequence[str] | None,
    held_out: HeldOut | None,
) -> tuple[Dataset, ImageChoice]:
    """Open the data to measure on, and choose its images.

    Args:
        path: folder or annotation file of the dataset.
        format: name of the format; None finds it.
        subset: the part; `all` for all images of all parts; None for the validation part or, where
            there is none, for the images that the training held out, or all.
        classes: names of the classes to load; None loads all.
        options: options of the reader.
        held_out: what the training of the weights held out.
    """
    from mrcnn.cli.data import VALIDATION_NAMES, find_part, open_data, subsets_of
    from mrcnn.datasets import merge

    parts = subsets_of(path, format)
    if subset == ALL and ALL not in parts:
        opened = [
            open_data(path, format, part, classes, options) for part in (parts or [None])
        ]
        data = opened[0] if len(opened) == 1 else merge(opened)
        part = ", ".join(parts) or None
        return data, choose_images(data, path, part, held_out, everything=True)
    part = subset or find_part(parts, VALIDATION_NAMES)
    if part is None and held_out is not None and held_out.part in parts:
        part = held_out.part
    data = open_data(path, format, part, classes, options)
    return data, choose_images(data, path, part, held_out, everything=subset is not None)


def choose_images(
    data: Dataset, path: str, part: str | None, held_out: HeldOut | None, everything: bool
) -> ImageChoice:
    """Return the images that the training held out of this dataset, or all with a warning.

    The record of the training applies to the dataset of the same path, and to one of the same
    name elsewhere that has all of the images.

    Args:
        data: the opened part.
        path: path of the dataset as the user gave it.
        part: name of the part.
        held_out: what the training held out; None where it is not known.
        everything: take all images also where some were held out.
    """
    from mrcnn.cli.detect import counted

    every = [int(image_id) for image_id in data.image_ids]
    if held_out is None or not _has_part(held_out, part):
        return ImageChoice(every, part)
    numbers = held_out.numbers_in(data, path)
    num_held_out = len(held_out.ids)
    same_path = os.path.realpath(path) == os.path.realpath(held_out.path)
    same_name = Path(os.path.abspath(path)).name == Path(held_out.path).name
    if not same_path and not (same_name and len(numbers) == num_held_out):
        return ImageChoice(every, part)
    if not numbers:
        missing = f"the {counted(num_held_out, 'image')} that the training held out"
        warning = f"{missing} are not in this dataset any more; the training may have used all."
        return ImageChoice(every, part, warnings=(warning[0].upper() + warning[1:],))
    if everything:
        used = len(every) - len(numbers)
        warning = f"The training used {used} of these {counted(len(every), 'image')}."
        return ImageChoice(every, part, warnings=(warning,) if used else ())
    reason = f"of {len(every)}, those that the training held out"
    warnings: tuple[str, ...] = ()
    if len(numbers) < num_held_out:
        gone = num_held_out - len(numbers)
        warnings = (f"{gone} of the {num_held_out} held-out images are not in it any more.",)
    return ImageChoice(numbers, part, reason, warnings)


def _has_part(held_out: HeldOut, part: str | None) -> bool:
    """Return whether images of a part, or of the parts in a list, may have been held out."""
    return held_out.part is None or part is None or held_out.part in part.split(", ")


def held_out_of(described: DescribedWeights) -> HeldOut | None:
    """Return what the training held out, None where the weights do not say it."""
    return getattr(described, "held_out", None)


def require_objects(evaluator: CocoEvaluator) -> None:
    """Raise ValueError where no image shows an object of the evaluated classes."""
    from mrcnn.cli.detect import counted
    from mrcnn.evaluation.class_matching import listed_names

    for image_id in evaluator.image_ids:
        try:
            if any(not one["iscrowd"] for one in evaluator.objects(image_id)):
                return
        except Exception:  # noqa: S112 - found again and listed by the evaluation
            return
    names = listed_names(list(evaluator.class_names.values()))
    raise ValueError(
        f"the dataset has no object of {names} in {counted(len(evaluator.image_ids), 'image')}; "
        "it must have one to measure on"
    )


class ProgressLines:
    """Prints a line about the progress now and then, for output that is no terminal."""

    def __init__(self) -> None:
        self.started = self.printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Print a line if the last one is long ago."""
        from mrcnn.cli.terminal import echo

        now = time.monotonic()
        if now - self.printed < PROGRESS_SECONDS or done == total:
            return
        self.printed = now
        left = (now - self.started) / done * (total - done)
        echo(f"{done} of {total} images, {left:.0f} s left", err=True)


def show_report(
    report: CocoReport,
    facts: Mapping[str, str],
    notes: Sequence[str],
    evaluator: CocoEvaluator,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the figures, as a table or as JSON, and write them to a file."""
    from mrcnn.evaluation.page import image_name
    from mrcnn.files.atomic import write_json

    content = {
        **{name.lower(): value for name, value in facts.items()},
        "notes": list(notes),
        "unreadable": {
            image_name(evaluator, image_id): reason
            for image_id, reason in evaluator.unreadable.items()
        },
        **report.to_dict(),
    }
    if as_json:
        import json

        typer.echo(json.dumps(content, indent=1, allow_nan=False))
    _say(["", str(report)], as_json)
    if output is not None:
        write_json(output, content, indent=2)
        _say(["", f"Figures   {output}"], as_json)


def describe_images(evaluator: CocoEvaluator, limit: int | None) -> str:
    """Return which images were measured, as a sentence for the page."""
    from mrcnn.cli.detect import counted

    text = counted(len(evaluator.image_ids), "image")
    if limit is not None:
        text += f" (the first {limit}, because of --limit)"
    return text


def command_line() -> str:
    """Return the words of this command, as a shell takes them."""
    return shlex.join(["mrcnn", *sys.argv[1:]])


def show_unreadable(evaluator: CocoEvaluator) -> None:
    """List the images that could not be read on stderr, and end with exit code 1 if there are any."""
    from mrcnn.cli.detect import show_failures
    from mrcnn.evaluation.page import image_name

    failures = [
        (Path(image_name(evaluator, image_id)), reason)
        for image_id, reason in evaluator.unreadable.items()
    ]
    show_failures(failures, len(evaluator.image_ids) + len(failures))


def _say(lines: Sequence[str], to_stderr: bool) -> None:
    """Print lines to stdout, or to stderr where stdout is for JSON."""
    from mrcnn.cli.terminal import echo

    for line in lines:
        echo(line, err=to_stderr)
