"""Run the inference graph with OpenVINO, the fastest on a CPU.

The network is converted from the Keras layers when it is first needed, and again when their weights
have changed; the converted network is kept on disk. Box arithmetic stays with Keras in float32, see
`mrcnn.engines.pieces`. Needs the packages `openvino` and, for int8, `nncf`: `pip install
"mrcnn[fast]"`; and Keras on TensorFlow.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn import __version__
from mrcnn.engines import model_cache, pieces
from mrcnn.engines.keras_engine import compiled, most_detections
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.layers.winograd import KERNEL_BASIS, winograd

PRECISIONS = ("float32", "bfloat16", "int8")
# Settings that neither the pieces nor their weights depend on.
_IRRELEVANT = ("NAME", "BATCH_SIZE", "IMAGES_PER_GPU", "GPU_COUNT")
_IRRELEVANT_PREFIXES = ("DETECTION_", "LEARNING_", "TRAIN_ROI", "STEPS_", "VALIDATION_", "LOSS_")
# Boxes that are classified at a time: the features of a thousand, four times over in ROIAlign, took
# a quarter of a gigabyte.
_BOXES_AT_A_TIME = 256
_TRUNK_FOR_ANY_SIZE = "trunk for any size"
_KERNEL_BASIS = "kernel_basis"
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


def has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16 (AMX or AVX-512 BF16)."""
    ov = import_openvino()

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class WeightsWatch:
    """Notices when variables have changed, whoever changed them.

    A training step, `set_weights`, a weight file: none of them passes through the engine. But
    TensorFlow never writes into memory that somebody else looks at, so while a variable is where it
    was seen last, it is what it was. One that has moved is compared by its checksum.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables
        self._arrays: list[np.ndarray] = []
        self._checksums: list[int] = []

    def arrays(self) -> list[np.ndarray]:
        """The current values, without copying."""
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(variable.value) for variable in self._variables]
        return [np.asarray(memoryview(tensor)) for tensor in tensors]

    def changed(self) -> bool:
        """Whether anything has changed since the last call; True for the first."""
        arrays = self.arrays()
        if [x.ctypes.data for x in arrays] == [x.ctypes.data for x in self._arrays]:
            return False
        checksums = [zlib.crc32(np.ascontiguousarray(x).view(np.uint8)) for x in arrays]
        same = checksums == self._checksums
        self._arrays, self._checksums = arrays, checksums
        return not same


class OpenVINOEngine:
    """The two steps of detection on the current weights of a `SharedLayers`.

    Args:
        shared: `mrcnn.graphs.SharedLayers`.
        precision: "float32", "bfloat16" or "int8" of the network between the boxes.
        calibration: for int8, a function that gives a list of `(images, image_metas, anchors)` as
            `run` takes them, each of one typical picture; None takes what an earlier call has left
            in the cache for these weights.

    Raises:
        ValueError: for another precision, or int8 without anything to calibrate with (at the first
            call of `run`).
    """

    name = "openvino"

    def __init__(
        self,
        shared: Any,
        precision: str = "float32",
        calibration: Callable[[], list[tuple]] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; OpenVINO computes in {PRECISIONS}")
        self.precision = precision
        # Winograd's algorithm is for float32: 16 bits round too much, and int8 wants convolutions.
        self._in_float32 = precision == "float32" or (
            precision == "bfloat16" and not has_bfloat16()
        )
        self._config = shared.config
        self._sides = fixed_sides(shared.config)
        self._calibration = calibration
        self._mask_shape = tuple(shared.config.MASK_SHAPE)
        self._models = pieces.pieces(shared)
        self._proposals = compiled(self._models["proposals"])
        self._detections = compiled(self._models["detections"])
        self._watch = WeightsWatch(self._variables())
        self._requests: dict[str, Any] = {}
        # Files of weights that compiled models may look at.
        self._mapped: list[mmap.mmap] = []
        # Requests own the memory of their outputs: one picture, or batch, at a time.
        self._lock = threading.Lock()

    def __str__(self) -> str:
        ov = import_openvino()

        precision = self.precision
        if precision == "bfloat16" and self._in_float32:
            precision = "float32 (this CPU has no bfloat16 instructions)"
        return f"OpenVINO {ov.__version__.split('-')[0]}, {precision}"

    def run(self, images, image_metas, anchors):
        """Detections and their masks; see `mrcnn.engines.keras_engine.KerasEngine.run`."""
        images = np.ascontiguousarray(images, np.float32)
        image_metas = np.ascontiguousarray(image_metas, np.float32)
        with self._lock:
            self._follow_weights()
            one_by_one = (slice(i, i + 1) for i in range(len(images)))
            found = [self._run_one(images[i], image_metas[i], anchors) for i in one_by_one]
        detections, masks = zip(*found)
        detections = np.concatenate(detections)
        count = most_detections(detections)
        all_masks = np.zeros((len(images), count, *self._mask_shape), np.float32)
        for rows, mask in zip(all_masks, masks):
            rows[: len(mask)] = mask
        return detections, all_masks

    def prepare(self):
        """Convert and compile now, not at the first picture."""
        with self._lock:
            self._follow_weights()

    def _follow_weights(self):
        if not self._watch.changed() and self._requests:
            return
        self._requests, self._mapped = {}, []
        self._prepare()

    def _run_one(self, image, image_meta, anchors):
        """Detections `[1, N, 6]` and masks `[count, height, width]` of a batch of one.

        A CPU gains nothing from more pictures at a time, and the pyramid of each takes 90 MB.
        """
        detections, pyramid = self._detect(image, image_meta, anchors)
        count = most_detections(detections)
        if count == 0:
            return detections, np.zeros((0, *self._mask_shape), np.float32)
        pooled = self._mask_features(detections[:, :count], image_meta, pyramid)
        (masks,) = self._infer("mask", pooled)
        class_ids = detections[0, :count, 4].astype(np.intp)
        return detections, masks.data[0, np.arange(count), :, :, class_ids]

    def _detect(self, image, image_meta, anchors, on_features=None):
        """Detections `[1, N, 6]` as an array, and the pyramid as the aligners take it, good until
        the next call. `on_features` is called with the classifier's inputs, arrays good until it
        returns.
        """
        anchors = np.asarray(anchors, np.float32)[None]
        table, rpn_class, rpn_bbox = self._infer(self._trunk_for(image), image)
        pyramid = table, pieces.pyramid_sizes(self._config, image.shape[1:])
        rois = self._proposals([rpn_class.data, rpn_bbox.data, anchors])
        boxes = keras.ops.convert_to_numpy(rois)
        classified = []
        for i in range(0, boxes.shape[1], _BOXES_AT_A_TIME):
            some = np.ascontiguousarray(boxes[:, i : i + _BOXES_AT_A_TIME])
            (pooled,) = self._infer("classifier_align", some, image_meta, *pyramid)
            if on_features:
                on_features(pooled.data)
            classified.append([output.data.copy() for output in self._infer("classifier", pooled)])
        probabilities, deltas = (np.concatenate(parts, axis=1) for parts in zip(*classified))
        detections = self._detections([rois, probabilities, deltas, image_meta])
        return keras.ops.convert_to_numpy(detections), pyramid

    def _trunk_for(self, image):
        """The name of the trunk that takes pictures of this size."""
        if self._sides in (None, image.shape[1:3]):
            return "trunk"
        if _TRUNK_FOR_ANY_SIZE not in self._requests:
            self._compile({_TRUNK_FOR_ANY_SIZE: self._convert("trunk", sides=None)})
        return _TRUNK_FOR_ANY_SIZE

    def _mask_features(self, detections, image_meta, pyramid):
        """The mask head's input for the boxes of detections, a tensor good until the next call."""
        boxes = np.ascontiguousarray(detections[..., :4], np.float32)
        (pooled,) = self._infer("mask_align", boxes, image_meta, *pyramid)
        return pooled

    def _infer(self, name, *inputs):
        """Run one piece on contiguous arrays or tensors, without copying; its output tensors."""
        ov = import_openvino()

        request = self._requests[name]
        for i, value in enumerate(inputs):
            if not isinstance(value, ov.Tensor):
                value = ov.Tensor(value, shared_memory=True)
            request.set_input_tensor(i, value)
        request.infer()
        return [request.get_output_tensor(i) for i in range(len(request.model_outputs))]

    # ---- conversion ------------------------------------------------------------------------------

    def _variables(self):
        unique = {id(v): v for name in self._converted() for v in self._models[name].variables}
        return list(unique.values())

    @staticmethod
    def _converted():
        return (*pieces.NETWORKS, *pieces.ALIGNERS)

    def _prepare(self):
        """Convert and compile for the current weights, or take them from the cache."""
        key = self._key()
        if self.precision == "int8":
            self._prepare_int8(key)
            return
        self._compile(self._float_models(key))

    def _float_models(self, key):
        """The unquantised pieces by name."""
        entry = model_cache.load(key) if key else None
        if entry:
            with contextlib.suppress(RuntimeError):  # written by an OpenVINO that went astray
                return self._read(entry[0])
        models = {name: self._convert(name, self._sides) for name in self._converted()}
        folder = model_cache.store(key, lambda folder: save(models, folder)) if key else None
        return self._read(folder) if folder else models

    def _convert(self, name, sides):
        """The OpenVINO model of a piece; `sides` of the pictures as in `convert`, for the trunk."""
        if name != "trunk":
            return convert(self._models[name], None, self._in_float32)
        # With OpenVINO 2026.4 a map by Winograd's algorithm that goes into the table loses its bias
        # on the way into a direct convolution, which an RPN that is narrow or strides has.
        rpn = self._models["trunk"].get_layer("rpn_model")
        by_winograd = sides is not None and rpn.get_layer("rpn_conv_shared").is_wide_enough
        return convert(self._models[name], sides, self._in_float32 and by_winograd)

    def _prepare_int8(self, key):
        """As `_prepare`, with networks quantised by the calibration pictures."""
        key = key and f"{key}-int8"
        inputs = self._calibration() if self._calibration else None
        pictures = [np.ascontiguousarray(images).data for images, *_ in inputs or ()]
        digest = model_cache.cache_key(*pictures)
        entry = model_cache.load(key) if key else None
        if entry and (inputs is None or entry[1].get("calibration") == digest):
            with contextlib.suppress(RuntimeError):
                self._compile(self._read(entry[0]))
                return
        if not inputs:
            raise ValueError(
                'precision is "int8", but there is nothing to calibrate with: give some typical '
                "pictures (calibration=..., --calibration FOLDER); these weights have not been "
                "quantised here before"
            )
        from mrcnn.engines.quantization import quantized

        models = self._float_models(key and key.removesuffix("-int8"))
        self._compile(models)
        models = quantized(models, self._samples(inputs))
        if key:
            note = {"calibration": digest}
            folder = model_cache.store(key, lambda folder: save(models, folder), note)
            models = self._read(folder) if folder else models
        self._compile(models)

    def _samples(self, inputs):
        """Inputs of each network, from runs on the calibration pictures."""
        samples = {name: [] for name in pieces.NETWORKS}
        for image, image_meta, anchors in inputs:
            image = np.ascontiguousarray(image, np.float32)
            image_meta = np.ascontiguousarray(image_meta, np.float32)
            samples["trunk"].append(image)
            features = []
            detections, pyramid = self._detect(
                image,
                image_meta,
                anchors,
                lambda pooled, kept=features: kept.append(pooled[:, :100].copy()),
            )
            # Proposals come best first; a hundred say what the features look like.
            samples["classifier"].append(features[0])
            count = most_detections(detections)
            if count:
                pooled = self._mask_features(detections[:, :count], image_meta, pyramid)
                samples["mask"].append(pooled.data.copy())
        return samples

    def _key(self):
        """What the converted pieces depend on; None where that cannot be told."""
        ov = import_openvino()

        config = self._config
        if not is_cacheable(config):
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

    def _read(self, folder: Path):
        ov = import_openvino()

        core = ov.Core()
        models = {}
        for name in self._converted():
            # Writable, or OpenVINO does not take it; nobody writes.
            with open(folder / f"{name}.bin", "rb") as file:
                self._mapped.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            weights = np.frombuffer(self._mapped[-1], np.uint8)
            xml = (folder / f"{name}.xml").read_bytes()
            models[name] = core.read_model(xml, ov.Tensor(weights, shared_memory=True))
        return models

    def _compile(self, models):
        """Make the models ready to run."""
        ov = import_openvino()

        core = ov.Core()
        for name, model in models.items():
            hint = "f32" if name in pieces.ALIGNERS else _HINTS[self.precision]
            settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
            if threads := _threads():
                settings["INFERENCE_NUM_THREADS"] = threads
            request = core.compile_model(model, "CPU", settings).create_infer_request()
            if any(_KERNEL_BASIS in tensor.names for tensor in model.inputs):
                request.set_tensor(_KERNEL_BASIS, ov.Tensor(KERNEL_BASIS))
            self._requests[name] = request
        self._forget_pages()

    def _forget_pages(self):
        """Give back the memory of the files: compiled networks have their own copy of the weights,
        and what they should still look at is read again.
        """
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            for file in self._mapped:
                file.madvise(mmap.MADV_DONTNEED)


def is_cacheable(config):
    """Not a backbone of the user's own, whose code may change under the same name."""
    return not callable(config.BACKBONE)


def fixed_sides(config):
    """`(height, width)` of all pictures of these settings; None where each has its own."""
    if config.IMAGE_RESIZE_MODE in ("square", "crop"):
        return tuple(int(side) for side in config.IMAGE_SHAPE[:2])
    return None


def convert(model, sides=None, by_winograd=False):
    """An OpenVINO model of a Keras model on TensorFlow, in float32 and for one picture.

    Args:
        model: Keras model.
        sides: `(height, width)` of the pictures that the model takes. None for any: a network as
            deep as ResNet-101 takes a fifth more memory then, and with Winograd's algorithm six
            times as long to compile.
        by_winograd: compute 3x3 convolutions by Winograd's algorithm, see `mrcnn.layers.winograd`.
            The model then has one more input, "kernel_basis", for `KERNEL_BASIS`.
    """
    import tensorflow as tf

    ov = import_openvino()

    shapes = [(1, *(sides or x.shape[1:-1]), x.shape[-1]) for x in model.inputs]
    signature = [
        tf.TensorSpec(shape, x.dtype, name=f"input_{i}")
        for i, (x, shape) in enumerate(zip(model.inputs, shapes))
    ]
    if by_winograd:
        signature.append(tf.TensorSpec(KERNEL_BASIS.shape, "float32", name=_KERNEL_BASIS))

    def run(*inputs):
        count = len(model.inputs)
        with winograd(by_winograd, *inputs[count:]):
            return model(list(inputs[:count]), training=False)

    function = tf.function(run, autograph=False).get_concrete_function(*signature)
    converted = ov.convert_model(function, share_weights=False)
    # Inputs come in any order, and without one that no layer asked for.
    given = {name: tensor.node for tensor in converted.inputs for name in tensor.names}
    parameters = [given[spec.name] for spec in signature if spec.name in given]
    # Loose ends of the shape arithmetic come as further outputs.
    outputs = [converted.output(tensor.name) for tensor in function.outputs]
    outputs = [output.node.input_value(0) for output in outputs]
    converted = ov.Model(outputs, parameters, model.name)
    drop_transpose_pairs(converted)
    return converted


def drop_transpose_pairs(model):
    """Bypass transposes that undo the one before, in place.

    TensorFlow keeps channels last and OpenVINO's convolutions take them first, so the conversion
    transposes around each of them. Pairs that cancel are dropped when the model is compiled, but
    not where the map between them is an output as well: each level of the pyramid, 67 MB of P2
    alone, would then be moved three times.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Transpose":
            continue
        before = node.input_value(0).get_node()
        if before.get_type_name() != "Transpose":
            continue
        orders = [op.input_value(1).get_node() for op in (before, node)]
        if any(order.get_type_name() != "Constant" for order in orders):
            continue
        first, second = (order.get_data() for order in orders)
        if (first[second] == np.arange(len(first))).all():
            node.output(0).replace(before.input_value(0))


def save(models: dict[str, Any], folder: Path) -> None:
    """Write OpenVINO models to `<name>.xml` and `<name>.bin`."""
    ov = import_openvino()

    for name, model in models.items():
        try:
            ov.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
        except RuntimeError as error:  # a full disk, in OpenVINO's words
            raise OSError(str(error)) from error


def _threads():
    """Threads by the variable that other numeric libraries follow; None leaves it to OpenVINO."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None
