"""`detect_files`: what `mrcnn detect` does, from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.detection.run_options import RunOptions
from mrcnn.detection.runs import DetectionRun, ImageOutcome
from mrcnn.detection.sources import find_sources
from mrcnn.engines.weights_watch import values_digest
from mrcnn.files.fetch import content_digest

# Settings of the machine and of training.
_WITHOUT_INFLUENCE = {"GPU_COUNT", "IMAGES_PER_GPU", "BATCH_SIZE", "NAME"}


def detect_files(
    model: Any,
    sources: str | os.PathLike[str] | int | Iterable[str | os.PathLike[str] | int],
    output: str | os.PathLike[str],
    *,
    recursive: bool = False,
    skip_existing: bool = False,
    classes: str | Iterable[str] | None = None,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> Iterator[ImageOutcome]:
    """Detect on files and write the results, as `mrcnn detect` does.

    Args:
        model: a `MaskRCNN` for inference.
        sources: files, folders, patterns, lists, addresses and numbers of webcams, or one of
            them; see `mrcnn.detection.sources.find_sources`.
        output: folder of the results; it is made.
        recursive: look in the folders of a folder too.
        skip_existing: continue the run in `output`: images with a result are skipped.
        classes: names of the classes to keep, or a text that separates them by commas; None keeps
            all.
        class_names: names by class id, the background first; None takes those of the model.
        **options: `save`, `color_by`, `segmentation`, `tolerance`, `batch_size`, `tile`, `refiner`
            and `track`; see `RunOptions`. If `refiner` is not given, it is the model's own.

    Returns:
        An iterator over the outcomes, one for each image and frame, in order. The images are
        processed as it is advanced. At its end, or when it is closed, `detections.json` and the
        other files of all images are written.

    Raises:
        FileNotFoundError: a source names no file.
        ValueError: a source is no image, an option has no valid value, a class has no such name, or
            `output` holds results of other options or weights.

    Example:
        >>> for outcome in detect_files(model, "photos", "found"):  # doctest: +SKIP
        ...     print(outcome.path, len(outcome.class_ids))
    """
    from mrcnn.refinement.results import open_refiner

    names = class_names if class_names is not None else getattr(model, "class_names", None)
    if names is None:
        raise ValueError("class_names is None; it must be given, as the model has none")
    is_one = isinstance(sources, str | os.PathLike | int | np.integer)
    words: list[Any] = [sources] if is_one else list(sources)  # type: ignore[arg-type]
    output = Path(output)
    texts = [str(word) if isinstance(word, int | np.integer) else os.fspath(word) for word in words]
    found = find_sources(texts, recursive=recursive, leave_out=output)
    options.setdefault("refiner", getattr(model, "refiner", None))
    settings = RunOptions(output, wanted=class_numbers(classes, names), **options)
    identity = {
        "weights": weights_digest(model),
        "settings": changed_settings(model.config),
        **refiner_identity(settings.refiner),
    }
    if settings.refiner is not None:
        settings = replace(settings, refiner=open_refiner(settings.refiner))
    output.mkdir(parents=True, exist_ok=True)
    run = DetectionRun(found, names, settings, identity=identity, skip_existing=skip_existing)
    return _outcomes_of(run, model)


def _outcomes_of(run: DetectionRun, model: Any) -> Iterator[ImageOutcome]:
    """Yield the outcomes of a run, and write the files of all images at the end."""
    try:
        yield from run.process(model)
    finally:
        run.close()
        run.join()


def class_numbers(
    names: str | Iterable[str] | None, class_names: Sequence[str], option: str = "classes"
) -> list[int] | None:
    """Return the class ids of names, in any letter case; None for all.

    Letter case counts only where two classes differ in nothing else.

    Args:
        names: the names, or a text that separates them by commas.
        class_names: names by class id, the background first.
        option: what `names` is called in an error.

    Raises:
        ValueError: the model has no class of that name.
    """
    if names is None:
        return None
    words = names.split(",") if isinstance(names, str) else list(names)
    wanted = [word.strip() for word in words if word.strip()]
    exact = {name: number for number, name in enumerate(class_names) if number}
    known = {name.casefold(): number for name, number in reversed(exact.items())}
    numbers = [exact.get(name, known.get(name.casefold())) for name in wanted]
    if not wanted or None in numbers:
        raise ValueError(
            f"{option} is {','.join(words)!r}; it must name classes of the weights: "
            f"{', '.join(class_names[1:])}"
        )
    return [number for number in numbers if number is not None]


def changed_settings(config: Any) -> dict[str, Any]:
    """Return the settings that differ from the defaults, as JSON holds them."""
    from mrcnn.config import Config

    defaults = Config().to_dict()
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in _WITHOUT_INFLUENCE and defaults.get(name) != value
    }


def refiner_identity(refiner: Any) -> dict[str, str | None]:
    """Return which refiner a run has, as JSON holds it.

    Args:
        refiner: a `Refiner`, its name, the path of its file, or None.

    Returns:
        "refine", what a user calls it, and "refiner", a digest of its weights; the latter is
        missing without a refiner, and for an object that has no networks.
    """
    if refiner is None:
        return {"refine": None}
    if isinstance(refiner, str | os.PathLike):
        from mrcnn.checkpoints.known import resolve_weights

        path = resolve_weights(refiner, kind="refiner")
        return {"refine": os.fspath(refiner), "refiner": content_digest(path)}
    name = type(refiner).__name__
    # To ask a refiner for its networks would replace the compiled ones by those of Keras.
    if source := getattr(refiner, "source", None):
        return {"refine": name, "refiner": content_digest(source)}
    networks = getattr(refiner, "networks", None)
    digest = {} if networks is None else {"refiner": values_digest(networks)}
    return {"refine": name, **digest}


def weights_digest(model: Any) -> str | None:
    """Return a digest of the values of a model's weights; None where it has no Keras model."""
    if (known := getattr(model, "values_digest", None)) is not None:
        return str(known)
    network = getattr(model, "keras_model", None)
    return values_digest([network]) if hasattr(network, "weights") else None
