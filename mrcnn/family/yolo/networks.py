"""Keras models of the YOLO networks, from their descriptions."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from mrcnn.family.yolo.descriptions import YoloNetwork, parse_layers
from mrcnn.layers.types import Tensor

# Epsilon inside the square root, as in Darknet's kernels for GPUs, on which the weights were
# trained.
BATCH_NORM_EPSILON = 1e-5
# Keras's convention: the share of the old value that is kept.
BATCH_NORM_MOMENTUM = 0.99
LEAKY_SLOPE = 0.1


@keras.saving.register_keras_serializable(package="mrcnn")
class Reorg(layers.Layer):
    """Darknet's reorganization with stride 2: `[B, H, W, C]` to `[B, H/2, W/2, 4C]`.

    Darknet's arithmetic treats the channels-first input as an array of C/4 channels with twice the
    rows and columns, so it is not the usual space-to-depth. Published weights rely on this order.
    """

    def call(self, x: Tensor) -> Tensor:
        """Reorder the values."""
        _, height, width, channels = x.shape
        x = ops.transpose(x, (0, 3, 1, 2))
        # Read as [C/4, 2H, 2W]; rows and columns of a pair become the leading axes.
        x = ops.reshape(x, (-1, channels // 4, height, 2, width, 2))
        x = ops.transpose(x, (0, 3, 5, 1, 2, 4))
        x = ops.reshape(x, (-1, 4 * channels, height // 2, width // 2))
        return ops.transpose(x, (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[B, H/2, W/2, 4C]`."""
        batch, height, width, channels = input_shape
        if height is None or width is None or channels is None:
            raise ValueError(f"input_shape is {input_shape}; all sides must be known")
        return batch, height // 2, width // 2, 4 * channels


@keras.saving.register_keras_serializable(package="mrcnn")
class GridRows(layers.Layer):
    """The raw outputs of all grids as rows: `[B, cells * boxes, 5 + classes]`.

    Rows are ordered by grid, row, column and box, as Darknet enumerates its boxes.

    Args:
        num_values: values per box, 5 + classes.
    """

    def __init__(self, num_values: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.num_values = num_values

    def call(self, grids: list[Tensor]) -> Tensor:
        """Reshape and concatenate."""
        rows = [ops.reshape(x, (-1, self._count(x.shape), self.num_values)) for x in grids]
        return ops.concatenate(rows, axis=1)

    def compute_output_shape(
        self, input_shape: list[tuple[int | None, ...]]
    ) -> tuple[int | None, int, int]:
        """Return `[B, rows, values]`."""
        return input_shape[0][0], sum(map(self._count, input_shape)), self.num_values

    def get_config(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_values": self.num_values}

    def _count(self, shape: Any) -> int:
        return shape[1] * shape[2] * shape[3] // self.num_values


def build_network(
    network: YoloNetwork, num_classes: int, image_size: int | None = None
) -> keras.Model:
    """Build a YOLO network.

    Args:
        network: which one, see `descriptions.NETWORKS`.
        num_classes: number of classes, without a background.
        image_size: side of the square input in pixels; None takes the published one.

    Returns:
        A model from images `[B, size, size, 3]`, RGB in 0..1, to raw outputs:
        `[B, boxes, 5 + classes]` (x, y, w, h, objectness, classes) for v2 and v3; for v1
        `[B, S * S * (classes + boxes * 5)]` in the order of Darknet, see `decoding.decode_v1`.

    Raises:
        ValueError: the size does not suit the network, or there is no class.
    """
    size = network.image_size if image_size is None else image_size
    if not network.any_size and size != network.image_size:
        raise ValueError(f"image_size is {size}; it must be {network.image_size} for yolov1")
    if size < 1 or size % max(network.strides):
        raise ValueError(f"image_size is {size}; it must be a multiple of {max(network.strides)}")
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; it must be 1 or more")
    builder = _Builder(network, num_classes)
    image = keras.Input((size, size, 3), name="image")
    outputs = builder.apply(image)
    raw = outputs[0]
    if network.version > 1:
        raw = GridRows(5 + num_classes, dtype="float32", name="rows")(outputs)
    return keras.Model(image, raw, name=network.name.replace("-", "_"))


def output_layers(model: keras.Model, network: YoloNetwork) -> set[str]:
    """Return the names of the layers whose shape depends on the number of classes."""
    if network.version == 1:
        return {model.layers[-1].name}
    # They alone have a bias: the other convolutions have batch normalization.
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    return {layer.name for layer in convolutions if layer.use_bias}


class _Builder:
    """Applies the layers of a description one after the other and numbers them."""

    def __init__(self, network: YoloNetwork, num_classes: int) -> None:
        self.network = network
        self.num_classes = num_classes
        self.num_weighted = 0

    def apply(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of the `detect` layers."""
        stored: dict[str, Tensor] = {}
        outputs: list[Tensor] = []
        for (kind, *arguments), name in parse_layers(self.network.layers):
            if kind == "from":
                x = stored[arguments[0]]
            elif kind == "concat":
                x = layers.Concatenate()([x, stored[arguments[0]]])
            elif kind == "detect":
                outputs.append(self._detect(x))
            else:
                x = getattr(self, f"_{kind}")(x, *arguments)
            if name is not None:
                stored[name] = x
        return outputs

    def _next_name(self, kind: str) -> str:
        self.num_weighted += 1
        return f"{kind}_{self.num_weighted}"

    def _conv(self, x: Tensor, filters: str, size: str, stride: str = "/1") -> Tensor:
        name = self._next_name("conv")
        step, side = int(stride[1:]), int(size)
        if step > 1:
            # Darknet pads all sides alike; "same" would pad the bottom and the right alone.
            x = layers.ZeroPadding2D(side // 2)(x)
        x = layers.Conv2D(
            int(filters),
            side,
            step,
            padding="same" if step == 1 else "valid",
            use_bias=not self.network.batch_norm,
            name=name,
        )(x)
        if self.network.batch_norm:
            x = layers.BatchNormalization(
                momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn"
            )(x)
        return layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)

    def _residual(self, x: Tensor, first: str, second: str) -> Tensor:
        return layers.Add()([x, self._conv(self._conv(x, first, "1"), second, "3")])

    def _pool(self, x: Tensor, stride: str = "/2") -> Tensor:
        return layers.MaxPooling2D(2, int(stride[1:]), padding="same")(x)

    def _upsample(self, x: Tensor) -> Tensor:
        return layers.UpSampling2D(2, interpolation="nearest")(x)

    def _reorg(self, x: Tensor) -> Tensor:
        return Reorg()(x)

    def _dense(self, x: Tensor, units: str) -> Tensor:
        # Darknet's images are channels first, and so are the inputs of its dense layers.
        x = layers.Flatten()(layers.Permute((3, 1, 2))(x))
        x = layers.Dense(int(units), name=self._next_name("dense"))(x)
        return layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(x)

    def _dropout(self, x: Tensor, rate: str) -> Tensor:
        return layers.Dropout(float(rate))(x)

    def _detect(self, x: Tensor) -> Tensor:
        """Apply the output layer of one grid; linear, with a bias, and always in float32."""
        network = self.network
        if network.version == 1:
            cells = (network.image_size // network.strides[0]) ** 2
            units = cells * (self.num_classes + 5 * network.num_boxes)
            return layers.Dense(units, dtype="float32", name=self._next_name("dense"))(x)
        filters = network.num_boxes * (5 + self.num_classes)
        return layers.Conv2D(filters, 1, dtype="float32", name=self._next_name("conv"))(x)
