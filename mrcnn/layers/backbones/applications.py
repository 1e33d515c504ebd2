"""The networks of `keras.applications` as backbones.

A network is built by Keras and then rebuilt on our image: with the batch normalization of this
package, which knows the modes of `TRAIN_BN`, and without the network's own scaling of pixels, which
knows nothing of `MEAN_PIXEL`. C2 to C5 are the last maps of strides 4 to 32 that everything after
them depends on, so a residual block is never cut in the middle.

Layers keep Keras' names, so Keras' weight files load by name.
"""

from __future__ import annotations

import os
import re
from typing import Any

import keras
from keras import layers

from mrcnn.checkpoints import save_weights
from mrcnn.config_rules import APPLICATIONS, application_mark
from mrcnn.layers.backbones.pixels import PixelRange
from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.types import Tensor

STRIDES = (4, 8, 16, 32)
# Side of the image on which the strides are measured: that of the ImageNet weights.
_SIDE = 224
_TORCH = PixelRange(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))
_TENSORFLOW = PixelRange(mean=(127.5, 127.5, 127.5), deviation=(127.5, 127.5, 127.5))
_EFFICIENTNET_V2 = PixelRange(mean=(128.0, 128.0, 128.0), deviation=(128.0, 128.0, 128.0))
# What each network was trained on, by the beginning of its name; the first that fits decides.
_PIXELS = (
    ("efficientnet_v2_b", _TORCH),
    ("efficientnet_v2", _EFFICIENTNET_V2),
    ("efficientnet", _TORCH),
    ("convnext", _TORCH),
    ("densenet", _TORCH),
    ("", _TENSORFLOW),
)
# What the networks do to pixels themselves.
_SCALING = (layers.Rescaling, layers.Normalization)


def application_graph(
    input_image: Tensor,
    name: str,
    mean_pixel: Any = None,
    train_bn: bool | None = True,
    weights: str | None = None,
) -> list[Tensor]:
    """Build a network of `keras.applications` without its classifier.

    Args:
        input_image: `[batch, height, width, 3]`, mean subtracted; the input of a model.
        name: one of `APPLICATIONS`, such as "mobilenet_v2".
        mean_pixel: `Config.MEAN_PIXEL`; None for the network's own.
        train_bn: False freezes the batch statistics, None follows the model, True always trains.
        weights: None for random values, "imagenet" for what Keras downloads, or a file of Keras.

    Returns:
        `[C2, C3, C4, C5]`.

    Raises:
        ValueError: the image has other than 3 channels, or the network lacks a stride.
    """
    if input_image.shape[-1] != 3:
        raise ValueError(
            f"IMAGE_CHANNEL_COUNT is {input_image.shape[-1]}; it must be 3 with BACKBONE {name!r}"
        )
    build = getattr(keras.applications, APPLICATIONS[name])
    original = build(include_top=False, weights=weights, input_shape=(_SIDE, _SIDE, 3))
    stages = find_stages(original)
    if len(stages) < len(STRIDES):
        raise ValueError(
            f"BACKBONE {name!r} has maps of strides {sorted(stages)}; it must have those of "
            f"{list(STRIDES)}"
        )
    image = _pixels(name).apply(input_image, mean_pixel, application_mark(name))
    rebuild = _Rebuild(name, train_bn)
    rebuild.run(original, input_image, image)
    if weights is not None:
        rebuild.copy_weights()
    return [rebuild.outputs[original.operations[stages[stride]].name] for stride in STRIDES]


class _Rebuild:
    """Copies of the layers of a network.

    Attributes:
        outputs: what each operation returned, by its name in the original.
    """

    def __init__(self, name: str, train_bn: bool | None) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._name = name
        self._train_bn = train_bn
        self._pairs: list[tuple[Any, Any]] = []
        self._original_names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def run(self, original: keras.Model, input_image: Tensor, image: Tensor) -> None:
        """Apply copies of the layers of `original` to `image`, which follows from `input_image`."""

        def call(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            args, kwargs = keras.tree.map_structure(
                lambda x: image if x is input_image else x, (args, kwargs)
            )
            if isinstance(operation, BatchNorm):
                kwargs["training"] = self._train_bn
            output = operation(*args, **kwargs)
            self.outputs[self._original_names.get(operation.name, operation.name)] = output
            return output

        keras.models.clone_model(original, input_image, self._copy, call)

    def copy_weights(self) -> None:
        """Give the copies the values of the originals."""
        for original, copy in self._pairs:
            if copy.weights:
                copy.set_weights(original.get_weights())

    def _copy(self, layer: Any) -> Any:
        settings = {**layer.get_config(), "name": self._stable_name(layer)}
        if isinstance(layer, _SCALING) and not any(old.weights for old, _ in self._pairs):
            copy = layers.Identity(name=settings["name"])
        else:
            kind = BatchNorm if isinstance(layer, layers.BatchNormalization) else type(layer)
            copy = kind.from_config(settings)
            self._pairs.append((layer, copy))
        self._original_names[copy.name] = layer.name
        return copy

    def _stable_name(self, layer: Any) -> str:
        """Replace a name that Keras numbered through the whole session, such as "add_17"."""
        kind = _snake_case(type(layer).__name__)
        if not re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            return layer.name
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{self._name}_{kind}_{self._counts[kind]}"


def find_stages(model: keras.Model) -> dict[int, int]:
    """Find the last map of each stride that everything after it depends on.

    Args:
        model: a functional model of a square image whose side is known.

    Returns:
        For each stride the index in `model.operations`.
    """
    side = model.inputs[0].shape[1]
    operations = model.operations
    made_by = {id(tensor): i for i, op in enumerate(operations) for tensor in _outputs(op)}
    last_use = [0] * len(operations)
    for i, operation in enumerate(operations):
        for tensor in _inputs(operation):
            last_use[made_by[id(tensor)]] = i
    stages, needed_until = {}, 0
    for i, operation in enumerate(operations):
        outputs = _outputs(operation)
        shape = outputs[0].shape
        # No earlier map is used after this one.
        if needed_until <= i and len(outputs) == 1 and len(shape) == 4 and shape[1] == shape[2]:
            stride, rest = divmod(side, shape[1])
            if not rest:
                stages[stride] = i
        needed_until = max(needed_until, last_use[i])
    return {stride: i for stride, i in stages.items() if stride in STRIDES}


def save_imagenet_weights(name: str, path: str | os.PathLike[str]) -> None:
    """Let Keras download ImageNet values, and write them for `load_weights`.

    Args:
        name: one of `APPLICATIONS`.
        path: the file to write.

    Raises:
        OSError: Keras cannot download them.
    """
    image = keras.Input((None, None, 3), name="input_image")
    try:
        stages = application_graph(image, name, train_bn=False, weights="imagenet")
    except Exception as error:
        raise OSError(f"Keras cannot fetch the ImageNet weights of {name}: {error}") from error
    save_weights(keras.Model(image, stages), path, metadata={"source": "keras.applications"})


def _pixels(name: str) -> PixelRange:
    return next(pixels for beginning, pixels in _PIXELS if name.startswith(beginning))


def _inputs(operation: Any) -> list[Tensor]:
    return [] if isinstance(operation, layers.InputLayer) else keras.tree.flatten(operation.input)


def _outputs(operation: Any) -> list[Tensor]:
    return keras.tree.flatten(operation.output)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
