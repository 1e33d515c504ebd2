"""`mrcnn evaluate`: COCO's average precision of a weight file on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mrcnn.cli.engine_options import Calibration, Engine, Precision


def evaluate(
    dataset: Annotated[str, typer.Argument(help="Folder or annotation file of the data set.")],
    weights: Annotated[str, typer.Option(help="small, coco, or the path of a weight file.")],
    format: Annotated[
        str | None, typer.Option(help="coco, via, labelme, voc, masks, ...; found out if left out.")
    ] = None,
    subset: Annotated[
        str | None, typer.Option(help="Part to evaluate; the validation part if left out.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes to load: cat,dog; all if left out."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write all figures to this JSON file.")] = (
        None
    ),
    results: Annotated[
        Path | None, typer.Option(help="Write the detections to this COCO results JSON.")
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="AP wants uncertain objects too; 0 keeps all."),
    ] = 0.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many pictures.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with settings that overrule the weights' own.")
    ] = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
    refine: Annotated[
        str | None,
        typer.Option(help="Sharpen the masks: motorcycle, start, or the path of a refiner."),
    ] = None,
) -> None:
    """Measure a model: COCO's AP and AR of boxes and masks, in all and per class.

    Classes are matched by name. Objects of classes that the data set lacks are left out.
    """
    from mrcnn.checkpoints.description import describe_weights, inference_model
    from mrcnn.cli.data import VALIDATION_NAMES, find_part, open_data, split_names, subsets_of
    from mrcnn.cli.detect import find_refiner
    from mrcnn.evaluation.coco import evaluate_coco

    if subset is None:
        subset = find_part(subsets_of(dataset, format), VALIDATION_NAMES)
    data = open_data(dataset, format, subset, split_names(classes))
    described = describe_weights(weights, config)
    numbers = match_classes(described.class_names, data.class_names)
    described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    refiner = find_refiner(refine)
    typer.echo(f"Weights   {described}")
    if refine is not None:
        typer.echo(f"Refiner   {refine}")
    part = f" ({subset})" if subset else ""
    typer.echo(f"Data set  {dataset}{part}: {data.num_images} pictures")
    options = {"engine": engine, "precision": precision, "calibration": calibration}
    model = RenumberedClasses(inference_model(described, **options), numbers)
    if results is not None:
        results.parent.mkdir(parents=True, exist_ok=True)
    report = evaluate_coco(model, data, limit=limit, results_path=results, refiner=refiner)
    typer.echo(f"\n{report}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        report.save(output)
        typer.echo(f"\nFigures written to {output}")


def match_classes(model_names: Sequence[str], data_names: Sequence[str]) -> list[int]:
    """Return the data set's class id for each of the model's, 0 where it has none.

    By name, in any case. Where the model's names are unknown ("class 1"), or the data set's
    ("object", of the one class that it has), by number if both have as many.

    Raises:
        ValueError: no class is common to both.
    """
    known = {str(name).lower(): number for number, name in enumerate(data_names) if number}
    numbers = [0, *(known.get(str(name).lower(), 0) for name in model_names[1:])]
    if any(numbers):
        return numbers
    nameless = all(name == f"class {k}" for k, name in enumerate(model_names[1:], start=1))
    nameless = nameless or list(data_names[1:]) == ["object"]
    if nameless and len(model_names) == len(data_names):
        return list(range(len(model_names)))
    raise ValueError(
        f"the model's classes ({', '.join(model_names[1:6])}, ...) and the data set's "
        f"({', '.join(map(str, data_names[1:6]))}, ...) have no name in common"
    )


class RenumberedClasses:
    """A model whose class ids are those of a data set; objects of other classes are dropped.

    Args:
        model: A `MaskRCNN`.
        numbers: The data set's class id by the model's, 0 for none.
    """

    def __init__(self, model: Any, numbers: Sequence[int]) -> None:
        import numpy as np

        self.model = model
        self.config = model.config
        self.numbers = np.asarray(numbers, dtype=np.int32)

    def detect(self, images: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """Detect as `MaskRCNN.detect` does, with the data set's class ids."""
        renumbered = []
        for result in self.model.detect(images, **options):
            class_ids = self.numbers[result["class_ids"]]
            kept = class_ids > 0
            renumbered.append(
                {
                    "rois": result["rois"][kept],
                    "class_ids": class_ids[kept],
                    "scores": result["scores"][kept],
                    "masks": result["masks"][..., kept],
                }
            )
        return renumbered
