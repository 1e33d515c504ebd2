"""Networks of one input and one output, such as those that refine masks, with OpenVINO.

They belong to a file. The converted networks are kept on disk under its digest, so that the next
start needs no deep learning library.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.engines import conversion, model_cache
from mrcnn.engines.compiled_network import compile_network, has_bfloat16
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.engines.stored_network import environment
from mrcnn.files.fetch import file_digest
from mrcnn.files.names import printable


class PatchNetwork:
    """One network, compiled for each precision that it is asked for.

    Args:
        model: OpenVINO model with one input and one output.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._requests: dict[str, Any] = {}
        self._lock = threading.Lock()

    @kept_signal_stack()
    def prepare(self, precision: str = "float32") -> Callable[[np.ndarray], np.ndarray]:
        """Return the function of a batch, of the size that the network was converted for.

        Args:
            precision: "float32" or "bfloat16"; a CPU that does not multiply in the latter, and any
                other one, takes float32.
        """
        hint = "bf16" if precision == "bfloat16" and has_bfloat16() else "f32"
        with self._lock:
            if hint not in self._requests:
                core = import_openvino().Core()
                self._requests[hint] = compile_network(core, self._model, hint)
        return functools.partial(self._run, self._requests[hint])

    def _run(self, request: Any, patches: np.ndarray) -> np.ndarray:
        values = np.ascontiguousarray(patches, np.float32)
        with self._lock:
            request.set_input_tensor(import_openvino().Tensor(values, shared_memory=True))
            request.infer()
            return request.get_output_tensor().data.copy()


class NetworksFile:
    """A file with Keras networks, and the converted ones in the cache.

    Args:
        path: the file.
        sources: modules that build the networks, besides those of `model_cache.source_files`.
        batch: number of patches in a call of a network.
    """

    def __init__(self, path: Path, sources: Sequence[Path], batch: int) -> None:
        self._path = path
        self._batch = batch
        self._digest = file_digest(path, "sha256")
        code = [source.read_bytes() for source in sources]
        self._key = model_cache.cache_key("networks", self._digest, batch, environment(), *code)

    @kept_signal_stack()
    def find(self, count: int) -> list[PatchNetwork] | None:
        """Return the networks, `count` of them, from the cache; None where they are not there."""
        entry = model_cache.find_entry(self._key)
        if entry is None:
            return None
        core = import_openvino().Core()
        try:
            models = [core.read_model(str(entry[0] / f"network{i}.xml")) for i in range(count)]
            return [PatchNetwork(model) for model in models]
        except RuntimeError:  # written by another build of OpenVINO
            return None

    def convert(self, networks: Sequence[Any]) -> list[PatchNetwork]:
        """Convert the Keras networks of the file, keep them in the cache, and compile them."""
        models = {
            f"network{i}": conversion.convert(_with_list(network), batch=self._batch)
            for i, network in enumerate(networks)
        }
        model_cache.store(self._key, lambda folder: conversion.save(models, folder))
        return [PatchNetwork(model) for model in models.values()]

    def check(self) -> None:
        """Raise ValueError if the file is another one by now."""
        if not self._path.is_file() or file_digest(self._path, "sha256") != self._digest:
            raise ValueError(
                f"{printable(self._path)} has changed since it was loaded; it must stay as it was "
                "until its Keras networks are built: load it again"
            )


def _with_list(network: Any) -> Any:
    """Return a Keras model of one input as one that takes a list, as `conversion.convert` does."""
    import keras

    patches = keras.Input(network.inputs[0].shape[1:])
    return keras.Model([patches], network(patches), name=network.name)
