"""The semantic networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras

from mrcnn.family.semantic.fcn import build_fcn
from mrcnn.family.semantic.frames import Frame
from mrcnn.family.semantic.segnet import build_segnet
from mrcnn.family.semantic.unet import VALID_MARGIN, build_unet
from mrcnn.files.names import shown


@dataclass(frozen=True)
class SemanticNetwork:
    """One network.

    Attributes:
        build: called with `num_classes`, `channels` and `width`.
        frame: the sizes of images that it takes.
        scale: factor of the pixels after the mean is subtracted: 1 where VGG-16's values suit.
    """

    build: Callable[..., keras.Model]
    frame: Frame
    scale: float = 1.0


# The semantic networks by name.
NETWORKS = {
    "fcn32s": SemanticNetwork(partial(build_fcn, 32), Frame(32)),
    "fcn16s": SemanticNetwork(partial(build_fcn, 16), Frame(32)),
    "fcn8s": SemanticNetwork(partial(build_fcn, 8), Frame(32)),
    "segnet": SemanticNetwork(build_segnet, Frame(32)),
    "unet": SemanticNetwork(build_unet, Frame(16), 1 / 128),
}
_VALID_UNET = SemanticNetwork(
    partial(build_unet, padding="valid"), Frame(16, VALID_MARGIN, offset=4), 1 / 128
)


def find_network(name: str, padding: str = "same") -> SemanticNetwork:
    """Return the network of a name.

    Args:
        name: one of `NETWORKS`.
        padding: "valid" takes U-Net with the paper's convolutions, which do not pad.

    Raises:
        ValueError: there is no such network, or it has no such padding.
    """
    if name not in NETWORKS:
        raise ValueError(f"model is {shown(name)}; it must be one of {', '.join(NETWORKS)}")
    if padding == "same":
        return NETWORKS[name]
    if padding != "valid" or name != "unet":
        raise ValueError(f"PADDING is {padding!r}; it must be 'same', or for unet 'valid'")
    return _VALID_UNET
