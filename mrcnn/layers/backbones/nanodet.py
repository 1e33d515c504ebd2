"""NanoDet-g (RangiLyu 2021, config/legacy_v0.x_configs/nanodet-g.yml) as a backbone.

NanoDet-g is a detector of the 80 classes of COCO made of plain 3x3 convolutions: a trunk of
cross-stage blocks, a path aggregation network (PAN) and a head that is the same for all objects of
a level. `nanodet` is the trunk alone. `nanodet_pan` appends what the detector says at each location
to the trunk's features, so that a Mask R-CNN on top can start from its detections.

Weights come from `tools/convert_nanodet.py`. Batch normalization is folded into the convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from mrcnn.layers.backbones.pixels import PixelRange
from mrcnn.layers.convolution import Conv2D
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
# A log-odds, see `LargerObjects`. With 1.5 and 3, the box AP on 60 images of COCO is 0.228 and
# 0.222, and the mean IoU of the masks of 35 motorcycles that fill their images 0.577 and 0.591.
SAME_CLASS_MARGIN = 2.0
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


@keras.saving.register_keras_serializable(package="mrcnn")
class LargerObjects(layers.Layer):
    """Join the readings of two levels, where the second finds larger objects.

    Call with two tensors `NanoDetReadings`, `[batch, 2 h, 2 w, 85]` and `[batch, h, w, 85]`.
    Returns the first, with the maximum of both as evidence for a class and as objectness. The box
    is that of the larger objectness, coded for an anchor of the first. Where both see the same
    class, the second counts for more, by `SAME_CLASS_MARGIN`: the first is sure of an object that
    is too large for it, but cannot reach its far sides.
    """

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        own, large = inputs
        large = double_anchor_density(large)
        boxes = slice(NUM_COCO_CLASSES, NUM_COCO_CLASSES + 4)
        # The objectness is the largest evidence. OpenVINO cannot convert this with `ops.argmax`.
        own_class, large_class = (
            ops.cast(one[..., :NUM_COCO_CLASSES] >= one[..., -1:], own.dtype)
            for one in (own, large)
        )
        is_same = ops.max(own_class * large_class, axis=-1, keepdims=True)
        is_larger = large[..., -1:] > own[..., -1:] - SAME_CLASS_MARGIN * is_same
        stronger = ops.maximum(own, large)
        return ops.concatenate(
            [
                stronger[..., :NUM_COCO_CLASSES],
                ops.where(is_larger, large[..., boxes], own[..., boxes]),
                stronger[..., -1:],
            ],
            axis=-1,
        )

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]


def double_anchor_density(readings: Tensor) -> Tensor:
    """Code the boxes of readings for anchors of half the size, four in each cell.

    Args:
        readings: `[batch, h, w, 85]`, with boxes `(dy, dx, log(dh), log(dw))`.

    Returns:
        `[batch, 2 h, 2 w, 85]`; the same boxes and other values in the four cells.
    """
    # The middle of the first cell lies half a cell before that of the large one.
    offset, doubled = 0.5 / OBJECT_CELLS, math.log(2.0)
    for axis in (0, 1):
        before, after = [0.0] * NUM_READINGS, [0.0] * NUM_READINGS
        before[NUM_COCO_CLASSES + axis], after[NUM_COCO_CLASSES + axis] = offset, -offset
        scale = [1.0] * NUM_READINGS
        scale[NUM_COCO_CLASSES + axis] = 2.0
        shift = [0.0] * NUM_READINGS
        shift[NUM_COCO_CLASSES + 2 + axis] = doubled
        coded = readings * ops.cast(scale, readings.dtype) + ops.cast(shift, readings.dtype)
        pair = [coded + ops.cast(one, readings.dtype) for one in (before, after)]
        readings = interleave(pair, axis + 1)
    return readings


def interleave(pair: Sequence[Tensor], axis: int) -> Tensor:
    """Return the cells of two maps `[batch, h, w, channels]` in turn along an axis, 1 or 2."""
    shape = list(ops.shape(pair[0]))
    shape[axis] = 2 * shape[axis]
    return ops.reshape(ops.stack(pair, axis=axis + 1), shape)


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


class NanoDet:
    """The convolutions of NanoDet-g. They are made once, and shared by all images given to it."""

    def __init__(self) -> None:
        self._convolutions: dict[str, layers.Layer] = {}

    def trunk(self, x: Tensor) -> list[Tensor]:
        """Return `[C1, C2, C3, C4, C5]` of normalized pixels `[batch, height, width, channels]`.

        They have 32, 64, 128, 256 and 512 channels.
        """
        is_first = not self._convolutions  # the outputs of the first trunk have names
        x = PadEdges()(self._conv(x, 32, "nano1_conv", strides=2))
        stages = [x := layers.MaxPooling2D(3, 2)(x)]
        for stage in _STAGES:
            x = self._stage(x, stage, f"nano{stage}_out" if is_first else None)
            stages.append(x)
        return stages

    def pan(self, c3: Tensor, c4: Tensor, c5: Tensor) -> list[Tensor]:
        """Return the path aggregation network (Liu et al. 2018), here without 3x3 convolutions.

        These are three maps of 128 channels at strides 8, 16 and 32.
        """
        lateral3, lateral4, p5 = (
            self._convolution(f"nano_pan{level}", _PAN_CHANNELS, 1)(stage)
            for level, stage in ((3, c3), (4, c4), (5, c5))
        )
        p4 = layers.Add()([lateral4, BilinearDoubleSides()(p5)])
        p3 = layers.Add()([lateral3, BilinearDoubleSides()(p4)])
        # The mean of four cells is the value half way between them.
        n4 = layers.Add()([p4, layers.AveragePooling2D(2)(p3)])
        n5 = layers.Add()([p5, layers.AveragePooling2D(2)(n4)])
        return [p3, n4, n5]

    def head(self, feature: Tensor, level: int) -> Tensor:
        """Return what the head says of a map of the PAN.

        This is `[batch, h, w, 80 + 4 * 11]`, log-odds of the classes and of the distances to the
        sides.
        """
        x = self._conv(feature, _PAN_CHANNELS, f"nano_head{level}_conv")
        outputs = NUM_COCO_CLASSES + 4 * (MAX_DISTANCE + 1)
        return self._convolution(f"nano_head{level}_out", outputs, 1)(x)

    def _stage(self, x: Tensor, stage: int, name: str | None) -> Tensor:
        """Apply a cross-stage block: the way through the residual blocks, and the way past them."""
        channels, num_blocks = _STAGES[stage]
        x = past = self._conv(x, channels, f"nano{stage}_entry", strides=1 if stage == 2 else 2)
        for block in range(1, num_blocks + 1):
            x = self._conv(x, channels // 2, f"nano{stage}_block{block}_conv1")
            y = self._conv(x, channels // 2, f"nano{stage}_block{block}_conv2")
            x = layers.Concatenate()([y, x])
        x = self._conv(x, channels, f"nano{stage}_exit")
        return layers.Concatenate(name=name)([x, past])

    def _conv(self, x: Tensor, filters: int, name: str, strides: int = 1) -> Tensor:
        """Apply a 3x3 convolution with one zero on each side, and LeakyReLU."""
        padding = "same"
        if strides > 1:  # "same" would add the zeros of an even side below and on the right only
            x, padding = layers.ZeroPadding2D(1)(x), "valid"
        x = self._convolution(name, filters, 3, strides, padding)(x)
        return layers.LeakyReLU(negative_slope=0.1)(x)

    def _convolution(
        self, name: str, filters: int, size: int, strides: int = 1, padding: str = "valid"
    ) -> layers.Layer:
        """Return the convolution of this name."""
        if name not in self._convolutions:
            self._convolutions[name] = Conv2D(
                filters, size, strides, padding, kernel_initializer="he_uniform", name=name
            )
        return self._convolutions[name]


def nanodet_graph(input_image: Tensor, mean_pixel: Any = None) -> list[Tensor]:
    """Build the trunk.

    Args:
        input_image: `[batch, height, width, channels]`, mean subtracted.
        mean_pixel: `Config.MEAN_PIXEL`; None for (123.675, 116.28, 103.53), the network's own.

    Returns:
        `[C1, C2, C3, C4, C5]` with 32, 64, 128, 256 and 512 channels.
    """
    return NanoDet().trunk(NANODET_PIXELS.apply(input_image, mean_pixel, "nano_pixels"))


def nanodet_raw_graph(input_image: Tensor, mean_pixel: Any = None) -> list[Tensor]:
    """Build NanoDet itself.

    Args:
        input_image: as for `nanodet_graph`; sides are multiples of 32.
        mean_pixel: as for `nanodet_graph`.

    Returns:
        The outputs of `NanoDet.head` at strides 8, 16 and 32.
    """
    network = NanoDet()
    stages = network.trunk(NANODET_PIXELS.apply(input_image, mean_pixel, "nano_pixels"))
    return [network.head(x, level) for level, x in zip((3, 4, 5), network.pan(*stages[2:]))]


def nanodet_pan_graph(input_image: Tensor, mean_pixel: Any = None) -> list[Tensor]:
    """Build trunk, PAN and head.

    A feature pyramid adds the coarser levels to each level. What the PAN and the head say is
    therefore passed on as the difference to the next coarser level: their sums are again the values
    of each level.

    Args:
        input_image: as for `nanodet_graph`; sides are multiples of 64. Where they are known to be
            multiples of 32 only, large objects are not read.
        mean_pixel: as for `nanodet_graph`.

    Returns:
        `[C1, C2, C3, C4, C5]` with 32, 64, 341, 469 and 725 channels. C3 to C5 are the trunk's
        stage, and then, less those of the coarser level, the PAN's 128 channels and 85
        `NanoDetReadings`. The evidence for a class is the maximum of this and the coarser levels.
    """
    network = NanoDet()
    pixels = NANODET_PIXELS.apply(input_image, mean_pixel, "nano_pixels")
    *fine, c3, c4, c5 = network.trunk(pixels)
    can_halve = all(side is None or side % 64 == 0 for side in pixels.shape[1:3])
    large = large_object_graph(network, pixels) if can_halve else None
    above: Tensor = None
    stages: list[Tensor] = []
    levels = (3, 4, 5)
    for level, stage, feature in reversed([*zip(levels, (c3, c4, c5), network.pan(c3, c4, c5))]):
        readings = NanoDetReadings(name=f"nano_head{level}_readings")(network.head(feature, level))
        if level == 5 and large is not None:
            readings = LargerObjects(name="nano_head5_large")([readings, large])
        said = change = layers.Concatenate(name=f"nano_head{level}_said")([feature, readings])
        if above is not None:
            above = DoubleSides(name=f"nano_head{level + 1}_up")(above)
            said = StrongerEvidence(name=f"nano_head{level}_strongest")([said, above])
            change = layers.Subtract(name=f"nano_head{level}_change")([said, above])
        stages.insert(0, layers.Concatenate(name=f"nano_c{level}")([stage, change]))
        above = said
    return [*fine, *stages]


def large_object_graph(network: NanoDet, pixels: Tensor) -> Tensor:
    """Build the readings of the image at half its size, at stride 32 there.

    NanoDet looks for objects of up to about 320 pixels. This finds those twice as large, for a
    quarter of the cost of the network.

    Args:
        network: its convolutions are shared.
        pixels: normalized, `[batch, height, width, channels]`; sides are multiples of 64.

    Returns:
        `NanoDetReadings` at stride 64, `[batch, height / 64, width / 64, 85]`.
    """
    stages = network.trunk(layers.AveragePooling2D(2, name="nano_half")(pixels))
    feature = network.pan(*stages[2:])[2]
    return NanoDetReadings(name="nano_half_readings")(network.head(feature, 5))
