"""A detector whose Keras model is built when it is first asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mrcnn.detection.detector import Detector
from mrcnn.engines.selection import announce, lowered_precision
from mrcnn.engines.weights_watch import WeightsWatch, values_digest

if TYPE_CHECKING:
    import keras

    from mrcnn.config import Config
    from mrcnn.engines.stored_network import StoredNetwork
    from mrcnn.graphs import SharedLayers


class LazyDetector(Detector):
    """Detection from a converted network in the cache, where there is one for a weight file.

    A subclass makes the Keras model in `_make_keras_model`. Until that is called, Keras need not be
    imported.

    Attributes:
        keras_model: the Keras model.
    """

    # The network in the cache; None once there is a Keras model.
    _stored: StoredNetwork | None = None
    # What to remember about a Keras model when its network has been converted.
    _origin: tuple[StoredNetwork, WeightsWatch] | None = None

    @property
    def keras_model(self) -> keras.Model:
        """The Keras model; built when it is first needed.

        Raises:
            ValueError: the weight file has changed since it was loaded.
        """
        self._build_stored()
        return self._keras_model

    @keras_model.setter
    def keras_model(self, model: keras.Model) -> None:
        self._keras_model = model

    @property
    def _shared(self) -> SharedLayers:
        self._build_stored()
        return self._shared_layers

    @_shared.setter
    def _shared(self, shared: SharedLayers) -> None:
        self._shared_layers = shared

    @property
    def values_digest(self) -> str:
        """Digest of the values of all weights; does not build the Keras model for it."""
        stored = None if self._stored is None else self._stored.values_digest
        return values_digest([self.keras_model]) if stored is None else stored

    @property
    def engine(self) -> Any:
        """The engine that runs the network for `detect`; made when it is first needed.

        Raises:
            ValueError: `keras_model` was replaced by a model without the outputs of detection.
        """
        if self._stored is not None and self._engine is None:
            self._engine = self._stored_engine(self._stored)
        if self._stored is not None:
            return self._engine
        engine = super().engine
        self._remember(engine)
        return engine

    def _make_keras_model(self, config: Config, weights: str | os.PathLike[str]) -> None:
        """Build `keras_model` with these settings, and load a weight file."""
        raise NotImplementedError

    def _candidate(self, weights: str | os.PathLike[str]) -> StoredNetwork | None:
        """Return the network of a weight file for the cache; None where it has no place there."""
        if self._engine_name != "openvino" or self._precision not in ("float32", "bfloat16"):
            return None
        if self.mode != "inference" or not os.path.isfile(weights):
            return None
        from mrcnn.engines.stored_network import StoredNetwork

        config, precision = self._layer_config(self.mode, self.config), self._precision
        if self._chooses_precision:
            precision = lowered_precision(precision, config)
        return StoredNetwork(weights, config, precision)

    def _start_from_cache(self, weights: str | os.PathLike[str]) -> bool:
        """Take the network of a weight file from the cache; return whether it is there."""
        try:
            stored = self._candidate(weights)
            is_there = stored is not None and stored.find()
        except Exception:  # OpenVINO cannot start: the ordinary way says so
            return False
        self._stored = stored if is_there else None
        return is_there

    def _note_origin(self, weights: str | os.PathLike[str]) -> None:
        """Note that `keras_model` has the weights of a file, for the cache."""
        try:
            stored = self._candidate(weights)
        except Exception:  # as above
            return
        if stored is not None:
            watch = WeightsWatch(self.keras_model.variables)
            watch.changed()
            self._origin = stored, watch

    def _remember(self, engine: Any) -> None:
        """Let later starts find the converted network, unless its weights have been changed."""
        if self._origin is None:
            return
        (stored, watch), self._origin = self._origin, None
        network_key = getattr(engine, "network_key", None)
        if network_key is not None and not watch.changed():
            stored.remember(network_key, values_digest([self.keras_model]))

    def _stored_engine(self, stored: StoredNetwork) -> Any:
        """Return the engine of the network in the cache; None if it is not there any more."""
        from mrcnn.engines.stored_network import StoredEngine

        try:
            engine = StoredEngine(stored, self._built_engine)
        except Exception:  # the files are gone, or OpenVINO's: the ordinary way says what it is
            self._build_stored()
            return None
        if self._chooses_engine:
            announce(engine, engine.precision != self._precision)
        return engine

    def _built_engine(self) -> Any:
        """Build the Keras model, and return the engine on it."""
        self._build_stored()
        return self.engine

    def _build_stored(self) -> None:
        """Build the Keras model of the weights that came from the cache."""
        if self._stored is None:
            return
        stored, self._stored = self._stored, None
        try:
            stored.check_file()
            self._make_keras_model(stored.config, stored.weights)
        except BaseException:
            self._stored = stored
            raise
        self._engine = None
