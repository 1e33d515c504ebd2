"""`mrcnn download`: download datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mrcnn.cli.flags import Command, Group

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

app = typer.Typer(cls=Group, no_args_is_help=True)


@app.callback()
def download() -> None:
    """Download datasets.

    Example: `mrcnn download open-images --classes Motorcycle --max-images 100`
    """


@app.command("open-images", cls=Command)
def open_images(
    classes: Annotated[
        str, typer.Option(help="Class names or ids, separated by commas: Motorcycle,/m/0199g")
    ],
    split: Annotated[
        str, typer.Option(help="train, validation, test, or several separated by commas.")
    ] = "validation",
    output: Annotated[Path, typer.Option(help="Folder for the dataset.")] = Path("open_images"),
    max_images: Annotated[
        int | None, typer.Option(min=1, help="Largest number of images per split, for a trial.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of --max-images.")] = 0,
    boxes: Annotated[bool, typer.Option("--boxes", help="Download the box tables too.")] = False,
    box_only_images: Annotated[
        bool, typer.Option("--box-only-images", help="Also download images with boxes but no mask.")
    ] = False,
    image_table: Annotated[
        bool, typer.Option(help="Download the tables of authors, licenses and rotation.")
    ] = True,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep the archives of masks in the folder.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of files downloaded at the same time.")
    ] = 16,
    retries: Annotated[
        int,
        typer.Option(min=0, help="Number of failed attempts in a row before a file is given up."),
    ] = 5,
    base_url: Annotated[
        str | None, typer.Option(help="Address of a mirror of the tables and masks.")
    ] = None,
    image_base_url: Annotated[
        str | None, typer.Option(help="Address of a mirror of the images.")
    ] = None,
) -> None:
    """Download images and masks of some Open Images classes.

    The command may be interrupted: the same command continues where it stopped.

    Example: `mrcnn download open-images --classes Motorcycle,Car --split train,validation`
    """
    from mrcnn.cli.data import split_names
    from mrcnn.cli.signals import Stopped
    from mrcnn.cli.terminal import echo
    from mrcnn.datasets.open_images import download as source
    from mrcnn.files.fetch import FetchError

    with _Display() as progress:
        try:
            report = source.download_open_images(
                output,
                split_names(classes) or [],
                split_names(split) or [],
                max_images=max_images,
                seed=seed,
                boxes=boxes,
                box_only_images=box_only_images,
                image_table=image_table,
                keep_archives=keep_archives,
                workers=workers,
                retries=retries,
                base_url=base_url or source.BASE_URL,
                image_base_url=image_base_url or source.IMAGE_BASE_URL,
                progress=progress,
            )
        except (FetchError, BlockingIOError) as error:
            _stop(f"{error}\nRun the same command again to continue.", 1)
        except Stopped:
            echo("Run the same command again to continue.", err=True)
            raise
    for name, count in report.images.items():
        echo(f"{name}: {count} images, {report.masks[name]} masks")
    echo(f"{report.transferred / 1e6:.1f} MB downloaded; the dataset is in {output}")
    for line in report.absent:
        echo(f"note: {line}", err=True)
    if report.failures:
        shown = "\n".join(report.failures[:10])
        _stop(f"{len(report.failures)} files could not be downloaded:\n{shown}", 1)


def _stop(message: str, code: int) -> NoReturn:
    from mrcnn.cli.terminal import echo

    echo(message, err=True)
    raise typer.Exit(code)


class _Display:
    """Progress of a download: bars on a terminal, else a line for each tenth of a stage."""

    def __enter__(self) -> _Display:
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}
        self._bars: Progress | None = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[amount]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        is_file = stage.endswith((".csv", ".zip", ".txt"))
        unit, scale = (" MB", 1e6) if is_file else ("", 1)
        amount = f"{done / scale:.0f}/{total / scale:.0f}{unit}" if total else f"{done / scale:.0f}"
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total, amount=amount)
            finished_file = is_file and done == total
            self._bars.update(
                self._tasks[stage],
                completed=done,
                total=total,
                amount=amount,
                visible=not finished_file,
            )
        elif total:
            tenth = done * 10 // total
            if tenth != self._tenths.get(stage):
                self._tenths[stage] = tenth
                print(f"{stage}: {amount}", file=sys.stderr)
