"""`mrcnn evaluate`: COCO's average precision of a weight file on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def evaluate(
    dataset: DatasetPath,
    weights: Weights,
    format: Format = None,
    subset: Annotated[
        str | None, typer.Option(help="Part to evaluate; the validation part if not given.")
    ] = None,
    classes: Classes = None,
    output: Annotated[Path | None, typer.Option(help="Write all figures to this JSON file.")] = (
        None
    ),
    results: Annotated[
        Path | None, typer.Option(help="Write the detections to this file, as COCO results.")
    ] = None,
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

    Classes are matched by name. Detections of classes that the dataset lacks are left out.
    """
    from mrcnn.checkpoints.description import describe_weights
    from mrcnn.cli.data import VALIDATION_NAMES, find_part, open_data, split_names, subsets_of
    from mrcnn.cli.detect import counted, find_refiner
    from mrcnn.cli.image_paths import prepare_folder
    from mrcnn.cli.options import load_model
    from mrcnn.cli.terminal import echo
    from mrcnn.evaluation.class_matching import RenumberedClasses, match_classes
    from mrcnn.evaluation.coco import evaluate_coco
    from mrcnn.files.names import printable

    if subset is None:
        subset = find_part(subsets_of(dataset, format), VALIDATION_NAMES)
    data = open_data(dataset, format, subset, split_names(classes), option)
    described = describe_weights(weights, config)
    numbers = match_classes(described.class_names, data.class_names)
    described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    refiner = find_refiner(refine)
    for name, path in (("--output", output), ("--results", results)):
        if path is not None:  # an error now, not after hours of work
            prepare_folder(path.parent, f"the folder of {name}")
    echo(printable(f"Weights   {described}"))
    if refine is not None:
        echo(printable(f"Refiner   {refine}"))
    part = f" ({subset})" if subset else ""
    echo(printable(f"Dataset   {dataset}{part}: {counted(int(data.num_images), 'image')}"))
    model = RenumberedClasses(load_model(described, engine, precision, calibration), numbers)
    report = evaluate_coco(model, data, limit=limit, results_path=results, refiner=refiner)
    echo(f"\n{report}")
    if output is not None:
        report.save(output)
        echo(f"\nFigures written to {output}")
