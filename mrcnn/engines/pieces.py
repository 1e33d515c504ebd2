"""The inference graph in pieces, for engines that compute the network in low precision.

Coordinates stay in float32: in bfloat16, box decoding, suppression and sample positions are wrong
by pixels. So the network is cut where boxes go in or come out:

    trunk             image -> table of the pyramid, RPN outputs
    (proposals        RPN outputs, anchors -> boxes)
    classifier_align  boxes, table -> a square of features a box   (box arithmetic)
    classifier        features -> class probabilities, deltas
    (detections       boxes, probabilities, deltas -> detections)
    mask_align        boxes, table -> a square of features a box   (box arithmetic)
    mask              features -> masks of all classes

Those in parentheses are no Keras models but `mrcnn.engines.box_arithmetic`. The last two are
missing without a mask head. The pyramid goes from piece to piece as the table of
rows that ROIAlign reads, so that it is laid out once, and a thousand boxes can be cut from it some
at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mrcnn.engines.base import Tensor
from mrcnn.layers.precision import precision_policy
from mrcnn.layers.roi_align import PyramidTable, TableROIAlign


def build_pieces(shared: Any) -> dict[str, keras.Model]:
    """Return all pieces of the graph on the weights of a `mrcnn.graphs.SharedLayers`.

    Returns:
        Keras models by the names in the module's description.
    """
    classifier, mask = shared.classifier, shared.mask

    def classify(pooled: Tensor) -> list[Tensor]:
        _, probabilities, deltas = classifier.classify(pooled)
        return [probabilities, deltas]

    with precision_policy(shared.config.PRECISION):
        models = {
            "trunk": trunk_piece(shared),
            "classifier_align": align_piece(shared, classifier, "classifier_align"),
            "classifier": head_piece(shared, classifier, classify, "classifier"),
        }
        if mask is not None:
            models["mask_align"] = align_piece(shared, mask, "mask_align")
            models["mask"] = head_piece(shared, mask, mask.predict_masks, "mask")
    return models


def trunk_piece(shared: Any) -> keras.Model:
    """Return a model of `[batch, height, width, channels]` to `[table, rpn_class, rpn_bbox]`."""
    outputs = [PyramidTable()(shared.pyramid), shared.rpn_class, shared.rpn_bbox]
    return keras.Model([shared.image], outputs, name="trunk")


def align_piece(shared: Any, head: Any, name: str) -> keras.Model:
    """Return a model of boxes and the pyramid's table to the features of each box.

    Inputs: boxes `[batch, N, 4]`, image_meta, table `[batch, rows, channels]`, sizes
    `[1, levels, 2]`.
    Output: `[batch, N, side, side, channels]`.
    """
    level = shared.pyramid[0]
    inputs = [
        keras.Input((None, 4), name="input_boxes"),
        keras.Input((shared.config.IMAGE_META_SIZE,), name="input_image_meta"),
        keras.Input((None, level.shape[-1]), dtype=level.dtype, name="input_table"),
        keras.Input((len(shared.pyramid), 2), dtype="int32", name="input_sizes"),
    ]
    align = TableROIAlign(head.align.pool_shape, head.align.canonical_box_size)
    return keras.Model(inputs, align(inputs), name=name)


def head_piece(
    shared: Any, head: Any, compute: Callable[[Tensor], Tensor], name: str
) -> keras.Model:
    """Return a model of `compute`, a method of `head`, on `[batch, N, side, side, channels]`."""
    side = head.align.pool_shape
    level = shared.pyramid[0]
    pooled = keras.Input((None, *side, level.shape[-1]), dtype=level.dtype, name="input_pooled")
    return keras.Model([pooled], compute(pooled), name=name)
