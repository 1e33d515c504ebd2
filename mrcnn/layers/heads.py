"""The heads: class and box of each proposal, mask of each detection.

`[batch, rois, ...]` becomes `[batch * rois, ...]` around the convolutions and goes back afterwards,
so that one ordinary layer serves all boxes of all pictures. A head is an object that holds its
layers; calling it twice shares them, which is how the training and inference graphs share weights.
"""

import keras
from keras import layers, ops

from mrcnn.layers.normalization import BatchNorm
from mrcnn.layers.roi_align import PyramidROIAlign
from mrcnn.layers.winograd import WinogradConv2D


class MergeRois(keras.layers.Layer):
    """`[batch, rois, ...]` to `[batch * rois, ...]`."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, *x.shape[2:]), dtype=x.dtype)


class SplitRois(keras.layers.Layer):
    """`[batch * rois, ...]` back to `[batch, rois, ...]`; the second input gives the two sizes."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs):
        x, boxes = inputs
        batch_size, num_rois = ops.shape(boxes)[:2]
        return ops.reshape(x, (batch_size, num_rois, *x.shape[1:]))

    def compute_output_spec(self, inputs):
        x, boxes = inputs
        return keras.KerasTensor((*boxes.shape[:2], *x.shape[1:]), dtype=x.dtype)


class TiledConv2DTranspose(layers.Conv2DTranspose):
    """A transposed convolution whose stride is its kernel's size, as one matrix product.

    Each input cell becomes a tile of its own, so nothing overlaps and `[N, h, w, in]` times
    `[in, kernel * kernel * out]` holds all outputs, up to their order. The general operation costs
    more in training: on a CPU the gradient of the kernel takes JAX 20 times as long, and TensorFlow
    adds the gradient of the bias up in 16 bits, where a sum stays behind after some 256 terms.

    Args:
        filters: channels of the output.
        kernel_size: side of a tile, by which height and width grow.

    Weights, activation and initial values are those of `keras.layers.Conv2DTranspose`. There is
    always a bias; padding and dilation have no meaning here.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, strides=kernel_size, **kwargs)

    def call(self, x):
        (rows, columns, filters, channels), (height, width) = self.kernel.shape, x.shape[1:3]
        kernel = ops.reshape(ops.transpose(self.kernel, (3, 0, 1, 2)), (channels, -1))
        tiles = ops.reshape(ops.matmul(x, kernel), (-1, height, width, rows, columns, filters))
        x = ops.reshape(
            ops.transpose(tiles, (0, 1, 3, 2, 4, 5)),
            (-1, height * rows, width * columns, filters),
        )
        return self.activation(x + self.bias)

    def get_config(self):
        config = super().get_config()
        del config["strides"]
        return config


class FirstRois(keras.layers.Layer):
    """The first `limit` rows of `[batch, rois, ...]`."""

    def __init__(self, limit, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.limit = limit

    def call(self, x):
        return x[:, : self.limit]

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], self.limit, *x.shape[2:]), dtype=x.dtype)


class PadRois(keras.layers.Layer):
    """Zero rows after `[batch, rois, ...]` until there are `length`."""

    def __init__(self, length, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.length = length

    def call(self, x):
        padding = [[0, 0] for _ in x.shape]
        padding[1][1] = self.length - x.shape[1]
        return ops.pad(x, padding)

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], self.length, *x.shape[2:]), dtype=x.dtype)


class RoiMasks(layers.Conv2D):
    """The 1x1 convolution and sigmoid that end the mask head: `[batch, rois, h, w, channels]` to
    `[batch, rois, h, w, filters]` float32 probabilities. The sigmoid is taken in float32: close to
    1, a bfloat16 cannot tell a good pixel from a perfect one, and the loss needs the difference.
    """

    def build(self, input_shape):
        super().build((None, *input_shape[2:]))

    def call(self, x):
        logits = super().call(ops.reshape(x, (-1, *x.shape[2:])))
        masks = ops.sigmoid(ops.cast(logits, "float32"))
        return ops.reshape(masks, (*ops.shape(x)[:2], *masks.shape[1:]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def compute_output_spec(self, x):
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype="float32")


class FullConv2D(layers.Conv2D):
    """A convolution whose kernel is as large as its input: `[N, h, w, channels]` to
    `[N, 1, 1, filters]`, computed as the matrix product that it is. OpenVINO takes 20 times as long
    for a thousand convolutions of 7 x 7 maps.
    """

    def convolution_op(self, inputs, kernel):
        *sides, channels, filters = kernel.shape
        inputs = ops.reshape(inputs, (-1, sides[0] * sides[1] * channels))
        outputs = ops.matmul(inputs, ops.reshape(kernel, (-1, filters)))
        return ops.reshape(outputs, (-1, 1, 1, filters))


class ClassifierHead:
    """Class scores and box deltas of proposals (the head of Faster R-CNN with FPN).

    Args:
        pool_size: side of the pooled square, `POOL_SIZE`.
        num_classes: including the background.
        train_bn: mode of the batch normalisation, see `BatchNorm`.
        fc_layers_size: width of the two fully connected layers.
        canonical_box_size: see `mrcnn.layers.roi_align.roi_levels`.
    """

    def __init__(
        self,
        pool_size,
        num_classes,
        train_bn=True,
        fc_layers_size=1024,
        canonical_box_size=224,
    ):
        self.num_classes = num_classes
        self.train_bn = train_bn
        self.align = PyramidROIAlign(
            [pool_size, pool_size], canonical_box_size, name="roi_align_classifier"
        )
        # The first fully connected layer is a convolution over the whole square.
        self.conv1 = FullConv2D(fc_layers_size, pool_size, name="mrcnn_class_conv1")
        self.bn1 = BatchNorm(name="mrcnn_class_bn1")
        self.conv2 = FullConv2D(fc_layers_size, 1, name="mrcnn_class_conv2")
        self.bn2 = BatchNorm(name="mrcnn_class_bn2")
        self.logits = layers.Dense(num_classes, name="mrcnn_class_logits")
        self.deltas = layers.Dense(num_classes * 4, name="mrcnn_bbox_fc")

    def __call__(self, rois, feature_maps, image_meta):
        """See `fpn_classifier_graph`."""
        return self.classify(self.align([rois, image_meta, *feature_maps]))

    def classify(self, pooled):
        """What follows ROIAlign: `[batch, N, pool_size, pool_size, channels]` to logits, class
        probabilities and box deltas.
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
        train_bn: mode of the batch normalisation, see `BatchNorm`.
        channels: width of the convolutions.
        canonical_box_size: see `mrcnn.layers.roi_align.roi_levels`.
    """

    def __init__(self, pool_size, num_classes, train_bn=True, channels=256, canonical_box_size=224):
        self.train_bn = train_bn
        self.align = PyramidROIAlign(
            [pool_size, pool_size], canonical_box_size, name="roi_align_mask"
        )
        # He's initial values: with frozen batch normalisation nothing else keeps the signal of
        # a head that is trained anew from fading, by a third with each layer.
        self.convs = [
            WinogradConv2D(channels, kernel_initializer="he_normal", name=f"mrcnn_mask_conv{i}")
            for i in range(1, 5)
        ]
        self.bns = [BatchNorm(name=f"mrcnn_mask_bn{i}") for i in range(1, 5)]
        self.deconv = TiledConv2DTranspose(channels, 2, activation="relu", name="mrcnn_mask_deconv")
        self.masks = RoiMasks(num_classes, 1, name="mrcnn_mask")

    def __call__(self, rois, feature_maps, image_meta):
        """See `build_fpn_mask_graph`."""
        return self.predict_masks(self.align([rois, image_meta, *feature_maps]))

    def predict_masks(self, pooled):
        """What follows ROIAlign: `[batch, N, pool_size, pool_size, channels]` to the masks."""
        x = MergeRois()(pooled)
        for conv, bn in zip(self.convs, self.bns):
            x = layers.Activation("relu")(bn(conv(x), training=self.train_bn))
        x = SplitRois(name="mrcnn_mask_rois")([self.deconv(x), pooled])
        return self.masks(x)


def fpn_classifier_graph(
    rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True, fc_layers_size=1024
):
    """Class and box head, with layers of its own.

    Args:
        rois: `[batch, N, (y1, x1, y2, x2)]` normalised.
        feature_maps: `[P2, P3, P4, P5]`.
        image_meta: `[batch, 12 + num_classes]`.
        pool_size, num_classes, train_bn, fc_layers_size: see `ClassifierHead`.

    Returns:
        logits: `[batch, N, num_classes]`.
        probs: `[batch, N, num_classes]`.
        bbox_deltas: `[batch, N, num_classes, (dy, dx, log(dh), log(dw))]`.
    """
    head = ClassifierHead(pool_size, num_classes, train_bn, fc_layers_size)
    return head(rois, feature_maps, image_meta)


def build_fpn_mask_graph(rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True):
    """Mask head, with layers of its own.

    Returns:
        `[batch, N, 2 * pool_size, 2 * pool_size, num_classes]` probabilities.
    """
    return MaskHead(pool_size, num_classes, train_bn)(rois, feature_maps, image_meta)
