"""The converted network of a weight file, found in the cache without building the Keras model.

`OpenVINOEngine` stores converted networks under a key of the weights' values, which are known when
the Keras model is built. An entry here leads from a weight file and all else that determines those
values to that key, so that the next start needs neither Keras nor its backend.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn import __version__
from mrcnn.engines import conversion, model_cache
from mrcnn.engines.base import Engine
from mrcnn.engines.compiled_network import CompiledNetwork, computes_in_float32
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.signal_stack import kept_signal_stack
from mrcnn.files.fetch import file_digest
from mrcnn.files.names import printable
from mrcnn.startup.backend import keras_settings

# The libraries that build and convert the network; a name for each way to install them.
_PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "tf-nightly", "numpy", "h5py")
# The defaults of Keras's own settings.
_KERAS_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


class StoredNetwork:
    """The converted network of a weight file, if an earlier start has left it in the cache.

    Args:
        weights: the weight file; it must hold all weights of the network.
        config: settings of the model.
        precision: "float32" or "bfloat16".

    Attributes:
        weights: as given.
        config: as given.
        precision: as given.
        folder: where the network is; None before `find` has found it.
        values_digest: digest of the weights in the Keras model, by `weights_watch.values_digest`;
            None before `find` has found the network.
    """

    def __init__(self, weights: str | os.PathLike[str], config: Any, precision: str) -> None:
        self.weights = Path(weights)
        self.config = config
        self.precision = precision
        self.folder: Path | None = None
        self.values_digest: str | None = None
        self._digest = file_digest(weights, "sha256")
        # Of everything that the network in the file and its conversion depend on.
        in_float32 = computes_in_float32(precision)
        settings = conversion.network_settings(config)
        self._key = model_cache.cache_key(
            "weight file", self._digest, settings, in_float32, environment()
        )

    def find(self) -> bool:
        """Look for the network in the cache; return whether it is there, as `folder`."""
        self.folder = None
        if not conversion.is_cacheable(self.config):
            return False
        entry = model_cache.find_entry(self._key)
        network_key = None if entry is None else entry[1].get("network")
        network = model_cache.find_entry(network_key) if isinstance(network_key, str) else None
        if entry is None or network is None:
            return False
        self.folder = network[0]
        self.values_digest = entry[1].get("values")
        return True

    def remember(self, network_key: str, values_digest: str) -> None:
        """Let later starts find the network that is stored under a key of its weights.

        Args:
            network_key: the key.
            values_digest: the digest of the Keras model's weights.
        """
        note = {"network": network_key, "values": values_digest}
        model_cache.store(self._key, lambda folder: None, note)

    def check_file(self) -> None:
        """Raise ValueError if the weight file is another one by now."""
        if not self.weights.is_file() or file_digest(self.weights, "sha256") != self._digest:
            raise ValueError(
                f"{printable(self.weights)} has changed since the model was loaded; it must stay "
                "as it was until its Keras model is built: load the model again"
            )


class StoredEngine(CompiledNetwork):
    """The two steps of detection with a converted network from the cache.

    Args:
        stored: the network, found in the cache.
        build: returns an engine on the Keras model, for images of another size than the network's.

    Raises:
        OSError: a file cannot be read.
        RuntimeError: OpenVINO does not accept the network.
    """

    def __init__(self, stored: StoredNetwork, build: Callable[[], Engine]) -> None:
        super().__init__(stored.config, stored.precision)
        if stored.folder is None:
            raise FileNotFoundError("the network is not in the cache")
        self._build = build
        self._compile(self._read(stored.folder))

    def _make_ready(self) -> None:
        """Do nothing: the network is compiled."""

    def run(
        self, images: np.ndarray, image_metas: np.ndarray, anchors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the detections of a batch of images and their masks; see `Engine.run`."""
        if self._sides not in (None, tuple(images.shape[1:3])):
            return self._build().run(images, image_metas, anchors)
        return super().run(images, image_metas, anchors)


@functools.cache
def environment() -> dict[str, Any]:
    """Return what converted networks depend on besides a file and its settings, as JSON holds it.

    These are the code of this package, the versions of the libraries, the settings of Keras and
    the CPU.
    """
    ov = import_openvino()
    settings = keras_settings()
    return {
        "mrcnn": __version__,
        "source": model_cache.source_digest(),
        "openvino": ov.__version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "keras": {name: settings.get(name, value) for name, value in _KERAS_SETTINGS.items()},
        "cpu": _cpu_name(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@kept_signal_stack()
def _cpu_name() -> str:
    return str(import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))
