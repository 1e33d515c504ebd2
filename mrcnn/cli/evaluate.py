"""`mrcnn evaluate`: COCO's average precision of a weight file on a dataset, and a page about it."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcnn.cli.models import (
    ModelName,
    Names,
    describe_model,
    load_family_model,
    refuse_options,
)
from mrcnn.cli.options import (
    Calibration,
    Classes,
    ConfigFile,
    DatasetPath,
    Engine,
    Format,
    NoRefine,
    Precision,
    ReaderOptions,
    Refine,
    Weights,
    load_model,
)

if TYPE_CHECKING:
    from mrcnn.checkpoints.description import DescribedWeights
    from mrcnn.cli.image_choice import ImageChoice
    from mrcnn.datasets import Dataset
    from mrcnn.evaluation import CocoEvaluator, CocoReport

# Where there is no terminal, a line of progress is printed this often.
PROGRESS_SECONDS = 30.0
# The family of Mask R-CNN.
DEFAULT = "mask_rcnn"


def evaluate(
    ctx: typer.Context,
    dataset: DatasetPath,
    weights: Weights,
    model: ModelName = None,
    format: Format = None,
    option: ReaderOptions = None,
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
            help="Folder for report.html: figures per class, confusion matrix, the worst and best "
            "images; of instances also curves and the best score threshold."
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
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Leave out detections of a lower score; AP needs all of them. By default 0, and "
            "0.005 for YOLO, as Darknet measures.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluate only this many images, the first ones.")
    ] = None,
    config: ConfigFile = None,
    names: Names = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
    refine: Refine = None,
    no_refine: NoRefine = False,
) -> None:
    """Measure a model: COCO's AP and AR of boxes and masks, in total and per class.

    Of models without masks, the figures are those of boxes; of semantic networks, pixel accuracy,
    mean pixel accuracy, mean IoU and Dice.

    Classes are matched by name. Detections of classes that the dataset lacks are left out, and so
    are objects of classes that the model lacks. Images that cannot be read are left out and
    listed, and the exit code is 1.

    Examples:
    - `mrcnn evaluate photos --weights logs/photos/best.h5 --report report`

    - `mrcnn evaluate val2017 --weights coco --classes person,car --limit 500`

    - `mrcnn evaluate photos --weights best.onnx` (an exported model)
    """
    from mrcnn.cli.data import split_names
    from mrcnn.cli.detect import chosen_refiner, find_refiner
    from mrcnn.cli.image_choice import open_images
    from mrcnn.evaluation.class_matching import RenumberedClasses, match_classes
    from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
    from mrcnn.evaluation.detection_pass import measures_masks
    from mrcnn.family.models import find_model
    from mrcnn.family.weights import choose_precision
    from mrcnn.files.names import printable

    described = describe_model(weights, model, config, names)
    entry = find_model(described.model)
    refuse_options(ctx, entry)
    choose_precision(described, precision)
    data, choice = open_images(
        dataset, format, subset, split_names(classes), option, described.held_out
    )
    choice = replace(choice, limit=limit)
    facts = {"Weights": str(described), "Dataset": f"{dataset}{choice}"}
    if entry.finds == "labels":
        prepare_folders(report, output, None)
        return measure_labels(described, data, choice, facts, output, report, as_json)
    match = match_classes(described.class_names, data.class_names)
    least, least_notes = least_score(described, min_confidence, entry.measured_confidence)
    described.config.DETECTION_MIN_CONFIDENCE = least
    refine = chosen_refiner(refine, no_refine, described)
    refiner = find_refiner(refine, described)
    prepare_folders(report, output, results)
    if refine is not None:
        facts["Refiner"] = refine
    notes = [*choice.warnings, *match.notes(), *least_notes]
    masks = measures_masks(described, data)
    evaluator = CocoEvaluator(data, choice.measured, masks, class_ids=match.class_ids)
    require_objects(evaluator)
    say([f"{name:8} {printable(value)}" for name, value in facts.items()], as_json)
    say([f"Note     {note}" for note in notes], as_json)
    if described.guess:
        notes.append(described.guess)  # for the files; `load_model` prints it
    if entry.family == DEFAULT:
        loaded = load_model(described, engine, precision, calibration)
    else:
        loaded = load_family_model(described)
    detector = RenumberedClasses(loaded, match.numbers)
    found = evaluate_coco(
        detector,
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

        facts["Engine"] = str(getattr(loaded, "engine", engine))
        facts["Command"] = shlex.join(["mrcnn", *sys.argv[1:]])
        settings = described.config.to_dict()
        path = save_page(evaluator, report, found, facts=facts, settings=settings, notes=notes)
        say([f"\nReport   {printable(path)}"], as_json)
    show_unreadable(evaluator)


def least_score(
    described: DescribedWeights, given: float | None, usual: float
) -> tuple[float, list[str]]:
    """Return the score below which detections are left out, and what is to be noted about it.

    Args:
        described: the model; an export may leave out detections by itself.
        given: value of `--min-confidence`, None if it is not given.
        usual: score from which the model is measured.

    Raises:
        ValueError: the export leaves out detections that are asked for.
    """
    from mrcnn.exports.description import DescribedExport

    least = described.min_confidence if isinstance(described, DescribedExport) else 0.0
    if given is not None and given < least:
        raise ValueError(
            f"--min-confidence is {given:g}; it must be at least {least:g}, below which this "
            "exported model leaves out detections"
        )
    if given is not None or least <= usual:
        return usual if given is None else given, []
    note = (
        f"the exported model leaves out detections of a score below {least:g}, which AP needs; "
        "`mrcnn export --min-confidence 0` makes one that is measured as its weights are"
    )
    return least, [note]


def measure_labels(
    described: DescribedWeights,
    data: Dataset,
    choice: ImageChoice,
    facts: Mapping[str, str],
    output: Path | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Measure a semantic network, print the figures and write them to a file and a page."""
    from tqdm import tqdm

    from mrcnn.cli.detect import show_failures
    from mrcnn.cli.evaluate_labels import evaluate_label_maps, report_content
    from mrcnn.datasets.semantic import find_label_problem, require_masks
    from mrcnn.files.atomic import write_json
    from mrcnn.files.names import counted, printable

    require_masks(data, choice.measured)
    problem = find_label_problem(data.subset(choice.measured))
    notes = [*choice.warnings, *([] if problem is None else [f"the {problem}"])]
    say([f"{name:8} {printable(value)}" for name, value in facts.items()], as_json)
    say([f"Note     {note}" for note in notes], as_json)
    lines = ProgressLines()
    with tqdm(total=len(choice.measured), unit="image", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)
            if bar.disable:
                lines(done, total)

        found = evaluate_label_maps(described, data, choice.measured, progress)
    content = report_content(found, facts)
    if as_json:
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
    say([f"\n{found.report}"], as_json)
    if output is not None:
        write_json(output, content, indent=2)
        say([f"\nFigures  {printable(output)}"], as_json)
    if folder is not None:
        from mrcnn.evaluation.label_page import save_label_page

        path = save_label_page(
            *(found.report, found.images, data, found.predict, folder),
            facts={**facts, "Command": shlex.join(["mrcnn", *sys.argv[1:]])},
            settings=described.config.to_dict(),
            notes=notes,
            failures=found.failures,
        )
        say([f"\nReport   {printable(path)}"], as_json)
    show_failures(found.failures, counted(len(choice.measured), "image"))


def prepare_folders(report: Path | None, output: Path | None, results: Path | None) -> None:
    """Make the folders of what will be written: an error now, not after hours of work."""
    from mrcnn.cli.output_folder import prepare_folder

    folders = {
        "--report": report,
        "the folder of --output": output and output.parent,
        "the folder of --results": results and results.parent,
    }
    for name, folder in folders.items():
        if folder is not None:
            prepare_folder(folder, name)


def require_objects(evaluator: CocoEvaluator) -> None:
    """Raise ValueError where no image shows an object of the evaluated classes."""
    from mrcnn.evaluation.class_matching import listed_names
    from mrcnn.files.names import counted

    for image_id in evaluator.image_ids:
        try:
            if any(not one["iscrowd"] for one in evaluator.objects(image_id)):
                return
        except Exception:  # the evaluation finds it again and lists it
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
        from mrcnn.cli.terminal import duration_text, echo

        now = time.monotonic()
        if now - self.printed < PROGRESS_SECONDS or done == total:
            return
        self.printed = now
        left = (now - self.started) / done * (total - done)
        echo(f"{done} of {total} images, {duration_text(left)} left", err=True)


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
    from mrcnn.files.names import printable

    content = {
        **{name.lower(): value for name, value in facts.items()},
        "notes": list(notes),
        "unreadable": [
            {"image": image_name(evaluator, image_id), "reason": reason}
            for image_id, reason in evaluator.unreadable.items()
        ],
        **report.to_dict(),
    }
    if as_json:
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
    say([f"\n{report}"], as_json)
    if output is not None:
        write_json(output, content, indent=2)
        say([f"\nFigures  {printable(output)}"], as_json)


def show_unreadable(evaluator: CocoEvaluator) -> None:
    """List the images that could not be read on stderr; then the exit code is 1."""
    from mrcnn.cli.detect import show_failures
    from mrcnn.evaluation.page import image_name
    from mrcnn.files.names import counted

    failures = [
        (Path(image_name(evaluator, image_id)), reason)
        for image_id, reason in evaluator.unreadable.items()
    ]
    show_failures(failures, counted(len(evaluator.image_ids) + len(failures), "image"))


def say(lines: Sequence[str], to_stderr: bool) -> None:
    """Print lines to stdout, or to stderr where stdout is for JSON."""
    from mrcnn.cli.terminal import echo

    for line in lines:
        echo(line, err=to_stderr)
