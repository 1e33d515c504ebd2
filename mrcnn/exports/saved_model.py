"""TensorFlow's SavedModel, as TensorFlow Serving takes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.exports.formats import INPUT, RunnerBase
from mrcnn.files.atomic import write_text

if TYPE_CHECKING:
    from mrcnn.exports.graph import ExportGraph

# The signature that TensorFlow Serving calls by default.
SIGNATURE = "serving_default"
# TensorFlow leaves this folder of a SavedModel to its users.
_DESCRIPTION = "assets.extra/mrcnn.json"


def write(graph: ExportGraph, path: Path, description: str, half: bool) -> None:
    """Write the folder `path`; the weights of `graph` are in float16 already where `half` is."""
    import tensorflow as tf

    del half
    # TensorFlow itself runs it, so the faster operations that only TensorFlow has are used.
    function = graph.function(portable=False)
    tf.saved_model.save(graph.module, str(path), signatures={SIGNATURE: function})
    write_text(path / _DESCRIPTION, description)


class Runner(RunnerBase):
    """Runs an export of this format.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self._tf = tf
        self._loaded = tf.saved_model.load(str(path))  # its signatures do not keep it alive
        self._function = self._loaded.signatures[SIGNATURE]
        self.description = (path / _DESCRIPTION).read_text(encoding="utf-8")
        self.version = f"TensorFlow {tf.__version__}"

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for images `[batch, height, width, channels]` uint8."""
        outputs = self._function(**{INPUT: self._tf.constant(images)})
        return {name: value.numpy() for name, value in outputs.items()}
