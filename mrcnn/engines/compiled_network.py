"""Run converted networks with OpenVINO, without the deep learning library they come from."""

from __future__ import annotations

import functools
import mmap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.engines.base import ALIGNERS, NETWORKS, Tensor, max_detections
from mrcnn.engines.box_arithmetic import BoxArithmetic
from mrcnn.engines.conversion import KERNEL_BASIS_INPUT, fixed_sides
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.geometry.anchors import compute_backbone_shapes, roi_levels_of
from mrcnn.layers.winograd_basis import KERNEL_BASIS
from mrcnn.startup.threads import requested_threads

PRECISIONS = ("float32", "bfloat16", "int8")
# Boxes that are classified at a time: the features of a thousand, four times over in ROIAlign, took
# a quarter of a gigabyte.
_BOXES_AT_A_TIME = 256
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
# The table of the pyramid and the sizes of its levels, see `pieces.align_piece`.
_Pyramid = tuple[Tensor, np.ndarray]


@functools.cache
@kept_signal_stack()
def has_bfloat16() -> bool:
    """Return whether this CPU multiplies in bfloat16 (AMX or AVX-512 BF16)."""
    ov = import_openvino()
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def computes_in_float32(precision: str) -> bool:
    """Return whether the networks of a precision are float32 ones on this CPU."""
    return precision == "float32" or (precision == "bfloat16" and not has_bfloat16())


def compile_network(core: Any, model: Any, hint: str) -> Any:
    """Return an infer request of an OpenVINO model on the CPU.

    Args:
        core: `openvino.Core`.
        model: `openvino.Model`.
        hint: what it computes in: "f32" or "bf16".
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
    }
    if threads := requested_threads():
        settings["INFERENCE_NUM_THREADS"] = threads
    return core.compile_model(model, "CPU", settings).create_infer_request()


def pyramid_sizes(config: Any, image_shape: Sequence[int]) -> np.ndarray:
    """Return the `sizes` that `pieces.align_piece` takes, `[1, levels, (height, width)]` int32.

    Args:
        config: `Config`.
        image_shape: `(height, width, ...)` of the molded image.
    """
    shapes = compute_backbone_shapes(config, image_shape)[roi_levels_of(config)]
    return shapes[None].astype(np.int32)


class CompiledNetwork:
    """The two steps of detection with the pieces of a network, see `mrcnn.engines.pieces`.

    A subclass says where the pieces come from: it passes them to `_compile`.

    Args:
        config: `Config`. Later changes of it have no effect.
        precision: "float32", "bfloat16" or "int8", of the networks between the boxes.

    Raises:
        ValueError: another precision.
    """

    name = "openvino"

    def __init__(self, config: Any, precision: str) -> None:
        if precision not in PRECISIONS:
            raise ValueError(
                f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}"
            )
        self.precision = precision
        # Winograd's algorithm is for float32: 16 bits round too much, and int8 needs convolutions.
        self._in_float32 = computes_in_float32(precision)
        self._config = config
        self._sides = fixed_sides(config)
        self._mask_shape = tuple(config.MASK_SHAPE)
        self._has_masks = bool(config.USE_MASK)
        # Without a mask head two pieces are missing.
        names = (*NETWORKS, *ALIGNERS)
        self._converted = [n for n in names if self._has_masks or not n.startswith("mask")]
        self._boxes = BoxArithmetic(config)
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
            self._make_ready()
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
        """Do now what would otherwise be done at the first call of `run`."""
        with self._lock:
            self._make_ready()

    def _make_ready(self) -> None:
        """Compile the pieces unless they are compiled."""
        raise NotImplementedError

    def _trunk_for(self, image: np.ndarray) -> str:
        """Return the name of the trunk that takes images of this size."""
        del image
        return "trunk"

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
        anchors = np.asarray(anchors, np.float32)
        table, rpn_class, rpn_bbox = self._infer(self._trunk_for(image), image)
        pyramid = table, pyramid_sizes(self._config, image.shape[1:])
        rois, scores = self._boxes.proposals(rpn_class.data[0], rpn_bbox.data[0], anchors)
        classified = []
        for i in range(0, len(rois), _BOXES_AT_A_TIME):
            some = rois[None, i : i + _BOXES_AT_A_TIME]
            (pooled,) = self._infer("classifier_align", some, image_meta, *pyramid)
            if on_features:
                on_features(pooled.data)
            classified.append([output.data.copy() for output in self._infer("classifier", pooled)])
        probabilities, deltas = (np.concatenate(parts, axis=1)[0] for parts in zip(*classified))
        detections = self._boxes.detections(rois, scores, probabilities, deltas, image_meta[0])
        return detections[None], pyramid

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
            hint = "f32" if name in ALIGNERS else _HINTS[self.precision]
            request = compile_network(core, model, hint)
            if any(KERNEL_BASIS_INPUT in tensor.names for tensor in model.inputs):
                request.set_tensor(KERNEL_BASIS_INPUT, ov.Tensor(KERNEL_BASIS))
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
