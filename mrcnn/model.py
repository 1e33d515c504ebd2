"""Mask R-CNN (He et al. 2017): build it, load weights, train, detect.

    model = MaskRCNN("inference", config, "logs")
    model.load_weights("coco", by_name=True)
    result = model.detect([image])[0]

or, with everything that belongs to a weight file:

    model = MaskRCNN.from_weights("coco")
    names = [model.class_names[k] for k in model.detect([image])[0]["class_ids"]]

Names, arguments and results are those of Matterport's package, whose other `model` names can be
imported from here too.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging  # noqa: F401 - scripts take it from here, as from Matterport's module
import os
import secrets
import sys
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn import checkpoints, utils
from mrcnn.checkpoints import known
from mrcnn.checkpoints.description import (
    DescribedWeights,
    describe_weights,
    written_description,
)
from mrcnn.detection.detector import log
from mrcnn.detection.eager import eager_mode
from mrcnn.detection.lazy_model import LazyDetector
from mrcnn.startup.backend import prepare_process
from mrcnn.startup.caller import warn_caller
from mrcnn.startup.lazy import lazy_names
from mrcnn.startup.matterport_names import find_import
from mrcnn.training import hosts, log_folders
from mrcnn.training.logged import LoggedTraining

if TYPE_CHECKING:
    import keras

    from mrcnn.checkpoints import LoadReport
    from mrcnn.checkpoints.held_out import HeldOut
    from mrcnn.config import Config
    from mrcnn.datasets.dataset import Dataset
    from mrcnn.geometry.anchors import compute_backbone_shapes
    from mrcnn.geometry.images import (
        compose_image_meta,
        mold_image,
        parse_image_meta,
        unmold_image,
    )
    from mrcnn.layers.backbones import resnet_graph
    from mrcnn.layers.boxes import (
        apply_box_deltas_graph,
        batch_pack_graph,
        clip_boxes_graph,
        denorm_boxes_graph,
        norm_boxes_graph,
        overlaps_graph,
        parse_image_meta_graph,
        trim_zeros_graph,
    )
    from mrcnn.layers.detection_targets import DetectionTargetLayer
    from mrcnn.layers.detections import DetectionLayer, refine_detections_graph
    from mrcnn.layers.heads import build_fpn_mask_graph, fpn_classifier_graph
    from mrcnn.layers.losses import (
        mrcnn_bbox_loss_graph,
        mrcnn_class_loss_graph,
        mrcnn_mask_loss_graph,
        rpn_bbox_loss_graph,
        rpn_class_loss_graph,
        smooth_l1_loss,
    )
    from mrcnn.layers.matterport import conv_block, detection_targets_graph, identity_block
    from mrcnn.layers.normalization import BatchNorm
    from mrcnn.layers.proposals import ProposalLayer
    from mrcnn.layers.roi_align import PyramidROIAlign, log2_graph
    from mrcnn.layers.rpn import build_rpn_model, rpn_graph
    from mrcnn.loading.batches import data_generator
    from mrcnn.loading.detection_targets import build_detection_targets, generate_random_rois
    from mrcnn.loading.image_gt import load_image_gt
    from mrcnn.loading.rpn_targets import build_rpn_targets

Tensor = Any

# Before the libraries are loaded, by whichever module.
prepare_process()

# Matterport's other names, which scripts take from here; by the module that defines each.
_HOMES = {
    "BatchNorm": "mrcnn.layers.normalization",
    "DetectionLayer": "mrcnn.layers.detections",
    "DetectionTargetLayer": "mrcnn.layers.detection_targets",
    "ProposalLayer": "mrcnn.layers.proposals",
    "PyramidROIAlign": "mrcnn.layers.roi_align",
    "apply_box_deltas_graph": "mrcnn.layers.boxes",
    "batch_pack_graph": "mrcnn.layers.boxes",
    "build_detection_targets": "mrcnn.loading.detection_targets",
    "build_fpn_mask_graph": "mrcnn.layers.heads",
    "build_rpn_model": "mrcnn.layers.rpn",
    "build_rpn_targets": "mrcnn.loading.rpn_targets",
    "clip_boxes_graph": "mrcnn.layers.boxes",
    "compose_image_meta": "mrcnn.geometry.images",
    "compute_backbone_shapes": "mrcnn.geometry.anchors",
    "conv_block": "mrcnn.layers.matterport",
    "data_generator": "mrcnn.loading.batches",
    "denorm_boxes_graph": "mrcnn.layers.boxes",
    "detection_targets_graph": "mrcnn.layers.matterport",
    "fpn_classifier_graph": "mrcnn.layers.heads",
    "generate_random_rois": "mrcnn.loading.detection_targets",
    "identity_block": "mrcnn.layers.matterport",
    "load_image_gt": "mrcnn.loading.image_gt",
    "log2_graph": "mrcnn.layers.roi_align",
    "mold_image": "mrcnn.geometry.images",
    "mrcnn_bbox_loss_graph": "mrcnn.layers.losses",
    "mrcnn_class_loss_graph": "mrcnn.layers.losses",
    "mrcnn_mask_loss_graph": "mrcnn.layers.losses",
    "norm_boxes_graph": "mrcnn.layers.boxes",
    "overlaps_graph": "mrcnn.layers.boxes",
    "parse_image_meta": "mrcnn.geometry.images",
    "parse_image_meta_graph": "mrcnn.layers.boxes",
    "refine_detections_graph": "mrcnn.layers.detections",
    "resnet_graph": "mrcnn.layers.backbones",
    "rpn_bbox_loss_graph": "mrcnn.layers.losses",
    "rpn_class_loss_graph": "mrcnn.layers.losses",
    "rpn_graph": "mrcnn.layers.rpn",
    "smooth_l1_loss": "mrcnn.layers.losses",
    "trim_zeros_graph": "mrcnn.layers.boxes",
    "unmold_image": "mrcnn.geometry.images",
}
_lazy, _ = lazy_names(__name__, _HOMES)


class MaskRCNN(LazyDetector, LoggedTraining):
    """A Mask R-CNN: the network, its weights, its training and its detection.

    A model built for training can detect as well: both graphs share their layers.

    Args:
        mode: "training" or "inference"; decides which graph `keras_model` is.
        config: `Config`; it is checked here.
        model_dir: folder that receives a log folder for each training.
        engine: what runs the network for `detect`: "keras", "openvino", or "auto" for the faster
            of those that are installed, see `mrcnn.engines.selection`. With "auto" a line on stderr
            says which, unless MRCNN_QUIET is set.
        precision: "float32", "bfloat16", "float16" (Keras) or "int8" (OpenVINO) of the network
            between the boxes, which stay float32. None takes `config.PRECISION`, but bfloat16 for
            the network of the small model where `engine` is "auto", OpenVINO runs and the CPU has
            instructions for it (AMX or AVX-512 BF16). OpenVINO computes bfloat16 in float32 where
            the CPU has none.
        calibration: typical images (arrays, paths, a folder or a `Dataset`) for "int8". The
            calibrated network is cached on this machine for the same weights.

    Attributes:
        keras_model: the Keras model with Matterport's inputs, outputs and layer names.
        class_names: names by class id, the background first; None until they are known: from
            `from_weights`, from a weight file that holds them, or from the dataset that was trained
            on.
        held_out: the images that the training of these weights held out; None if that is not known.
        epoch: number of the last finished epoch.
        log_dir: folder of this training's weights and logs.

    Raises:
        ValueError: `mode` is another word, or a setting does not work.
        ImportError: an engine that is given by name is not installed.
    """

    file_prefix = "mask_rcnn_"

    def __init__(
        self,
        mode: str,
        config: Config,
        model_dir: str | os.PathLike[str],
        *,
        engine: str = "auto",
        precision: str | None = None,
        calibration: Any = None,
    ) -> None:
        self._prepare(mode, config, model_dir, engine, precision, calibration)
        self._make_keras_model(config)

    def _prepare(
        self,
        mode: str,
        config: Config,
        model_dir: str | os.PathLike[str],
        engine: str,
        precision: str | None,
        calibration: Any,
    ) -> None:
        """Set everything but the network; the arguments are those of `MaskRCNN`."""
        if mode not in ("training", "inference"):
            raise ValueError(f'mode is {mode!r}; it must be "training" or "inference"')
        config.validate()
        super().__init__(mode, config, engine=engine, precision=precision, calibration=calibration)
        self.model_dir = model_dir
        self.set_log_dir()

    @classmethod
    def from_weights(
        cls,
        weights: str | os.PathLike[str] | DescribedWeights,
        mode: str = "inference",
        *,
        config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        model_dir: str | os.PathLike[str] = "logs",
        engine: str = "auto",
        precision: str | None = None,
        calibration: Any = None,
    ) -> MaskRCNN:
        """Build the model that a weight file belongs to and load the weights.

        Settings and class names come with the file: see `mrcnn.checkpoints.description`.

        Args:
            weights: `small`, `coco` or another known name (downloaded if necessary; `small` comes
                with the package), the path of a weight file, or what `describe_weights` returns.
            mode: "inference" or "training". For inference one image goes through the network at
                a time, and `IMAGE_RESIZE_MODE` "crop" becomes "pad64".
            config: settings that overrule those of the file: a mapping, the path of a JSON file,
                or a whole `Config` to use instead.
            model_dir: as for `MaskRCNN`.
            engine: as for `MaskRCNN`.
            precision: as for `MaskRCNN`.
            calibration: as for `MaskRCNN`.

        Returns:
            The model, with `class_names`, and `refiner` where one belongs to the weights.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file lacks a part of the network, or the settings do not suit it.

        Example:
            >>> model = MaskRCNN.from_weights("small", config={"DETECTION_MIN_CONFIDENCE": 0.5})
            >>> model.class_names[1]
            'person'
        """
        described = _described(weights, config)
        settings = described.config
        if mode == "inference":
            settings.GPU_COUNT = settings.IMAGES_PER_GPU = 1
            if settings.IMAGE_RESIZE_MODE == "crop":
                # Random crops are for training.
                settings.IMAGE_RESIZE_MODE = "pad64"
        # A process that has imported Keras would gain little, and may have changed its settings.
        if cls is MaskRCNN and "keras" not in sys.modules:
            model = cls.__new__(cls)
            model._prepare(mode, settings, model_dir, engine, precision, calibration)
            if model._start_from_cache(described.path):
                model._take_description(Path(described.path))
                model.set_log_dir(described.path)
                model.class_names = list(described.class_names)
                model.refiner = described.refiner
                return model
            model._make_keras_model(settings)
        else:
            model = cls(
                mode,
                settings,
                model_dir,
                engine=engine,
                precision=precision,
                calibration=calibration,
            )
        report = model.load_weights(described.path, by_name=True)
        missing = getattr(report, "missing_in_file", ())
        if missing:
            raise ValueError(
                f"{described.path} lacks the weights of {len(missing)} layers "
                f"({', '.join(missing[:4])}, ...); it must hold all of them, or the results are "
                "noise: train it first, or take other weights"
            )
        model.class_names = list(described.class_names)
        model.refiner = described.refiner
        model._note_origin(described.path)
        return model

    def build(self, mode: str, config: Config) -> keras.Model:
        """Build the network and return its Keras model.

        Args:
            mode: "training" or "inference". For training, the model is distributed over
                `GPU_COUNT` devices, as far as the machine has them.
            config: `Config`.
        """
        from mrcnn import graphs
        from mrcnn.detection.compiled_by_jax import keep_compiled
        from mrcnn.startup.building import compiled_quickly

        keep_compiled()
        layer_config = self._layer_config(mode, config)
        with eager_mode(), compiled_quickly():
            if mode != "training":
                self._shared = graphs.SharedLayers(layer_config)
                self._built_model = graphs.inference_graph(self._shared)
            else:
                from mrcnn.training import devices
                from mrcnn.training.training_model import build_training_model

                with devices.scope(devices.select_devices(config.GPU_COUNT, config.BATCH_SIZE)):
                    self._shared = graphs.SharedLayers(layer_config)
                    self._built_model = build_training_model(self._shared)
        return self._built_model

    def _make_keras_model(
        self, config: Config, weights: str | os.PathLike[str] | None = None
    ) -> None:
        """Build `keras_model` with these settings, and load a weight file if one is given."""
        self.keras_model = self.build(mode=self.mode, config=config)
        self._describe_files()
        if weights is not None:
            self._read_weights(weights)

    # ---- weights -----------------------------------------------------------------------------

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        by_name: bool = False,
        exclude: Collection[str] | None = None,
        skip_mismatch: bool = False,
    ) -> LoadReport:
        """Load weights by layer name.

        Args:
            filepath: an `.h5` file of Matterport's or of this package, an ImageNet file, a Keras 3
                `.weights.h5`, or one of the names `coco`, `imagenet` and `small`.
            by_name: as in Matterport's package: True allows a file that holds only some of the
                layers; False requires all of them.
            exclude: names of layers to leave as they are.
            skip_mismatch: leave layers of another shape as they are instead of failing.

        Returns:
            A report of what was loaded, from `mrcnn.checkpoints`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file does not fit; the message has a table of the differences. Nothing
                has been loaded then.
        """
        path = known.resolve_weights(filepath)
        report = self._read_weights(path, by_name, exclude, skip_mismatch)
        if "mrcnn_class_logits" in getattr(report, "loaded", ()):
            self._take_description(Path(path))
        self.set_log_dir(path)
        return report

    def _read_weights(
        self,
        path: str | os.PathLike[str],
        by_name: bool = True,
        exclude: Collection[str] | None = None,
        skip_mismatch: bool = False,
    ) -> LoadReport:
        """Load weights by layer name; see `load_weights`."""
        import keras

        with eager_mode():
            # Not its method: a `build` of the user's own may have made a plain Keras model.
            return checkpoints.load_weights(
                self.keras_model,
                path,
                by_name=by_name,
                exclude=exclude,
                skip_mismatch=skip_mismatch,
                keras_loader=functools.partial(keras.Model.load_weights, self.keras_model),
            )

    def _take_description(self, path: Path) -> None:
        """Take over class names and record of the training of weights that have been loaded."""
        try:
            written = written_description(path)
        except ValueError as error:  # of a JSON file beside the weights, which loaded well
            warn_caller(f"class names are not taken over: {error}")
            return
        self.held_out = written.held_out
        if written.class_names and len(written.class_names) == self.config.NUM_CLASSES:
            self.class_names = list(written.class_names)

    def with_min_confidence(self, min_confidence: float) -> MaskRCNN:
        """Return a model of the same network and weights that leaves out other detections.

        Training one of the two changes both.

        Args:
            min_confidence: `DETECTION_MIN_CONFIDENCE` of the copy, 0..1.
        """
        self._build_stored()
        twin = copy.copy(self)
        twin.config = copy.copy(self.config)
        twin._shared = copy.copy(self._shared)
        twin._shared.config = copy.copy(self._shared.config)
        for settings in (twin.config, twin._shared.config):
            settings.DETECTION_MIN_CONFIDENCE = min_confidence
        twin._engine = None  # the threshold is part of its graph
        return twin

    def get_imagenet_weights(self) -> str:
        """Download ImageNet weights unless they are cached, and return the path.

        They are those of ResNet-50, or of the `BACKBONE` if that is of keras.applications.
        """
        from mrcnn.training.starting import imagenet_weights

        return imagenet_weights(self.config.BACKBONE)

    # ---- training ----------------------------------------------------------------------------

    def set_trainable(
        self,
        layer_regex: str,
        keras_model: keras.Model | None = None,
        indent: int = 0,
        verbose: int = 1,
    ) -> None:
        """Make the layers trainable whose whole name matches, and no others.

        Args:
            layer_regex: regular expression; see `mrcnn.training.layer_selection`.
            keras_model: model of the layers; None for this one's.
            indent: ignored, as in Matterport's package outside of recursion.
            verbose: 1 prints the names of the layers.
        """
        from mrcnn.training import layer_selection

        del indent
        selected = layer_selection.set_trainable(keras_model or self.keras_model, layer_regex)
        if verbose > 0:
            log("Selecting layers to train")
            for name in selected:
                log(f"    {name}")

    def find_trainable_layer(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """Return the layer itself, or the one that it wraps."""
        return self.find_trainable_layer(layer.layer) if hasattr(layer, "layer") else layer

    def get_trainable_layers(self) -> list[keras.layers.Layer]:
        """Return all layers that hold weights, those of the RPN included."""
        from mrcnn.training import layer_selection

        return layer_selection.layers_with_weights(self.keras_model)

    def compile(self, learning_rate: Any, momentum: float) -> None:
        """Set the optimizer and the losses, as `train` does.

        Args:
            learning_rate: number, or a Keras learning rate schedule.
            momentum: momentum of SGD, 0..1.
        """
        from mrcnn.training import trainer

        self._require_training("compile")
        trainer.compile_model(self.keras_model, self.config, learning_rate, momentum)

    def _require_training(self, action: str) -> None:
        """Raise ValueError unless the model was built for training."""
        if self.mode != "training":
            raise ValueError(
                f'{action} needs a model built with mode="training"; this one has '
                f"mode={self.mode!r}"
            )

    def train(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        learning_rate: Any,
        epochs: int,
        layers: str,
        augmentation: Any = None,
        custom_callbacks: Any = None,
        no_augmentation_sources: Sequence[str] | None = None,
        *,
        optimizer: keras.optimizers.Optimizer | None = None,
        workers: int = 2,
        seed: int | None = None,
        cache: bool = False,
        on_error: str = "skip",
        held_out: HeldOut | None = None,
        keep: int | None = None,
        verbose: int = 1,
        heading: bool = True,
    ) -> keras.callbacks.History:
        """Train, and write weights and the optimizer's state to `log_dir` after every epoch.

        The folder also gets `history.csv` (all figures of each epoch; continued where a training
        is resumed), `curves.png` and, if TensorBoard is installed, its event files; with the
        callback `ap` also `validation_0001.jpg` and so on, predictions beside the ground truth.

        Args:
            train_dataset: a prepared `Dataset`. Without RPN (`USE_RPN`), `Dataset.load_proposals`
                gives the proposals of each image, of which the first `POST_NMS_ROIS_TRAINING` are
                used; augmentation moves them with the image. Without a mask head (`USE_MASK`),
                masks serve for their boxes alone.
            val_dataset: another with the same classes, or None. Without `VALIDATION_STEPS` it
                serves the callbacks only.
            learning_rate: a number, or a Keras learning rate schedule.
            epochs: number of the last epoch, counted over all calls: a second call with the same
                number trains nothing and warns, one with a higher number continues.
            layers: `heads`, `roi_heads`, `3+`, `4+`, `5+`, `all`, or a regular expression over
                layer names.
            augmentation: `flips`, `light`, `strong` or the path of a Python file (see
                `mrcnn.loading.find_augmentation`); an imgaug augmenter; an Albumentations
                transform; or a callable `(image, mask) -> (image, mask)`.
            custom_callbacks: Keras callbacks, or the names `ap`, `best`, `early_stopping` and
                `start_average`.
            no_augmentation_sources: dataset sources whose images are not augmented.
            optimizer: a Keras optimizer instead of SGD with `learning_rate` and momentum.
            workers: number of threads that load data.
            seed: makes the order of images, their augmentation and the sampling of ROIs repeatable,
                also where a training is resumed. The initial weights are not drawn here: for those,
                call `keras.utils.set_random_seed` before the model is built.
            cache: keep decoded images and masks in memory (for small datasets).
            on_error: "skip" logs an image that cannot be loaded, once, and takes the next one; too
                many of them end the training (see `TrainingBatches`). "raise" ends it at the first.
            held_out: record of the images that are not trained on, to be stored with the weights.
            keep: number of weight files to keep besides `best.h5`, the newest; None for one of
                every epoch. Only files that this call has written are removed.
            verbose: 0 silent; 1 a progress line, where the output is a terminal or a notebook;
                2 only a line for each epoch.
            heading: print Matterport's lines about epoch, learning rate and checkpoints first,
                unless `verbose` is 0.

        Returns:
            The Keras `History`.

        Raises:
            ValueError: an argument, a dataset or a setting that cannot work, or another training is
                running in the log folder; nothing is written.
            BrokenImageError: an image, or too many, cannot be loaded; names image and cause.
            NonFiniteLossError: a loss became nan or infinite; names the images of the batch.
        """
        from mrcnn.loading.batches import make_batches
        from mrcnn.training import callbacks as named_callbacks
        from mrcnn.training import trainer

        self._require_training("train")
        if hosts.count() > 1:
            verbose = verbose if hosts.is_first() else 0
            if seed is None:
                seed = hosts.of_first(secrets.randbelow(2**31))
        train_batches, val_batches = make_batches(
            train_dataset,
            val_dataset,
            self.config,
            epoch=self.epoch,
            augmentation=augmentation,
            no_augmentation_sources=no_augmentation_sources,
            workers=workers,
            seed=seed,
            cache=cache,
            on_error=on_error,
            share=hosts.share(),
        )
        named_callbacks.check_callbacks(custom_callbacks, val_dataset)
        if keep is not None and keep < 1:
            raise ValueError(f"keep is {keep}; it must be at least 1, or None for all")
        self.set_trainable(layers, verbose=0)
        if epochs <= self.epoch:
            warn_caller(
                f"already at epoch {self.epoch} of {epochs}: nothing to do (epochs is {epochs}; it "
                f"must be above {self.epoch} to train further)"
            )
            return trainer.empty_history()
        self.class_names, self.held_out = list(train_dataset.class_names), held_out
        # Nothing is written before this.
        self._open_log_dir(train_dataset.class_names)
        if verbose and heading:
            rate = trainer.describe_learning_rate(learning_rate, optimizer)
            log(f"\nStarting at epoch {self.epoch}. LR={rate}\n")
            log(f"Checkpoint Path: {self.checkpoint_path}")
        if verbose:
            log("The first step takes much longer than the others: the network is compiled.")

        def on_checkpoint(path: str, epoch: int) -> None:
            self.epoch = epoch
            if hosts.is_first():
                self.write_description(path, train_dataset.class_names)

        with log_folders.reserved(self.log_dir) if hosts.is_first() else contextlib.nullcontext():
            return trainer.fit(
                self.keras_model,
                self.config,
                train_batches,
                val_batches,
                learning_rate=learning_rate,
                optimizer=optimizer,
                first_epoch=self.epoch,
                last_epoch=epochs,
                checkpoint_path=self.checkpoint_path,
                callbacks=named_callbacks.resolve_callbacks(
                    custom_callbacks, self, val_dataset, verbose
                ),
                on_checkpoint=on_checkpoint,
                keep=keep,
                seed=seed,
                verbose=verbose,
            )

    # ---- looking inside ----------------------------------------------------------------------

    def ancestor(self, tensor: Tensor, name: str, checked: Any = None) -> Tensor:
        """Find a tensor that another was computed from; see `inspection.ancestor`.

        Args:
            tensor: output of a layer of `keras_model`.
            name: name of a layer, or of a tensor as TensorFlow 1 named it, such as
                `ROI/pre_nms_anchors:0`.
            checked: ignored; Matterport's function used it in recursion.

        Returns:
            The tensor, or None if `tensor` does not depend on a layer of this name.

        Raises:
            ValueError: the layer has no known inner tensor of this name.
        """
        from mrcnn.detection import inspection

        del checked
        with eager_mode():
            return inspection.ancestor(tensor, name)

    def run_graph(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        outputs: Sequence[tuple[str, Tensor]],
        image_metas: np.ndarray | None = None,
    ) -> OrderedDict[str, np.ndarray]:
        """Compute inner tensors for some images.

        Args:
            images: images of one shape, or molded images if `image_metas` is given.
            outputs: list of `(name, tensor)`, tensors such as
                `keras_model.get_layer("rpn_class").output` or those of `ancestor`.
            image_metas: [N, 12 + num_classes] of molded images.

        Returns:
            `OrderedDict` from name to NumPy array.

        Raises:
            ValueError: a tensor is None, or the model was built for training: its graph takes the
                ground truth as well; or it has no RPN.
        """
        from mrcnn.detection import inspection

        if self.mode == "training":
            raise ValueError(f'run_graph needs mode="inference"; this model has mode={self.mode!r}')
        if not self.config.USE_RPN:
            raise ValueError("run_graph needs USE_RPN = True; a network without has other inputs")
        inspection.check_outputs(outputs)
        molded = images
        if image_metas is None:
            molded, image_metas, _ = self.mold_inputs(images)
        anchors = self.get_anchors(molded[0].shape)
        anchors = np.broadcast_to(anchors, (len(molded), *anchors.shape))
        inputs = [np.asarray(x, np.float32) for x in (molded, image_metas, anchors)]
        with eager_mode():
            values = inspection.compute(self.keras_model, inputs, outputs)
        for name, value in values.items():
            log(name, value)
        return values


def load(weights: str | os.PathLike[str] | DescribedWeights = "small", **options: Any) -> MaskRCNN:
    """Return a model that is ready to detect, with `class_names`.

    Args:
        weights: `small` (comes with the package), `coco`, another known name, or the path of a
            weight file.
        **options: arguments of `MaskRCNN.from_weights`.

    Example:
        >>> model = load("small")
        >>> model.class_names[0]
        'BG'
    """
    return MaskRCNN.from_weights(weights, **options)


def __getattr__(name: str) -> Any:
    """Return a name of `_HOMES`, or what Matterport's module imported: K, KL, KE, KM, tf, ..."""
    return _lazy(name) if name in _HOMES else find_import(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def _described(weights: Any, config: Any) -> DescribedWeights:
    """Return the description of a weight file with the settings of `config`."""
    path = config if isinstance(config, str | os.PathLike) else None
    if not isinstance(weights, DescribedWeights):
        weights = describe_weights(os.fspath(weights), None if path is None else Path(path))
        if weights.guess and config is None:
            warn_caller(weights.guess)
    elif path is not None:
        raise ValueError(
            f"config is {os.fspath(path)!r}; it must be None or a mapping where weights have been "
            "described already"
        )
    if isinstance(config, Mapping):
        for name, value in config.items():
            if not hasattr(weights.config, name):
                raise ValueError(f"config has the entry {name!r}; it must be the name of a setting")
            setattr(weights.config, name, value)
    elif config is not None and path is None:
        weights = dataclasses.replace(weights, config=copy.copy(config))
    return weights


__all__ = [
    "BatchNorm",
    "DetectionLayer",
    "DetectionTargetLayer",
    "MaskRCNN",
    "ProposalLayer",
    "PyramidROIAlign",
    "apply_box_deltas_graph",
    "batch_pack_graph",
    "build_detection_targets",
    "build_fpn_mask_graph",
    "build_rpn_model",
    "build_rpn_targets",
    "checkpoints",
    "clip_boxes_graph",
    "compose_image_meta",
    "compute_backbone_shapes",
    "conv_block",
    "data_generator",
    "denorm_boxes_graph",
    "detection_targets_graph",
    "fpn_classifier_graph",
    "generate_random_rois",
    "identity_block",
    "load",
    "load_image_gt",
    "log",
    "log2_graph",
    "mold_image",
    "mrcnn_bbox_loss_graph",
    "mrcnn_class_loss_graph",
    "mrcnn_mask_loss_graph",
    "norm_boxes_graph",
    "overlaps_graph",
    "parse_image_meta",
    "parse_image_meta_graph",
    "refine_detections_graph",
    "resnet_graph",
    "rpn_bbox_loss_graph",
    "rpn_class_loss_graph",
    "rpn_graph",
    "smooth_l1_loss",
    "trim_zeros_graph",
    "unmold_image",
    "utils",
]
