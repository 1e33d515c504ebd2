"""Run the inference graph with Keras on TensorFlow, JAX or torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrcnn import graphs
from mrcnn.engines.base import Tensor, max_detections

_Function = Callable[[Sequence[Tensor]], Any]


def compile_inference(model: keras.Model) -> _Function:
    """Return a fast function of a Keras model in inference mode: list of arrays in, tensors out.

    Unlike `predict` it leaves the outputs on the device: the pyramid, some 90 MB for an image of
    1024 x 1024, need not travel through NumPy between two graphs.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _compile_tensorflow(model)
    if backend == "jax":
        return _compile_jax(model)
    import torch

    def call(inputs: Sequence[Tensor]) -> Any:
        with torch.no_grad():
            return model([ops.convert_to_tensor(x) for x in inputs], training=False)

    return call


def _compile_tensorflow(model: keras.Model) -> _Function:
    import tensorflow as tf

    # One trace serves every image size, batch and number of boxes. AutoGraph would search for
    # Python loops, of which there are none, for half a second; Keras disables it in `predict` too.
    signature = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    run = tf.function(
        lambda *inputs: model(inputs, training=False),
        input_signature=signature,
        autograph=False,
    )
    # Tensors: with tf.config.run_functions_eagerly Keras accepts no mixture with arrays.
    return lambda inputs: run(*map(tf.convert_to_tensor, inputs))


def _compile_jax(model: keras.Model) -> _Function:
    import jax

    # Not `stateless_call`, which takes the variables sorted by whether they are trainable; Keras
    # needs milliseconds to make that list at every call.
    variables = list(model.variables)

    @jax.jit
    def run(values: Sequence[Tensor], inputs: Sequence[Tensor]) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values)):
            return model(inputs, training=False)

    return lambda inputs: run([_local(v.value) for v in variables], inputs)


def _local(value: Any) -> Any:
    """Return the copy on this host of a weight that lies on several hosts.

    With it, a host computes alone.
    """
    return value if value.is_fully_addressable else value.addressable_data(0)


class KerasEngine:
    """The two steps of detection on the weights of a `SharedLayers`.

    Args:
        shared: `mrcnn.graphs.SharedLayers`. Its current weights are used at every call, so a model
            that is being trained can detect at any time.
    """

    name = "keras"

    def __init__(self, shared: Any) -> None:
        self._detect = compile_inference(graphs.detection_graph(shared))
        self._masks: _Function | None = None
        if shared.mask is not None:
            self._masks = compile_inference(graphs.mask_graph(shared))
        self._has_rpn = bool(shared.rpn)
        self._mask_shape = tuple(shared.config.MASK_SHAPE)
        self.precision: str = shared.config.PRECISION

    def __str__(self) -> str:
        return f"Keras on {keras.backend.backend()}, {self.precision}"

    def prepare(self) -> None:
        """Do nothing: Keras compiles at the first call of `run`."""

    def run(
        self, images: Any, image_metas: np.ndarray, anchors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the detections of a batch of images and their masks; see `Engine.run`."""
        image_metas = np.asarray(image_metas, np.float32)
        anchors = np.asarray(anchors, np.float32)
        if self._has_rpn:
            anchors = np.broadcast_to(anchors, (len(images), *anchors.shape))
        else:
            missing = _padded_count(anchors.shape[1], 2 * anchors.shape[1]) - anchors.shape[1]
            anchors = np.pad(anchors, ((0, 0), (0, missing), (0, 0)))
        outputs = self._detect([images, image_metas, anchors])
        detections, *pyramid = outputs if isinstance(outputs, list | tuple) else [outputs]
        detections = ops.convert_to_numpy(detections)
        if self._masks is None:
            return detections, None
        count = max_detections(detections)
        if count == 0:
            return detections, np.zeros((len(images), 0, *self._mask_shape), np.float32)
        rows = _padded_count(count, detections.shape[1])
        masks = self._masks([detections[:, :rows], image_metas, *pyramid])
        return detections, ops.convert_to_numpy(masks)[:, :count]


def _padded_count(count: int, limit: int) -> int:
    """Return the number of boxes to run a head on.

    JAX compiles for every new shape, so there it is 1, 2, 4, 8, ... boxes.
    """
    if keras.backend.backend() != "jax":
        return count
    return min(1 << (count - 1).bit_length(), limit)
