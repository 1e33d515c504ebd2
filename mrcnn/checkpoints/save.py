"""Write the weights of a model as Keras 2.2.5 did."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn.checkpoints.model_weights import ModelWeight, model_weights, some
from mrcnn.checkpoints.names import expects_weights
from mrcnn.checkpoints.weight_file import METADATA
from mrcnn.files.atomic import atomic_path
from mrcnn.files.reading import MAX_JSON_BYTES

# Larger metadata, which lists of images make, are compressed.
COMPRESS_BYTES = 2**16
# Keras split longer attributes into NAME0, NAME1, ...: HDF5 refuses object headers of 64 KiB.
ATTRIBUTE_LIMIT = 64512
STORAGE_TYPES = ("float16", "float32")
_COMPRESSED = {"compression": "gzip", "shuffle": True}


def save_weights(
    model: Any,
    path: str | os.PathLike[str],
    layer_names: Sequence[str] | None = None,
    dtype: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's weights in the layout of Keras 2.2.5, all or nothing.

    Args:
        model: a Keras model whose `layers` carry Matterport's names; nested models, such as
            `rpn_model`, become one group.
        path: the file to write, folders included; only a complete file takes its place.
        layer_names: the layers to list, in order (see `matterport_layer_names`). Names the
            model lacks are written as layers without weights, layers without weights that are
            not listed are left out. Default: the model's own layers.
        dtype: "float16" stores half the bytes, compressed; "float32" or None all of them.
        metadata: JSON values to keep in the file, such as class names. Other readers ignore
            them; `verify` returns them. None for what the model says of itself, if it is that of
            a `MaskRCNN`: settings, class names and the like (`NamedWeightsModel.describe_file`).

    Raises:
        ValueError: a layer with weights is not in `layer_names`, a listed one has none in the
            model, a value does not fit the `dtype`, a name occurs twice, or the metadata are too
            large.
    """
    if dtype is not None and str(dtype) not in STORAGE_TYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be None or one of {STORAGE_TYPES}")
    layers = model_weights(model)
    names = list(layers) if layer_names is None else list(layer_names)
    _check_layer_names(layers, names)
    arrays = {
        name: {
            weight.name if "/" in weight.name else f"{name}/{weight.name}": _stored_value(
                name, weight, dtype
            )
            for weight in layers.get(name, ())
        }
        for name in names
    }
    if metadata is None:
        describe = getattr(model, "describe_file", None)
        metadata = describe() if describe is not None else {}
    with atomic_path(Path(path).expanduser()) as temporary, h5py.File(temporary, "w") as file:
        _write_names(file, "layer_names", names)
        # Of fixed length: those read back as bytes everywhere, as Keras 2 expects them.
        file.attrs["backend"] = np.bytes_(b"tensorflow")
        file.attrs["keras_version"] = np.bytes_(b"2.2.5")
        write_metadata(file, metadata)
        for name, weights in arrays.items():
            group = file.create_group(name)
            _write_names(group, "weight_names", [f"{weight}:0" for weight in weights])
            for weight, value in weights.items():
                # Not those without axes, which HDF5 cannot compress.
                options = _COMPRESSED if dtype == "float16" and value.ndim else {}
                group.create_dataset(f"{weight}:0", data=value, **options)


def write_metadata(file: h5py.File, metadata: Mapping[str, Any]) -> None:
    """Write metadata to an open file as bytes of JSON; nothing if there are none.

    Raises:
        ValueError: they are too large to be read again.
    """
    if not metadata:
        return
    text = np.frombuffer(json.dumps(dict(metadata)).encode("ascii"), np.uint8)
    if text.size > MAX_JSON_BYTES:
        raise ValueError(
            f"metadata has {text.size:,} bytes as JSON; it must have at most {MAX_JSON_BYTES:,}"
        )
    compression = "gzip" if text.size > COMPRESS_BYTES else None
    file.create_dataset(METADATA, data=text, compression=compression)


def _check_layer_names(layers: Mapping[str, list[ModelWeight]], names: list[str]) -> None:
    listed = set(names)
    if len(listed) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise ValueError(f"layer_names lists {some(twice)} more than once")
    lost = [name for name, weights in layers.items() if weights and name not in listed]
    if lost:
        raise ValueError(
            f"layer_names lacks {len(lost)} layers of the model that have weights, which would be "
            f"lost: {some(lost)}"
        )
    hollow = [name for name in names if expects_weights(name) and not layers.get(name)]
    if hollow:
        raise ValueError(
            f"layer_names lists {len(hollow)} layers for which the model has no weights: "
            f"{some(hollow)}. Is it the list of another backbone?"
        )


def _stored_value(layer: str, weight: ModelWeight, dtype: str | None) -> np.ndarray:
    """Return the values in the type they are stored in."""
    value = weight.numpy()
    if dtype is None or value.dtype.kind != "f":
        return value
    with np.errstate(over="ignore"):
        cast = value.astype(dtype)
    if not np.array_equal(np.isfinite(cast), np.isfinite(value)):
        raise ValueError(
            f"{layer}/{weight.name} has values up to {np.abs(value).max():g}, beyond the largest "
            f"{dtype}, {np.finfo(dtype).max:g}; save it as float32"
        )
    return cast


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    if not names:  # what NumPy makes of an empty list, and so what Keras 2 wrote
        group.attrs[attribute] = np.zeros((0,), np.float64)
        return
    encoded = np.array([name.encode("utf-8") for name in names])
    num_chunks = -(-encoded.nbytes // ATTRIBUTE_LIMIT)
    if num_chunks == 1:
        group.attrs[attribute] = encoded
        return
    for number, chunk in enumerate(np.array_split(encoded, num_chunks)):
        group.attrs[f"{attribute}{number}"] = chunk
