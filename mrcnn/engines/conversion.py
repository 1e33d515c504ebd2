"""Conversion of Keras models on TensorFlow to OpenVINO models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.engines.base import Tensor
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.layers.winograd_basis import KERNEL_BASIS

# The input of converted models that takes `KERNEL_BASIS`.
KERNEL_BASIS_INPUT = "kernel_basis"
# Settings that neither the pieces of a network nor their weights depend on.
_IRRELEVANT = ("NAME", "BATCH_SIZE", "IMAGES_PER_GPU", "GPU_COUNT")
_IRRELEVANT_PREFIXES = ("DETECTION_", "LEARNING_", "TRAIN_ROI", "STEPS_", "VALIDATION_", "LOSS_")


def is_cacheable(config: Any) -> bool:
    """Return whether the settings determine the network.

    A function of the user's as `BACKBONE` may change under the same name.
    """
    return not callable(config.BACKBONE)


def network_settings(config: Any) -> dict[str, Any]:
    """Return the settings that the network or its weights may depend on, as JSON holds them."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in _IRRELEVANT and not name.startswith(_IRRELEVANT_PREFIXES)
    }


def fixed_sides(config: Any) -> tuple[int, int] | None:
    """Return `(height, width)` of all molded images; None where each image has its own."""
    if config.IMAGE_RESIZE_MODE in ("square", "crop"):
        height, width = config.IMAGE_SHAPE[:2]
        return int(height), int(width)
    return None


def convert(
    model: Any,
    sides: tuple[int, int] | None = None,
    by_winograd: bool = False,
    batch: int = 1,
) -> Any:
    """Return the OpenVINO model of a Keras model, in float32 and for a batch of one size.

    Args:
        model: Keras model.
        sides: `(height, width)` of the images that the model takes. None for any: a network as
            deep as ResNet-101 then takes a fifth more memory, and with Winograd's algorithm six
            times as long to compile.
        by_winograd: compute 3x3 convolutions by Winograd's algorithm, see `mrcnn.layers.winograd`.
            The model then has one more input, "kernel_basis", for `KERNEL_BASIS`.
        batch: number of images in a batch.
    """
    import tensorflow as tf

    from mrcnn.layers.winograd import winograd

    ov = import_openvino()
    shapes = [(batch, *(sides or x.shape[1:-1]), x.shape[-1]) for x in model.inputs]
    signature = [
        tf.TensorSpec(shape, x.dtype, name=f"input_{i}")
        for i, (x, shape) in enumerate(zip(model.inputs, shapes))
    ]
    if by_winograd:
        signature.append(tf.TensorSpec(KERNEL_BASIS.shape, "float32", name=KERNEL_BASIS_INPUT))

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        count = len(model.inputs)
        with winograd(by_winograd, *inputs[count:]):
            return model(list(inputs[:count]), training=False)

    function = tf.function(run, autograph=False).get_concrete_function(*signature)
    converted = read_function(function)
    # The inputs are in any order, and those that no layer uses are missing.
    given = {name: tensor.node for tensor in converted.inputs for name in tensor.names}
    parameters = [given[spec.name] for spec in signature if spec.name in given]
    # Unused results of the shape arithmetic appear as further outputs.
    outputs = [converted.output(tensor.name) for tensor in function.outputs]
    outputs = [output.node.input_value(0) for output in outputs]
    converted = ov.Model(outputs, parameters, model.name)
    drop_transpose_pairs(converted)
    return converted


def read_function(function: Any) -> Any:
    """Return the OpenVINO model of a concrete function of TensorFlow.

    These are the steps of `openvino.convert_model` without its search for the framework, which
    runs `exec("del tensorflow")` and so raises NameError on Python 3.13, where `exec` no longer
    changes a function's variables (PEP 667).

    Args:
        function: `tf.types.experimental.ConcreteFunction`.

    Returns:
        `openvino.Model` with its own copy of the weights.
    """
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.utils import create_tf_graph_iterator

    frontend = FrontEndManager().load_by_framework("tf")
    graph = create_tf_graph_iterator(function, None, None, None, share_weights=False)
    model = frontend.convert(frontend.load(graph, False))
    apply_moc_transformations(model, cf=False, smart_reshape=True)
    _flatten_batched_gathers(model)
    return model


def _flatten_batched_gathers(model: Any) -> None:
    """Replace every `Gather` along axis 1 of a batch by one along axis 0, in place.

    Where shapes are known and rows have 8 to 64 bytes, such as boxes, OpenVINO's own computation
    for a batch writes wrong elements or ends the process on CPUs with AVX-512 (seen with 2025.4.1,
    2026.2.1 and 2026.4.1; openvinotoolkit/openvino#35422 describes a fault like it). The indices
    must be 0 or greater.
    """
    import_openvino()
    from openvino import opset13 as ops

    zero, one = (ops.constant(np.int32(number)) for number in (0, 1))
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gather" or node.get_attributes()["batch_dims"] != 1:
            continue
        values, indices, axis = (node.input_value(i) for i in range(3))
        if axis.get_node().get_type_name() != "Constant" or axis.get_node().get_data() != 1:
            continue
        shape = ops.shape_of(values, "i32")
        batch, length = (ops.gather(shape, number, zero) for number in (zero, one))
        rank = values.get_partial_shape().rank.get_length()
        row_shape = ops.gather(shape, ops.constant(np.arange(2, rank, dtype=np.int32)), zero)
        flat_shape = ops.concat([ops.constant(np.array([-1], np.int32)), row_shape], 0)
        first_rows = ops.multiply(ops.range(zero, batch, one, "i32"), length)
        index_rank = indices.get_partial_shape().rank.get_length()
        new_axes = ops.constant(np.arange(1, index_rank, dtype=np.int32))
        rows = ops.add(ops.convert(indices, "i32"), ops.unsqueeze(first_rows, new_axes))
        taken = ops.gather(ops.reshape(values, flat_shape, False), rows, zero)
        taken.output(0).get_tensor().set_names(node.output(0).get_tensor().get_names())
        node.output(0).replace(taken.output(0))


def drop_transpose_pairs(model: Any) -> None:
    """Bypass transposes that undo the one before, in place.

    TensorFlow keeps channels last and OpenVINO's convolutions take them first, so the conversion
    transposes around each of them. Compilation drops pairs that cancel, but not where the map
    between them is an output as well: each level of the pyramid, 67 MB of P2 alone, would then be
    moved three times.
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
    """Write OpenVINO models to `<name>.xml` and `<name>.bin`.

    Raises:
        OSError: a file cannot be written.
    """
    ov = import_openvino()
    for name, model in models.items():
        try:
            ov.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO's for a full disk
            raise OSError(str(error)) from error
