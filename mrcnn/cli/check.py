"""`mrcnn check`: show the content and the problems of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mrcnn.cli.options import Classes, DatasetPath, Format, ReaderOptions


def check(
    dataset: DatasetPath,
    format: Format = None,
    subset: Annotated[
        str | None, typer.Option(help="Part to check: train, val, ...; all parts if not given.")
    ] = None,
    classes: Classes = None,
    max_images: Annotated[
        int | None, typer.Option(min=1, help="Check only this many images, evenly spaced.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the findings to this JSON file.")
    ] = None,
    option: ReaderOptions = None,
) -> None:
    """Check a dataset before training on it.

    Counts images, instances and classes, opens every image and mask, and lists what would fail or
    make the model learn something wrong. The exit code is 1 if there are errors.
    """
    from mrcnn.cli.data import split_names, subsets_of
    from mrcnn.cli.terminal import echo
    from mrcnn.datasets.reader import choose_subset
    from mrcnn.files.atomic import write_json

    available = subsets_of(dataset, format)
    if subset and available:
        subset = choose_subset(Path(dataset), subset, available)
    parts: list[str | None] = [subset] if subset else [*available] or [None]
    findings = {}
    for part in parts:
        echo(f"{dataset}{f' ({part})' if part else ''}")
        try:
            found = check_part(dataset, format, part, split_names(classes), option, max_images)
        except (ValueError, OSError) as error:
            if len(parts) == 1:
                raise
            # The other parts are worth checking.
            found = {"error": str(error)}
            echo(f"error: {error}\n")
        findings[part or "all"] = found
    if json_path is not None:
        write_json(json_path, findings)
    if not all(found.get("check", {}).get("ok") for found in findings.values()):
        raise typer.Exit(1)


def check_part(
    dataset: str,
    format: str | None,
    part: str | None,
    classes: list[str] | None,
    options: list[str] | None,
    max_images: int | None,
) -> dict[str, Any]:
    """Print the summary and the problems of one part; return both as plain values."""
    from mrcnn.cli.data import open_data
    from mrcnn.cli.terminal import echo

    data = open_data(dataset, format, part, classes, options, keep_going=True)
    summary = data.summary()
    echo(f"{summary}\n")
    report = data.check(max_images)
    echo(f"{report}\n")
    return {"summary": summary.to_dict(), "check": report.to_dict()}
