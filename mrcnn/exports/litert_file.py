"""LiteRT files (formerly TensorFlow Lite), for phones and small computers."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.exports.formats import INPUT, RunnerBase
from mrcnn.startup.threads import requested_threads

if TYPE_CHECKING:
    from mrcnn.exports.graph import ExportGraph

_SIGNATURE = "serving_default"
# Files that belong to a model are a ZIP archive behind it, as LiteRT's metadata has them.
_DESCRIPTION = "mrcnn.json"


def write(graph: ExportGraph, path: Path, description: str, half: bool) -> None:
    """Write the file `path`."""
    import tensorflow as tf

    function = graph.function(portable=True).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], graph.module)
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_DESCRIPTION, description)


class Runner(RunnerBase):
    """Runs an export of this format.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        threads = requested_threads() or os.cpu_count() or 1
        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._lock = threading.Lock()
        self._function = self._interpreter.get_signature_runner(_SIGNATURE)
        self.description = None
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if _DESCRIPTION in archive.namelist():
                    self.description = archive.read(_DESCRIPTION).decode("utf-8")
        self.version = f"LiteRT {ai_edge_litert.__version__}"

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for images `[batch, height, width, channels]` uint8."""
        with self._lock:  # an interpreter computes one call at a time
            return dict(self._function(**{INPUT: images}))
