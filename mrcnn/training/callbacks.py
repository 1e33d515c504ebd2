"""Keras callbacks by name: COCO AP on a validation set, the best weights, early stopping.

`MaskRCNN.train(custom_callbacks=["ap", "best", "early_stopping"])` makes them by name.

A model built for training detects as well, so no second model is needed. Keras passes the
logs of an epoch to its callbacks one after the other: `ValidationAP` must come before
the callbacks that read its metrics (`resolve_callbacks` ensures it). Keras's own callbacks
cannot guess a direction for these metrics; give them `mode="max"`.
"""

from __future__ import annotations

import collections
import functools
import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from mrcnn.evaluation.coco import CocoEvaluator, evaluate_coco
from mrcnn.evaluation.detection_pass import measures_masks
from mrcnn.evaluation.report import CocoMetrics, CocoReport
from mrcnn.files.atomic import write_json
from mrcnn.files.names import printable
from mrcnn.geometry.spacing import evenly_spaced
from mrcnn.training import hosts
from mrcnn.training.start_average import StartAverage
from mrcnn.training.validation import Validation
from mrcnn.training.validation_sheet import choose_images, draw_pairs

__all__ = [
    "CALLBACK_NAMES",
    "BestCheckpoint",
    "EarlyStopping",
    "ValidationAP",
    "check_callbacks",
    "resolve_callbacks",
]

CALLBACK_NAMES = ("ap", "best", "early_stopping", "start_average")
BEST_FILE = "best.h5"
logger = logging.getLogger("mrcnn.training")


class ValidationAP(Validation):
    """Detect on validation images after an epoch and add COCO's metrics to its logs.

    The logs get `val_box_ap`, `val_mask_ap` (AP over IoU 0.50..0.95) and
    `val_mask_ap50`, each 0..1; nan where the images show no object. Where the model or the dataset
    has no masks, they get `val_box_ap` and `val_box_ap50`. After the last epoch of a training they
    are always computed, so a short training gets them too.

    Args:
        model: the `MaskRCNN` that is trained (not its Keras model).
        dataset: a prepared `Dataset`.
        every: number of epochs from one measurement to the next; the logs of the others lack
            the metrics.
        max_images: largest number of images to use, evenly spread over the dataset and the
            same ones each time; None for all.
        metric: a further entry of `CocoReport.metrics`, such as `"mask_AP75"` or
            `"box_APs"`, logged as `val_mask_ap75`; None for no further one.
        verbose: 0 silent, 1 a line of metrics, 2 the table of classes and a progress bar.
        sheet_images: number of images that are drawn, predictions beside the ground truth, into
            `validation_0001.jpg` and so on in the model's log folder: the same ones after each
            measurement. 0 for no such file.
        min_confidence: score below which detections are left out, 0..1; None for the
            `DETECTION_MIN_CONFIDENCE` of the model. AP is exact with 0.
        measure_first: measure before the first epoch, too, for `before`.

    Attributes:
        report: the last `CocoReport`, or None.

    Raises:
        ValueError: an argument is out of range, or the dataset has no images.
    """

    label = "AP"

    def __init__(
        self,
        model: Any,
        dataset: Any,
        every: int = 1,
        max_images: int | None = None,
        metric: str | None = None,
        verbose: int = 1,
        sheet_images: int = 4,
        min_confidence: float | None = None,
        measure_first: bool = False,
    ) -> None:
        super().__init__(every, verbose, measure_first)
        if max_images is not None and max_images < 1:
            raise ValueError(f"max_images is {max_images}; it must be at least 1, or None")
        if sheet_images < 0:
            raise ValueError(f"sheet_images is {sheet_images}; it must be at least 0")
        known = [f"{kind}_{name}" for kind in ("box", "mask") for name in CocoMetrics.names()]
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence is {min_confidence}; it must be from 0 to 1, or None")
        if metric is not None and metric not in known:
            raise ValueError(f"metric is {metric!r}; it must be one of {', '.join(known)}")
        if dataset is None:
            raise ValueError("dataset is None; it must be a dataset to measure AP on")
        image_ids = np.asarray(dataset.image_ids)
        if max_images is not None and max_images < len(image_ids):
            # Evenly spread: datasets are often sorted by class or by scene.
            image_ids = image_ids[evenly_spaced(len(image_ids) - 1, max_images)]
        self.measured = self.mask_rcnn = model
        self.dataset = dataset
        masks = measures_masks(model, dataset)
        if metric is not None and metric.startswith("mask") and not masks:
            raise ValueError(f"metric is {metric!r}; it must be one of boxes: there are no masks")
        names = ["box_AP", *(["mask_AP", "mask_AP50"] if masks else ["box_AP50"])]
        self.metrics = list(dict.fromkeys([*names, *([metric] if metric else [])]))
        self.monitor = "val_mask_ap" if masks else "val_box_ap"
        self.report: CocoReport | None = None
        self.image_ids = image_ids.tolist()
        self.sheet_images = sheet_images
        self.min_confidence = min_confidence
        self._detector: Any = None
        # Kept over all epochs: the ground truth is rasterized only once.
        self._evaluator = CocoEvaluator(dataset, self.image_ids, masks)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Compute the metrics of the weights that the training starts from, if wanted."""
        self._detector = self.mask_rcnn
        if self.min_confidence is not None:
            self._detector = self.mask_rcnn.with_min_confidence(self.min_confidence)
        super().on_train_begin(logs)

    def measure(self, finished: int, draw: bool = True) -> tuple[CocoReport, dict[str, float]]:
        """Measure after a number of finished epochs, draw the sheet, and return the metrics."""
        begun = time.perf_counter()
        report = self.report = evaluate_coco(
            self._detector or self.mask_rcnn,
            self.dataset,
            evaluator=self._evaluator,
            progress=self.verbose > 1,
            keep_going=True,
        )
        if draw:
            self._write_sheet(finished)
        # Free its run lengths while the next epoch trains.
        self._evaluator.reset()
        self.seconds = time.perf_counter() - begun
        self.expected = (report.seconds_per_image or 0.0) * report.num_images
        return report, {f"val_{name.lower()}": report[name] for name in self.metrics}

    def _draw_pairs(self) -> list[np.ndarray]:
        chosen = choose_images(self._evaluator, self.sheet_images)
        return draw_pairs(self._evaluator, self.dataset, chosen)


class BestCheckpoint(keras.callbacks.Callback):
    """Write the weights whenever a metric in the logs is better than ever before.

    The best value is kept beside the weights in `<path>.json`, so a training that continues
    (after a break, or with other layers) does not overwrite better weights with worse ones.
    Where the start is measured, it counts too (epoch 0): fine-tuning that only makes a model
    worse leaves the weights it began with.
    A weight file without its JSON file, or with a damaged one, is not taken into account.
    Epochs whose logs lack the metric, or have nan, are passed over.

    Args:
        path: weight file; `.h5` is Matterport's layout. `{epoch:04d}` and names of logs
            may occur in it, then every improvement gets its own file.
        monitor: name in the logs.
        mode: `"max"`, `"min"`, or `"auto"`: min for names that contain `loss`.
        verbose: 1 prints a line when weights are written.

    Attributes:
        best: the best value so far, or None.
        has_improved: whether the last epoch is the best one.

    Raises:
        ValueError: `mode` is none of the three, or `path` does not end in `.h5`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_mask_ap",
        mode: str = "auto",
        verbose: int = 1,
    ) -> None:
        super().__init__()
        if mode not in ("auto", "max", "min"):
            raise ValueError(f"mode is {mode!r}; it must be 'auto', 'max' or 'min'")
        self.path = os.fspath(path)
        if not self.path.endswith(".h5"):
            raise ValueError(f"path is {self.path!r}; it must end in .h5")
        self.monitor = monitor
        self.mode = _direction(monitor) if mode == "auto" else mode
        self.verbose = verbose
        self.best: float | None = None
        self.has_improved = False
        # With a placeholder in the path every file has another name; the value has one place.
        self._note_path = re.sub(r"\{(\w+)[^}]*\}", r"\1", self.path) + ".json"

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Read the best value of an earlier training, and write the start if it is better."""
        if self.best is None and os.path.exists(self._note_path):
            self._read_note()
        self.write_if_better(0, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the weights if the metric has improved."""
        self.write_if_better(epoch + 1, logs or {})

    def _read_note(self) -> None:
        try:
            with open(self._note_path, encoding="utf-8") as file:
                note = json.load(file)
            weights = os.path.join(os.path.dirname(self._note_path), note["file"])
            if note["monitor"] == self.monitor and os.path.exists(weights):
                self.best = float(note["value"])
        except (ValueError, KeyError, TypeError):
            warnings.warn(
                f"{printable(self._note_path)} is damaged; the best {self.monitor} of the earlier "
                "training is not known",
                stacklevel=3,
            )

    def write_if_better(
        self, finished: int, logs: Mapping[str, float], share: float | None = None
    ) -> None:
        """Write the weights after a number of finished epochs if the metric has improved.

        `has_improved` says afterwards whether they were written.

        Args:
            finished: number of finished epochs.
            logs: the metrics by their names.
            share: that of the trained weights, where these are a mean with those of the start (see
                `StartAverage`); it is noted beside the weights.
        """
        self.has_improved = False
        value = float(logs.get(self.monitor, math.nan))
        if math.isnan(value) or (finished == 0 and self.mode == "max" and value <= 0):
            return  # not measured, or a start that finds nothing
        if self.best is not None and not (
            value > self.best if self.mode == "max" else value < self.best
        ):
            return
        # Some names of logs are missing before the training.
        names = collections.defaultdict(lambda: math.nan, {**logs, "epoch": finished})
        path = self.path.format_map(names)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.model.save_weights(path)
        # After the weights: an interruption here costs one unnecessary write later.
        file_name = os.path.basename(path)
        note = {"file": file_name, "monitor": self.monitor, "value": value, "epoch": finished}
        if share is not None:
            note["trained_share"] = share
        write_json(self._note_path, note)
        if self.verbose:
            when = f"Epoch {finished}" if finished else "Before training"
            before = "" if self.best is None else f", before {self.best:.4f}"
            print(f"\n{when}: best {self.monitor} {value:.4f}{before}: wrote {path}")
        self.best = value
        self.has_improved = True


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping for a metric that is not in the logs of every epoch.

    Patience counts the epochs that have the metric. Arguments as for
    `keras.callbacks.EarlyStopping`.
    """

    def __init__(
        self,
        monitor: str = "val_mask_ap",
        patience: int = 10,
        mode: str = "auto",
        verbose: int = 1,
        **kwargs: Any,
    ) -> None:
        mode = _direction(monitor) if mode == "auto" else mode
        super().__init__(monitor=monitor, patience=patience, mode=mode, verbose=verbose, **kwargs)

    def get_monitor_value(self, logs: dict[str, float] | None) -> float | None:
        """Return the metric, or None (without Keras's warning) in an epoch that lacks it."""
        value = (logs or {}).get(self.monitor)
        return None if value is None or math.isnan(float(value)) else value


def check_callbacks(callbacks: Any, val_dataset: Any) -> None:
    """Raise ValueError for a name that is unknown or needs the validation dataset that is None.

    Args:
        callbacks: see `resolve_callbacks`.
        val_dataset: validation dataset or None.
    """
    names = {one for one in _as_list(callbacks) if isinstance(one, str)}
    unknown = sorted(names - set(CALLBACK_NAMES))
    if unknown:
        raise ValueError(
            f"custom_callbacks has {unknown[0]!r}; a name must be one of "
            f"{', '.join(CALLBACK_NAMES)}"
        )
    if "start_average" in names and hosts.count() > 1:
        raise ValueError(
            f"custom_callbacks has 'start_average' in {hosts.count()} processes; it must be left "
            "out there, where no process alone can set the weights"
        )
    if names and val_dataset is None:
        raise ValueError(
            f"custom_callbacks has {min(names)!r}, which needs a validation dataset; val_dataset "
            "is None"
        )


def _as_list(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def resolve_callbacks(callbacks: Any, model: Any, val_dataset: Any, verbose: int = 1) -> list[Any]:
    """Turn names into callbacks, and put `ValidationAP` ahead of those that need its metrics.

    Args:
        callbacks: None, or one or several of: a Keras callback, `"ap"` (`ValidationAP`),
            `"best"` (`BestCheckpoint` to `best.h5` in the log folder),
            `"early_stopping"` (`EarlyStopping` after 10 epochs without a better
            `val_mask_ap`, or `val_box_ap` without masks) and `"start_average"` (`StartAverage`).
            The last three imply `"ap"`, and the last `"best"`.
        model: the `MaskRCNN`; its `log_dir` receives `best.h5`.
        val_dataset: validation dataset, needed by the names.
        verbose: 0 makes them silent. AP and the best epoch are not printed by them in any case:
            the line of the epoch has both.

    Returns:
        List of callbacks: `ValidationAP` first, then the others as they were given.

    Raises:
        ValueError: as `check_callbacks`.
    """
    check_callbacks(callbacks, val_dataset)
    given = _as_list(callbacks)
    resolved: list[Any] = [one for one in given if isinstance(one, Validation)]
    if not resolved and any(isinstance(one, str) for one in given):
        resolved = [ValidationAP(model, val_dataset, verbose=0)]
    monitor = resolved[0].monitor if resolved else "val_mask_ap"

    @functools.cache
    def best() -> BestCheckpoint:
        return BestCheckpoint(os.path.join(model.log_dir, BEST_FILE), monitor=monitor, verbose=0)

    makers: dict[str, Callable[[], Any]] = {
        "best": best,
        "early_stopping": lambda: EarlyStopping(monitor, verbose=min(verbose, 1)),
        "start_average": lambda: StartAverage(model, resolved[0], best(), verbose=min(verbose, 1)),
    }
    if "start_average" in given and "best" not in given:
        given.insert(0, "best")
    for one in dict.fromkeys(given):
        if isinstance(one, str):
            resolved += [makers[one]()] if one in makers else []
        elif not isinstance(one, Validation):
            resolved.append(one)
    return resolved


def _direction(monitor: str) -> str:
    return "min" if "loss" in monitor else "max"
