"""`mrcnn detect`: detect objects in image files, draw them and write the results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli.options import Calibration, ConfigFile, Engine, Precision, Refine, Weights

if TYPE_CHECKING:
    from mrcnn.cli.detection_run import DetectionRun, ImageOutcome


def detect(
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders of images, or patterns.")
    ],
    weights: Weights = "small",
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("detections"),
    min_confidence: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Leave out objects of a lower score.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Detect these classes only, separated by commas: person,car.")
    ] = None,
    config: ConfigFile = None,
    refine: Refine = None,
    color_by: Annotated[
        str, typer.Option(help="What gets a color of its own: class or instance.")
    ] = "class",
    segmentation: Annotated[
        str, typer.Option(help="How masks are written: rle, polygon or none.")
    ] = "rle",
    csv: Annotated[bool, typer.Option("--csv", help="Also write detections.csv.")] = False,
    draw: Annotated[bool, typer.Option(help="Write annotated images.")] = True,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of images that go into the network together.")
    ] = 1,
    tile: Annotated[
        int | None, typer.Option(min=64, help="Detect in tiles of this side in pixels.")
    ] = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", hidden=True)] = False,
) -> None:
    """Detect objects and their masks in images.

    Writes an annotated JPEG for each image and detections.json (COCO's results format) to the
    output folder. If an image fails, it is reported, the others are processed, and the exit code
    is 1.
    """
    from mrcnn.checkpoints.description import describe_weights
    from mrcnn.cli.detection_run import DetectionRun, RunOptions
    from mrcnn.cli.image_paths import find_images, prepare_folder
    from mrcnn.cli.options import load_model
    from mrcnn.cli.signals import delayed
    from mrcnn.cli.terminal import echo
    from mrcnn.files.names import printable

    started = time.perf_counter()
    check_choices(segmentation, color_by)
    paths = find_images(images)
    described = describe_weights(weights, config)
    wanted = class_numbers(classes, described.class_names)
    if min_confidence is not None:
        described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    refiner = find_refiner(refine)
    prepare_folder(output, "--output")
    echo(printable(f"Weights  {described}"))
    if refine is not None:
        echo(printable(f"Refiner  {refine}"))
    model = load_model(described, engine, precision, calibration)
    options = RunOptions(
        output, wanted, color_by, segmentation, draw and not no_pictures, batch_size, tile, refiner
    )
    run = DetectionRun(model, described.class_names, options)
    run.seconds["load model"] = time.perf_counter() - started
    heading = "Results so far"
    try:
        show_progress(run, paths)
        heading = "Results"
    finally:
        # Also after a signal or an error: what was found so far is not lost.
        with delayed():
            run.close()
            written = write_results(run.entries, output, csv)
            if heading == "Results":
                echo(report(run, time.perf_counter() - started))
            if heading == "Results" or run.num_done:
                names = ", ".join(path.name for path in written)
                echo(printable(f"{heading}  {output}  ({names})"))
    show_failures(run.failures, len(paths))


def check_choices(segmentation: str, color_by: str) -> None:
    """Refuse unknown words of two options."""
    from mrcnn.detection.results import SEGMENTATIONS

    if segmentation not in SEGMENTATIONS:
        choices = ", ".join(SEGMENTATIONS)
        raise ValueError(f"--segmentation is {segmentation!r}; it must be one of {choices}")
    if color_by not in ("class", "instance"):
        raise ValueError(f"--color-by is {color_by!r}; it must be class or instance")


def find_refiner(name_or_path: str | None) -> Any:
    """Return the mask refiner that `--refine` names; None if it was not given."""
    if name_or_path is None:
        return None
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.refinement import open_refiner
    from mrcnn.startup.lean_start import start_backend

    resolve_weights(name_or_path, kind="refiner")  # fails before the slow import
    start_backend()
    return open_refiner(name_or_path)


def class_numbers(names: str | None, class_names: Sequence[str]) -> list[int] | None:
    """Return the class ids of comma-separated names, in any letter case; None for all.

    Raises:
        ValueError: the model has no class of that name.
    """
    from mrcnn.cli.data import split_names

    wanted = split_names(names)
    if wanted is None:
        return None
    known = {name.lower(): number for number, name in enumerate(class_names) if number}
    unknown = [name for name in wanted if name.lower() not in known]
    if unknown or not wanted:
        raise ValueError(
            f"--classes is {names!r}; it must name classes of the weights: "
            f"{', '.join(class_names[1:])}"
        )
    return [known[name.lower()] for name in wanted]


def show_progress(run: DetectionRun, paths: Sequence[Path]) -> None:
    """Process the images and print one line for each, with a progress bar on a terminal."""
    from tqdm import tqdm

    from mrcnn.cli.signals import stop_if_asked
    from mrcnn.cli.terminal import echo
    from mrcnn.files.names import printable

    width = len(str(len(paths)))
    # disable=None shows the bar on a terminal only; elsewhere the lines replace it.
    with tqdm(total=len(paths), unit="image", disable=None, leave=False) as bar:
        for number, outcome in enumerate(run.process(paths), start=1):
            place = f"[{number:>{width}}/{len(paths)}]"
            line = f"{place} {outcome.path.name}  {describe_outcome(outcome, run.class_names)}"
            with tqdm.external_write_mode():  # the bar makes room for the line
                echo(printable(line))
            bar.update()
            stop_if_asked()


def describe_outcome(outcome: ImageOutcome, class_names: Sequence[str]) -> str:
    """Return the line of one image: its size, what was found, and the time."""
    if outcome.size is None:
        return f"failed: {outcome.error}"
    counts = Counter(class_names[k] for k in outcome.class_ids)
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    height, width = outcome.size
    return f"{width}x{height}  {found or 'nothing'}  {outcome.seconds * 1e3:.0f} ms"


def write_results(entries: Sequence[dict[str, Any]], output: Path, csv: bool) -> list[Path]:
    """Write detections.json and, if asked for, detections.csv; return their paths."""
    from mrcnn.detection import results

    writers = {"detections.json": results.save_json}
    if csv:
        writers["detections.csv"] = results.save_csv
    for name, save in writers.items():
        try:
            save(output / name, entries)
        except OSError as error:  # which file it was
            raise OSError(error.errno, error.strerror, str(output / name)) from error
    return [output / name for name in writers]


def report(run: DetectionRun, seconds: float) -> str:
    """Return the closing lines: numbers of detections, and the time of each stage.

    Args:
        run: the run.
        seconds: wall time of the whole command.
    """
    with_objects = len({entry["image_id"] for entry in run.entries})
    summary = counted(run.num_done, "image")
    if run.num_done:
        summary += f", {counted(len(run.entries), 'object')} in {with_objects} of them"
    lines = [
        "",
        summary,
        f"{'':14}{'total':>9}{'per image':>13}",
    ]
    counts = {"detect": run.num_done - 1, "read": run.num_done, "draw, write": run.num_done}
    for name in ("load model", "first image", "detect", "read", "draw, write"):
        if run.seconds[name]:
            line = f"{name:14}{run.seconds[name]:>7.2f} s"
            if counts.get(name):
                line += f"{run.seconds[name] / counts[name] * 1e3:>10.0f} ms"
            lines.append(line)
    # Less than the sum: reading and writing run beside the model.
    lines.append(f"{'all':14}{seconds:>7.2f} s")
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_failures(failures: Sequence[tuple[Path, str]], num_images: int) -> None:
    """List the images that failed on stderr, and end with exit code 1 if there are any."""
    from mrcnn.cli.terminal import echo
    from mrcnn.files.names import printable

    if not failures:
        return
    echo(f"{len(failures)} of {counted(num_images, 'image')} failed:", err=True)
    for path, reason in failures:
        echo(f"  {printable(path)}: {printable(reason)}", err=True)
    raise typer.Exit(1)
