"""Functions of Matterport's `model` module that no graph of this package needs, for old scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras import layers, ops

from mrcnn.layers.detection_targets import DetectionTargetLayer
from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.types import Tensor

if TYPE_CHECKING:
    from mrcnn.config import Config


def identity_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    use_bias: bool = True,
    train_bn: bool | None = True,
) -> Tensor:
    """Build a residual block whose shortcut is the input.

    Args:
        input_tensor: `[batch, height, width, filters[2]]`.
        kernel_size: side of the middle convolution.
        filters: channels of the three convolutions.
        stage: number of the stage, for the names of the layers.
        block: letter of the block, for the names of the layers.
        use_bias: whether the convolutions have a bias.
        train_bn: False freezes the batch statistics, None follows the model, True always trains.

    Returns:
        `[batch, height, width, filters[2]]`.
    """
    main = _main_path(input_tensor, kernel_size, filters, f"{stage}{block}", 1, use_bias, train_bn)
    return _joined(main, input_tensor, f"{stage}{block}")


def conv_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: int | tuple[int, int] = (2, 2),
    use_bias: bool = True,
    train_bn: bool | None = True,
) -> Tensor:
    """Build a residual block whose shortcut is a convolution.

    Args:
        input_tensor: `[batch, height, width, channels]`.
        kernel_size: as for `identity_block`.
        filters: as for `identity_block`.
        stage: as for `identity_block`.
        block: as for `identity_block`.
        strides: strides of the first convolution and of the shortcut.
        use_bias: as for `identity_block`.
        train_bn: as for `identity_block`.

    Returns:
        `[batch, height / stride, width / stride, filters[2]]`.
    """
    name = f"{stage}{block}"
    main = _main_path(input_tensor, kernel_size, filters, name, strides, use_bias, train_bn)
    convolution = layers.Conv2D(
        filters[2], 1, strides, use_bias=use_bias, name=f"res{name}_branch1"
    )
    shortcut = BatchNorm(name=f"bn{name}_branch1")(convolution(input_tensor), training=train_bn)
    return _joined(main, shortcut, name)


def _main_path(
    x: Tensor,
    kernel_size: int,
    filters: Sequence[int],
    name: str,
    strides: int | tuple[int, int],
    use_bias: bool,
    train_bn: bool | None,
) -> Tensor:
    """Build the three convolutions of a block, up to the last batch normalization."""
    first, middle, last = filters
    parts = (("2a", first, 1, strides), ("2b", middle, kernel_size, 1), ("2c", last, 1, 1))
    for branch, channels, size, stride in parts:
        if branch != "2a":
            x = layers.Activation("relu")(x)
        x = layers.Conv2D(
            channels,
            size,
            stride,
            padding="same" if branch == "2b" else "valid",
            use_bias=use_bias,
            name=f"res{name}_branch{branch}",
        )(x)
        x = BatchNorm(name=f"bn{name}_branch{branch}")(x, training=train_bn)
    return x


def _joined(main: Tensor, shortcut: Tensor, name: str) -> Tensor:
    """Add a block's main path and its shortcut."""
    return layers.Activation("relu", name=f"res{name}_out")(layers.Add()([main, shortcut]))


def detection_targets_graph(
    proposals: Tensor, gt_class_ids: Tensor, gt_boxes: Tensor, gt_masks: Tensor, config: Config
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make the targets of the heads for one image; see `DetectionTargetLayer`.

    Args:
        proposals: `[N, (y1, x1, y2, x2)]` normalized, padded with zero rows.
        gt_class_ids: `[G]` int; below 0 a crowd, 0 padding.
        gt_boxes: `[G, (y1, x1, y2, x2)]` normalized.
        gt_masks: `[height, width, G]` bool.
        config: `Config`.

    Returns:
        `(rois [T, 4], class_ids [T], deltas [T, 4], masks [T, height, width])` with
        T = `TRAIN_ROIS_PER_IMAGE`, padded with zero rows.
    """
    batch = [
        ops.expand_dims(ops.convert_to_tensor(x), 0)
        for x in (proposals, gt_class_ids, gt_boxes, gt_masks)
    ]
    rois, class_ids, deltas, masks = DetectionTargetLayer(config)(batch)
    return rois[0], class_ids[0], deltas[0], masks[0]
