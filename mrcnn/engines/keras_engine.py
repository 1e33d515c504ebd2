"""Run the inference graph with Keras on TensorFlow, JAX or torch."""

import keras
import numpy as np
from keras import ops

from mrcnn import graphs


def compiled(model):
    """A fast function of a Keras model in inference mode: list of arrays in, tensors out.

    Unlike `predict` it leaves the outputs where they are: the pyramid, some 90 MB for a picture of
    1024 x 1024, need not travel through NumPy between two graphs.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # One trace serves every picture size, batch and number of boxes. Without AutoGraph, which
        # would only look for Python loops in what has none, for half a second; Keras, too, leaves
        # layers alone in `predict`.
        signature = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
        run = tf.function(
            lambda *inputs: model(inputs, training=False),
            input_signature=signature,
            autograph=False,
        )
        # Tensors: with tf.config.run_functions_eagerly Keras takes no mixture with arrays.
        return lambda inputs: run(*map(tf.convert_to_tensor, inputs))
    if backend == "jax":
        import jax

        # Not `stateless_call`, which wants the variables sorted by what is being trained; to ask
        # Keras for that list at every call takes milliseconds.
        variables = list(model.variables)

        @jax.jit
        def run(values, inputs):
            with keras.StatelessScope(state_mapping=zip(variables, values)):
                return model(inputs, training=False)

        return lambda inputs: run([v.value for v in variables], inputs)
    import torch

    def call(inputs):
        with torch.no_grad():
            return model([ops.convert_to_tensor(x) for x in inputs], training=False)

    return call


class KerasEngine:
    """The two steps of detection on the weights of a `SharedLayers`.

    Args:
        shared: `mrcnn.graphs.SharedLayers`. Its current weights are used at every call, so a model
            that is being trained can detect at any time.
    """

    name = "keras"

    def __init__(self, shared):
        self._detect = compiled(graphs.detection_graph(shared))
        self._masks = compiled(graphs.mask_graph(shared))
        self._mask_shape = tuple(shared.config.MASK_SHAPE)
        self.precision = shared.config.PRECISION

    def __str__(self):
        return f"Keras on {keras.backend.backend()}, {self.precision}"

    def run(self, images, image_metas, anchors):
        """Detections and their masks.

        Args:
            images: `[batch, height, width, channels]` float32, mean subtracted.
            image_metas: `[batch, 12 + num_classes]`.
            anchors: `[anchors, (y1, x1, y2, x2)]` normalised.

        Returns:
            detections: `[batch, DETECTION_MAX_INSTANCES, (y1, x1, y2, x2, class_id, score)]`
                float32, boxes normalised, zero rows after the last.
            masks: `[batch, most detections of a picture, mask height, mask width]` float32
                probabilities of each detection's class.
        """
        image_metas = np.asarray(image_metas, np.float32)
        anchors = np.broadcast_to(np.asarray(anchors, np.float32), (len(images), *anchors.shape))
        detections, *pyramid = self._detect([images, image_metas, anchors])
        detections = ops.convert_to_numpy(detections)
        count = most_detections(detections)
        if count == 0:
            return detections, np.zeros((len(images), 0, *self._mask_shape), np.float32)
        rows = _round_up(count, detections.shape[1])
        masks = self._masks([detections[:, :rows], image_metas, *pyramid])
        return detections, ops.convert_to_numpy(masks)[:, :count]


def most_detections(detections):
    """The number of detections in the picture that has most; `[batch, N, 6]`, zero rows last."""
    return int((detections[..., 4] > 0).sum(axis=1).max(initial=0))


def _round_up(count, limit):
    """JAX compiles anew for every shape, so there the mask head runs on 1, 2, 4, 8, ... boxes."""
    if keras.backend.backend() != "jax":
        return count
    return min(1 << (count - 1).bit_length(), limit)
