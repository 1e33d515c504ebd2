"""Run the inference graph with OpenVINO, the fastest engine on a CPU.

The network is converted from the Keras layers when it is first needed, and again when their weights
have changed; the converted network is kept on disk. Box arithmetic stays in float32, see
`mrcnn.engines.pieces`. Needs Keras on TensorFlow and the packages `openvino` and, for int8, `nncf`
(the extra "fast").
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn import __version__
from mrcnn.engines import conversion, model_cache, pieces
from mrcnn.engines.base import NETWORKS, Inputs, max_detections
from mrcnn.engines.compiled_network import CompiledNetwork
from mrcnn.engines.openvino_package import import_openvino
from mrcnn.engines.weights_watch import WeightsWatch
from mrcnn.layers.rpn import rpn_suits_winograd

_TRUNK_FOR_ANY_SIZE = "trunk for any size"


class OpenVINOEngine(CompiledNetwork):
    """The two steps of detection on the current weights of a `SharedLayers`.

    Args:
        shared: `mrcnn.graphs.SharedLayers`.
        precision: "float32", "bfloat16" or "int8", of the network between the boxes.
        calibration: for int8, a function that returns the arguments of `run` for each of some
            typical images. None uses what an earlier call has stored in the cache for these
            weights.

    Attributes:
        network_key: key in the cache of the network that runs; None where it is not there or holds
            int8.

    Raises:
        ValueError: another precision, or int8 without anything to calibrate with (at the first
            call of `run` or `prepare`).
    """

    def __init__(
        self,
        shared: Any,
        precision: str = "float32",
        calibration: Callable[[], list[Inputs]] | None = None,
    ) -> None:
        super().__init__(shared.config, precision)
        self.network_key: str | None = None
        self._calibration = calibration
        self._models = pieces.build_pieces(shared)
        self._watch = WeightsWatch(self._variables())

    def _make_ready(self) -> None:
        """Convert the network where the weights have changed."""
        if not self._watch.changed() and self._requests:
            return
        self._requests, self._mapped = {}, []
        self._prepare()

    def _trunk_for(self, image: np.ndarray) -> str:
        """Return the name of the trunk that takes images of this size."""
        if self._sides in (None, image.shape[1:3]):
            return "trunk"
        if _TRUNK_FOR_ANY_SIZE not in self._requests:
            self._compile({_TRUNK_FOR_ANY_SIZE: self._convert("trunk", sides=None)})
        return _TRUNK_FOR_ANY_SIZE

    # ---- conversion ------------------------------------------------------------------------------

    def _variables(self) -> list[Any]:
        unique = {id(v): v for name in self._converted for v in self._models[name].variables}
        return list(unique.values())

    def _prepare(self) -> None:
        """Compile the network for the current weights, from the cache where it has them."""
        key = self._key()
        if self.precision == "int8":
            self._prepare_int8(key)
        else:
            self._prepare_float(key)

    def _prepare_float(self, key: str | None) -> None:
        """Compile the pieces as they are."""
        entry = model_cache.find_entry(key) if key else None
        is_stored = entry is not None and self._compile_entry(entry[0])
        if not is_stored:
            is_stored = self._compile_and_store(self._convert_all(), key)
        self.network_key = key if is_stored else None

    def _prepare_int8(self, key: str | None) -> None:
        """Compile the pieces with networks quantized by the calibration images."""
        int8_key = key and f"{key}-int8"
        inputs = self._calibration() if self._calibration else None
        images = [np.ascontiguousarray(images).data for images, *_ in inputs or ()]
        digest = model_cache.cache_key(*images)
        entry = model_cache.find_entry(int8_key) if int8_key else None
        if entry and (inputs is None or entry[1].get("calibration") == digest):
            if self._compile_entry(entry[0]):
                return
        if not inputs:
            raise ValueError(
                "calibration is None; it must name some typical images (calibration=..., "
                "--calibration FOLDER) for precision 'int8', as these weights have not been "
                "quantized before"
            )
        from mrcnn.engines.quantization import check_same_objects, quantized

        inputs = [
            (
                np.ascontiguousarray(image, np.float32),
                np.ascontiguousarray(meta, np.float32),
                anchors,
            )
            for image, meta, anchors in inputs
        ]
        models = self._convert_all()
        self._compile(models)
        samples, expected = self._samples(inputs)
        models = quantized(models, samples)
        self._compile(models)
        found = [self._detect(*arguments)[0][0] for arguments in inputs]
        try:
            check_same_objects(expected, found)
        except ValueError:
            self._requests, self._mapped = {}, []
            raise
        self._compile_and_store(models, int8_key, {"calibration": digest})

    def _compile_entry(self, folder: Path) -> bool:
        """Compile the models of a cache entry; return whether OpenVINO accepts them."""
        try:
            self._compile(self._read(folder))
        except (OSError, RuntimeError, ValueError):  # written by another build of OpenVINO
            self._requests, self._mapped = {}, []
            return False
        return True

    def _compile_and_store(
        self, models: dict[str, Any], key: str | None, note: dict[str, Any] | None = None
    ) -> bool:
        """Store models in the cache and compile them from there, to keep one copy in memory.

        Returns:
            Whether they are in the cache.
        """
        if key:
            folder = model_cache.store(key, lambda empty: conversion.save(models, empty), note)
            if folder and self._compile_entry(folder):
                return True
        self._compile(models)
        return False

    def _convert_all(self) -> dict[str, Any]:
        return {name: self._convert(name, self._sides) for name in self._converted}

    def _convert(self, name: str, sides: tuple[int, int] | None) -> Any:
        """Return the OpenVINO model of a piece; `sides` as in `convert`, for the trunk."""
        if name != "trunk":
            return conversion.convert(self._models[name], None, self._in_float32)
        # With OpenVINO 2026.4 a map computed by Winograd's algorithm that goes into the table loses
        # its bias on the way into a direct convolution, which a narrow or strided RPN has.
        by_winograd = sides is not None and rpn_suits_winograd(self._models["trunk"])
        return conversion.convert(self._models[name], sides, self._in_float32 and by_winograd)

    def _samples(
        self, inputs: list[Inputs]
    ) -> tuple[dict[str, list[np.ndarray]], list[np.ndarray]]:
        """Return inputs of each network, and the detections, of the calibration images."""
        samples: dict[str, list[np.ndarray]] = {
            name: [] for name in NETWORKS if name in self._models
        }
        found = []
        for image, image_meta, anchors in inputs:
            samples["trunk"].append(image)
            features: list[np.ndarray] = []

            def keep_copy(pooled: np.ndarray, features: list[np.ndarray] = features) -> None:
                features.append(pooled[:, :100].copy())

            detections, pyramid = self._detect(image, image_meta, anchors, keep_copy)
            found.append(detections[0])
            # Proposals are sorted by score; a hundred are a sample of the features.
            samples["classifier"].append(features[0])
            count = max_detections(detections)
            if count and self._has_masks:
                pooled = self._mask_features(detections[:, :count], image_meta, pyramid)
                samples["mask"].append(pooled.data.copy())
        return samples, found

    def _key(self) -> str | None:
        """Return a key of everything that the converted pieces depend on; None if it is unknown."""
        ov = import_openvino()
        config = self._config
        if not conversion.is_cacheable(config):
            return None
        settings = conversion.network_settings(config)
        versions = [__version__, ov.__version__, keras.__version__, model_cache.source_digest()]
        weights = [np.ascontiguousarray(x).data for x in self._watch.arrays()]
        names = [[v.name, list(v.shape)] for v in self._variables()]
        return model_cache.cache_key(settings, versions, names, self._in_float32, *weights)
