"""`RCNN`: build, load, train and run an R-CNN."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers
from scipy.special import expit

from mrcnn import checkpoints
from mrcnn.detection.results import Detections
from mrcnn.family.rcnn.box_regression import fit_box_regression
from mrcnn.family.rcnn.detector import RegionDetector
from mrcnn.family.rcnn.examples import ExampleReader, ImageExamples
from mrcnn.family.rcnn.feature_cache import FeatureCache
from mrcnn.family.rcnn.networks import build_region_network
from mrcnn.family.rcnn.regions import show_progress
from mrcnn.family.rcnn.settings import SETTINGS, RCNNConfig
from mrcnn.family.rcnn.svm import HardNegativeSvm, require_sklearn
from mrcnn.family.training import check_settings
from mrcnn.files.cache_dir import cache_dir
from mrcnn.files.names import printable
from mrcnn.geometry.boxes import apply_box_deltas
from mrcnn.startup.caller import warn_caller

if TYPE_CHECKING:
    from mrcnn.checkpoints.held_out import HeldOut

__all__ = ["RCNN", "TrainingSummary"]

# Features are scaled so that their mean norm is this, for which C and the ridge are made.
_MEAN_NORM = 20.0
# The margin of a class that was not trained: its score is 0.
_NEVER = -200.0


@dataclass(frozen=True)
class TrainingSummary:
    """What `RCNN.train` learned from, by class name.

    Attributes:
        num_objects: objects, the positives.
        num_hard_negatives: negatives that were kept to the end.
        num_pairs: proposals from which the refinement of boxes was learned.
    """

    num_objects: dict[str, int]
    num_hard_negatives: dict[str, int]
    num_pairs: dict[str, int]


class RCNN(RegionDetector):
    """An R-CNN as in the paper: CNN features of regions, a support vector machine for each class.

    Args:
        config: an `RCNNConfig`; None takes the defaults.
        class_names: names by class id, the background first; None takes the numbers.

    Attributes:
        keras_model: the network, from warped regions to a margin for each class and the deltas of
            the box for each class.

    Raises:
        ValueError: a setting breaks its rule, or the names are not those of NUM_CLASSES.

    Example:
        rcnn = RCNN(config, dataset.class_names)
        rcnn.load_imagenet("efficientnet_lite0.h5")
        rcnn.train(dataset)
        result = rcnn.detect([image])[0]  # rois, class_ids, scores
    """

    name = "rcnn"
    # What the files state beside settings and names: the images that were held out.
    held_out: HeldOut | None = None

    def __init__(
        self, config: RCNNConfig | None = None, class_names: Sequence[str] | None = None
    ) -> None:
        self.config = config = RCNNConfig() if config is None else config
        names = map(str, range(config.NUM_CLASSES)) if class_names is None else class_names
        self.class_names = list(names)
        if len(self.class_names) != config.NUM_CLASSES:
            raise ValueError(
                f"class_names has {len(self.class_names)} entries; it must have NUM_CLASSES = "
                f"{config.NUM_CLASSES}, the background included"
            )
        check_settings(config, SETTINGS)
        num_classes = config.NUM_CLASSES - 1
        self._network = network = build_region_network(config)
        # The machines and the regression are linear: layers, so that one file holds everything.
        self._margins = layers.Dense(
            num_classes,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(_NEVER),
            name="rcnn_margins",
        )
        self._deltas = layers.Dense(4 * num_classes, kernel_initializer="zeros", name="rcnn_deltas")
        self.keras_model = keras.Model(
            network.image,
            [self._margins(network.vector), self._deltas(network.grid)],
            name="rcnn",
        )
        self._features = keras.Model(network.image, [network.vector, network.grid])

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Load a trained detector, a file of `save_weights`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is of another network or another number of classes.
        """
        report = checkpoints.load_weights(self.keras_model, path)
        if report.missing_in_file:
            raise ValueError(
                f"{printable(path)} lacks {', '.join(report.missing_in_file[:3])}; it must be a "
                "file of RCNN.save_weights"
            )

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write network, machines and regression as an `.h5` file, whole or not at all."""
        metadata: dict[str, Any] = {
            "model": self.name,
            "network": self._network.name,
            "class_names": self.class_names,
            "config": self.config.to_dict(),
        }
        if self.held_out is not None:
            metadata["held_out"] = self.held_out.to_dict()
        checkpoints.save_weights(self.keras_model, path, metadata=metadata)

    def train(
        self,
        train_dataset: Any,
        *,
        cache: str | os.PathLike[str] | None = None,
        seed: int = 0,
        verbose: int = 1,
    ) -> TrainingSummary:
        """Train the support vector machines and the refinement of boxes, not the network.

        The dataset is passed over twice: for the objects, and for the hard negatives. The features
        of about 5 MB per image are kept on disk in between, see FEATURE_CACHE_BYTES.

        Args:
            train_dataset: a prepared Dataset with the classes of the model; masks serve for their
                boxes alone. Its `proposals` are taken where it has them, else selective search.
            cache: folder of the features; None for `rcnn_features` in the folder of downloads,
                `~/.mrcnn` or MRCNN_HOME.
            seed: of the order of images and of the solver.
            verbose: 0 shows no progress bar.

        Returns:
            What was learned from.

        Raises:
            ValueError: the dataset's classes are not those of the model, or it has no objects.
            ImportError: scikit-learn is not installed.
        """
        require_sklearn()
        if train_dataset.num_classes != self.config.NUM_CLASSES:
            raise ValueError(
                f"train_dataset has {train_dataset.num_classes} classes; it must have "
                f"NUM_CLASSES = {self.config.NUM_CLASSES}, the background included"
            )
        folder = cache_dir() / "rcnn_features" if cache is None else cache
        reader = ExampleReader(
            train_dataset,
            self._features,
            self._network.preprocess,
            self.config,
            FeatureCache(folder, self.config.FEATURE_CACHE_BYTES),
        )
        order = np.random.default_rng(seed).permutation(train_dataset.num_images).tolist()
        class_ids = range(1, self.config.NUM_CLASSES)
        objects = _Objects(class_ids)
        for examples in reader.read(show_progress(order, verbose, "Objects")):
            objects.add(examples)
        self.class_names = list(train_dataset.class_names)
        if not objects.known_classes:
            raise ValueError("train_dataset has 0 objects; it must have at least 1")
        scale = _MEAN_NORM / objects.mean_norm
        machines = {
            class_id: HardNegativeSvm(
                objects.vectors(class_id) * scale, self.config.SVM_PENALTY, seed
            )
            for class_id in objects.known_classes
        }
        for examples in reader.read(show_progress(order, verbose, "Hard negatives")):
            for class_id, machine in machines.items():
                negatives = examples.negatives(class_id, self.config.NEGATIVE_MAX_IOU)
                machine.offer(negatives.astype(np.float32) * scale)
        for machine in machines.values():
            machine.train()
        self._set_machines(machines, scale)
        self._warn_of_missing(machines)
        num_pairs = self._fit_boxes(objects)
        names = self.class_names
        return TrainingSummary(
            {names[k]: len(objects.vectors(k)) for k in class_ids},
            {names[k]: len(machines[k].negatives) if k in machines else 0 for k in class_ids},
            {names[k]: num_pairs[k] for k in class_ids},
        )

    def _set_machines(self, machines: dict[int, HardNegativeSvm], scale: float) -> None:
        kernel, bias = (np.asarray(value) for value in self._margins.get_weights())
        kernel, bias = np.zeros_like(kernel), np.full_like(bias, _NEVER)
        for class_id, machine in machines.items():
            if machine.weights is not None:
                kernel[:, class_id - 1], bias[class_id - 1] = machine.weights * scale, machine.bias
        self._margins.set_weights([kernel, bias])

    def _warn_of_missing(self, machines: dict[int, HardNegativeSvm]) -> None:
        missing = [
            printable(name)
            for class_id, name in enumerate(self.class_names[1:], start=1)
            if class_id not in machines or machines[class_id].weights is None
        ]
        if missing:
            warn_caller(
                f"train_dataset has no objects of {', '.join(missing)}, or no other regions; "
                "these classes will not be detected"
            )

    def _fit_boxes(self, objects: _Objects) -> dict[int, int]:
        """Fit the refinement of each class and return the numbers of pairs."""
        kernel, bias = (np.zeros_like(value) for value in self._deltas.get_weights())
        kernel, bias = kernel.reshape(len(kernel), -1, 4), bias.reshape(-1, 4)
        num_pairs = {}
        for class_id in range(1, self.config.NUM_CLASSES):
            grids, targets = objects.pairs(class_id)
            num_pairs[class_id] = len(grids)
            if len(grids):
                grids = grids.astype(np.float32)
                norm = float(np.linalg.norm(grids, axis=1).mean())
                scale = _MEAN_NORM / max(norm, 1e-6)
                coefficients, constants = fit_box_regression(
                    grids * scale, targets, self.config.BOX_RIDGE
                )
                kernel[:, class_id - 1] = coefficients * scale
                bias[class_id - 1] = constants
        self._deltas.set_weights([kernel.reshape(len(kernel), -1), bias.ravel()])
        return num_pairs

    def _select(
        self, boxes: np.ndarray, outputs: Sequence[np.ndarray], shape: tuple[int, ...]
    ) -> Detections:
        """Return the regions that are objects, with the refined boxes of their classes."""
        margins, deltas = outputs
        scores = expit(margins)
        rows, classes = np.nonzero(scores > self.config.DETECTION_MIN_CONFIDENCE)
        refined = apply_box_deltas(
            boxes[rows], deltas.reshape(len(boxes), margins.shape[1], 4)[rows, classes]
        )
        height, width = shape
        corners = np.rint(np.clip(refined, 0, [height, width, height, width]))
        is_visible = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        return Detections(corners, classes + 1, scores[rows, classes])[is_visible]


class _Objects:
    """The objects of a dataset and the proposals near them, by class."""

    def __init__(self, class_ids: Sequence[int]) -> None:
        self._vectors: dict[int, list[np.ndarray]] = {k: [] for k in class_ids}
        self._pairs: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {k: [] for k in class_ids}
        self._norms: list[float] = []

    def add(self, examples: ImageExamples) -> None:
        """Take the objects and pairs of an image."""
        norms = np.linalg.norm(examples.vectors.astype(np.float32), axis=1)
        self._norms.append(float(norms.mean()))
        for class_id in set(examples.class_ids.tolist()) & self._vectors.keys():
            self._vectors[class_id].append(examples.objects(class_id))
            self._pairs[class_id].append(examples.box_targets(class_id))

    @property
    def known_classes(self) -> list[int]:
        """The classes with objects."""
        return [class_id for class_id, found in self._vectors.items() if found]

    @property
    def mean_norm(self) -> float:
        """The mean norm of the features of regions."""
        return max(float(np.mean(self._norms)), 1e-6)

    def vectors(self, class_id: int) -> np.ndarray:
        """Return the features [P, D] of the objects of a class."""
        found = self._vectors[class_id]
        return np.concatenate(found).astype(np.float32) if found else np.zeros((0, 1), np.float32)

    def pairs(self, class_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return features [P, G] and deltas [P, 4] of the proposals near objects of a class."""
        found = self._pairs[class_id]
        if not found:
            return np.zeros((0, 1), np.float32), np.zeros((0, 4), np.float32)
        grids, targets = zip(*found)
        return np.concatenate(grids), np.concatenate(targets)
