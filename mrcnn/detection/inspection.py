"""Inner tensors of a Keras model by the names of TensorFlow 1's graph, and their values.

Operations inside of a layer have no tensors of their own in Keras 3. Those that the notebooks of
Matterport's package look at are computed by a further layer on the same inputs.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.layers.proposals import ProposalLayer, ProposalSteps
from mrcnn.layers.types import Tensor

_STEPS = ("pre_nms_anchors", "refined_anchors", "refined_anchors_clipped")
# TensorFlow 1.3 had no second part; later versions call the operation V2, V3, ...
_SUPPRESSION = re.compile(
    r"(?:rpn_non_max_suppression|rpn_nms_keep)(?:_(?P<image>\d+))?(?:/NonMaxSuppressionV?\d*)?"
)
_PROPOSAL_NAMES = (*_STEPS, "top_anchors:1", "rpn_non_max_suppression/NonMaxSuppressionV3")


def ancestor(tensor: Tensor, name: str) -> Tensor:
    """Find a tensor that another was computed from.

    Args:
        tensor: output of a layer of a functional model.
        name: name of a layer (`ROI`), of one of its outputs (`ROI:0`), or of an inner tensor as
            TensorFlow 1 named it (`ROI/pre_nms_anchors:0`).

    Returns:
        The `KerasTensor`, a list of them for a layer of several outputs, or None if `tensor` does
        not depend on a layer of this name.

    Raises:
        ValueError: the layer has no known inner tensor of this name.
    """
    path, _, index = name.partition(":")
    layer_name, _, inner = path.partition("/")
    node = _find_node(tensor, layer_name)
    if node is None:
        return None
    if not inner:
        outputs = node.outputs
        if index.isdecimal() and int(index) < len(outputs):
            return outputs[int(index)]
        return outputs if len(outputs) > 1 else outputs[0]
    if isinstance(node.operation, keras.layers.Identity):  # `ROI` with JOINT_SCORES
        operation, node_index, _ = node.input_tensors[0]._keras_history
        node = operation._inbound_nodes[node_index]
    known: Sequence[str] = ()
    if isinstance(node.operation, ProposalLayer):
        found = _step(node, inner, index or "0")
        if found is not None:
            return found
        known = _PROPOSAL_NAMES
    elif inner in _output_operations(node.operation):
        return node.outputs[0]
    names = ", ".join(repr(f"{layer_name}/{one}") for one in known)
    raise ValueError(
        f"name is {name!r}; it must be {layer_name!r} for the output of this layer"
        + (
            f", or one of its inner tensors {names}"
            if names
            else ", of which no inner tensor is known"
        )
    )


def _find_node(tensor: Tensor, layer_name: str) -> Any:
    """Return the node of the layer's call that `tensor` depends on, None without one."""
    seen = set()
    waiting = [tensor]
    while waiting:
        operation, node_index, _ = waiting.pop()._keras_history
        node = operation._inbound_nodes[node_index]
        if operation.name == layer_name:
            return node
        if node not in seen:
            seen.add(node)
            waiting.extend(node.input_tensors)
    return None


def _step(node: Any, inner: str, index: str) -> Tensor:
    """Return an inner tensor of a `ProposalLayer`, None for an unknown name."""
    suppression = _SUPPRESSION.fullmatch(inner)
    is_step = (inner in _STEPS and index == "0") or (inner, index) == ("top_anchors", "1")
    if not (is_step or (suppression and index == "0")):
        return None
    # Without a name, so that Keras makes one for each call: a model needs different ones.
    config = node.operation.get_config()
    del config["name"]
    steps = ProposalSteps.from_config(config)(list(node.input_tensors))
    if suppression is None:
        return steps[inner]
    rows = steps["rpn_non_max_suppression"]
    return KeptRows(int(suppression["image"] or 0), dtype="int32")(rows)


def _output_operations(layer: Any) -> set[str]:
    """Return the names that TensorFlow 1 gave to the operation of a plain layer's output."""
    if isinstance(layer, keras.layers.Concatenate):
        return {"concat"}
    if isinstance(layer, keras.layers.Add):
        return {"add"}
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if activation == "linear" and getattr(layer, "use_bias", False):
        return {"BiasAdd"}
    return {activation.capitalize()} if activation in ("relu", "sigmoid", "softmax") else set()


class KeptRows(keras.layers.Layer):
    """The rows of one image of a batch that suppression kept, without the padding of -1.

    Call with `[batch, N]` int32; returns `[n]` int32.

    Args:
        image: number of the image in the batch.
        **kwargs: as for `keras.layers.Layer`.
    """

    def __init__(self, image: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image = image

    def call(self, inputs: Tensor) -> Tensor:
        """Return the rows that are not negative; they come first."""
        rows = inputs[self.image]
        return rows[: ops.sum(ops.cast(rows >= 0, "int32"))]

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        """Return the shape `[None]`: the number of rows depends on the image."""
        return keras.KerasTensor((None,), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "image": self.image}


def check_outputs(outputs: Iterable[tuple[str, Tensor]]) -> None:
    """Raise ValueError for an output that is None."""
    for name, tensor in outputs:
        if tensor is None:
            raise ValueError(f"output {name!r} is None; it must be a tensor of keras_model")


def compute(
    model: keras.Model, inputs: Sequence[Any], outputs: Sequence[tuple[str, Tensor]]
) -> OrderedDict[str, Any]:
    """Compute tensors of a model from arrays for its inputs.

    Args:
        model: functional model.
        inputs: arrays for the inputs of the model.
        outputs: `(name, tensor)` pairs.

    Returns:
        NumPy arrays by name, in the order of `outputs`.
    """
    # Without tracing, which would take longer than this one run.
    values = keras.Model(model.inputs, dict(outputs))(list(inputs), training=False)
    return OrderedDict((name, ops.convert_to_numpy(values[name])) for name, _ in outputs)
