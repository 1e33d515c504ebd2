"""OpenVINO's files: NAME.xml with the graph and NAME.bin with the weights."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.exports.formats import OUTPUTS, RunnerBase
from mrcnn.files.names import printable
from mrcnn.startup.threads import requested_threads

if TYPE_CHECKING:
    from mrcnn.exports.graph import ExportGraph

_DESCRIPTION = ["mrcnn", "description"]
_MAX_INT32 = 2**31 - 1
# In which the first element of a file with a graph begins.
_HEAD_BYTES = 1000


def write(graph: ExportGraph, path: Path, description: str, half: bool) -> None:
    """Write `path` and the file of the weights; those of `graph` are in float16 where `half` is."""
    del half
    from mrcnn.engines.conversion import drop_transpose_pairs, read_function

    ov = import_openvino()
    # Otherwise OpenVINO 2026.4 loses a bias, see `OpenVINOEngine`.
    function = graph.function(portable=True, by_winograd=graph.rpn_suits_winograd)
    model = read_function(function.get_concrete_function())
    drop_transpose_pairs(model)
    _speed_up_top_k(model)
    model.set_rt_info(description, _DESCRIPTION)
    ov.save_model(model, str(path), compress_to_fp16=False)


def _speed_up_top_k(model: Any) -> None:
    """Replace every `TopK` along the last of two axes by a faster computation of the same.

    The conversion asks for a stable order of equal values, for which OpenVINO takes
    `count * length` steps: ten seconds for 6,000 of 260,000 anchors. Three sorts without that wish
    take milliseconds.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "TopK" or node.get_attributes()["mode"] != "max":
            continue
        shape = node.input_value(0).get_partial_shape()
        count = node.input_value(1).get_node()
        if shape.rank.get_length() != 2 or shape[1].is_dynamic:
            continue
        if count.get_type_name() != "Constant":
            continue
        length, rows = shape[1].get_length(), int(np.squeeze(count.get_data()))
        if length * rows > _MAX_INT32:
            continue
        values, order = _stable_top_k(node.input_value(0), length, rows)
        indices = node.output(1)
        for new, old in ((values, node.output(0)), (order, indices)):
            old.replace(new)


def _stable_top_k(values: Any, length: int, rows: int) -> tuple[Any, Any]:
    """Return the largest of `values [batch, length]` and their indices `[batch, rows]` int32.

    Equal values are in the order of their indices.
    """
    import_openvino()
    from openvino import opset13 as ops

    def top_k(x: Any) -> Any:
        return ops.topk(x, np.int32(rows), -1, "max", "value", "i32", False)

    def number(value: int) -> Any:
        return ops.constant(np.int32(value))

    def count_up(flags: Any) -> Any:
        return ops.cum_sum(ops.convert(flags, "i32"), number(1))

    best = top_k(values)
    largest, order = best.output(0), best.output(1)
    # Of the values equal to the last one, those of the lowest indices belong to the result.
    last = ops.gather(largest, ops.constant(np.array([rows - 1], np.int32)), number(1))
    index = ops.constant(np.arange(length, dtype=np.int32)[None])
    keys = ops.select(ops.equal(values, last), ops.subtract(number(length), index), number(0))
    equal = ops.subtract(number(length), top_k(keys).output(0))
    is_last = ops.equal(largest, last)
    place = ops.maximum(ops.subtract(count_up(is_last), number(1)), number(0))
    order = ops.select(is_last, ops.gather_elements(equal, place, 1), order)
    # Within each run of equal values, sort by index: run and index make one whole number.
    before = ops.gather(
        largest, ops.constant(np.maximum(np.arange(rows) - 1, 0).astype(np.int32)), number(1)
    )
    run = ops.multiply(count_up(ops.not_equal(largest, before)), number(length))
    keys = ops.negative(top_k(ops.negative(ops.add(run, order))).output(0))
    # The places of the runs are the same after it. FloorMod would compute in float32, which has no
    # whole numbers of this size.
    return largest, ops.subtract(keys, run).output(0)


def _check_files(path: Path) -> None:
    """Raise ValueError for a file that is no graph of OpenVINO, or lacks its weights.

    OpenVINO takes it for a file of other libraries then, whose readers write messages of their own.
    """
    with open(path, "rb") as file:
        if b"<net" not in file.read(_HEAD_BYTES):
            raise ValueError("it must begin with <net>")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ValueError(f"{printable(weights.name)} is missing; it must lie beside it")


class Runner(RunnerBase):
    """Runs an export of this format on the CPU.

    Args:
        path: the file NAME.xml.
    """

    @kept_signal_stack()
    def __init__(self, path: Path) -> None:
        ov = import_openvino()
        core = ov.Core()
        _check_files(path)
        model = core.read_model(str(path))
        self.description = None
        if model.has_rt_info(_DESCRIPTION):
            self.description = str(model.get_rt_info(_DESCRIPTION).astype(str))
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads := requested_threads():
            settings["INFERENCE_NUM_THREADS"] = threads
        self._compiled = core.compile_model(model, "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()
        self._outputs = {
            name: output
            for output in self._compiled.outputs
            for name in output.names.intersection(OUTPUTS)
        }
        self.version = f"OpenVINO {ov.__version__.split('-')[0]}"

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for images `[batch, height, width, channels]` uint8."""
        with self._lock:  # the request holds the outputs of one call at a time
            self._request.infer([images])
            return {
                name: self._request.get_tensor(output).data.copy()
                for name, output in self._outputs.items()
            }
