"""`Yolo`: build, load, train and run a YOLO network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from mrcnn import checkpoints
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.checkpoints.hdf5 import why_not_hdf5
from mrcnn.config import Config
from mrcnn.detection.result_dict import DetectionResult
from mrcnn.detection.results import Detections
from mrcnn.family.image_stream import BoxStream, as_images
from mrcnn.family.suppression import suppress_in_classes
from mrcnn.family.training import FamilyModel, check_settings, make_sgd
from mrcnn.family.yolo import decoding
from mrcnn.family.yolo.batches import YoloBatches
from mrcnn.family.yolo.config import SETTINGS, YoloConfig
from mrcnn.family.yolo.darknet_weights import load_darknet_weights
from mrcnn.family.yolo.descriptions import find_network
from mrcnn.family.yolo.images import fit_image, to_image_boxes
from mrcnn.family.yolo.losses import AnchorLoss, CellLoss
from mrcnn.family.yolo.networks import build_network, output_layers
from mrcnn.files.names import printable
from mrcnn.layers.precision import precision_policy

if TYPE_CHECKING:
    from mrcnn.checkpoints.held_out import HeldOut

__all__ = ["Yolo", "YoloConfig"]


# Boxes of a class that go into non-maximum suppression, the best: without a threshold there are
# thousands.
MAX_CANDIDATES = 1000


class Yolo(BoxStream, FamilyModel):
    """A YOLO detector.

    Args:
        name: "yolov1", "yolov2", "yolov3" or "yolov3-tiny".
        config: a `YoloConfig`; None takes the published settings. NUM_CLASSES (the background
            included), IMAGE_MAX_DIM, PRECISION, the DETECTION settings and those of the optimizer
            are read.
        class_names: names by class id, the background first; None takes COCO's for 80 classes.
        model_dir: folder that receives a log folder for each training, with what `MaskRCNN.train`
            writes; None for no files.

    Attributes:
        keras_model: the network: images in 0..1 to raw outputs.

    Raises:
        ValueError: there is no such network, or a setting does not suit it.

    Example:
        yolo = Yolo("yolov3")
        yolo.load_weights("yolov3.weights")
        result = yolo.detect([image])[0]  # rois, class_ids, scores
    """

    settings = SETTINGS

    def __init__(
        self,
        name: str = "yolov3",
        config: Config | None = None,
        class_names: Sequence[str] | None = None,
        model_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.network = find_network(name)
        if config is None:
            config = YoloConfig()
            config.IMAGE_MAX_DIM = config.IMAGE_MIN_DIM = self.network.image_size
        self.num_classes = config.NUM_CLASSES - 1
        self.size = int(config.IMAGE_MAX_DIM)
        if class_names is None:
            names = (
                COCO_CLASS_NAMES if self.num_classes == 80 else map(str, range(config.NUM_CLASSES))
            )
            class_names = list(names)
        if len(class_names) != config.NUM_CLASSES:
            raise ValueError(
                f"class_names has {len(class_names)} entries; it must have NUM_CLASSES = "
                f"{config.NUM_CLASSES}, the background included"
            )
        check_settings(config, SETTINGS)
        with precision_policy(config.PRECISION):
            network = build_network(self.network, self.num_classes, self.size)
            super().__init__(name, config, class_names, network, model_dir)
        # YOLOv1 stretches images to its input, later versions keep their shape.
        self._keep_shape = self.network.version > 1
        self._grids = (
            None if self.network.anchors is None else decoding.make_grids(self.network, self.size)
        )

    def load_weights(self, path: str | os.PathLike[str], num_classes: int | None = None) -> None:
        """Load a Darknet `.weights` file or an `.h5` file of `save_weights`.

        Args:
            path: the file.
            num_classes: the file's number of classes where it is another than the model's: all
                layers but the output layers are loaded, to start a training from. 0 stands for a
                Darknet file of the first layers alone, such as `darknet53.conv.74`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is of another network.
        """
        if not os.path.isfile(path):
            raise FileNotFoundError(f"weights is {printable(path)}; it must be an existing file")
        if why_not_hdf5(Path(path)) is None:
            is_same = num_classes in (None, self.num_classes)
            checkpoints.load_weights(self.keras_model, path, skip_mismatch=not is_same)
        elif num_classes is None or num_classes == self.num_classes:
            load_darknet_weights(self.keras_model, path)
        elif num_classes == 0:
            load_darknet_weights(self.keras_model, path, partial=True)
        else:
            source = build_network(self.network, num_classes, self.size)
            load_darknet_weights(source, path)
            for ours, theirs in zip(self.keras_model.layers, source.layers):
                if [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]:
                    ours.set_weights(theirs.get_weights())

    def detect(self, images: Sequence[Any], verbose: int = 0) -> list[DetectionResult]:
        """Find the objects in images.

        Args:
            images: images of any size: gray, RGB or RGBA.
            verbose: 1 prints Keras's progress bar.

        Returns:
            A dict for each image: `rois` [N, (y1, x1, y2, x2)] int32 in pixels, `class_ids` [N]
            int32 and `scores` [N] float32 in 0..1, best first. There are no masks. It has the
            methods of `DetectionResult`.

        Raises:
            ValueError: an element of `images` is no image; the message has its number.
        """
        results: list[DetectionResult] = []
        found = as_images(images)
        predict = self.keras_model.predict_on_batch
        if verbose:  # it alone has a bar, and takes several times as long for a single batch
            predict = partial(self.keras_model.predict, verbose=1)
        for start in range(0, len(found), self.config.BATCH_SIZE):
            pixels = found[start : start + self.config.BATCH_SIZE]
            fitted = [fit_image(image, self.size, self._keep_shape) for image in pixels]
            inputs = np.stack([image for image, _ in fitted])
            raw = predict(inputs)
            boxes, scores = self._decode(raw)
            results += [
                self._select(to_image_boxes(box, content, self.size, image.shape[:2]), score, image)
                for box, score, image, (_, content) in zip(boxes, scores, pixels, fitted)
            ]
        return results

    def train(
        self,
        train_dataset: Any,
        val_dataset: Any = None,
        learning_rate: Any = None,
        epochs: int = 10,
        layers: Literal["heads", "all"] = "all",
        augmentation: Any = None,
        *,
        optimizer: keras.optimizers.Optimizer | None = None,
        seed: int | None = 0,
        callbacks: Sequence[Any] = (),
        steps: int | None = None,
        keep: int | None = None,
        held_out: HeldOut | None = None,
        verbose: int = 1,
    ) -> keras.callbacks.History:
        """Train on a dataset; masks serve for their boxes alone.

        Args:
            train_dataset: a prepared Dataset with the classes of the model.
            val_dataset: a Dataset whose loss is computed after each epoch, or None.
            learning_rate: of SGD with momentum; None takes `config.LEARNING_RATE`.
            epochs: passes over the dataset; with a `model_dir`, the number of the last one, counted
                over all calls.
            layers: "heads" trains the output layers alone.
            augmentation: as for `MaskRCNN.train`.
            optimizer: a Keras optimizer, with its own learning rate; None takes SGD.
            seed: of order and augmentation.
            callbacks: further Keras callbacks; with a `model_dir` also the names "best" and
                "early_stopping", which need a `Validation` among them.
            steps: steps per epoch; None for as many as it takes to see each image once.
            keep: with a `model_dir`, number of weight files to keep, the newest; None for all.
            held_out: record of the images that are not trained on, to be stored with the weights.
            verbose: as for Keras's `fit`; with a `model_dir`, as for `MaskRCNN.train`.

        Returns:
            Keras's history of the losses.

        Raises:
            ValueError: the dataset's classes are not those of the model, or an argument breaks its
                rule.
        """
        if layers not in ("heads", "all"):
            raise ValueError(f"layers is {layers!r}; it must be heads or all")
        for name, dataset in (("train_dataset", train_dataset), ("val_dataset", val_dataset)):
            if dataset is not None and dataset.num_classes != self.config.NUM_CLASSES:
                raise ValueError(
                    f"{name} has {dataset.num_classes} classes; it must have "
                    f"NUM_CLASSES = {self.config.NUM_CLASSES}, the background included"
                )
        outputs = output_layers(self.keras_model, self.network)
        for layer in self.keras_model.layers:
            layer.trainable = layers == "all" or layer.name in outputs
        make = partial(
            YoloBatches,
            size=self.size,
            batch_size=self.config.BATCH_SIZE,
            keep_shape=self._keep_shape,
        )
        return self.fit(
            make,
            train_dataset,
            val_dataset,
            optimizer=make_sgd(self.config, learning_rate) if optimizer is None else optimizer,
            loss=self._make_loss(),
            epochs=epochs,
            augmentation=augmentation,
            callbacks=callbacks,
            steps=steps,
            seed=seed,
            keep=keep,
            held_out=held_out,
            verbose=verbose,
        )

    def _make_loss(self) -> keras.losses.Loss:
        if self._grids is None:
            side = self.size // self.network.strides[0]
            return CellLoss(self.num_classes, self.network.num_boxes, side)
        return AnchorLoss(self.network.version, self._grids)

    def _decode(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes `[B, N, (x, y, w, h)]` and scores `[B, N, C]`."""
        if self._grids is None:
            side = self.size // self.network.strides[0]
            boxes, scores = decoding.decode_v1(raw, self.num_classes, self.network.num_boxes, side)
        else:
            boxes = decoding.decode_boxes(raw, self._grids)
            scores = decoding.decode_scores(raw, self.network.version)
        return keras.ops.convert_to_numpy(boxes), keras.ops.convert_to_numpy(scores)

    def _select(self, boxes: np.ndarray, scores: np.ndarray, image: np.ndarray) -> DetectionResult:
        """Suppress within each class and return the best detections as a result."""
        config = self.config
        rows, classes = np.nonzero(_candidates(scores, config.DETECTION_MIN_CONFIDENCE))
        found = suppress_in_classes(
            Detections(boxes[rows], classes + 1, scores[rows, classes]),
            config.DETECTION_NMS_THRESHOLD,
            config.DETECTION_MAX_INSTANCES,
        )
        height, width = image.shape[:2]
        corners = np.rint(np.clip(found.boxes, 0, [height, width, height, width]))
        is_visible = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        visible = found[is_visible]
        entries = Detections(corners[is_visible], visible.class_ids, visible.scores).to_result()
        return DetectionResult(entries, class_names=self.class_names, image=image)


def _candidates(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return which of the scores [N, C] are above a threshold and among the best of their class."""
    above = scores > threshold
    if len(scores) > MAX_CANDIDATES and (above.sum(axis=0) > MAX_CANDIDATES).any():
        last = -np.partition(-scores, MAX_CANDIDATES - 1, axis=0)[MAX_CANDIDATES - 1]
        above &= scores >= last
    return above
