"""The convolutions of VGG-16, as FCN and SegNet use them, and their ImageNet values.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015.
"""

from __future__ import annotations

import os
from typing import Any

import keras

from mrcnn.files.names import printable

# Convolutions of each block, and its filters as multiples of those of the first.
BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def convolution_names() -> list[str]:
    """Return the names of the 13 convolutions, those of `keras.applications`."""
    return [
        f"block{block}_conv{number}"
        for block, (count, _) in enumerate(BLOCKS, start=1)
        for number in range(1, count + 1)
    ]


def load_imagenet_values(model: keras.Model, path: str | os.PathLike[str] | None = None) -> None:
    """Set the layers of VGG-16 in a model to values trained on ImageNet.

    The published kernels are for BGR; those of the first layer are reversed, since our images are
    RGB. Where the model has `fc6` and `fc7`, they get the values of the dense layers, whose
    matrices are the same as those convolutions (Long et al. 2015).

    Args:
        model: an FCN or a SegNet of the published width.
        path: a weight file of `keras.applications.VGG16`, with its dense layers for an FCN. None
            downloads it to Keras's cache, once.

    Raises:
        ValueError: the model is no such network, or the file no such file.
        OSError: the values cannot be downloaded.
    """
    names = {layer.name for layer in model.layers}
    if not names.issuperset(convolution_names()):
        raise ValueError(f"the model is {model.name}; it must be built on VGG-16")
    kernel = model.get_layer("block1_conv1").kernel
    if kernel.shape[2:] != (3, 64):
        raise ValueError(
            f"the model takes {kernel.shape[2]} channels to {kernel.shape[3]} filters; for "
            "ImageNet's values it must take 3 to 64"
        )
    vgg = _published_network("fc6" in names, path)
    for name in convolution_names():
        kernel, bias = vgg.get_layer(name).get_weights()
        if name == "block1_conv1":
            kernel = kernel[:, :, ::-1]
        _assign(model.get_layer(name), kernel, bias)
    for ours, theirs in (("fc6", "fc1"), ("fc7", "fc2")):
        if ours in names:
            kernel, bias = vgg.get_layer(theirs).get_weights()
            layer = model.get_layer(ours)
            _assign(layer, kernel.reshape(layer.kernel.shape), bias)


def _assign(layer: keras.layers.Layer, kernel: Any, bias: Any) -> None:
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)


def _published_network(with_dense: bool, path: str | os.PathLike[str] | None) -> keras.Model:
    """Return VGG-16 of `keras.applications` with the values of a file or the published ones."""
    shape = None if with_dense else (None, None, 3)
    if path is not None:
        if not os.path.isfile(path):
            raise FileNotFoundError(f"path is {printable(path)}; it must be an existing file")
        try:
            return keras.applications.VGG16(with_dense, os.fspath(path), input_shape=shape)
        except Exception as error:
            dense = "with" if with_dense else "without"
            raise ValueError(
                f"{printable(path)} is not a weight file of VGG-16 {dense} its dense layers: "
                f"{printable(error)}"
            ) from error
    try:
        return keras.applications.VGG16(with_dense, "imagenet", input_shape=shape)
    # Keras raises a plain Exception when a download fails.
    except Exception as error:
        raise OSError(
            "the ImageNet values of VGG-16 cannot be downloaded "
            f"({printable(error)}); give the path of the file, or train from random values"
        ) from error
