"""Greedy non-maximum suppression: one function for each backend, with equal results.

A box survives when no better-scored survivor (of its own class, where classes are given) overlaps
it by more than the threshold. Ties go to the lower index.

With classes, a surviving box without area ends the list of its class. This reproduces TensorFlow
1.15, on which the recorded detections of Matterport's package depend: its op put a chosen box back
into its queue and relied on the box's overlap with itself to drop it again; a box without area
overlaps nothing, was chosen repeatedly, and filled the rest of its class.
"""

from __future__ import annotations

import keras
from keras import ops

from mrcnn.layers.boxes import has_no_area, overlaps_graph
from mrcnn.layers.indexing import take_along_axis
from mrcnn.layers.portable_nms import is_portable, suppress_portably
from mrcnn.layers.types import Tensor


def non_max_suppression_graph(
    boxes: Tensor,
    scores: Tensor,
    max_outputs: int,
    iou_threshold: float,
    class_ids: Tensor | None = None,
) -> Tensor:
    """Choose the best boxes of every image of a batch.

    Args:
        boxes: `[batch, N, (y1, x1, y2, x2)]` float32.
        scores: `[batch, N]` float32; a negative score marks a row that does not take part.
        max_outputs: how many rows to return for each image.
        iou_threshold: overlap in 0..1 above which the worse box is dropped.
        class_ids: `[batch, N]` int; boxes of different classes do not suppress each other. With
            None all boxes compete.

    Returns:
        `[batch, max_outputs]` int32 indices in order of falling score, padded with -1.
    """
    iou_threshold = float(iou_threshold)  # TensorFlow accepts no int
    if is_portable():
        return suppress_portably(boxes, scores, max_outputs, iou_threshold, class_ids)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _nms_tensorflow(boxes, scores, max_outputs, iou_threshold, class_ids)
    if backend == "jax":
        return _nms_jax(boxes, scores, max_outputs, iou_threshold, class_ids)
    return _nms_torch(boxes, scores, max_outputs, iou_threshold, class_ids)


def gather_rows(values: Tensor, indices: Tensor) -> Tensor:
    """Take the rows of `[batch, N, ...]` at `[batch, M]` indices; -1 gives a row of zeros."""
    extra_axes = len(values.shape) - 2
    present = ops.reshape(indices >= 0, (*ops.shape(indices), *([1] * extra_axes)))
    index = ops.maximum(indices, 0)
    index = ops.reshape(index, (*ops.shape(indices), *([1] * extra_axes)))
    rows = take_along_axis(values, index, axis=1)
    return ops.where(present, rows, ops.zeros_like(rows))


def _nms_tensorflow(
    boxes: Tensor, scores: Tensor, max_outputs: int, iou_threshold: float, class_ids: Tensor | None
) -> Tensor:
    import tensorflow as tf

    def pad(selected: Tensor) -> Tensor:
        missing = max_outputs - tf.shape(selected)[0]
        return tf.ensure_shape(tf.pad(selected, [[0, missing]], constant_values=-1), [max_outputs])

    def plain(args: tuple[Tensor, ...]) -> Tensor:
        # The op keeps scores above its limit, and a score of 0 takes part.
        selected = tf.image.non_max_suppression(*args, max_outputs, iou_threshold, -1e-30)
        return pad(selected)

    def by_class(args: tuple[Tensor, ...]) -> Tensor:
        # The op on a ready-made overlap matrix can forbid suppression between classes without
        # shifting the boxes of each class, which would cost float precision. Only the rows that
        # take part enter the matrix: after training a few of a thousand.
        image_boxes, image_scores, image_classes = args
        rows = tf.where(image_scores >= 0)[:, 0]
        image_boxes = tf.gather(image_boxes, rows)
        image_classes = tf.gather(image_classes, rows)
        same_class = image_classes[:, None] == image_classes[None, :]
        overlaps = overlaps_graph(image_boxes, image_boxes)
        # Column j holds what box j suppresses.
        overlaps = tf.where(has_no_area(image_boxes)[None, :], 1.0, overlaps)
        overlaps = tf.where(same_class, overlaps, 0.0)
        selected = tf.image.non_max_suppression_overlaps(
            overlaps, tf.gather(image_scores, rows), max_outputs, iou_threshold
        )
        return pad(tf.cast(tf.gather(rows, selected), tf.int32))

    # The op runs on the CPU, in a fraction of a millisecond for each image.
    spec = tf.TensorSpec([max_outputs], tf.int32)
    if class_ids is None:
        return tf.map_fn(plain, (boxes, scores), fn_output_signature=spec)
    return tf.map_fn(by_class, (boxes, scores, class_ids), fn_output_signature=spec)


def _rivals(
    boxes: Tensor,
    others: Tensor,
    classes: Tensor | None,
    other_classes: Tensor | None,
    iou_threshold: float,
) -> Tensor:
    """Return `[M, N]` bool: which of the others each box, if it survives, suppresses."""
    rivals = overlaps_graph(boxes, others) > iou_threshold
    if classes is None or other_classes is None:
        return rivals
    same_class = classes[:, None] == other_classes[None, :]
    return (rivals | has_no_area(boxes)[:, None]) & same_class


# Boxes taken at a time, in order of score. One box at a time is a thousand steps that leave a GPU
# idle; all in one step is a matrix of 6000 x 6000 overlaps, of which few count.
_TILE = 512
# Rounds after which JAX tests whether all is settled, for which a GPU waits for the CPU. Proposals
# of a trained network take 5 rounds per tile on average; those of equal scores, as in an image of
# one color, form chains of neighbors and take hundreds.
_ROUNDS = 8


def _nms_jax(
    boxes: Tensor, scores: Tensor, max_outputs: int, iou_threshold: float, class_ids: Tensor | None
) -> Tensor:
    import jax
    import jax.numpy as jnp

    by_class = class_ids is not None
    size = min(_TILE, scores.shape[1])
    earlier = jnp.arange(size)[:, None] < jnp.arange(size)[None, :]

    def one_image(boxes: Tensor, scores: Tensor, classes: Tensor) -> Tensor:
        order = jnp.argsort(-scores, stable=True).astype(jnp.int32)
        order = jnp.pad(order, (0, -len(order) % size))
        present = jnp.pad(scores[order[: len(scores)]] >= 0, (0, len(order) - len(scores)))

        def is_unfinished(state: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            begin, count, _ = state
            is_left = (begin < len(order)) & (count < max_outputs)
            return is_left & jax.lax.dynamic_index_in_dim(present, begin, keepdims=False)

        def add_tile(state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            begin, count, chosen = state
            rows = jax.lax.dynamic_slice_in_dim(order, begin, size)
            tile, kept = boxes[rows], boxes[chosen]
            mine, theirs = (classes[rows], classes[chosen]) if by_class else (None, None)
            beaten = _rivals(kept, tile, theirs, mine, iou_threshold)
            beaten &= (jnp.arange(max_outputs) < count)[:, None]
            free = jax.lax.dynamic_slice_in_dim(present, begin, size) & ~beaten.any(axis=0)
            # Within the tile: which boxes are dropped depends on which survive. The first is
            # settled together, and every round settles at least the next, until a round changes
            # nothing.
            rivals = _rivals(tile, tile, mine, mine, iou_threshold) & earlier

            def settle(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
                before, stays = pair
                for _ in range(_ROUNDS):
                    before, stays = stays, free & ~(rivals & stays[:, None]).any(axis=0)
                return before, stays

            start = (jnp.zeros_like(free), free)
            stays = jax.lax.while_loop(lambda pair: (pair[0] != pair[1]).any(), settle, start)[1]
            place = jnp.where(stays, count + jnp.cumsum(stays) - 1, max_outputs)
            chosen = chosen.at[place].set(rows, mode="drop")
            return begin + size, jnp.minimum(count + stays.sum(), max_outputs), chosen

        start = (jnp.int32(0), jnp.int32(0), jnp.zeros(max_outputs, jnp.int32))
        _, count, chosen = jax.lax.while_loop(is_unfinished, add_tile, start)
        return jnp.where(jnp.arange(max_outputs) < count, chosen, -1)

    classes = class_ids if by_class else jnp.zeros(scores.shape, jnp.int32)
    # The choice has no gradient, and JAX cannot differentiate loops of unknown length.
    return jax.vmap(one_image)(*map(jax.lax.stop_gradient, (boxes, scores)), classes)


def _nms_torch(
    boxes: Tensor, scores: Tensor, max_outputs: int, iou_threshold: float, class_ids: Tensor | None
) -> Tensor:
    import torch

    selected = torch.full(
        (scores.shape[0], max_outputs), -1, dtype=torch.int32, device=scores.device
    )
    for image, (image_boxes, image_scores) in enumerate(zip(boxes.detach(), scores.detach())):
        classes = None if class_ids is None else class_ids[image]

        def rivals(
            rows: Tensor,
            others: Tensor,
            boxes: Tensor = image_boxes,
            classes: Tensor | None = classes,
        ) -> Tensor:
            mine, theirs = (None, None) if classes is None else (classes[rows], classes[others])
            return _rivals(boxes[rows], boxes[others], mine, theirs, iou_threshold)

        order = torch.argsort(image_scores, descending=True, stable=True)
        order = order[image_scores[order] >= 0]
        chosen = order[:0]
        for tile in order.split(_TILE):
            if len(chosen) >= max_outputs:
                break
            tile = tile[~rivals(chosen, tile).any(0)]
            beats = rivals(tile, tile).triu(1)
            stays, before = ~beats.any(0), torch.ones_like(tile, dtype=torch.bool)
            while not torch.equal(stays, before):  # see `_nms_jax`
                stays, before = ~(beats & stays[:, None]).any(0), stays
            chosen = torch.cat([chosen, tile[stays]])
        chosen = chosen[:max_outputs]
        selected[image, : len(chosen)] = chosen.to(torch.int32)
    return selected
