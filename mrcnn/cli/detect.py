"""`mrcnn detect`: finds objects in picture files, draws them and writes them down."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli.engine_options import Calibration, Engine, Precision

if TYPE_CHECKING:
    import numpy as np

# Pictures waiting to be drawn and written; more would only fill the memory.
MAX_PENDING = 3


def detect(
    images: Annotated[
        list[str], typer.Argument(help="Picture files, folders of pictures, or patterns.")
    ],
    weights: Annotated[str, typer.Option(help="small, coco, or the path of a weight file.")] = (
        "small"
    ),
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("detections"),
    min_confidence: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Leave out less certain objects.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Only these classes: person,car.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with settings that overrule the weights' own.")
    ] = None,
    refine: Annotated[
        str | None,
        typer.Option(help="Sharpen the masks: motorcycle, start, or the path of a refiner."),
    ] = None,
    color_by: Annotated[str, typer.Option(help="class or instance: what gets a colour.")] = (
        "class"
    ),
    segmentation: Annotated[
        str, typer.Option(help="How masks are written: rle, polygon or none.")
    ] = "rle",
    csv: Annotated[bool, typer.Option("--csv", help="Also write detections.csv.")] = False,
    pictures: Annotated[bool, typer.Option(help="Write annotated pictures.")] = True,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Pictures that go into the network together.")
    ] = 1,
    tile: Annotated[
        int | None,
        typer.Option(min=64, help="Look at large pictures in tiles of so many pixels."),
    ] = None,
    engine: Engine = "auto",
    precision: Precision = None,
    calibration: Calibration = None,
) -> None:
    """Find objects and their masks in pictures.

    Writes an annotated JPEG for each picture and detections.json (COCO's results format) to the
    output folder. A picture that cannot be read is reported, the others go on, and the exit
    code is 1.
    """
    from mrcnn.checkpoints.description import describe_weights, inference_model
    from mrcnn.cli.image_paths import find_images
    from mrcnn.detection import results

    started = time.perf_counter()
    if segmentation not in results.SEGMENTATIONS:
        raise typer.BadParameter(f"--segmentation must be one of {results.SEGMENTATIONS}")
    if color_by not in ("class", "instance"):
        raise typer.BadParameter("--color-by must be class or instance")
    paths = find_images(images)
    described = describe_weights(weights, config)
    wanted = class_numbers(classes, described.class_names)
    if min_confidence is not None:
        described.config.DETECTION_MIN_CONFIDENCE = min_confidence
    refiner = find_refiner(refine)
    output.mkdir(parents=True, exist_ok=True)
    typer.echo(f"Weights  {described}")
    if refine is not None:
        typer.echo(f"Refiner  {refine}")
    model = inference_model(described, engine=engine, precision=precision, calibration=calibration)
    run = DetectionRun(
        model,
        described.class_names,
        output,
        wanted=wanted,
        color_by=color_by,
        segmentation=segmentation,
        draw=pictures,
        batch_size=batch_size,
        tile=tile,
        refiner=refiner,
    )
    run.seconds["load model"] += time.perf_counter() - started
    try:
        run.process(paths)
    finally:
        # Also when interrupted: what was found so far is not lost.
        written = [results.save_json(output / "detections.json", run.entries)]
        if csv:
            written.append(results.save_csv(output / "detections.csv", run.entries))
    typer.echo(run.report(time.perf_counter() - started))
    typer.echo(f"Results  {output}  ({', '.join(path.name for path in written)})")
    if run.failures:
        typer.echo(f"{len(run.failures)} of {len(paths)} pictures failed:", err=True)
        for path, reason in run.failures:
            typer.echo(f"  {path}: {reason}", err=True)
        raise typer.Exit(1)


def find_refiner(name_or_path: str | None) -> Any:
    """Return the mask refiner that `--refine` asks for, None where it was left out."""
    if name_or_path is None:
        return None
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.refinement import open_refiner
    from mrcnn.startup.lean_start import start_backend

    resolve_weights(name_or_path, kind="refiner")  # a wrong name is told at once
    start_backend()
    return open_refiner(name_or_path)


def class_numbers(names: str | None, class_names: Sequence[str]) -> list[int] | None:
    """Return the class ids of comma separated names, in any case; None for all.

    Raises:
        ValueError: for a name that the model does not know.
    """
    from mrcnn.cli.data import split_names

    if names is None:
        return None
    known = {name.lower(): number for number, name in enumerate(class_names) if number}
    wanted = [name.lower() for name in split_names(names)]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"--classes names {', '.join(unknown) or 'nothing'}; the classes are "
            f"{', '.join(class_names[1:])}"
        )
    return [known[name] for name in wanted]


def keep_classes(
    result: Mapping[str, np.ndarray], wanted: Sequence[int] | None
) -> dict[str, np.ndarray]:
    """Return a result with the instances of some classes; None keeps all."""
    import numpy as np

    if wanted is None:
        return dict(result)
    kept = np.isin(result["class_ids"], wanted)
    return {
        key: (
            [rle for rle, keep in zip(value, kept) if keep]
            if key == "rles"
            else value[..., kept]
            if key in ("masks", "mask_probs")
            else value[kept]
        )
        for key, value in result.items()
    }


@dataclass
class DetectionRun:
    """One pass over pictures: others are read ahead, a thread draws and writes behind the model.

    Attributes:
        entries: What was found, in COCO's format, in the order of the pictures.
        failures: (picture, reason) of those left out.
        seconds: Time spent, by what it was spent on.
    """

    model: Any
    class_names: Sequence[str]
    output: Path
    wanted: Sequence[int] | None = None
    color_by: str = "class"
    segmentation: str = "rle"
    draw: bool = True
    batch_size: int = 1
    tile: int | None = None
    refiner: Any = None
    entries: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    done: int = 0

    def process(self, paths: Sequence[Path]) -> None:
        """Detect on every picture; one that cannot be read goes to `failures`."""
        from tqdm import tqdm

        from mrcnn.cli.image_paths import image_numbers, plan_outputs

        targets = plan_outputs(paths, self.output)
        numbers = image_numbers(paths)
        pending: list[Future[list[dict[str, Any]]]] = []
        begun = time.perf_counter()
        found = self._tiled(paths) if self.tile else self._whole(paths)
        self.seconds["load model"] += time.perf_counter() - begun
        # disable=None: a bar on a terminal only; the lines below tell the same elsewhere.
        bar = tqdm(total=len(paths), unit="picture", disable=None, leave=False)
        with bar, ThreadPoolExecutor(1) as writer, contextlib.closing(found):
            try:
                for i, path in enumerate(paths):
                    begun = time.perf_counter()
                    image, result = next(found)
                    spent = time.perf_counter() - begun
                    if isinstance(result, Exception):
                        line = self._failed(path, image, result)
                    else:
                        line = self._found(image, result, spent)
                        result = keep_classes(result, self.wanted)
                        pending.append(
                            writer.submit(self._write, path, image, result, targets[i], numbers[i])
                        )
                    place = f"[{i + 1:>{len(str(len(paths)))}}/{len(paths)}]"
                    tqdm.write(f"{place} {path.name}  {line}")
                    bar.update()
                    while len(pending) > MAX_PENDING:
                        self.entries += pending.pop(0).result()
            finally:
                for future in pending:
                    self.entries += future.result()

    def _whole(self, paths: Sequence[Path]) -> Iterator[tuple[np.ndarray | None, Any]]:
        """Detect on whole pictures: `(picture, result)`, or the exception in its place."""
        return self.model.detect_stream(
            [partial(self._read, path) for path in paths],
            self.batch_size,
            errors="return",
            with_images=True,
            refiner=self.refiner,
            rle=True,
        )

    def _tiled(self, paths: Sequence[Path]) -> Iterator[tuple[np.ndarray | None, Any]]:
        """As `_whole`, each picture in tiles."""
        for path in paths:
            try:
                image = self._read(path)
            except Exception as error:  # whatever a broken file makes a decoder raise
                yield None, error
                continue
            options = {"batch_size": self.batch_size, "refiner": self.refiner, "rle": True}
            yield image, self.model.detect_tiled(image, self.tile, **options)

    def _failed(self, path: Path, image: np.ndarray | None, error: Exception) -> str:
        """Note a picture that could not be read; returns the line to print."""
        if image is not None:  # not the picture's fault
            raise error
        reason = str(error).removeprefix(f"{path}: ") or type(error).__name__
        self.failures.append((path, reason))
        return f"skipped: {reason}"

    def _found(self, image: np.ndarray, result: Mapping[str, Any], spent: float) -> str:
        """Count one picture; returns the line to print."""
        # The first call builds and compiles the graphs; counted apart, it spoils no average.
        self.seconds["detect" if self.done else "first picture"] += spent
        self.done += 1
        kept = keep_classes({"class_ids": result["class_ids"]}, self.wanted)["class_ids"]
        counts = Counter(self.class_names[k] for k in kept)
        listed = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        return f"{image.shape[1]}x{image.shape[0]}  {listed or 'nothing'}  {spent * 1e3:.0f} ms"

    def _read(self, path: Path) -> np.ndarray:
        """Read one picture, upright."""
        from mrcnn.datasets.image_files import read_image

        begun = time.perf_counter()
        image = read_image(path, exif_orientation=True)
        self.seconds["read"] += time.perf_counter() - begun
        return image

    def _write(
        self,
        path: Path,
        image: np.ndarray,
        result: Mapping[str, np.ndarray],
        target: Path,
        number: int,
    ) -> list[dict[str, Any]]:
        """Write one annotated picture; returns its COCO entries."""
        from mrcnn.checkpoints.coco_names import COCO_CATEGORY_IDS, COCO_CLASS_NAMES
        from mrcnn.detection import results
        from mrcnn.drawing.rendering import save_instances

        begun = time.perf_counter()
        if self.draw:
            save_instances(
                target, image, result, class_names=self.class_names, color_by=self.color_by
            )
        is_coco = tuple(self.class_names) == COCO_CLASS_NAMES
        entries = results.to_coco(
            result,
            number,
            path.name,
            self.class_names,
            COCO_CATEGORY_IDS if is_coco else None,
            self.segmentation,
        )
        self.seconds["draw, write"] += time.perf_counter() - begun
        return entries

    def report(self, seconds: float) -> str:
        """Return the closing lines: what was found, and where the time went.

        Args:
            seconds: Wall time of everything.
        """
        with_objects = len({entry["image_id"] for entry in self.entries})
        lines = [
            "",
            f"{self.done} pictures, {len(self.entries)} objects in {with_objects} of them",
            f"{'':14}{'total':>9}{'a picture':>13}",
        ]
        counts = {
            "detect": self.done - 1,
            "read": self.done,
            "draw, write": self.done,
        }
        for name in ("load model", "first picture", "detect", "read", "draw, write"):
            if self.seconds[name]:
                line = f"{name:14}{self.seconds[name]:>7.2f} s"
                if counts.get(name):
                    line += f"{self.seconds[name] / counts[name] * 1e3:>10.0f} ms"
                lines.append(line)
        # Less than the sum: reading and writing go on beside the model.
        lines.append(f"{'all':14}{seconds:>7.2f} s")
        return "\n".join(lines)
