"""Run the inference graph with OpenVINO, the fastest engine on a CPU.

The network is converted from the Keras layers when it is first needed, and again when their weights
have changed; the converted network is kept on disk. Box arithmetic stays with Keras in float32, see
`mrcnn.engines.pieces`. Needs Keras on TensorFlow and the packages `openvino` and, for int8, `nncf`
(the extra "fast").
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn import __version__
from mrcnn.engines import conversion, model_cache, pieces
from mrcnn.engines.base import Inputs, Tensor
from mrcnn.engines.keras_engine import compile_inference, max_detections
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.engines.weights_watch import WeightsWatch
from mrcnn.layers.winograd import KERNEL_BASIS
from mrcnn.startup.threads import requested_threads

PRECISIONS = ("float32", "bfloat16", "int8")
# Settings that neither the pieces nor their weights depend on.
_IRRELEVANT = ("NAME", "BATCH_SIZE", "IMAGES_PER_GPU", "GPU_COUNT")
_IRRELEVANT_PREFIXES = ("DETECTION_", "LEARNING_", "TRAIN_ROI", "STEPS_", "VALIDATION_", "LOSS_")
# Boxes that are classified at a time: the features of a thousand, four times over in ROIAlign, took
# a quarter of a gigabyte.
_BOXES_AT_A_TIME = 256
_TRUNK_FOR_ANY_SIZE = "trunk for any size"
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
# The parts that are converted: networks with weights, and the aligners beside them.
_CONVERTED = (*pieces.NETWORKS, *pieces.ALIGNERS)
# The table of the pyramid and the sizes of its levels, see `pieces.align_piece`.
_Pyramid = tuple[Tensor, np.ndarray]


@kept_signal_stack()
def has_bfloat16() -> bool:
    """Return whether this CPU multiplies in bfloat16 (AMX or AVX-512 BF16)."""
    ov = import_openvino()
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVINOEngine:
    """The two steps of detection on the current weights of a `SharedLayers`.

    Args:
        shared: `mrcnn.graphs.SharedLayers`.
        precision: "float32", "bfloat16" or "int8", of the network between the boxes.
        calibration: for int8, a function that returns the arguments of `run` for each of some
            typical images. None uses what an earlier call has stored in the cache for these
            weights.

    Raises:
        ValueError: another precision, or int8 without anything to calibrate with (at the first
            call of `run` or `prepare`).
    """

    name = "openvino"

    def __init__(
        self,
        shared: Any,
        precision: str = "float32",
        calibration: Callable[[], list[Inputs]] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(
                f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}"
            )
        self.precision = precision
        # Winograd's algorithm is for float32: 16 bits round too much, and int8 needs convolutions.
        self._in_float32 = precision == "float32" or (
            precision == "bfloat16" and not has_bfloat16()
        )
        self._config = shared.config
        self._sides = conversion.fixed_sides(shared.config)
        self._calibration = calibration
        self._mask_shape = tuple(shared.config.MASK_SHAPE)
        self._models = pieces.build_pieces(shared)
        # Without a mask head two pieces are missing.
        self._converted = [name for name in _CONVERTED if name in self._models]
        self._networks = [name for name in pieces.NETWORKS if name in self._models]
        self._has_masks = "mask" in self._models
        self._proposals = compile_inference(self._models["proposals"])
        self._detections = compile_inference(self._models["detections"])
        self._watch = WeightsWatch(self._variables())
        self._requests: dict[str, Any] = {}
        # Files of weights that compiled models may refer to.
        self._mapped: list[mmap.mmap] = []
        # Requests own the memory of their outputs, so one batch runs at a time.
        self._lock = threading.Lock()

    def __str__(self) -> str:
        ov = import_openvino()
        precision = self.precision
        if precision == "bfloat16" and self._in_float32:
            precision = "float32 (this CPU has no bfloat16 instructions)"
        return f"OpenVINO {ov.__version__.split('-')[0]}, {precision}"

    def run(
        self, images: np.ndarray, image_metas: np.ndarray, anchors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the detections of a batch of images and their masks; see `Engine.run`."""
        images = np.ascontiguousarray(images, np.float32)
        image_metas = np.ascontiguousarray(image_metas, np.float32)
        with self._lock:
            self._follow_weights()
            one_by_one = (slice(i, i + 1) for i in range(len(images)))
            found = [self._run_one(images[i], image_metas[i], anchors) for i in one_by_one]
        detections = np.concatenate([one for one, _ in found])
        if not self._has_masks:
            return detections, None
        all_masks = np.zeros(
            (len(images), max_detections(detections), *self._mask_shape), np.float32
        )
        for rows, (_, masks) in zip(all_masks, found):
            rows[: len(masks)] = masks
        return detections, all_masks

    def prepare(self) -> None:
        """Convert and compile the network now, not at the first image."""
        with self._lock:
            self._follow_weights()

    def _follow_weights(self) -> None:
        """Convert the network where the weights have changed."""
        if not self._watch.changed() and self._requests:
            return
        self._requests, self._mapped = {}, []
        self._prepare()

    def _run_one(
        self, image: np.ndarray, image_meta: np.ndarray, anchors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return detections `[1, N, 6]` and masks `[count, height, width]` of a batch of one.

        More images at a time do not make a CPU faster, and the pyramid of each takes 90 MB.
        """
        detections, pyramid = self._detect(image, image_meta, anchors)
        count = max_detections(detections)
        if count == 0 or not self._has_masks:
            return detections, np.zeros((0, *self._mask_shape), np.float32)
        pooled = self._mask_features(detections[:, :count], image_meta, pyramid)
        (masks,) = self._infer("mask", pooled)
        class_ids = detections[0, :count, 4].astype(np.intp)
        return detections, masks.data[0, np.arange(count), :, :, class_ids]

    def _detect(
        self,
        image: np.ndarray,
        image_meta: np.ndarray,
        anchors: np.ndarray,
        on_features: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, _Pyramid]:
        """Return detections `[1, N, 6]`, and the pyramid, which is valid until the next call.

        Args:
            image: `[1, height, width, channels]` float32.
            image_meta: `[1, 12 + num_classes]` float32.
            anchors: `[anchors, 4]`.
            on_features: is called with the inputs of the classifier, arrays that are valid until
                it returns.
        """
        anchors = np.asarray(anchors, np.float32)[None]
        table, rpn_class, rpn_bbox = self._infer(self._trunk_for(image), image)
        pyramid = table, pieces.pyramid_sizes(self._config, image.shape[1:])
        proposals = self._proposals([rpn_class.data, rpn_bbox.data, anchors])
        rois, *scores = proposals if self._config.JOINT_SCORES else [proposals]
        boxes = keras.ops.convert_to_numpy(rois)
        classified = []
        for i in range(0, boxes.shape[1], _BOXES_AT_A_TIME):
            some = np.ascontiguousarray(boxes[:, i : i + _BOXES_AT_A_TIME])
            (pooled,) = self._infer("classifier_align", some, image_meta, *pyramid)
            if on_features:
                on_features(pooled.data)
            classified.append([output.data.copy() for output in self._infer("classifier", pooled)])
        probabilities, deltas = (np.concatenate(parts, axis=1) for parts in zip(*classified))
        detections = self._detections([rois, probabilities, deltas, image_meta, *scores])
        return keras.ops.convert_to_numpy(detections), pyramid

    def _trunk_for(self, image: np.ndarray) -> str:
        """Return the name of the trunk that takes images of this size."""
        if self._sides in (None, image.shape[1:3]):
            return "trunk"
        if _TRUNK_FOR_ANY_SIZE not in self._requests:
            self._compile({_TRUNK_FOR_ANY_SIZE: self._convert("trunk", sides=None)})
        return _TRUNK_FOR_ANY_SIZE

    def _mask_features(
        self, detections: np.ndarray, image_meta: np.ndarray, pyramid: _Pyramid
    ) -> Tensor:
        """Return the mask head's input for detections, a tensor valid until the next call."""
        boxes = np.ascontiguousarray(detections[..., :4], np.float32)
        (pooled,) = self._infer("mask_align", boxes, image_meta, *pyramid)
        return pooled

    def _infer(self, name: str, *inputs: Tensor) -> list[Tensor]:
        """Run a piece on contiguous arrays or tensors without copying; return its outputs."""
        ov = import_openvino()
        request = self._requests[name]
        for i, value in enumerate(inputs):
            if not isinstance(value, ov.Tensor):
                value = ov.Tensor(value, shared_memory=True)
            request.set_input_tensor(i, value)
        request.infer()
        return [request.get_output_tensor(i) for i in range(len(request.model_outputs))]

    # ---- conversion ------------------------------------------------------------------------------

    def _variables(self) -> list[Any]:
        unique = {id(v): v for name in self._converted for v in self._models[name].variables}
        return list(unique.values())

    def _prepare(self) -> None:
        """Compile the network for the current weights, from the cache where it has them."""
        key = self._key()
        if self.precision == "int8":
            self._prepare_int8(key)
        else:
            self._prepare_float(key)

    def _prepare_float(self, key: str | None) -> None:
        """Compile the pieces as they are."""
        entry = model_cache.find_entry(key) if key else None
        if entry is None or not self._compile_entry(entry[0]):
            self._compile_and_store(self._convert_all(), key)

    def _prepare_int8(self, key: str | None) -> None:
        """Compile the pieces with networks quantized by the calibration images."""
        int8_key = key and f"{key}-int8"
        inputs = self._calibration() if self._calibration else None
        images = [np.ascontiguousarray(images).data for images, *_ in inputs or ()]
        digest = model_cache.cache_key(*images)
        entry = model_cache.find_entry(int8_key) if int8_key else None
        if entry and (inputs is None or entry[1].get("calibration") == digest):
            if self._compile_entry(entry[0]):
                return
        if not inputs:
            raise ValueError(
                "calibration is None; it must name some typical images (calibration=..., "
                "--calibration FOLDER) for precision 'int8', as these weights have not been "
                "quantized before"
            )
        from mrcnn.engines.quantization import quantized

        models = self._convert_all()
        self._compile(models)
        models = quantized(models, self._samples(inputs))
        self._compile_and_store(models, int8_key, {"calibration": digest})

    def _compile_entry(self, folder: Path) -> bool:
        """Compile the models of a cache entry; return whether OpenVINO accepts them."""
        try:
            self._compile(self._read(folder))
        except (OSError, RuntimeError, ValueError):  # written by another build of OpenVINO
            self._requests, self._mapped = {}, []
            return False
        return True

    def _compile_and_store(
        self, models: dict[str, Any], key: str | None, note: dict[str, Any] | None = None
    ) -> None:
        """Store models in the cache and compile them from there, to keep one copy in memory."""
        if key:
            folder = model_cache.store(key, lambda empty: conversion.save(models, empty), note)
            if folder and self._compile_entry(folder):
                return
        self._compile(models)

    def _convert_all(self) -> dict[str, Any]:
        return {name: self._convert(name, self._sides) for name in self._converted}

    def _convert(self, name: str, sides: tuple[int, int] | None) -> Any:
        """Return the OpenVINO model of a piece; `sides` as in `convert`, for the trunk."""
        if name != "trunk":
            return conversion.convert(self._models[name], None, self._in_float32)
        # With OpenVINO 2026.4 a map computed by Winograd's algorithm that goes into the table loses
        # its bias on the way into a direct convolution, which a narrow or strided RPN has.
        rpn = self._models["trunk"].get_layer("rpn_model")
        by_winograd = sides is not None and rpn.get_layer("rpn_conv_shared").suits_winograd
        return conversion.convert(self._models[name], sides, self._in_float32 and by_winograd)

    def _samples(self, inputs: list[Inputs]) -> dict[str, list[np.ndarray]]:
        """Return inputs of each network, from runs on the calibration images."""
        samples: dict[str, list[np.ndarray]] = {name: [] for name in self._networks}
        for image, image_meta, anchors in inputs:
            image = np.ascontiguousarray(image, np.float32)
            image_meta = np.ascontiguousarray(image_meta, np.float32)
            samples["trunk"].append(image)
            features: list[np.ndarray] = []

            def keep_copy(pooled: np.ndarray, features: list[np.ndarray] = features) -> None:
                features.append(pooled[:, :100].copy())

            detections, pyramid = self._detect(image, image_meta, anchors, keep_copy)
            # Proposals are sorted by score; a hundred are a sample of the features.
            samples["classifier"].append(features[0])
            count = max_detections(detections)
            if count and self._has_masks:
                pooled = self._mask_features(detections[:, :count], image_meta, pyramid)
                samples["mask"].append(pooled.data.copy())
        return samples

    def _key(self) -> str | None:
        """Return a key of everything that the converted pieces depend on; None if it is unknown."""
        ov = import_openvino()
        config = self._config
        if not conversion.is_cacheable(config):
            return None
        settings = {
            name: value
            for name, value in config.to_dict().items()
            if name not in _IRRELEVANT and not name.startswith(_IRRELEVANT_PREFIXES)
        }
        versions = [__version__, ov.__version__, keras.__version__, model_cache.source_digest()]
        weights = [np.ascontiguousarray(x).data for x in self._watch.arrays()]
        names = [[v.name, list(v.shape)] for v in self._variables()]
        return model_cache.cache_key(settings, versions, names, self._in_float32, *weights)

    @kept_signal_stack()
    def _read(self, folder: Path) -> dict[str, Any]:
        """Return the models of a cache entry, whose weights stay in the mapped files."""
        ov = import_openvino()
        core = ov.Core()
        models = {}
        for name in self._converted:
            # Copy-on-write: OpenVINO requires a writable buffer.
            with open(folder / f"{name}.bin", "rb") as file:
                self._mapped.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            weights = np.frombuffer(self._mapped[-1], np.uint8)
            xml = (folder / f"{name}.xml").read_bytes()
            models[name] = core.read_model(xml, ov.Tensor(weights, shared_memory=True))
        return models

    @kept_signal_stack()
    def _compile(self, models: dict[str, Any]) -> None:
        """Make models ready to run."""
        ov = import_openvino()
        core = ov.Core()
        for name, model in models.items():
            hint = "f32" if name in pieces.ALIGNERS else _HINTS[self.precision]
            settings: dict[str, Any] = {
                "INFERENCE_PRECISION_HINT": hint,
                "PERFORMANCE_HINT": "LATENCY",
            }
            if threads := requested_threads():
                settings["INFERENCE_NUM_THREADS"] = threads
            request = core.compile_model(model, "CPU", settings).create_infer_request()
            if any(conversion.KERNEL_BASIS_INPUT in tensor.names for tensor in model.inputs):
                request.set_tensor(conversion.KERNEL_BASIS_INPUT, ov.Tensor(KERNEL_BASIS))
            self._requests[name] = request
        self._drop_pages()

    def _drop_pages(self) -> None:
        """Give back the memory of the mapped files.

        Compiled networks have their own copy of the weights, and the system reads again what they
        still refer to.
        """
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            for file in self._mapped:
                file.madvise(mmap.MADV_DONTNEED)
