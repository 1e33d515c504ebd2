"""Region proposal network (Ren et al. 2015): objectness and box deltas for every anchor."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from mrcnn.layers.convolution import Conv2D
from mrcnn.layers.types import Tensor
from mrcnn.layers.winograd import WinogradConv2D


def rpn_suits_winograd(network: Any) -> bool:
    """Return whether Winograd's algorithm suits the 3x3 convolution of a network's RPN.

    Args:
        network: Keras model with the layer "rpn_model".
    """
    rpn = network.get_layer("rpn_model")
    suits: bool = rpn.get_layer("rpn_conv_shared").suits_winograd
    return suits


def rpn_graph(
    feature_map: Tensor, anchors_per_location: int, anchor_stride: int, channels: int = 512
) -> list[Tensor]:
    """Build the RPN on one pyramid level.

    Args:
        feature_map: `[batch, height, width, depth]`.
        anchors_per_location: number of aspect ratios.
        anchor_stride: 1 for anchors at every cell, 2 for every second one, ...
        channels: width of the shared convolution; 512 in Matterport's weight files, for any
            width of the pyramid.

    Returns:
        `[rpn_class_logits, rpn_probs, rpn_bbox]`: `[batch, anchors, (bg, fg)]` before and after the
        softmax and `[batch, anchors, (dy, dx, log(dh), log(dw))]` in standard deviations; float32.
    """
    shared = WinogradConv2D(
        channels, strides=anchor_stride, max_blocks=4, activation="relu", name="rpn_conv_shared"
    )(feature_map)
    logits = Conv2D(2 * anchors_per_location, 1, name="rpn_class_raw")(shared)
    logits = layers.Reshape((-1, 2), name="rpn_class_logits_rows")(logits)
    logits = layers.Activation("linear", dtype="float32", name="rpn_class_logits_float32")(logits)
    probs = layers.Activation("softmax", dtype="float32", name="rpn_class_xxx")(logits)
    deltas = Conv2D(4 * anchors_per_location, 1, name="rpn_bbox_pred")(shared)
    deltas = layers.Reshape((-1, 4), name="rpn_bbox_rows")(deltas)
    deltas = layers.Activation("linear", dtype="float32", name="rpn_bbox_float32")(deltas)
    return [logits, probs, deltas]


def build_rpn_model(
    anchor_stride: int, anchors_per_location: int, depth: int, channels: int = 512
) -> keras.Model:
    """Build the RPN as a model of its own, shared by all pyramid levels.

    Args:
        anchor_stride: 1 for anchors at every cell, 2 for every second one, ...
        anchors_per_location: number of aspect ratios.
        depth: channels of the pyramid.
        channels: width of the shared convolution.

    Returns:
        A Keras model `rpn_model` from one level to the three outputs of `rpn_graph`.
    """
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    outputs = rpn_graph(feature_map, anchors_per_location, anchor_stride, channels)
    return keras.Model(feature_map, outputs, name="rpn_model")
