"""`mrcnn detect-many`: detect objects in any number of images, in several processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from mrcnn.cli import signals
from mrcnn.cli.detect import require_weights, wanted_refiner
from mrcnn.cli.models import ModelName, Names
from mrcnn.cli.options import ConfigFile, Engine, NoRefine, Precision, Refine, Weights
from mrcnn.cli.terminal import duration_text, echo
from mrcnn.files.names import counted, printable

if TYPE_CHECKING:
    from mrcnn.scaling.many import DetectionSummary, ManyRun
    from mrcnn.scaling.shards import ShardOutcome

# Seconds between the lines about the progress where there is no terminal.
_LINE_SECONDS = 30.0
_MAX_FAILURES = 10


def detect_many(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, patterns, lists (FILE.txt, an image a line), Parquet files of paths or "
            "encoded images: on a disk, or addresses such as s3://bucket/photos."
        ),
    ],
    output: Annotated[str, typer.Option(help="Folder for the results: a path or an address.")],
    model: ModelName = None,
    weights: Weights = "small",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of processes, each with a model; as many as fit if not given."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of each process; the cores shared if not given."),
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0.0, help="GPUs of each process; 0.5 lets two share one.")
    ] = 0.0,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster, or auto on one of its machines; this machine alone if "
            "not given."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look in the folders of a folder too.")
    ] = False,
    column: Annotated[
        str | None,
        typer.Option(help="Column of Parquet files with the images or their paths."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Detect these classes only, separated by commas: person,car.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Leave out objects of a lower score.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of images that go into the network together.")
    ] = 1,
    shard_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of images of each file of results; 50 to 1000 if not given."
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Detect again where images failed in an earlier run."),
    ] = False,
    coco: Annotated[
        bool,
        typer.Option("--coco", help="Also write detections.json and images.json at the end."),
    ] = False,
    refine: Refine = None,
    no_refine: NoRefine = False,
    engine: Engine = "auto",
    precision: Precision = None,
    config: ConfigFile = None,
    names: Names = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Detect objects in any number of images, in several processes or on a cluster.

    Writes Parquet files to the output folder: objects/ (a row for each object), images/ (a row for
    each image) and failed/ (a row for each image that could not be processed, with the reason; then
    the exit code is 1). The same command continues a run that was interrupted, at any moment. Needs
    the extra "ray".

    Examples:
    - `mrcnn detect-many photos --recursive --output found --workers 4`

    - `mrcnn detect-many s3://bucket/photos --output s3://bucket/found --address auto --workers 64`

    - `mrcnn detect-many photos.parquet --column image --output found`
    """
    from mrcnn.scaling.many import ManyRun
    from mrcnn.scaling.model_source import ModelSource

    begun = time.perf_counter()
    say: Callable[[str], None] = (lambda text: None) if quiet else echo
    require_weights(ctx, model, weights)
    config_path, names_path = (None if p is None else os.fspath(p) for p in (config, names))
    source = ModelSource(
        weights,
        model,
        config_path,
        names_path,
        engine,
        precision,
        min_confidence,
        wanted_refiner(refine, no_refine),
    )
    run = ManyRun(
        sources,
        output,
        source,
        recursive=recursive,
        column=column,
        classes=classes,
        batch_size=batch_size,
        shard_size=shard_size,
        retry_failed=retry_failed,
    )
    try:
        for line in _heading(run):
            say(line)
        outcomes = run.process(
            workers=workers,
            threads=threads,
            gpus=gpus,
            address=address,
            on_start=lambda pool: say(printable(f"Workers  {pool}")),
        )
        peak, deaths = 0.0, 0
        for outcome in _shown(run, outcomes, say, quiet):
            peak, deaths = max(peak, outcome.peak_mb), deaths + outcome.deaths
            signals.stop_if_asked()
        written = run.write_coco() if coco else []
        summary = run.summary()
        for line in _report(run, summary, time.perf_counter() - begun, peak):
            say(line)
        if deaths:
            say(f"Note     {counted(deaths, 'process', 'processes')} died; the work was repeated")
        for place in written:
            say(printable(f"Results  {place}"))
        _show_failures(run, summary)
    except signals.Stopped:
        echo("The same command continues the run", err=True)
        raise
    finally:
        run.close()


def _heading(run: ManyRun) -> Iterator[str]:
    """Yield the lines about what will be done."""
    yield printable(f"Weights  {run.described}")
    if run.described.guess:
        yield printable(f"Note     {run.described.guess}")
    if run.described.refiner is not None:
        yield printable(f"Refiner  {run.described.refiner} (--no-refine leaves it out)")
    plan = run.plan
    shards = f"{counted(plan.num_shards, 'shard')} of up to {counted(plan.shard_size, 'image')}"
    yield f"Images   {plan.num_images:,} in {shards}"
    if run.num_before:
        yield f"Skipped  {run.num_before:,} with a result"


def _shown(
    run: ManyRun, outcomes: Iterator[ShardOutcome], say: Callable[[str], None], quiet: bool
) -> Iterator[ShardOutcome]:
    """Pass on outcomes and show progress and time left: a bar, or lines without a terminal."""
    import sys

    from mrcnn.scaling.many import with_bar

    has_bar = sys.stderr.isatty() and not quiet
    done, total = run.num_before, run.plan.num_images
    begun = printed = time.monotonic()
    for outcome in with_bar(run, outcomes, None if has_bar else True):
        done += outcome.images + outcome.failed
        now = time.monotonic()
        if not has_bar and now - printed > _LINE_SECONDS and done < total:
            printed = now
            rate = (done - run.num_before) / (now - begun)
            left = duration_text((total - done) / rate)
            say(f"{done:,} of {total:,} images  {rate:.1f} images/s  {left} left")
        yield outcome


def _report(
    run: ManyRun, summary: DetectionSummary, seconds: float, peak_mb: float
) -> Iterator[str]:
    """Yield the closing lines."""
    new = summary.num_images - run.num_before
    objects = counted(summary.num_objects, "object")
    yield f"{counted(summary.num_done, 'image')}, {objects}, {summary.num_failed} failed"
    if new:
        yield (
            f"{counted(new, 'image')} in {duration_text(seconds)}, {new / seconds:.1f} images/s; "
            f"memory of a process: at most {peak_mb / 1000:.1f} GB"
        )
    yield printable(f"Results  {summary.output}/objects, {summary.output}/images")


def _show_failures(run: ManyRun, summary: DetectionSummary) -> None:
    """List the first images that failed on stderr, and end with exit code 1 if there are any."""
    if not summary.num_failed:
        return
    echo(f"{summary.num_failed} of {counted(summary.num_images, 'image')} failed:", err=True)
    for place, reason in run.failures(_MAX_FAILURES):
        echo(f"  {printable(place)}: {printable(reason)}", err=True)
    if summary.num_failed > _MAX_FAILURES:
        echo(printable(f"  ... all are listed in {summary.output}/failed"), err=True)
    raise typer.Exit(1)
