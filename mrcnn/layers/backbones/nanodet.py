"""NanoDet-g (RangiLyu 2021, config/legacy_v0.x_configs/nanodet-g.yml) as a backbone.

NanoDet-g is a detector of the 80 classes of COCO made of plain 3x3 convolutions: a trunk of
cross-stage blocks, a path aggregation network (PAN) and a head that is the same for all objects of
a level. `nanodet` is the trunk alone. `nanodet_pan` appends what the detector says at each location
to the trunk's features, so that a Mask R-CNN on top can start from its detections.

Weights come from `tools/convert_nanodet.py`. Batch normalization is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from mrcnn.layers.backbones.pixels import PixelRange
from mrcnn.layers.fpn import DoubleSides
from mrcnn.layers.types import Shape, Tensor

# The original divides the pixels by deviations of about 57, and the features of its stages have
# deviations of 0.1 only. In ours all of them are larger, by 57 / 16.
NANODET_PIXELS = PixelRange(mean=(123.675, 116.28, 103.53), deviation=(16.0, 16.0, 16.0))
NUM_COCO_CLASSES = 80
# A distance from a location to a side of its box is the mean of a distribution over 0 .. 10 cells.
MAX_DISTANCE = 10
_PAN_CHANNELS = 128
# Cells of a level along a side of NanoDet's anchors: the size of object that it looks for there.
OBJECT_CELLS = 5
# Channels and blocks of the stages 2 to 5, before the concatenation that doubles the channels.
_STAGES = {2: (32, 1), 3: (64, 2), 4: (128, 2), 5: (256, 3)}
# Log-odds below which a class counts as absent: a probability of 0.001.
ABSENT = -7.0
# Sides below this part of the anchor's are taken as this.
LEAST_SIDE = 1 / 16
# Channels of `NanoDetReadings`: classes, code of the box, objectness.
NUM_READINGS = NUM_COCO_CLASSES + 4 + 1


@keras.saving.register_keras_serializable(package="mrcnn")
class PadEdges(layers.Layer):
    """Repeat the outer cells: `[batch, h, w, channels]` to `[batch, h + 2, w + 2, channels]`.

    A maximum over a window then is what PyTorch's is, which pads with minus infinity.
    """

    def call(self, x: Tensor) -> Tensor:
        x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        return ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        sides = [None if side is None else side + 2 for side in (height, width)]
        return (batch, *sides, channels)


@keras.saving.register_keras_serializable(package="mrcnn")
class BilinearDoubleSides(layers.Layer):
    """Interpolate to twice the size: `[batch, h, w, channels]` to `[batch, 2 h, 2 w, channels]`.

    `keras.layers.UpSampling2D` needs to know the size when the model is built.
    """

    def call(self, x: Tensor) -> Tensor:
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return ops.cast(tf.image.resize(x, 2 * tf.shape(x)[1:3], method="bilinear"), x.dtype)
        height, width = x.shape[1:3]
        return ops.image.resize(x, (2 * height, 2 * width), interpolation="bilinear")

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype=x.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        sides = [None if side is None else 2 * side for side in (height, width)]
        return (batch, *sides, channels)


@keras.saving.register_keras_serializable(package="mrcnn")
class NanoDetReadings(layers.Layer):
    """Read NanoDet's detections off the raw outputs of its head.

    Input: `[batch, h, w, 80 + 4 * 11]`, log-odds of the classes and of the distances.
    Output: `[batch, h, w, 80 + 4 + 1]`:

    - by how much the log-odds of each class exceed -7;
    - the box as an RPN codes it, for an anchor of 5 x 5 cells in the middle of the cell:
      `(dy, dx, log(dh), log(dw))`;
    - the largest of the first 80.
    """

    def call(self, x: Tensor) -> Tensor:
        evidence = ops.relu(x[..., :NUM_COCO_CLASSES] - ABSENT)
        distances = box_distances(x[..., NUM_COCO_CLASSES:]) / OBJECT_CELLS
        left, top, right, bottom = ops.split(distances, 4, axis=-1)
        code = [
            (bottom - top) / 2,
            (right - left) / 2,
            ops.log(ops.maximum(top + bottom, LEAST_SIDE)),
            ops.log(ops.maximum(left + right, LEAST_SIDE)),
        ]
        return ops.concatenate([evidence, *code, ops.max(evidence, axis=-1, keepdims=True)], -1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], NUM_READINGS)


@keras.saving.register_keras_serializable(package="mrcnn")
class StrongerEvidence(layers.Layer):
    """Take the larger evidence of two levels.

    Call with two tensors `[batch, h, w, 128 + 85]`; returns the first with the maximum of both in
    the channels of the classes.
    """

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        own, above = inputs
        first, end = _PAN_CHANNELS, _PAN_CHANNELS + NUM_COCO_CLASSES
        evidence = ops.maximum(own[..., first:end], above[..., first:end])
        return ops.concatenate([own[..., :first], evidence, own[..., end:]], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]


def box_distances(logits: Tensor) -> Tensor:
    """Return the mean of each distribution over 0 .. 10.

    Args:
        logits: `[batch, h, w, 4 * 11]`, log-odds for left, top, right and bottom.

    Returns:
        `[batch, h, w, 4]` in cells of the level.
    """
    means = []
    for side in range(4):
        first = side * (MAX_DISTANCE + 1)
        shares = ops.softmax(logits[..., first : first + MAX_DISTANCE + 1], axis=-1)
        steps = ops.arange(MAX_DISTANCE + 1, dtype=shares.dtype)
        means.append(ops.sum(shares * steps, axis=-1, keepdims=True))
    return ops.concatenate(means, axis=-1)


def _conv(x: Tensor, filters: int, name: str, strides: int = 1) -> Tensor:
    """Apply a 3x3 convolution with one zero on each side, and LeakyReLU."""
    if strides == 1:
        padding = "same"
    else:  # "same" would add the zeros of an even side below and on the right only
        x, padding = layers.ZeroPadding2D(1)(x), "valid"
    x = layers.Conv2D(
        filters, 3, strides, padding=padding, kernel_initializer="he_uniform", name=name
    )(x)
    return layers.LeakyReLU(negative_slope=0.1)(x)


def _stage(x: Tensor, stage: int) -> Tensor:
    """Apply a cross-stage block: the way through the residual blocks, and the way past them."""
    channels, num_blocks = _STAGES[stage]
    x = past = _conv(x, channels, f"nano{stage}_entry", strides=1 if stage == 2 else 2)
    for block in range(1, num_blocks + 1):
        x = _conv(x, channels // 2, f"nano{stage}_block{block}_conv1")
        y = _conv(x, channels // 2, f"nano{stage}_block{block}_conv2")
        x = layers.Concatenate()([y, x])
    x = _conv(x, channels, f"nano{stage}_exit")
    return layers.Concatenate(name=f"nano{stage}_out")([x, past])


def nanodet_graph(input_image: Tensor, mean_pixel: Any = None) -> list[Tensor]:
    """Build the trunk.

    Args:
        input_image: `[batch, height, width, channels]`, mean subtracted.
        mean_pixel: `Config.MEAN_PIXEL`; None for (123.675, 116.28, 103.53), the network's own.

    Returns:
        `[C1, C2, C3, C4, C5]` with 32, 64, 128, 256 and 512 channels.
    """
    x = NANODET_PIXELS.apply(input_image, mean_pixel, "nano_pixels")
    x = _conv(x, 32, "nano1_conv", strides=2)
    x = PadEdges(name="nano1_pad")(x)
    stages = [x := layers.MaxPooling2D(3, 2, name="nano1_pool")(x)]
    for stage in _STAGES:
        stages.append(x := _stage(x, stage))
    return stages


def pan_graph(c3: Tensor, c4: Tensor, c5: Tensor) -> list[Tensor]:
    """Build the path aggregation network (Liu et al. 2018) in NanoDet's form, without convolutions.

    Returns:
        Three maps of 128 channels at strides 8, 16 and 32.
    """
    lateral3, lateral4, p5 = (
        layers.Conv2D(_PAN_CHANNELS, 1, name=f"nano_pan{level}")(stage)
        for level, stage in ((3, c3), (4, c4), (5, c5))
    )
    p4 = layers.Add()([lateral4, BilinearDoubleSides(name="nano_pan5_up")(p5)])
    p3 = layers.Add()([lateral3, BilinearDoubleSides(name="nano_pan4_up")(p4)])
    # The mean of four cells is the value half way between them.
    n4 = layers.Add()([p4, layers.AveragePooling2D(2)(p3)])
    n5 = layers.Add()([p5, layers.AveragePooling2D(2)(n4)])
    return [p3, n4, n5]


def head_graph(feature: Tensor, level: int) -> Tensor:
    """Build NanoDet's head on one level of the PAN.

    Returns:
        `[batch, h, w, 80 + 4 * 11]`, log-odds of the classes and of the distances to the sides.
    """
    x = _conv(feature, _PAN_CHANNELS, f"nano_head{level}_conv")
    outputs = NUM_COCO_CLASSES + 4 * (MAX_DISTANCE + 1)
    return layers.Conv2D(outputs, 1, name=f"nano_head{level}_out")(x)


def nanodet_raw_graph(input_image: Tensor, mean_pixel: Any = None) -> list[Tensor]:
    """Build NanoDet itself.

    Args:
        input_image: as for `nanodet_graph`; sides are multiples of 32.
        mean_pixel: as for `nanodet_graph`.

    Returns:
        The outputs of `head_graph` at strides 8, 16 and 32.
    """
    stages = nanodet_graph(input_image, mean_pixel)[2:]
    return [head_graph(x, level) for level, x in zip((3, 4, 5), pan_graph(*stages))]


def nanodet_pan_graph(input_image: Tensor, mean_pixel: Any = None) -> list[Tensor]:
    """Build trunk, PAN and head.

    A feature pyramid adds the coarser levels to each level. What the PAN and the head say is
    therefore passed on as the difference to the next coarser level: their sums are again the values
    of each level.

    Args:
        input_image: as for `nanodet_graph`; sides are multiples of 32.
        mean_pixel: as for `nanodet_graph`.

    Returns:
        `[C1, C2, C3, C4, C5]` with 32, 64, 341, 469 and 725 channels. C3 to C5 are the trunk's
        stage, and then, less those of the coarser level, the PAN's 128 channels and 85
        `NanoDetReadings`. The evidence for a class is the maximum of this and the coarser levels.
    """
    *fine, c3, c4, c5 = nanodet_graph(input_image, mean_pixel)
    above: Tensor = None
    stages: list[Tensor] = []
    for level, stage, feature in reversed([*zip((3, 4, 5), (c3, c4, c5), pan_graph(c3, c4, c5))]):
        readings = NanoDetReadings(name=f"nano_head{level}_readings")(head_graph(feature, level))
        said = change = layers.Concatenate(name=f"nano_head{level}_said")([feature, readings])
        if above is not None:
            above = DoubleSides(name=f"nano_head{level + 1}_up")(above)
            said = StrongerEvidence(name=f"nano_head{level}_strongest")([said, above])
            change = layers.Subtract(name=f"nano_head{level}_change")([said, above])
        stages.insert(0, layers.Concatenate(name=f"nano_c{level}")([stage, change]))
        above = said
    return [*fine, *stages]
