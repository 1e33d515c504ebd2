"""`mrcnn detect`: detect objects in images and videos, draw them and write the results."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli import signals
from mrcnn.cli.flags import given_options
from mrcnn.cli.models import (
    ModelName,
    Names,
    describe_model,
    load_family_model,
    refuse_options,
)
from mrcnn.cli.options import (
    Calibration,
    ConfigFile,
    Engine,
    NoRefine,
    Precision,
    Refine,
    Weights,
    load_model,
)
from mrcnn.cli.terminal import duration_text, echo
from mrcnn.cli.written import written_text
from mrcnn.files.names import counted, found_text, printable

if TYPE_CHECKING:
    from mrcnn.checkpoints.description import DescribedWeights
    from mrcnn.detection.run_options import RunOptions
    from mrcnn.detection.runs import DetectionRun, ImageOutcome
    from mrcnn.detection.sources import Source
    from mrcnn.family.models import Model

Say = Callable[[str], None]

DEFAULT_MODEL = "mask_rcnn"
# Seconds between the lines about the frames of one video.
_VIDEO_LINE_SECONDS = 5.0
# Kinds of files that `--no-draw` leaves out.
_DRAWN = ("image", "video", "before")
# An image this many times larger than the input of the network is worth a hint at --tile.
_LARGE = 3.0


def detect(
    ctx: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders, patterns, videos, addresses (https://...), a list of these "
            "(FILE.txt, or - for the standard input, which may also hold an image), or the number "
            "of a webcam."
        ),
    ],
    model: ModelName = None,
    weights: Weights = "small",
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("detections"),
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look in the folders of a folder too.")
    ] = False,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="What to write, separated by commas: image (annotated), video (annotated), coco "
            "(detections.json), csv, parquet, masks (PNG of instance ids), polygons (LabelMe); of "
            "semantic networks image, video, labels (PNG of class numbers), csv; of "
            "region_classifier also before (annotated, before suppression). "
            "Default: coco or labels, and image or video.",
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Continue a run: skip images that have a result."),
    ] = False,
    min_confidence: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Leave out objects of a lower score.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Detect these classes only, separated by commas: person,car.")
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Give the objects of a video numbers that last.")
    ] = False,
    color_by: Annotated[
        str,
        typer.Option(
            help="What gets a color of its own: class, instance or track; auto: the track with "
            "--track, the instance in images with objects of one class, else the class."
        ),
    ] = "auto",
    segmentation: Annotated[
        str, typer.Option(help="How detections.json holds masks: rle, polygon or none.")
    ] = "rle",
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Pixels by which polygons may be off; by default 1 in the files of "
            "`--save polygons`, 0 in detections.json.",
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Also write detections.csv.")] = False,
    draw: Annotated[bool, typer.Option(help="Write annotated images and videos.")] = True,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of images that go into the network together.")
    ] = 1,
    tile: Annotated[
        int | None, typer.Option(min=64, help="Detect in tiles of this side in pixels.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU threads; all cores if not given.")
    ] = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
    config: ConfigFile = None,
    names: Names = None,
    refine: Refine = None,
    no_refine: NoRefine = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one line of JSON for each image; messages go to stderr."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", "--no-images", hidden=True)] = False,
) -> None:
    """Detect objects and their masks in images and videos.

    Writes an annotated JPEG for each image and detections.json (COCO's results format) to the
    output folder. While the command runs, detections.jsonl gets one line for each image, so that
    `--skip-existing` can continue a run that was interrupted. If an image fails, it is reported,
    the others are processed, and the exit code is 1.

    Examples:
    - `mrcnn detect photos --recursive --save image,coco,masks --output found`

    - `mrcnn detect street.mp4 --track --classes person,car` (a video, with numbered objects)

    - `mrcnn detect aerial.tif --tile 1024` (a large image with small objects)

    - `mrcnn detect photos --weights yolov3.weights` (another model, found by its file)
    """
    from mrcnn.cli.output_folder import prepare_folder
    from mrcnn.detection.files import class_numbers
    from mrcnn.detection.run_options import RunOptions
    from mrcnn.detection.sources import find_sources
    from mrcnn.family.models import find_model
    from mrcnn.family.weights import choose_precision

    started = time.perf_counter()
    say = _messages(as_json, quiet)
    require_weights(ctx, model, weights)
    check_kinds(save)
    sources = find_sources(images, recursive=recursive, leave_out=output)
    described = describe_model(weights, model, config, names)
    entry = find_model(described.model)
    refuse_options(ctx, entry)
    choose_precision(described, precision)
    kinds = chosen_kinds(save, csv, draw and not no_pictures, entry)
    options = RunOptions(
        *(output, kinds, None, color_by, segmentation, tolerance, batch_size, tile, None, track),
        allowed=allowed_kinds(entry),
    )
    wanted = class_numbers(classes, described.class_names, "--classes")
    if min_confidence is not None:
        described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    if threads is not None:
        from mrcnn.startup.threads import limit_threads

        limit_threads(threads)
    asked = refine is not None
    refine = chosen_refiner(refine, no_refine, described)
    options = replace(options, wanted=wanted, refiner=find_refiner(refine, described))
    prepare_folder(output, "--output")
    identity = identity_of(described, refine, precision)
    run = open_run(sources, described, options, identity, skip_existing)
    say(printable(f"Weights  {described}"))
    if refine is not None:
        say(printable(f"Refiner  {refine}{'' if asked else ' (--no-refine leaves it out)'}"))
    if run.num_skipped:
        say(f"Skipped  {counted(run.num_skipped, 'image')} with a result")

    def load() -> Any:
        if entry.family != DEFAULT_MODEL:
            return load_family_model(described)
        return load_model(described, engine, precision, calibration)

    with quiet_engines() if quiet else contextlib.nullcontext():
        process(run, load, say, as_json, started)
    show_failures(run.failures, seen_text(run))


def require_weights(ctx: typer.Context, model: str | None, weights: str) -> None:
    """Raise ValueError for a model of the family without weights; `small` is a Mask R-CNN."""
    from mrcnn.family.models import find_model

    if model is None or "weights" in given_options(ctx):
        return
    entry = find_model(model)
    if not entry.is_trained:
        raise ValueError(
            f"--weights is {weights}; it must be a file of ImageNet's values with the classifier: "
            "of efficientnet_lite0 (tools/convert_efficientnet_lite0.py --classifier writes it), "
            "or of the network of keras.applications that BACKBONE in --config names"
        )
    if entry.family != DEFAULT_MODEL:
        raise ValueError(
            f"--weights is {weights}; it must be a weight file of {entry.name}: train one with "
            f"`mrcnn train DATASET --model {entry.name}`"
            + (", or take Darknet's .weights" if entry.family == "yolo" else "")
        )


def open_run(
    sources: Sequence[Source],
    described: DescribedWeights,
    options: RunOptions,
    identity: dict[str, Any],
    skip_existing: bool,
) -> DetectionRun:
    """Return the run over some sources for a model."""
    from mrcnn.detection.runs import DetectionRun

    return DetectionRun(
        sources,
        described.class_names,
        options,
        identity=identity,
        skip_existing=skip_existing,
        results=_results_of(described, options),
    )


def _results_of(described: DescribedWeights, options: RunOptions) -> Any:
    """Return what makes records and files of the results of a model; None for the usual ones."""
    from mrcnn.detection.label_results import LabelResults
    from mrcnn.detection.region_results import RegionResults
    from mrcnn.family.models import find_model

    entry = find_model(described.model)
    if entry.finds == "labels":
        return LabelResults(described.class_names, options)
    return None if entry.is_trained else RegionResults(described.class_names, options)


def process(
    run: DetectionRun,
    load: Callable[[], Any],
    say: Say,
    as_json: bool,
    started: float,
) -> None:
    """Detect on what is left, and write the files of all images, also after an error or signal."""
    heading = "Results so far"
    try:
        if run.remaining:
            model = load()
            getattr(model, "engine", None)  # it prints a line, which goes before the progress bar
            run.seconds["load model"] = time.perf_counter() - started
            show_progress(run, model, say, as_json)
        heading = "Results"
    finally:
        # Also after a signal or an error: what was found so far is not lost.
        with signals.delayed():
            run.close()
            written = run.join() if heading == "Results" or run.num_done else []
            if heading == "Results":
                say(report(run, time.perf_counter() - started))
            if written or run.num_done:
                say(printable(f"{heading}  {written_text(run, written)}"))


def _messages(as_json: bool, quiet: bool) -> Say:
    """Return the function that prints messages: to stderr beside JSON, not at all if quiet."""
    return _say_nothing if quiet else partial(echo, err=as_json)


def _say_nothing(text: str) -> None:
    pass


@contextlib.contextmanager
def quiet_engines() -> Iterator[None]:
    """Let engines print nothing in the block."""
    before = os.environ.get("MRCNN_QUIET")
    os.environ["MRCNN_QUIET"] = "1"
    try:
        yield
    finally:
        del os.environ["MRCNN_QUIET"]
        if before is not None:
            os.environ["MRCNN_QUIET"] = before


def allowed_kinds(model: Model) -> Sequence[str]:
    """Return the kinds of files that a model can give."""
    from mrcnn.detection import writers

    if not model.is_trained:
        return writers.REGION_KINDS
    kinds = {"labels": writers.LABEL_KINDS, "boxes": writers.BOX_KINDS}
    return kinds.get(model.finds, writers.SAVE_KINDS)


def check_kinds(save: str | None) -> None:
    """Raise ValueError for a kind of file that no model gives, before anything is looked for."""
    from mrcnn.detection.writers import LABEL_KINDS, REGION_KINDS, SAVE_KINDS, check_save

    if save is not None:
        known = dict.fromkeys((*SAVE_KINDS, *LABEL_KINDS, *REGION_KINDS))
        check_save(save, "--save", tuple(known))


def chosen_kinds(save: str | None, csv: bool, draw: bool, model: Model) -> list[str]:
    """Return the kinds of files that `--save`, `--csv` and `--no-draw` ask for."""
    from mrcnn.detection.run_options import DEFAULT_SAVE
    from mrcnn.detection.writers import LABEL_KINDS, REGION_KINDS, check_save

    allowed = allowed_kinds(model)
    records = "labels" if allowed is LABEL_KINDS else "coco"
    usual = [records if kind == "coco" else kind for kind in DEFAULT_SAVE]
    usual += ["before"] if allowed is REGION_KINDS else []
    name = "--save" if model.finds == "masks" else f"--save with the model {model.name}"
    kinds = usual if save is None else list(check_save(save, name, allowed))
    if csv:
        kinds.append("csv")
    return [kind for kind in kinds if draw or kind not in _DRAWN] or [records]


def identity_of(
    described: DescribedWeights, refine: str | None, precision: str | None
) -> dict[str, Any]:
    """Return what the results depend on besides the options of the run, as JSON holds it."""
    from mrcnn.detection.files import changed_settings, refiner_identity
    from mrcnn.exports.formats import weights_file
    from mrcnn.files.fetch import content_digest

    return {
        "weights": content_digest(weights_file(described.path)),
        "settings": changed_settings(described.config),
        **refiner_identity(refine),
        "precision": precision,
        **({} if described.model == DEFAULT_MODEL else {"model": described.model}),
    }


def chosen_refiner(refine: str | None, no_refine: bool, described: DescribedWeights) -> str | None:
    """Return the name or the path of the refiner: what is asked for, or what suits the weights."""
    wanted = wanted_refiner(refine, no_refine)
    return described.refiner if wanted == "auto" else wanted


def wanted_refiner(refine: str | None, no_refine: bool) -> str | None:
    """Return the name or the path that is asked for; "auto" for what suits the weights."""
    if refine is not None and no_refine:
        raise ValueError(
            f"--refine is {printable(refine)}; it must not be given together with --no-refine"
        )
    return None if no_refine else refine or "auto"


def find_refiner(name_or_path: str | None, described: DescribedWeights) -> Any:
    """Return the mask refiner of a name or a path; None for none.

    Raises:
        FileNotFoundError: there is no such refiner.
        ValueError: the model is an export without the masks that a refiner takes.
    """
    if name_or_path is None:
        return None
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.exports.description import DescribedExport
    from mrcnn.refinement import open_refiner
    from mrcnn.startup.lean_start import start_backend_when_needed

    if isinstance(described, DescribedExport) and described.masks != "box":
        raise ValueError(
            f"--refine is {printable(name_or_path)}; it must not be given with this exported "
            "model, whose masks have the size of the image (mrcnn export --masks box makes one "
            "for a refiner)"
        )
    resolve_weights(name_or_path, kind="refiner")  # fails before the slow import
    start_backend_when_needed()
    return open_refiner(name_or_path)


def show_progress(run: DetectionRun, model: Any, say: Say, as_json: bool) -> None:
    """Process the images and print one line for each, with a progress bar on a terminal.

    Args:
        run: the run.
        model: the model.
        say: prints a message.
        as_json: print records as JSON instead of lines.
    """
    from tqdm import tqdm

    lines = _Lines(run, len(run.remaining))
    hint = _tile_hint(model, run.options.tile)
    # disable=None shows the bar on a terminal only; elsewhere the lines replace it.
    hidden = True if say is _say_nothing else None
    unit = "image" if any(source.kind == "image" for source in run.remaining) else "frame"
    bar = tqdm(total=run.num_expected, unit=unit, disable=hidden, leave=False)
    tiles = _TileLine(hidden)
    with bar, tiles, contextlib.closing(run.process(model, tiles)) as outcomes:
        for outcome in outcomes:
            with tqdm.external_write_mode():  # the bar makes room for the lines
                if as_json:  # in ASCII, on which no terminal acts
                    typer.echo(json.dumps(outcome.record))
                for line in (*(() if as_json else lines.of(outcome)), *hint(outcome)):
                    say(printable(line))
            bar.total = run.num_expected
            bar.update()
            signals.stop_if_asked()
    for line in lines.end():
        say(printable(line))


class _TileLine(contextlib.AbstractContextManager[Any]):
    """The line about the tiles of an image, on a terminal only.

    Args:
        disable: as for `tqdm`.
    """

    def __init__(self, disable: bool | None) -> None:
        self._disable = disable
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show how many of the tiles are done, and the time left for the others."""
        from tqdm import tqdm

        if self._bar is None:
            form = "tile {n_fmt}/{total_fmt}  {remaining} left"
            self._bar = tqdm(
                total=total, initial=done, bar_format=form, disable=self._disable, leave=False
            )
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.__exit__()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Lines:
    """The lines about images, and for videos one at intervals."""

    def __init__(self, run: DetectionRun, total: int) -> None:
        self._results = run.results
        self._frame_counts = run.frame_counts
        self._total = total
        self._number = 0
        self._source: Source | None = None
        self._counts: Counter[str] = Counter()
        self._tracks: dict[tuple[str, int], None] = {}  # in the order of their first frames
        self._frames = 0
        self._printed = self._begun = time.monotonic()

    def of(self, outcome: ImageOutcome) -> Iterator[str]:
        """Yield the lines to print after an outcome."""
        if outcome.source != self._source:
            yield from self.end()
            self._source, self._number, self._frames = outcome.source, self._number + 1, 0
            self._counts, self._tracks = Counter(), {}
            self._begun = time.monotonic()
        text = describe_outcome(outcome, self._results)
        if "frame" not in outcome.record:
            yield f"{self._place()}  {text}"
            return
        self._frames += 1
        for entry in outcome.record.get("objects", ()):
            self._counts[entry["category_name"]] += 1
            if "track_id" in entry:
                self._tracks[entry["category_name"], entry["track_id"]] = None
        if outcome.error is not None or time.monotonic() - self._printed > _VIDEO_LINE_SECONDS:
            self._printed = time.monotonic()
            yield f"{self._place()}  {self._frame(outcome)}  {text}{self._speed(outcome)}"

    def end(self) -> Iterator[str]:
        """Yield the line at the end of a video."""
        if self._frames:
            found = "" if self._results.noun is None else found_text(self._counts)
            if self._tracks:
                tracks = found_text(Counter(name for name, _ in self._tracks))
                found = f"tracks: {tracks}  detections: {found}"
            yield f"{self._place()}  {counted(self._frames, 'frame')}  {found}".rstrip()

    def _frame(self, outcome: ImageOutcome) -> str:
        """Return the number of a frame, from 1, and the number of all where it is known."""
        count = self._frame_counts.get(outcome.source.place)
        return f"frame {outcome.record['frame'] + 1}" + (f"/{count}" if count else "")

    def _speed(self, outcome: ImageOutcome) -> str:
        """Return how many frames a second are processed, and how long the others take."""
        seconds = time.monotonic() - self._begun  # since the first frame
        if outcome.error is not None or self._frames < 2 or seconds <= 0:
            return ""
        rate = (self._frames - 1) / seconds
        count = self._frame_counts.get(outcome.source.place)
        left = f"  {duration_text((count - self._frames) / rate)} left" if count else ""
        return f"  {rate:.1f} frames/s{left}"

    def _place(self) -> str:
        name = "" if self._source is None else self._source.file_name
        return f"[{self._number:>{len(str(self._total))}}/{self._total}] {name}"


def describe_outcome(outcome: ImageOutcome, results: Any) -> str:
    """Return the line of one image: its size, what was found, and the time in the network."""
    if outcome.size is None or outcome.error is not None:
        return f"failed: {outcome.error}"
    height, width = outcome.size
    found = results.text(outcome.record)
    return f"{width}x{height}  {found}  {outcome.record['milliseconds']:.0f} ms"


def _tile_hint(model: Any, tile: int | None) -> Callable[[ImageOutcome], Iterator[str]]:
    """Return what yields a hint at `--tile` for the first image far larger than the input."""
    if not hasattr(model, "detect_tiled"):
        return lambda outcome: iter(())
    side = model.config.IMAGE_MAX_DIM
    # Objects of half the smallest anchor are rarely found.
    smallest = min(model.config.RPN_ANCHOR_SCALES) / 2
    is_due = tile is None

    def hint(outcome: ImageOutcome) -> Iterator[str]:
        nonlocal is_due
        scale = max(outcome.size or (0,)) / side
        if is_due and scale >= _LARGE:
            is_due = False
            yield (
                f"Hint     {outcome.source.file_name} is {scale:.0f} times larger than the "
                f"network's input: objects of fewer than about {round(smallest * scale)} pixels "
                f"may be missed. --tile {side} detects them, and takes longer."
            )

    return hint


def report(run: DetectionRun, seconds: float) -> str:
    """Return the closing lines: numbers of detections, and the time of each stage.

    Args:
        run: the run.
        seconds: wall time of the whole command.
    """
    num_images = run.num_done - run.num_frames
    numbers = [counted(num_images, "image")] if num_images or not run.num_done else []
    numbers += [counted(run.num_frames, "frame")] if run.num_frames else []
    summary = " and ".join(numbers)
    if run.num_done and run.results.noun is not None:
        objects = counted(run.num_objects, run.results.noun)
        summary += f", {objects} in {run.num_with_objects} of them"
    each = "per image" if num_images else "per frame"
    lines = ["", summary, f"{'':14}{'total':>9}{each:>13}"]
    stages = dict(run.seconds)
    counts = {"detect": run.num_timed}
    if not run.num_timed and run.num_done:  # the first ones are all
        stages["detect"] = stages.pop("first image", 0.0)
        counts["detect"] = run.num_done
    counts |= dict.fromkeys(("read", "masks", "draw, write"), run.num_done)
    for name in ("load model", "first image", "detect", "read", "masks", "draw, write"):
        if stages.get(name):
            label = "first frame" if name == "first image" and not num_images else name
            line = f"{label:14}{stages[name]:>7.2f} s"
            if counts.get(name):
                line += f"{stages[name] / counts[name] * 1e3:>10.0f} ms"
            lines.append(line)
    overlap = "  (some run at the same time)" if sum(stages.values()) > seconds else ""
    lines.append(f"{'all':14}{seconds:>7.2f} s{overlap}")
    lines += [f"Note  {printable(note)}" for note in dict.fromkeys(run.notes)]
    return "\n".join(lines)


def seen_text(run: DetectionRun) -> str:
    """Return what the run has looked at: "3 images", or "4 (1 image, 2 frames, 1 video)"."""
    kinds = [counted(number, kind) for kind, number in run.num_seen.items()]
    return kinds[0] if len(kinds) == 1 else f"{run.num_seen.total()} ({', '.join(kinds)})"


def show_failures(failures: Sequence[tuple[str | Path, str]], seen: str) -> None:
    """List what failed on stderr, and end with exit code 1 if there is anything.

    Args:
        failures: path and reason of each image or frame.
        seen: what there was in all, "3 images".
    """
    if not failures:
        return
    echo(f"{len(failures)} of {seen} failed:", err=True)
    for path, reason in failures:
        echo(f"  {printable(path)}: {printable(reason)}", err=True)
    raise typer.Exit(1)
