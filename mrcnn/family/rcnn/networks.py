"""The networks that R-CNN computes features with.

`B` regions. A network has up to three outputs: a feature vector, what its classifier's last layer
reads (the paper's fc7); the last map of features, reduced to a coarse grid (the paper's pool5);
and the class probabilities of its classifier.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from mrcnn import checkpoints
from mrcnn.family.rcnn.settings import RCNNConfig
from mrcnn.files.names import printable, shown
from mrcnn.layers.backbones import backbone_graph
from mrcnn.layers.backbones.efficientnet_lite import efficientnet_lite0_head
from mrcnn.layers.types import Tensor

# Backbones of this package that are used as they are; other names are of keras.applications.
OWN_NETWORKS = ("efficientnet_lite0", "squeezenet", "nanodet", "nanodet_pan")
# Cells per side of the grid of features.
GRID = 3
NUM_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class RegionNetwork:
    """A network and how it takes pixels.

    Attributes:
        name: of the network.
        size: side of its input in pixels.
        image: its input, `[B, size, size, 3]`.
        vector: `[B, D]` features.
        grid: `[B, G]` features of the cells of a coarse grid.
        probabilities: `[B, 1000]`, None without a classifier.
        preprocess: makes the input of pixels `[B, size, size, 3]` float32 in 0..255.
        load: sets ImageNet's values; called with the path of a file, or None to download them.
    """

    name: str
    size: int
    image: Tensor
    vector: Tensor
    grid: Tensor
    probabilities: Tensor | None
    preprocess: Callable[[np.ndarray], np.ndarray]
    load: Callable[[str | os.PathLike[str] | None], None]


def build_region_network(config: RCNNConfig) -> RegionNetwork:
    """Build the network that `config.BACKBONE` names, with random values.

    Args:
        config: BACKBONE, IMAGE_MAX_DIM and MEAN_PIXEL are read.

    Raises:
        ValueError: there is no such network.
    """
    if callable(config.BACKBONE) or config.BACKBONE in OWN_NETWORKS:
        return _own_network(config)
    return _application(config.BACKBONE, int(config.IMAGE_MAX_DIM))


def _own_network(config: RCNNConfig) -> RegionNetwork:
    size, mean = int(config.IMAGE_MAX_DIM), np.asarray(config.MEAN_PIXEL, np.float32)
    name = getattr(config.BACKBONE, "__name__", config.BACKBONE)
    image = keras.Input((size, size, 3), name="input_image")
    last = backbone_graph(image, config)[-1]
    grid = coarse_grid(last)
    vector, probabilities = grid, None
    if config.BACKBONE == "efficientnet_lite0":
        vector, probabilities = efficientnet_lite0_head(last, NUM_IMAGENET_CLASSES)
    model = keras.Model(image, vector if probabilities is None else probabilities, name=name)

    def load(path: str | os.PathLike[str] | None) -> None:
        if path is None:
            raise ValueError(
                f"path is None; it must be a file with the values of {name}, which cannot be "
                "downloaded (for efficientnet_lite0: tools/convert_efficientnet_lite0.py "
                "--classifier)"
            )
        report = checkpoints.load_weights(model, path)
        if report.missing_in_file:
            raise ValueError(
                f"{printable(path)} lacks {len(report.missing_in_file)} layers of {name}, the "
                f"first {report.missing_in_file[0]}; it must have all of them"
            )

    return RegionNetwork(
        name, size, image, vector, grid, probabilities, lambda pixels: pixels - mean, load
    )


def _application(name: Any, size: int) -> RegionNetwork:
    """Return a classifier of keras.applications; those for any size take the given one."""
    build = _find_builder(name)
    title = build.__name__
    model = build(weights=None)
    if model.input_shape[1] is None:
        model = build(weights=None, input_shape=(size, size, 3))
    module = getattr(keras.applications, build.__module__.rpartition(".")[2])
    maps = [x.output for x in model.layers if _is_map(x.output)]
    last = model.layers[-1]
    # Some classifiers end in a convolution instead; the mean of the map is what that reads.
    dense = isinstance(last, layers.Dense)
    vector = last.input if dense else layers.GlobalAveragePooling2D()(maps[-1])

    def load(path: str | os.PathLike[str] | None) -> None:
        model.set_weights(_published(build, path).get_weights())

    return RegionNetwork(
        title,
        int(model.input_shape[1]),
        model.inputs[0],
        vector,
        coarse_grid(maps[-1]),
        model.outputs[0],
        module.preprocess_input,
        load,
    )


def _find_builder(name: Any) -> Callable[..., keras.Model]:
    """Return the function of keras.applications of a name, in any case and with underscores."""
    known = {title.lower(): title for title in dir(keras.applications) if title[0].isupper()}
    key = name.replace("_", "").lower() if isinstance(name, str) else ""
    if key not in known:
        raise ValueError(
            f"BACKBONE is {shown(name)}; it must be one of {', '.join(OWN_NETWORKS)}, a network of "
            "keras.applications such as 'MobileNetV2', or a function"
        )
    return getattr(keras.applications, known[key])


def _is_map(output: Any) -> bool:
    shape: Any = getattr(output, "shape", ())
    return len(shape) == 4 and shape[1] > 1


def _published(
    build: Callable[..., keras.Model], path: str | os.PathLike[str] | None
) -> keras.Model:
    """Return a classifier with the values of a file or the published ones."""
    title = build.__name__
    if path is not None and not os.path.isfile(path):
        raise FileNotFoundError(f"path is {printable(path)}; it must be an existing file")
    try:
        return build(weights="imagenet" if path is None else os.fspath(path))
    # Keras raises errors of many kinds, a plain Exception when a download fails.
    except Exception as error:
        if path is not None:
            raise ValueError(
                f"{printable(path)} is not a weight file of {title} with its classifier: "
                f"{printable(error)}"
            ) from error
        raise OSError(
            f"the ImageNet values of {title} cannot be downloaded ({printable(error)}); give the "
            "path of the file"
        ) from error


def coarse_grid(features: Tensor) -> Tensor:
    """Average a map of features over the cells of a coarse grid.

    Args:
        features: `[B, height, width, channels]`.

    Returns:
        `[B, rows * columns * channels]`, at most `GRID` rows and columns.
    """
    sides = [int(side) for side in features.shape[1:3]]
    counts = [min(side, GRID) for side in sides]
    strides = [side // count for side, count in zip(sides, counts)]
    # The last cell ends where the map does.
    windows = [s - (c - 1) * stride for s, c, stride in zip(sides, counts, strides)]
    pooled = layers.AveragePooling2D(tuple(windows), tuple(strides))(features)
    return layers.Flatten()(pooled)
