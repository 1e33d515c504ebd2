"""Stand-ins for Keras models: the few attributes that reading and writing weights needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


class FakeVariable:
    def __init__(self, name: str, value: np.ndarray):
        self.name = name
        self.value = np.asarray(value)
        self.assigned = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        assert value.shape == self.value.shape
        self.value = np.asarray(value, self.value.dtype)
        self.assigned += 1


class FakeLayer:
    def __init__(self, name: str, weights: Sequence[FakeVariable] = ()):
        self.name = name
        self.weights = list(weights)


class FakeModel:
    """A model, or a nested one, by its layers."""

    def __init__(self, layers: Sequence[FakeLayer | FakeModel], name: str = "model"):
        self.name = name
        self.layers = list(layers)

    @property
    def weights(self) -> list[FakeVariable]:
        return [variable for layer in self.layers for variable in layer.weights]

    def value(self, layer: str, weight: str = "kernel") -> np.ndarray:
        """The value of "conv1", "kernel", or of "rpn_model", "rpn_class_raw/kernel"."""
        return variables(self)[f"{layer}/{weight}"].value


def variables(model: FakeModel, prefix: str = "") -> dict[str, FakeVariable]:
    found = {}
    for layer in model.layers:
        if isinstance(layer, FakeModel):
            found |= variables(layer, f"{prefix}{layer.name}/")
        else:
            found |= {f"{prefix}{layer.name}/{v.name}": v for v in layer.weights}
    return found


def conv(name: str, shape: Sequence[int], fill: float = 0.0) -> FakeLayer:
    """A convolution or dense layer: kernel of this shape and bias."""
    kernel = np.full(shape, fill, np.float32)
    return FakeLayer(
        name,
        [
            FakeVariable("kernel", kernel),
            FakeVariable("bias", kernel[..., 0].reshape(-1)[:1].repeat(shape[-1])),
        ],
    )


def norm(name: str, channels: int, fill: float = 0.0) -> FakeLayer:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return FakeLayer(name, [FakeVariable(n, np.full(channels, fill, np.float32)) for n in names])


def small_mask_rcnn(
    num_classes: int = 5,
    pyramid: int = 8,
    fc: int = 16,
    anchors: int = 3,
    channels: int = 3,
    backbone: str = "resnet50",
    fill: float = 0.0,
) -> FakeModel:
    """Matterport's layer names on a net of a few channels; one conv per residual block."""
    blocks = {"resnet50": "abcdef", "resnet101": "abcdefghijklmnopqrstuvw"}[backbone]
    rpn = FakeModel(
        [
            FakeLayer("input_rpn_feature_map"),
            conv("rpn_conv_shared", (3, 3, pyramid, 4), fill),
            conv("rpn_class_raw", (1, 1, 4, 2 * anchors), fill),
            conv("rpn_bbox_pred", (1, 1, 4, 4 * anchors), fill),
        ],
        "rpn_model",
    )
    return FakeModel(
        [
            FakeLayer("input_image"),
            conv("conv1", (7, 7, channels, 4), fill),
            norm("bn_conv1", 4, fill),
            conv("res2a_branch2a", (1, 1, 4, 4), fill),
            *(conv(f"res4{block}_branch2a", (1, 1, 4, 4), fill) for block in blocks),
            *(conv(f"fpn_c{i}p{i}", (1, 1, 4, pyramid), fill) for i in (5, 4, 3, 2)),
            rpn,
            conv("mrcnn_class_conv1", (7, 7, pyramid, fc), fill),
            norm("mrcnn_class_bn1", fc, fill),
            conv("mrcnn_class_logits", (fc, num_classes), fill),
            conv("mrcnn_bbox_fc", (fc, num_classes * 4), fill),
            conv("mrcnn_mask", (1, 1, pyramid, num_classes), fill),
        ]
    )


def model_of_layout(layout: Mapping, values=None) -> FakeModel:
    """A model with the layers and shapes of a recorded file; `values(path, shape)` fills it."""
    values = values or (lambda path, shape: np.zeros(shape, np.float32))
    layers: list[FakeLayer | FakeModel] = []
    for name in layout["layer_names"]:
        parts: dict[str, list[FakeVariable]] = {}
        for dataset in layout["groups"][name]["datasets"]:
            _, inner, weight = dataset["path"].split("/")
            value = values(dataset["path"], dataset["shape"])
            parts.setdefault(inner, []).append(FakeVariable(weight.removesuffix(":0"), value))
        if set(parts) <= {name}:
            layers.append(FakeLayer(name, parts.get(name, ())))
        else:
            layers.append(FakeModel([FakeLayer(n, v) for n, v in parts.items()], name))
    return FakeModel(layers)
