"""`mrcnn check`: show the content and the problems of a dataset."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.cli.options import Classes, DatasetPath, Format, ReaderOptions, existing_settings
from mrcnn.startup.logs import log_level

if TYPE_CHECKING:
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset
    from mrcnn.datasets.problems import Problem
    from mrcnn.datasets.report import DatasetReport


# Findings about objects, which the regions of a label map are not.
_OF_INSTANCES = ("rectangles", "small_box")


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
    decode: Annotated[
        bool,
        typer.Option(
            "--decode",
            help="Decode every image. Without it, JPEG, PNG and WebP files are only tested for "
            "being complete.",
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Compare the objects with anchors and image size of these weights: small (the "
            "default, as of mrcnn train), coco, or a weight file."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with settings of anchors and image size to compare with.",
            callback=existing_settings,
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=64, help="Side of the input in pixels to compare with.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Draw the annotations into images in this folder."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="With --images: draw this many of each part, findings first."),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the findings to this JSON file.")
    ] = None,
    option: ReaderOptions = None,
) -> None:
    """Check a dataset before training on it.

    Counts images, instances and classes, reads every image and mask, compares the objects with
    the anchors of the network, looks for copies, and lists what would fail or make the model learn
    something wrong.

    Examples:
    - `mrcnn check photos --images drawn --limit 20`

    - `mrcnn check labels.json --format coco --option image_dir=photos`

    The exit code is 0 without errors (there may be warnings and notes), 1 with errors, and 2 if the
    dataset cannot be opened.
    """
    from mrcnn.cli.data import parse_options, split_names
    from mrcnn.cli.output_folder import prepare_folder
    from mrcnn.datasets.between_parts import parts_in_order
    from mrcnn.datasets.parts import subsets_of
    from mrcnn.datasets.reader import choose_subset
    from mrcnn.datasets.registry import find_dataset
    from mrcnn.files.atomic import write_json

    place: Any = dataset
    if format is None:
        format, place = find_dataset(dataset)
    parse_options(format, option or [])  # an error here is one of all parts
    settings, are_fixed = anchor_settings(weights, config, image_size)
    if images is not None:
        prepare_folder(images, "--images")
    available = subsets_of(str(place), format)
    if subset and available:
        subset = choose_subset(Path(place), subset, available)
    parts: list[str | None] = [subset] if subset else [*parts_in_order(available)] or [None]
    names = split_names(classes)
    run = CheckRun(dataset, place, format, names, option, max_images, decode, settings, are_fixed)
    # What readers leave out is among the findings.
    with log_level("mrcnn.datasets", logging.ERROR):
        for part in parts:
            checked = run.check_part(part, is_only=len(parts) == 1)
            if checked is not None and images is not None:
                folder = images / part if part is not None and len(parts) > 1 else images
                draw_annotations(*checked, folder, limit)
        if subset is None:
            run.check_all()
    if json_path is not None:
        write_json(json_path, run.findings)
    if run.failed:
        raise typer.Exit(1)


class CheckRun:
    """One pass over the parts of a dataset.

    Args:
        name: the dataset as the user wrote it.
        place: its folder or file.
        format: its format.
        classes: names of the classes to load; None loads all.
        options: `name=value` words for the reader.
        max_images: images to check of each part; None checks all.
        decode: whether every image is decoded.
        settings: what the objects are compared with.
        are_fixed: whether the anchors of the settings must stay.

    Attributes:
        findings: the content of the JSON file: part -> summary, problems, anchors.
        failed: whether there is an error.
    """

    def __init__(
        self,
        name: str,
        place: Any,
        format: str,
        classes: list[str] | None,
        options: list[str] | None,
        max_images: int | None,
        decode: bool,
        settings: Config,
        are_fixed: bool,
    ) -> None:
        self.findings: dict[str, Any] = {}
        self.failed = False
        self._name, self._place, self._format = name, place, format
        self._classes, self._options = classes, options
        self._max_images, self._decode, self._settings = max_images, decode, settings
        self._are_fixed = are_fixed
        # Part -> digests of its images, and what tells whether another part is the same.
        self._digests: dict[str, dict[str, str]] = {}
        self._contents: dict[str, set[Any]] = {}
        self._shown: set[tuple[str, str, str]] = set()

    def check_part(self, part: str | None, is_only: bool) -> tuple[Dataset, DatasetReport] | None:
        """Print the content and the problems of one part.

        Args:
            part: its name; None for a dataset in one piece.
            is_only: whether an error that keeps it from being opened is raised.

        Returns:
            The dataset and its report; None where it has none of its own.
        """
        from mrcnn.cli.data import open_data
        from mrcnn.cli.terminal import echo
        from mrcnn.files.names import printable

        place, key = str(self._place), part or "all"
        try:
            data = open_data(
                place, self._format, part, self._classes, self._options, keep_going=True
            )
        except (ValueError, OSError) as error:
            if is_only:
                raise
            # The other parts are worth checking.
            self.findings[key] = {"error": str(error)}
            self.failed = True
            echo(f"{self._heading(part)}\nerror: {printable(error)}\n")
            return None
        echo(self._heading(part))
        if same := self._same_images(data, key):
            self.findings[key] = {"same_images_as": same}
            echo(printable(f"the same images as {', '.join(same)}") + "\n")
            return None
        return data, self._check(data, key)

    def check_all(self) -> None:
        """Print what concerns several parts: shared images, and files without annotation."""
        from mrcnn.cli.terminal import echo
        from mrcnn.datasets.between_parts import find_shared, find_unannotated
        from mrcnn.datasets.problems import count_problems, problem_lines

        problems = find_shared(self._digests)
        if self._classes is None:  # else images without these classes are left out
            paths = (path for content in self._contents.values() for path, _ in content)
            problems += find_unannotated(path for path in paths if path)
        if problems:
            self.findings["whole dataset"] = {"problems": [vars(p) for p in problems]}
            echo(f"{self._heading(None)} as a whole: {count_problems(problems)}")
            echo("\n".join(f"  {line}" for line in problem_lines(problems)) + "\n")

    def _heading(self, part: str | None) -> str:
        from mrcnn.files.names import printable

        return printable(f"{self._name}{f' ({part})' if part else ''}")

    def _same_images(self, data: Dataset, key: str) -> list[str]:
        """Return the parts that have all images of this one, with as many annotations."""
        from mrcnn.datasets.between_parts import shared_with

        content = {(info["path"], len(info.get("annotations") or ())) for info in data.image_info}
        has_files = content and all(path is not None for path, _ in content)
        same = shared_with(content, self._contents) if has_files else []
        self._contents[key] = content
        return same

    def _check(self, data: Dataset, key: str) -> DatasetReport:
        """Check a part, print what was found, and add it to `findings`."""
        from functools import partial

        from tqdm import tqdm

        from mrcnn.cli.terminal import echo
        from mrcnn.datasets.anchor_fit import measure_anchors
        from mrcnn.datasets.between_parts import find_copies
        from mrcnn.datasets.report import check_dataset
        from mrcnn.datasets.summary import summarize_dataset

        # disable=None shows the bar on a terminal only.
        bar = partial(tqdm, unit="image", disable=None, leave=False)
        report = check_dataset(data, self._max_images, decode=self._decode, progress=bar)
        summary = summarize_dataset(data, progress=bar)
        fit = None
        if getattr(data, "maps_every_pixel", False):  # not for networks with anchors
            report.problems = [p for p in report.problems if p.kind not in _OF_INSTANCES]
        else:
            sizes = report.box_image_sizes
            fit = measure_anchors(self._settings, report.boxes, sizes, self._are_fixed)
        report.problems += find_copies(report.digests)
        report.problems += fit.problems() if fit else []
        self._digests[key] = report.digests
        is_broken = any(p.kind == "broken_file" for p in report.problems)
        if data.num_images and not is_broken:
            echo(f"{summary}\n")
        echo(report.heading())
        for line in self._new_lines(report.problems):
            echo(f"  {line}")
        if data.num_images and is_broken:  # counts that may mislead come after their cause
            echo(f"What could be read: {summary}")
        if fit:
            echo(str(fit))
        echo()
        self.failed |= not report.ok
        self.findings[key] = {"summary": summary.to_dict(), "check": report.to_dict()}
        if fit:
            self.findings[key]["anchors"] = fit.to_dict()
        return report

    def _new_lines(self, problems: list[Problem]) -> list[str]:
        """Return the lines of the problems that no part before had and no table shows."""
        from mrcnn.datasets.problems import problem_lines

        others = [p for p in problems if p.kind != "unused_classes"]
        new = [p for p in others if (p.kind, p.message, p.reference) not in self._shown]
        self._shown.update((p.kind, p.message, p.reference) for p in new)
        lines = problem_lines(new)
        if len(new) < len(others):
            lines.append(f"{len(others) - len(new)} more listed above, with another part")
        return lines


def anchor_settings(
    weights: str | None, path: Path | None, image_size: int | None
) -> tuple[Config, bool]:
    """Return the settings with which `mrcnn train` begins, and whether their anchors must stay.

    Args:
        weights: weights to start from; None for those of `mrcnn train`.
        path: JSON file with settings, or None.
        image_size: side of the network's input in pixels, or None.
    """
    from mrcnn.checkpoints.known import weights_manifest
    from mrcnn.family.models import DEFAULT, find_model
    from mrcnn.training.starting import find_starting_point

    weights = find_model(DEFAULT).weights if weights is None else weights
    known = weights_manifest().get(weights.lower())
    # Published weights have the default settings, and are not worth a download here.
    if known is not None and known.kind == "model" and known.url is not None:
        weights = "none"
    start = find_starting_point(weights, config_path=path)
    settings = start.config
    if image_size is not None:
        if image_size % 64:
            raise ValueError(f"--image-size is {image_size}; it must be a multiple of 64")
        settings.IMAGE_MIN_DIM = settings.IMAGE_MAX_DIM = image_size
    settings.NUM_CLASSES = max(settings.NUM_CLASSES, 2)  # set when the dataset is known
    settings.validate()
    return settings, start.repeats_a_detector


def draw_annotations(data: Dataset, report: DatasetReport, folder: Path, limit: int | None) -> None:
    """Draw the annotations of images into files, the images with findings first.

    Args:
        data: the dataset.
        report: what was found in it.
        folder: where the images are written.
        limit: how many are drawn; None draws all.
    """
    import numpy as np
    from tqdm import tqdm

    from mrcnn.cli.terminal import echo
    from mrcnn.detection.result_names import plan_names
    from mrcnn.detection.sources import Source
    from mrcnn.drawing.rendering import save_instances
    from mrcnn.files.names import counted, printable

    found = list(dict.fromkeys(p.image_id for p in report.problems if p.image_id is not None))
    others = [int(image_id) for image_id in data.image_ids if image_id not in set(found)]
    chosen = [*found, *others][:limit]
    infos = [data.image_info[image_id] for image_id in chosen]
    paths = [Path(str(info["path"] or info["id"])) for info in infos]
    names = plan_names([Source("image", str(path), path.name) for path in paths], folder)
    width = len(str(len(chosen)))
    num_drawn = 0
    for number, image_id in enumerate(tqdm(chosen, unit="image", disable=None, leave=False)):
        try:
            image = data.load_image(image_id)
            masks, class_ids = data.load_mask(image_id)
        except Exception:  # what the check has listed
            continue
        class_ids = np.asarray(class_ids)
        captions = [
            data.class_names[abs(k)] + (" (crowd)" if k < 0 else "") for k in class_ids.tolist()
        ]
        save_instances(
            folder / f"{number + 1:0{width}d}_{names[number]}.jpg",
            image, None, masks, np.abs(class_ids), data.class_names, captions=captions,
        )  # fmt: skip
        num_drawn += 1
    first = f"; those with findings come first: {min(len(found), len(chosen))}" if found else ""
    echo(f"{counted(num_drawn, 'image')} drawn in {printable(folder)}{first}\n")
