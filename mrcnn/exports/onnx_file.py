"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.exports.formats import INPUT, RunnerBase
from mrcnn.startup.logs import log_level
from mrcnn.startup.threads import requested_threads

if TYPE_CHECKING:
    from mrcnn.exports.graph import ExportGraph

OPSET = 17
_DESCRIPTION = "mrcnn"
# Read by tf2onnx when it converts.
_COPIES = "TF2ONNX_CATCH_ERRORS"
# Arrays of fewer values stay in float32.
_LEAST_HALF = 1024


def write(graph: ExportGraph, path: Path, description: str, half: bool) -> None:
    """Write the file `path`; the weights of `graph` are rounded to float16 where `half` is."""
    import onnx

    # ONNX Runtime computes a convolution as the direct sum.
    function = graph.function(portable=True, by_winograd=True)
    proto = convert(function, graph.signature)
    _clean(proto)
    if half:
        _store_in_half(proto)
    _name_axes(proto)
    onnx.helper.set_model_props(proto, {_DESCRIPTION: description})
    onnx.save(proto, str(path))


def convert(function: Any, signature: Any) -> Any:
    """Return the ONNX model of a TensorFlow function of one argument."""
    with log_level("tf2onnx", logging.ERROR):
        import tf2onnx

        options = {"input_signature": [signature], "opset": OPSET}
        try:
            with _without_copies():
                return tf2onnx.convert.from_function(function, **options)[0]
        except Exception:  # an optimization failed: with the copies, it is undone
            return tf2onnx.convert.from_function(function, **options)[0]


@contextlib.contextmanager
def _without_copies() -> Iterator[None]:
    """Let tf2onnx optimize a graph without a copy before each step: a sixth of the time."""
    before = os.environ.get(_COPIES)
    os.environ[_COPIES] = "FALSE"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_COPIES]
        else:
            os.environ[_COPIES] = before


def _clean(proto: Any) -> None:
    """Replace an attribute that ONNX Runtime warns about.

    The maps are enlarged by whole factors, where both modes look up the same cells.
    """
    for node in proto.graph.node:
        modes = {attribute.name: attribute for attribute in node.attribute}
        mode = modes.get("coordinate_transformation_mode")
        if node.op_type == "Resize" and mode is not None and mode.s == b"tf_half_pixel_for_nn":
            mode.s = b"asymmetric"
            modes["nearest_mode"].s = b"floor"


def _store_in_half(proto: Any) -> None:
    """Store the arrays that float16 holds exactly in it; casts to float32 follow them.

    These are the weights, which have been rounded; anchors and the like need float32. ONNX Runtime
    computes the casts when it loads the file.
    """
    import onnx

    casts = []
    for stored in proto.graph.initializer:
        if stored.data_type != onnx.TensorProto.FLOAT:
            continue
        value = onnx.numpy_helper.to_array(stored)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if value.size < _LEAST_HALF or (half.astype(np.float32) != value).any():
            continue
        name = stored.name
        stored.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}__half"))
        casts.append(
            onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _name_axes(proto: Any) -> None:
    """Name the axes whose length is free, and forget what was deduced about the outputs."""
    axes = {
        INPUT: ("batch", "height", "width"),
        "masks": ("batch", "detections"),
        "num_detections": ("batch",),
    }
    for value in (*proto.graph.input, *proto.graph.output):
        names = axes.get(value.name, ("batch", "detections"))
        for axis, name in zip(value.type.tensor_type.shape.dim, names):
            axis.dim_param = name


class Runner(RunnerBase):
    """Runs an export of this format.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        if threads := requested_threads():
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.description = self._session.get_modelmeta().custom_metadata_map.get(_DESCRIPTION)
        self.version = f"ONNX Runtime {onnxruntime.__version__}"

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for images `[batch, height, width, channels]` uint8."""
        return dict(zip(self._outputs, self._session.run(self._outputs, {INPUT: images})))
