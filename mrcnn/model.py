"""Mask R-CNN (He et al. 2017): build it, load weights, train, detect.

    model = MaskRCNN("inference", config, "logs")
    model.load_weights("coco", by_name=True)
    result = model.detect([image])[0]

Names, arguments and results are those of Matterport's package, whose other `model` names are
importable from here too.
"""

from __future__ import annotations

import copy
import json
import logging  # noqa: F401 - scripts take it from here, as from Matterport's module
import os
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

# ruff: noqa: E402
from mrcnn.startup.backend import import_backend

import_backend()  # without TensorFlow's chatter, and so before anything else imports it

import keras
import numpy as np

from mrcnn import checkpoints, graphs, utils
from mrcnn.checkpoints import known
from mrcnn.detection import molding, streaming, tiling
from mrcnn.engines.selection import check_choice, is_automatic, make_engine
from mrcnn.files.atomic import write_json
from mrcnn.geometry import image_meta
from mrcnn.geometry.anchors import compute_backbone_shapes
from mrcnn.geometry.images import (
    compose_image_meta,
    mold_image,
    molded_floats,
    parse_image_meta,
    unmold_image,
)
from mrcnn.geometry.rle import encode_rle
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
from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.proposals import ProposalLayer
from mrcnn.layers.roi_align import PyramidROIAlign, log2_graph
from mrcnn.layers.rpn import build_rpn_model, rpn_graph
from mrcnn.loading.batches import data_generator, make_batches
from mrcnn.loading.detection_targets import build_detection_targets, generate_random_rois
from mrcnn.loading.image_gt import load_image_gt
from mrcnn.loading.rpn_targets import build_rpn_targets
from mrcnn.refinement.results import open_refiner, refine_result
from mrcnn.training import callbacks as named_callbacks
from mrcnn.training import devices, layer_selection, log_folders, trainer
from mrcnn.training.training_model import build_training_model

if TYPE_CHECKING:
    from mrcnn.datasets.dataset import Dataset

# Anchors of so many input shapes are kept; those of a large picture take 10 MB.
_MAX_CACHED_ANCHORS = 16


def log(text, array=None):
    """Print a text and, for an array, its shape, range and type."""
    if array is not None:
        low, high = (array.min(), array.max()) if array.size else (np.nan, np.nan)
        text = f"{text:<25}shape: {array.shape!s:<20}  "
        text += f"min: {float(low):10.5f}  max: {float(high):10.5f}  {array.dtype}"
    print(text)


class MaskRCNN:
    """A Mask R-CNN. One built for training can detect as well: both graphs share their layers.

    Args:
        mode: "training" or "inference"; decides which graph `keras_model` is.
        config: `Config`; checked here.
        model_dir: folder that receives a log folder for each training.
        engine: what runs the network for `detect`: "keras", "openvino", or "auto": the faster of
            those that are installed, see `mrcnn.engines.selection`. It says which on the terminal (not
            with MRCNN_QUIET=1).
        precision: "float32", "bfloat16", "float16" (Keras) or "int8" (OpenVINO) of the network
            between the boxes, which stay float32. None takes `config.PRECISION`. OpenVINO computes
            bfloat16 in float32 where the CPU has no instructions for it (AMX or AVX-512 BF16).
        calibration: typical pictures (arrays, paths, a folder or a `Dataset`) for "int8"; once
            done, it is remembered on this machine for the same weights.

    Attributes:
        keras_model: the Keras model with Matterport's inputs, outputs and layer names.
        epoch: number of the last finished epoch.
        log_dir: folder of this training's weights and logs.

    Raises:
        ValueError: for another mode or a setting that cannot work, with its name, value and rule.
        ImportError: for an engine that is asked for by name and is not installed.
    """

    # Whether `log_dir` is this training's already, or somebody's choice.
    _goes_on = True

    def __init__(self, mode, config, model_dir, *, engine="auto", precision=None, calibration=None):
        if mode not in ("training", "inference"):
            raise ValueError(f'mode is {mode!r}; it must be "training" or "inference"')
        config.validate()
        self.mode = mode
        self.config = config
        self.model_dir = model_dir
        self.anchors = None
        self._anchor_cache = {}
        self._engine = None
        self._engine_wish = engine
        self._engine_name = check_choice(engine, precision, mode, config)
        self._precision = precision or config.PRECISION
        self._calibration = calibration
        self.set_log_dir()
        self.keras_model = self.build(mode=mode, config=config)

    def build(self, mode, config):
        """Build the network and return the Keras model of `mode`, one for training on as many
        devices as `GPU_COUNT` says and the machine has.
        """
        layer_config = self._with_layer_precision(mode, config)
        if mode != "training":
            self._shared = graphs.SharedLayers(layer_config)
            return graphs.inference_graph(self._shared)
        with devices.scope(devices.select_devices(config.GPU_COUNT, config.BATCH_SIZE)):
            self._shared = graphs.SharedLayers(layer_config)
            return build_training_model(self._shared)

    def _with_layer_precision(self, mode, config):
        """Settings whose `PRECISION` is what the Keras layers shall compute in."""
        precision = self._precision if self._engine_name == "keras" else config.PRECISION
        if self._engine_name == "openvino" and mode == "inference":
            precision = "float32"  # it lowers the precision itself
        if precision == config.PRECISION:
            return config
        config = copy.copy(config)
        config.PRECISION = precision
        return config

    # ---- weights -----------------------------------------------------------------------------

    def load_weights(self, filepath, by_name=False, exclude=None, skip_mismatch=False):
        """Load weights by layer name.

        Args:
            filepath: an `.h5` file of Matterport's or this package, an ImageNet file, a Keras 3
                `.weights.h5`, or one of the names `coco`, `imagenet` and `small`.
            by_name: kept for Matterport's callers. True allows a file that holds only a part of
                the layers; False wants all of them.
            exclude: names of layers to leave as they are.
            skip_mismatch: leave layers of another shape as they are instead of failing.

        Returns:
            A report of what was loaded, from `mrcnn.checkpoints`.

        Raises:
            ValueError: for a file that does not fit, with a table of the differences. Nothing is
                loaded then.
        """
        path = known.resolve_weights(filepath)
        report = self.keras_model.load_weights(
            path, by_name=by_name, exclude=exclude, skip_mismatch=skip_mismatch
        )
        self.set_log_dir(path)
        return report

    def get_imagenet_weights(self):
        """Download ResNet-50's ImageNet weights if they are not there yet; returns the path."""
        return known.get_imagenet_weights()

    def find_last(self) -> str:
        """Return the path of the newest complete checkpoint of this `NAME` in `model_dir`.

        Trainings without one are passed over; see `log_folders.newest_checkpoint`.

        Raises:
            FileNotFoundError: there is none.
        """
        return log_folders.newest_checkpoint(self.model_dir, self._name())

    def _name(self):
        """`NAME` as it stands in the names of folders and files."""
        return (self.config.NAME or "mrcnn").lower()

    def set_log_dir(self, model_path: str | os.PathLike[str] | None = None) -> None:
        """Choose the log folder and the epoch to go on from.

        Args:
            model_path: a checkpoint of an earlier training: its time and epoch are continued, and
                its folder too if it is of this `NAME`. Otherwise a new folder named after `NAME`
                and the time.
        """
        name = self._name()
        self.log_dir, self.epoch, self._goes_on = log_folders.choose_folder(
            os.fspath(self.model_dir), name, model_path
        )
        self.checkpoint_path = os.path.join(self.log_dir, f"mask_rcnn_{name}_{{epoch:04d}}.h5")

    def _open_log_dir(self, class_names: Sequence[str]) -> None:
        """Make a folder that no other training has, with `config.json` in it, for a new training.

        A training that is continued keeps its folder.
        """
        if self._goes_on:
            return
        description = json.dumps(self._description(class_names), indent=1) + "\n"
        self.log_dir = log_folders.claim_folder(self.log_dir, description)
        self.checkpoint_path = os.path.join(self.log_dir, os.path.basename(self.checkpoint_path))
        self._goes_on = True

    # ---- training ----------------------------------------------------------------------------

    def set_trainable(self, layer_regex, keras_model=None, indent=0, verbose=1):
        """Let only the layers learn whose whole name matches; see `layer_selection`."""
        del indent
        selected = layer_selection.set_trainable(keras_model or self.keras_model, layer_regex)
        if verbose > 0:
            log("Selecting layers to train")
            for name in selected:
                log(f"    {name}")

    def find_trainable_layer(self, layer):
        """The layer itself, or the one that it wraps."""
        return self.find_trainable_layer(layer.layer) if hasattr(layer, "layer") else layer

    def get_trainable_layers(self):
        """All layers that hold weights, those of the RPN included."""
        return layer_selection.layers_with_weights(self.keras_model)

    def compile(self, learning_rate, momentum):
        """Set the optimiser and the losses, as `train` does."""
        self._require_training("compile")
        trainer.compile_model(self.keras_model, self.config, learning_rate, momentum)

    def _require_training(self, action):
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
        verbose: int = 1,
    ) -> keras.callbacks.History:
        """Train, and write weights and the optimizer's state to `log_dir` after every epoch.

        Args:
            train_dataset: a prepared `Dataset`.
            val_dataset: another with the same classes, or None. Without `VALIDATION_STEPS` it
                serves the callbacks only.
            learning_rate: a number, or a Keras learning rate schedule.
            epochs: number of the last epoch, counted over all calls: a second call with the same
                number trains nothing and warns, one with a higher number goes on.
            layers: `heads`, `3+`, `4+`, `5+`, `all`, or a regular expression over layer names.
            augmentation: an imgaug augmenter, an Albumentations transform, or a callable
                `(image, mask) -> (image, mask)`.
            custom_callbacks: Keras callbacks, or the names `ap`, `best` and `early_stopping`.
            no_augmentation_sources: dataset sources whose images are not augmented.
            optimizer: a Keras optimizer instead of SGD with `learning_rate` and momentum.
            workers: number of threads that load data.
            seed: makes the order of images, their augmentation and the sampling of ROIs repeatable,
                also where a training is resumed. The initial weights are not drawn here: for those,
                call `keras.utils.set_random_seed` before the model is built.
            cache: keep decoded images and masks in memory (for small datasets).
            on_error: "skip" logs an image that cannot be loaded, once, and takes the next one; too
                many of them end the training (see `TrainingBatches`). "raise" ends it at the first.
            verbose: 0 silent, 1 progress bar, 2 a line for each epoch.

        Returns:
            The Keras `History`.

        Raises:
            ValueError: an argument, a dataset or a setting that cannot work; nothing is written.
            BrokenImageError: an image, or too many, cannot be loaded; names image and cause.
            NonFiniteLossError: a loss became nan or infinite; names the images of the batch.
        """
        self._require_training("train")
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
        )
        named_callbacks.check_callbacks(custom_callbacks, val_dataset)
        self.set_trainable(layers, verbose=0)
        if epochs <= self.epoch:
            warnings.warn(
                f"epochs is {epochs}; it must be above {self.epoch}, the number of epochs finished "
                "already: nothing is trained",
                stacklevel=2,
            )
            return trainer.empty_history()
        # Nothing is written before this.
        self._open_log_dir(train_dataset.class_names)
        if verbose:
            rate = trainer.describe_learning_rate(learning_rate, optimizer)
            log(f"\nStarting at epoch {self.epoch}. LR={rate}\n")
            log(f"Checkpoint Path: {self.checkpoint_path}")
            log("The first step takes much longer than the others: the network is compiled.")

        def on_checkpoint(path: str, epoch: int) -> None:
            self.epoch = epoch
            self.write_description(path, train_dataset.class_names)

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
            callbacks=named_callbacks.resolve_callbacks(custom_callbacks, self, val_dataset),
            on_checkpoint=on_checkpoint,
            seed=seed,
            verbose=verbose,
        )

    def write_description(
        self, weights_path: str | os.PathLike[str], class_names: Sequence[str]
    ) -> None:
        """Write `config.json`, which `detect` and `evaluate` need, beside a weight file."""
        path = os.path.join(os.path.dirname(weights_path), log_folders.DESCRIPTION_FILE)
        write_json(path, self._description(class_names), durable=True)

    def _description(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return the settings and class names that belong to the weights."""
        return {"config": self.config.to_dict(), "class_names": list(class_names)}

    # ---- detection ---------------------------------------------------------------------------

    def mold_inputs(self, images):
        """Network inputs of images; see `mrcnn.detection.molding.mold_inputs`. Molded images of one
        shape are stacked.
        """
        molded, metas, windows = molding.mold_inputs(images, self.config)
        if len({image.shape for image in molded}) == 1:
            molded = np.stack(molded)
        return molded, metas, windows

    def unmold_detections(self, detections, mrcnn_mask, original_image_shape, image_shape, window):
        """Network outputs of one picture back to its own pixels.

        Args:
            detections: `[N, (y1, x1, y2, x2, class_id, score)]` normalised.
            mrcnn_mask: `[N, height, width, num_classes]` probabilities.
            original_image_shape, image_shape: `(height, width, channels)`.
            window: `(y1, x1, y2, x2)` pixels of the picture in the network's input.

        Returns:
            boxes `[n, 4]` int32, class_ids `[n]` int32, scores `[n]`, masks
            `[height, width, n]` bool.
        """
        class_ids = detections[:, 4].astype(int)
        masks = np.asarray(mrcnn_mask)[np.arange(len(detections)), :, :, class_ids]
        meta = (original_image_shape, image_shape, window)
        result = molding.unmold(np.asarray(detections), masks, meta)
        return result["rois"], result["class_ids"], result["scores"], result["masks"]

    def detect(self, images, verbose=0, *, mask_probabilities=False, refiner=None, rle=False):
        """Find the objects in pictures.

        Args:
            images: any number of pictures of any size: grey, RGB or RGBA, 8 or 16 bit.
            verbose: 1 prints the shapes on the way.
            mask_probabilities: add `mask_probs` to the results.
            refiner: sharpens every mask: a `mrcnn.refinement.Refiner`, its file, or the name of
                one that comes with the package (`motorcycle`). Masks and `mask_probs` are the
                refined ones then; boxes, classes and scores stay.
            rle: give the masks as COCO's run lengths: much less time and memory where pictures are
                large or objects many.

        Returns:
            A list with a dict for each picture: `rois` `[N, (y1, x1, y2, x2)]` int32 pixels,
            `class_ids` `[N]` int32, `scores` `[N]` float32 in 0..1, `masks` `[height, width, N]`
            bool and, when asked for, `mask_probs` `[height, width, N]` float32 in 0..1. With `rle`,
            `rles` instead of `masks`: N dicts `{"size": [height, width], "counts": str}`.

        Raises:
            ValueError: for something that is no picture, or of a size that the settings do not
                allow, with its number; for a file that is no refiner.
            FileNotFoundError: for a refiner that does not exist.
        """
        images = molding.as_list(images)
        refiner = None if refiner is None else open_refiner(refiner)
        if not images:
            return []
        inputs, metas, _ = molding.mold_inputs(images, self.config, keep_bytes=True)
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
            for image in inputs:
                log("molded_images", molded_floats(image, self.config))
            log("image_metas", metas)
        outputs = self._infer(inputs, metas, max(int(self.config.BATCH_SIZE), 1))

        def result(output, meta, image):
            return self._result(output, meta, image, mask_probabilities, refiner, rle)

        if refiner:  # a network, which takes all cores by itself
            return list(map(result, outputs, metas, images))
        return molding.each_picture(result, outputs, metas, images)

    def detect_stream(
        self,
        images,
        batch_size=1,
        *,
        ahead=4,
        errors="raise",
        with_images=False,
        mask_probabilities=False,
        refiner=None,
        rle=False,
    ):
        """Find the objects in any number of pictures, one after the other.

        While one picture is in the network, the next are read and the masks of the last are made.
        Memory does not grow with the number of pictures. Closing the generator early stops all.

        Args:
            images: iterable of pictures, of paths, or of callables that give a picture.
            batch_size: pictures that go into the network together, where they have one shape.
            ahead: batches that are on their way at most.
            errors: what to do about a picture that cannot be read or processed: "raise"; "return",
                which gives the exception in place of the result; or a callable `(index, item,
                exception)`, after which the picture is left out.
            with_images: give `(picture, result)`.
            mask_probabilities, refiner, rle: as for `detect`.

        Yields:
            A dict as `detect` gives, for each picture, in their order.

        Raises:
            ValueError: for a number below 1 or another word.
        """
        for name, value in (("batch_size", batch_size), ("ahead", ahead)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if not callable(errors) and errors not in ("raise", "return"):
            raise ValueError(f'errors is {errors!r}; it must be "raise", "return" or a callable')

        # Made here: Keras counts the names of its layers anew in each thread.
        self.engine

        refiner = None if refiner is None else open_refiner(refiner)

        def mold(image):
            (molded,), (meta,), _ = molding.mold_inputs([image], self.config, keep_bytes=True)
            return molded, meta, image

        def infer(inputs):
            molded, metas, _ = zip(*inputs)
            return self._infer(molded, np.array(metas), batch_size)

        def finish(inputs, output):
            _, meta, image = inputs
            return self._result(output, meta, image, mask_probabilities, refiner, rle)

        results = streaming.stream(
            images, mold, infer, finish, batch_size=batch_size, ahead=ahead, errors=errors
        )
        return results if with_images else (result for _, result in results)

    def detect_tiled(
        self,
        image,
        tile=None,
        overlap=None,
        *,
        batch_size=1,
        merge_iou=0.5,
        refiner=None,
        rle=False,
    ):
        """Find the objects in a large picture, tile by tile; see `mrcnn.detection.tiling`.

        Args:
            image: a picture, as for `detect`.
            tile: side of a tile in pixels; None takes `IMAGE_MAX_DIM`, which the network sees in
                its own size.
            overlap: pixels that neighbours share at least; None takes a quarter of a tile. Objects
                up to this size are seen whole by some tile.
            batch_size: tiles that go into the network together.
            merge_iou: agreement, in the strip that two tiles share, from which two detections are
                parts of one object.
            refiner: as for `detect`; refined masks end where their boxes do.
            rle: as for `detect`. Only then is nothing as large as the picture made.

        Returns:
            A dict as `detect` gives, for the whole picture.
        """
        tile = int(self.config.IMAGE_MAX_DIM if tile is None else tile)
        overlap = tile // 4 if overlap is None else int(overlap)
        size = np.shape(image)[:2]
        windows = tiling.tile_windows(*size, tile, overlap)
        tiles = (image[y1:y2, x1:x2] for y1, x1, y2, x2 in windows)
        parts = []
        for number, result in enumerate(self.detect_stream(tiles, batch_size, refiner=refiner)):
            parts += tiling.parts_of(result, number, windows[number])
        return tiling.merge(parts, windows, size, merge_iou, rle)

    def detect_molded(self, molded_images, image_metas, verbose=0, *, mask_probabilities=False):
        """Find the objects in molded pictures; results in pixels of the molded pictures.

        Args:
            molded_images: `[N, height, width, channels]`, mean subtracted, all of one size.
            image_metas: `[N, 12 + num_classes]`.
            verbose: 1 prints the shapes.
            mask_probabilities: add `mask_probs` to the results.

        Returns:
            As `detect`.

        Raises:
            ValueError: when the two arguments differ in length, or a size is no multiple of 64.
        """
        if len(molded_images) != len(image_metas):
            raise ValueError(
                f"image_metas has {len(image_metas)} rows for {len(molded_images)} molded_images; "
                "there must be one for each"
            )
        for i, image in enumerate(molded_images):
            molding.check_sides(image.shape, f"molded_images[{i}]")
        if verbose:
            log(f"Processing {len(molded_images)} images")
            for image in molded_images:
                log("image", np.asarray(image))
        metas = np.array(image_metas, np.float64)
        for meta, image in zip(metas, molded_images):
            height, width = image.shape[:2]
            meta[image_meta.ORIGINAL_IMAGE_SHAPE] = image.shape
            meta[image_meta.WINDOW] = 0, 0, height, width
        molded_images = [np.asarray(image, np.float32) for image in molded_images]
        outputs = self._infer(molded_images, metas, max(int(self.config.BATCH_SIZE), 1))
        return [
            molding.unmold(*output, molding.places_of(meta), mask_probabilities)
            for output, meta in zip(outputs, metas)
        ]

    def _result(self, output, meta, image, mask_probabilities, refiner, rle):
        """The result dictionary of one picture, refined where there is a refiner."""
        places = molding.places_of(meta)
        if refiner is None:
            return molding.unmold(*output, places, mask_probabilities, rle)
        result = molding.unmold(*output, places, probabilities=True)
        result = refine_result(image, result, refiner, mask_probabilities)
        if rle:
            result["rles"] = encode_rle(result.pop("masks"))
        return result

    def _infer(self, inputs, metas, batch_size):
        """`(detections [N, 6], masks [N, h, w])` of each network input, in the order given; equal
        shapes run together.
        """
        by_shape = OrderedDict()
        for i, image in enumerate(inputs):
            by_shape.setdefault((image.shape, image.dtype), []).append(i)
        outputs = [None] * len(inputs)
        for (shape, _), indices in by_shape.items():
            anchors = self.get_anchors(shape)
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                found = self.engine.run(np.stack([inputs[i] for i in batch]), metas[batch], anchors)
                for i, *output in zip(batch, *found):
                    outputs[i] = output
        return outputs

    @property
    def engine(self):
        """What runs the network for `detect`; made when first needed."""
        if self._engine is None:
            self._engine = make_engine(
                self._engine_name,
                self._shared,
                "float32" if self._precision == "float16" else self._precision,
                None if self._calibration is None else self._calibration_inputs,
                fallback=self.mode == "inference" and is_automatic(self._engine_wish),
            )
        return self._engine

    def _calibration_inputs(self):
        """What the engine's `run` takes, for each picture of `calibration`."""
        inputs = []
        for image in molding.calibration_images(self._calibration):
            (molded,), metas, _ = molding.mold_inputs([image], self.config)
            inputs.append((molded[None], metas, self.get_anchors(molded.shape)))
        return inputs

    def get_anchors(self, image_shape):
        """Normalised anchors `[N, (y1, x1, y2, x2)]` for a network input of this shape. The last
        ones in pixels are in `anchors`.
        """
        key = tuple(int(v) for v in image_shape)
        if key not in self._anchor_cache:
            if len(self._anchor_cache) >= _MAX_CACHED_ANCHORS:
                del self._anchor_cache[next(iter(self._anchor_cache))]
            self._anchor_cache[key] = graphs.normalized_anchors(self.config, key)
        self.anchors, normalized = self._anchor_cache[key]
        return normalized

    # ---- looking inside ----------------------------------------------------------------------

    def ancestor(self, tensor, name, checked=None):
        """The output of the layer `name` that `tensor` was computed from, or None.

        Names in TensorFlow 1's form ("ROI/some_op:0") are matched by their first part: operations
        inside a layer have no tensors of their own in Keras 3.
        """
        layer_name = name.split("/")[0].split(":")[0]
        seen = set()
        waiting = [tensor]
        while waiting:
            operation, node_index, _ = waiting.pop()._keras_history
            node = operation._inbound_nodes[node_index]
            if operation.name == layer_name:
                return node.outputs if len(node.outputs) > 1 else node.outputs[0]
            if node not in seen:
                seen.add(node)
                waiting.extend(node.input_tensors)
        return None

    def run_graph(self, images, outputs, image_metas=None):
        """Compute inner tensors for some pictures.

        Args:
            images: pictures, or molded pictures when `image_metas` is given.
            outputs: list of `(name, tensor)`, tensors such as
                `keras_model.get_layer("rpn_class").output`.
            image_metas: `[N, 12 + num_classes]` of molded pictures.

        Returns:
            `OrderedDict` from name to NumPy array.

        Raises:
            ValueError: when a tensor is None, or in training mode, whose inputs nobody has.
        """
        if self.mode == "training":
            raise ValueError('run_graph needs a model built with mode="inference"')
        for name, tensor in outputs:
            if tensor is None:
                raise ValueError(f"output {name!r} is None; it must be a tensor of keras_model")
        if image_metas is None:
            molded, image_metas, _ = self.mold_inputs(images)
        else:
            molded = images
        anchors = self.get_anchors(molded[0].shape)
        anchors = np.broadcast_to(anchors, (len(molded), *anchors.shape))
        inputs = [np.asarray(x, np.float32) for x in (molded, image_metas, anchors)]
        # Without tracing, which would take longer than this one run.
        values = keras.Model(self.keras_model.inputs, dict(outputs))(inputs, training=False)
        values = OrderedDict(
            (name, keras.ops.convert_to_numpy(values[name])) for name, _ in outputs
        )
        for name, value in values.items():
            log(name, value)
        return values


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
    "data_generator",
    "denorm_boxes_graph",
    "fpn_classifier_graph",
    "generate_random_rois",
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
