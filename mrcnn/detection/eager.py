"""Leaving TensorFlow's graph mode."""

from __future__ import annotations

import contextlib
import sys
from contextlib import AbstractContextManager

from mrcnn.startup.backend import backend_name


def eager_mode() -> AbstractContextManager[object]:
    """Return a context in which TensorFlow computes eagerly, also inside of a `tf.Graph`.

    Scripts written for TensorFlow 1 call `detect` inside of `with graph.as_default():`, where the
    functions of TensorFlow 2 would return symbolic tensors. Without TensorFlow, and where it
    computes eagerly, the context does nothing.
    """
    tf = sys.modules.get("tensorflow")
    if tf is None or backend_name() != "tensorflow" or tf.executing_eagerly():
        return contextlib.nullcontext()
    # `tf.init_scope` leaves functions that are traced, but no `tf.Graph`.
    return tf.__internal__.eager_context.eager_mode()
