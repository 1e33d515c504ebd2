"""The heads: class and box of each proposal, mask of each detection.

`[batch, rois, ...]` becomes `[batch * rois, ...]` around the convolutions and back afterwards, so
that one ordinary layer serves all boxes of all images. A head is an object that holds its layers;
calling it twice shares them, which is how the training and inference graphs share weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.roi_align import PyramidROIAlign
from mrcnn.layers.roi_pool import ROIMaxPool
from mrcnn.layers.types import Shape, Tensor
from mrcnn.layers.winograd import WinogradConv2D


@keras.saving.register_keras_serializable(package="mrcnn")
class MergeRois(keras.layers.Layer):
    """Reshape `[batch, rois, ...]` to `[batch * rois, ...]`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((None, *x.shape[2:]), dtype=x.dtype)


@keras.saving.register_keras_serializable(package="mrcnn")
class SplitRois(keras.layers.Layer):
    """Reshape `[batch * rois, ...]` back to `[batch, rois, ...]`.

    Call with `[x, y]`, where `y` is `[batch, rois, ...]` and only its two sizes are used.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, boxes = inputs
        batch_size, num_rois = ops.shape(boxes)[:2]
        return ops.reshape(x, (batch_size, num_rois, *x.shape[1:]))

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        x, boxes = inputs
        return keras.KerasTensor((*boxes.shape[:2], *x.shape[1:]), dtype=x.dtype)


@keras.saving.register_keras_serializable(package="mrcnn")
class TiledConv2DTranspose(layers.Conv2DTranspose):
    """A transposed convolution whose stride is its kernel's size, as one matrix product.

    Each input cell becomes a tile of its own, so nothing overlaps and `[N, h, w, in]` times
    `[in, kernel * kernel * out]` holds all outputs, up to their order. The general operation costs
    more in training: on a CPU the gradient of the kernel takes JAX 20 times as long, and TensorFlow
    sums the gradient of the bias in 16 bits, where the sum stops growing after 256 equal terms.

    Args:
        filters: channels of the output.
        kernel_size: side of a tile, by which height and width grow.
        **kwargs: as for `keras.layers.Conv2DTranspose`. There is always a bias; padding and
            dilation have no meaning here.

    Weights, activation and initial values are those of `keras.layers.Conv2DTranspose`.
    """

    def __init__(self, filters: int, kernel_size: int | Sequence[int], **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, strides=kernel_size, **kwargs)

    def call(self, x: Tensor) -> Tensor:
        (rows, columns, filters, channels), (height, width) = self.kernel.shape, x.shape[1:3]
        kernel = ops.reshape(ops.transpose(self.kernel, (3, 0, 1, 2)), (channels, -1))
        tiles = ops.reshape(ops.matmul(x, kernel), (-1, height, width, rows, columns, filters))
        x = ops.reshape(
            ops.transpose(tiles, (0, 1, 3, 2, 4, 5)),
            (-1, height * rows, width * columns, filters),
        )
        return self.activation(x + self.bias)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["strides"]
        return config


@keras.saving.register_keras_serializable(package="mrcnn")
class FirstRois(keras.layers.Layer):
    """Take the first `limit` rows of `[batch, rois, ...]`."""

    def __init__(self, limit: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.limit = limit

    def call(self, x: Tensor) -> Tensor:
        return x[:, : self.limit]

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((x.shape[0], self.limit, *x.shape[2:]), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "limit": self.limit}


@keras.saving.register_keras_serializable(package="mrcnn")
class PadRois(keras.layers.Layer):
    """Append zero rows to `[batch, rois, ...]` until there are `length`."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.length = length

    def call(self, x: Tensor) -> Tensor:
        padding = [[0, 0] for _ in x.shape]
        padding[1][1] = self.length - x.shape[1]
        return ops.pad(x, padding)

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((x.shape[0], self.length, *x.shape[2:]), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length}


@keras.saving.register_keras_serializable(package="mrcnn")
class RoiMasks(layers.Conv2D):
    """The 1x1 convolution and sigmoid that end the mask head.

    From `[batch, rois, h, w, channels]` to `[batch, rois, h, w, filters]` float32 probabilities.
    The sigmoid is computed in float32: the values of bfloat16 near 1 are 0.004 apart, and the loss
    needs smaller differences.

    Args:
        *args: as for `Conv2D`.
        class_agnostic: whether all filters predict the same mask, that of the mean of their
            weights. The filters are equal initially, and training changes all in the same way.
        **kwargs: as for `Conv2D`.
    """

    def __init__(self, *args: Any, class_agnostic: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.class_agnostic = class_agnostic

    def build(self, input_shape: Shape) -> None:
        super().build((None, *input_shape[2:]))
        if self.class_agnostic:
            kernel = ops.convert_to_tensor(self.kernel)
            self.kernel.assign(ops.broadcast_to(kernel[..., :1], kernel.shape))

    def call(self, x: Tensor) -> Tensor:
        flat = ops.reshape(x, (-1, *x.shape[2:]))
        if self.class_agnostic:
            logits = ops.matmul(flat, ops.mean(self.kernel[0, 0], axis=-1, keepdims=True))
            logits = logits + ops.mean(self.bias)
        else:
            logits = super().call(flat)
        masks = ops.sigmoid(ops.cast(logits, "float32"))
        if self.class_agnostic:
            masks = ops.repeat(masks, self.filters, axis=-1)
        return ops.reshape(masks, (*ops.shape(x)[:2], *masks.shape[1:]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_agnostic": self.class_agnostic}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype="float32")


@keras.saving.register_keras_serializable(package="mrcnn")
class FullConv2D(layers.Conv2D):
    """A convolution whose kernel is as large as its input, computed as a matrix product.

    From `[N, h, w, channels]` to `[N, 1, 1, filters]`. OpenVINO takes 20 times as long for a
    thousand convolutions of 7 x 7 maps.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        *sides, channels, filters = kernel.shape
        inputs = ops.reshape(inputs, (-1, sides[0] * sides[1] * channels))
        outputs = ops.matmul(inputs, ops.reshape(kernel, (-1, filters)))
        return ops.reshape(outputs, (-1, 1, 1, filters))


def _pooling_layer(
    pooling: str, pool_size: int, canonical_box_size: float, name: str
) -> PyramidROIAlign | ROIMaxPool:
    """Make the layer of a `ROI_POOLING`, "align" or "max"."""
    if pooling == "max":
        return ROIMaxPool([pool_size, pool_size], name=name)
    return PyramidROIAlign([pool_size, pool_size], canonical_box_size, name=name)


class ClassifierHead:
    """Class scores and box deltas of proposals (the head of Faster R-CNN with FPN).

    Args:
        pool_size: side of the pooled square, `POOL_SIZE`.
        num_classes: including the background.
        train_bn: mode of the batch normalization, see `BatchNorm`.
        fc_layers_size: width of the two fully connected layers.
        canonical_box_size: see `mrcnn.layers.roi_align.roi_levels`.
        pooling: "align" or "max", `ROI_POOLING`.
    """

    def __init__(
        self,
        pool_size: int,
        num_classes: int,
        train_bn: bool | None = True,
        fc_layers_size: int = 1024,
        canonical_box_size: float = 224,
        pooling: str = "align",
    ) -> None:
        self.num_classes = num_classes
        self.train_bn = train_bn
        self.align = _pooling_layer(
            pooling, pool_size, canonical_box_size, name="roi_align_classifier"
        )
        # The first fully connected layer is a convolution over the whole square.
        self.conv1 = FullConv2D(fc_layers_size, pool_size, name="mrcnn_class_conv1")
        self.bn1 = BatchNorm(name="mrcnn_class_bn1")
        self.conv2 = FullConv2D(fc_layers_size, 1, name="mrcnn_class_conv2")
        self.bn2 = BatchNorm(name="mrcnn_class_bn2")
        self.logits = layers.Dense(num_classes, name="mrcnn_class_logits")
        self.deltas = layers.Dense(num_classes * 4, name="mrcnn_bbox_fc")

    def __call__(
        self, rois: Tensor, feature_maps: Sequence[Tensor], image_meta: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pool the features of the ROIs and classify them; see `fpn_classifier_graph`."""
        return self.classify(self.align([rois, image_meta, *feature_maps]))

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classify pooled features.

        Args:
            pooled: `[batch, N, pool_size, pool_size, channels]`, the output of ROIAlign.

        Returns:
            Logits, class probabilities and box deltas, see `fpn_classifier_graph`.
        """
        x = MergeRois()(pooled)
        x = layers.Activation("relu")(self.bn1(self.conv1(x), training=self.train_bn))
        x = layers.Activation("relu")(self.bn2(self.conv2(x), training=self.train_bn))
        shared = layers.Flatten(name="pool_squeeze")(x)
        shared = SplitRois(name="pool_squeeze_rois")([shared, pooled])
        logits = self.logits(shared)
        probs = layers.Activation("softmax", dtype="float32", name="mrcnn_class")(logits)
        deltas = layers.Activation("linear", dtype="float32")(self.deltas(shared))
        deltas = layers.Reshape((-1, self.num_classes, 4), dtype="float32", name="mrcnn_bbox")(
            deltas
        )
        return logits, probs, deltas


class MaskHead:
    """One mask for each class of each box (Mask R-CNN's fully convolutional head).

    Args:
        pool_size: side of the pooled square, `MASK_POOL_SIZE`; the mask is twice as large.
        num_classes: including the background.
        train_bn: mode of the batch normalization, see `BatchNorm`.
        channels: width of the convolutions.
        canonical_box_size: see `mrcnn.layers.roi_align.roi_levels`.
        class_agnostic: whether the masks of all classes are the same, `CLASS_AGNOSTIC_MASK`.
        pooling: "align" or "max", `ROI_POOLING`.
    """

    def __init__(
        self,
        pool_size: int,
        num_classes: int,
        train_bn: bool | None = True,
        channels: int = 256,
        canonical_box_size: float = 224,
        class_agnostic: bool = False,
        pooling: str = "align",
    ) -> None:
        self.train_bn = train_bn
        self.align = _pooling_layer(pooling, pool_size, canonical_box_size, name="roi_align_mask")
        # He's initial values: with frozen batch normalization the signal of a head with Keras's
        # default values shrinks by a third with each layer.
        self.convs = [
            WinogradConv2D(channels, kernel_initializer="he_normal", name=f"mrcnn_mask_conv{i}")
            for i in range(1, 5)
        ]
        self.bns = [BatchNorm(name=f"mrcnn_mask_bn{i}") for i in range(1, 5)]
        self.deconv = TiledConv2DTranspose(channels, 2, activation="relu", name="mrcnn_mask_deconv")
        self.masks = RoiMasks(num_classes, 1, class_agnostic=class_agnostic, name="mrcnn_mask")

    def __call__(self, rois: Tensor, feature_maps: Sequence[Tensor], image_meta: Tensor) -> Tensor:
        """Pool the features of the ROIs and predict masks; see `build_fpn_mask_graph`."""
        return self.predict_masks(self.align([rois, image_meta, *feature_maps]))

    def predict_masks(self, pooled: Tensor) -> Tensor:
        """Predict masks from pooled features.

        Args:
            pooled: `[batch, N, pool_size, pool_size, channels]`, the output of ROIAlign.

        Returns:
            `[batch, N, 2 * pool_size, 2 * pool_size, num_classes]` float32 probabilities.
        """
        x = MergeRois()(pooled)
        for conv, bn in zip(self.convs, self.bns):
            x = layers.Activation("relu")(bn(conv(x), training=self.train_bn))
        x = SplitRois(name="mrcnn_mask_rois")([self.deconv(x), pooled])
        return self.masks(x)


def fpn_classifier_graph(
    rois: Tensor,
    feature_maps: Sequence[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
    fc_layers_size: int = 1024,
) -> tuple[Tensor, Tensor, Tensor]:
    """Build a class and box head with layers of its own.

    Args:
        rois: `[batch, N, (y1, x1, y2, x2)]` normalized.
        feature_maps: `[P2, P3, P4, P5]`.
        image_meta: `[batch, 12 + num_classes]`.
        pool_size: side of the pooled square.
        num_classes: including the background.
        train_bn: mode of the batch normalization, see `BatchNorm`.
        fc_layers_size: width of the two fully connected layers.

    Returns:
        logits: `[batch, N, num_classes]`.
        probs: `[batch, N, num_classes]`.
        bbox_deltas: `[batch, N, num_classes, (dy, dx, log(dh), log(dw))]`.
    """
    head = ClassifierHead(pool_size, num_classes, train_bn, fc_layers_size)
    return head(rois, feature_maps, image_meta)


def build_fpn_mask_graph(
    rois: Tensor,
    feature_maps: Sequence[Tensor],
    image_meta: Tensor,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
) -> Tensor:
    """Build a mask head with layers of its own.

    Args:
        rois: `[batch, N, (y1, x1, y2, x2)]` normalized.
        feature_maps: `[P2, P3, P4, P5]`.
        image_meta: `[batch, 12 + num_classes]`.
        pool_size: side of the pooled square.
        num_classes: including the background.
        train_bn: mode of the batch normalization, see `BatchNorm`.

    Returns:
        `[batch, N, 2 * pool_size, 2 * pool_size, num_classes]` probabilities.
    """
    return MaskHead(pool_size, num_classes, train_bn)(rois, feature_maps, image_meta)
