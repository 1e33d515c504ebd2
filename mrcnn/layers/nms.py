"""Greedy non-maximum suppression: one small function a backend, one meaning.

A box survives when no better-scored survivor (of its own class, where classes are given) overlaps
it by more than the threshold. Ties go to the lower index.

With classes, a surviving box without area ends the list of its class. That is not a wish but the
record: TensorFlow 1.15's op put a chosen box back into its queue and relied on the box's overlap
with itself to drop it again; a box without area overlaps nothing, was chosen over and over, and
filled what was left of its class. Detections recorded with Matterport's package depend on it.
"""

import keras
from keras import ops

from mrcnn.layers.boxes import overlaps_graph


def non_max_suppression(boxes, scores, max_outputs, iou_threshold, class_ids=None):
    """Choose the best boxes of every picture of a batch.

    Args:
        boxes: `[batch, N, (y1, x1, y2, x2)]` float32.
        scores: `[batch, N]` float32; a negative score marks a row that does not take part.
        max_outputs: how many rows to return for each picture.
        iou_threshold: overlap in 0..1 above which the worse box is dropped.
        class_ids: `[batch, N]` int; boxes of different classes never suppress each other.
            `None`: all boxes compete.

    Returns:
        `[batch, max_outputs]` int32 indices in order of falling score, padded with -1.
    """
    iou_threshold = float(iou_threshold)  # 0 and 1 too: TensorFlow takes no int
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _nms_tensorflow(boxes, scores, max_outputs, iou_threshold, class_ids)
    if backend == "jax":
        return _nms_jax(boxes, scores, max_outputs, iou_threshold, class_ids)
    return _nms_torch(boxes, scores, max_outputs, iou_threshold, class_ids)


def gather_rows(values, indices):
    """Rows of `[batch, N, ...]` at `[batch, M]` indices; index -1 gives a row of zeros."""
    extra_axes = len(values.shape) - 2
    present = ops.reshape(indices >= 0, (*ops.shape(indices), *([1] * extra_axes)))
    index = ops.maximum(indices, 0)
    index = ops.reshape(index, (*ops.shape(indices), *([1] * extra_axes)))
    rows = ops.take_along_axis(values, index, axis=1)
    return ops.where(present, rows, ops.zeros_like(rows))


def _has_no_area(boxes):
    """`[...]` bool from `[..., 4]`."""
    return (boxes[..., 2] <= boxes[..., 0]) | (boxes[..., 3] <= boxes[..., 1])


def _nms_tensorflow(boxes, scores, max_outputs, iou_threshold, class_ids):
    import tensorflow as tf

    def pad(selected):
        missing = max_outputs - tf.shape(selected)[0]
        return tf.ensure_shape(tf.pad(selected, [[0, missing]], constant_values=-1), [max_outputs])

    def plain(args):
        # The op keeps what lies above its limit, and 0 takes part.
        selected = tf.image.non_max_suppression(*args, max_outputs, iou_threshold, -1e-30)
        return pad(selected)

    def by_class(args):
        # The op on a ready-made overlap matrix lets us forbid suppression between classes without
        # shifting the boxes apart, which would cost float precision. Only the rows that take part
        # enter the matrix: after training that is a handful of a thousand.
        image_boxes, image_scores, image_classes = args
        rows = tf.where(image_scores >= 0)[:, 0]
        image_boxes = tf.gather(image_boxes, rows)
        image_classes = tf.gather(image_classes, rows)
        same_class = image_classes[:, None] == image_classes[None, :]
        overlaps = overlaps_graph(image_boxes, image_boxes)
        # Column j says what box j does to others.
        overlaps = tf.where(_has_no_area(image_boxes)[None, :], 1.0, overlaps)
        overlaps = tf.where(same_class, overlaps, 0.0)
        selected = tf.image.non_max_suppression_overlaps(
            overlaps, tf.gather(image_scores, rows), max_outputs, iou_threshold
        )
        return pad(tf.cast(tf.gather(rows, selected), tf.int32))

    # The op lives on the CPU and is a fraction of a millisecond there per picture.
    spec = tf.TensorSpec([max_outputs], tf.int32)
    if class_ids is None:
        return tf.map_fn(plain, (boxes, scores), fn_output_signature=spec)
    return tf.map_fn(by_class, (boxes, scores, class_ids), fn_output_signature=spec)


def _nms_jax(boxes, scores, max_outputs, iou_threshold, class_ids):
    import jax
    import jax.numpy as jnp

    def one_image(image_boxes, image_scores, image_classes):
        def step(i, state):
            alive, selected = state
            best = jnp.argmax(alive)
            overlaps = overlaps_graph(image_boxes[best][None], image_boxes)[0]
            rivals = overlaps > iou_threshold
            if class_ids is not None:
                rivals |= _has_no_area(image_boxes[best])
                rivals &= image_classes == image_classes[best]
            found = alive[best] >= 0
            selected = selected.at[i].set(jnp.where(found, best.astype(jnp.int32), -1))
            alive = jnp.where(rivals, -1.0, alive).at[best].set(-1.0)
            return alive, selected

        start = (image_scores, jnp.full((max_outputs,), -1, jnp.int32))
        return jax.lax.fori_loop(0, max_outputs, step, start)[1]

    classes = jnp.zeros(scores.shape, jnp.int32) if class_ids is None else class_ids
    return jax.vmap(one_image)(boxes, scores, classes)


def _nms_torch(boxes, scores, max_outputs, iou_threshold, class_ids):
    import torch

    selected = torch.full(
        (scores.shape[0], max_outputs), -1, dtype=torch.int32, device=scores.device
    )
    for image, (image_boxes, image_scores) in enumerate(zip(boxes, scores)):
        order = torch.argsort(image_scores, descending=True, stable=True)
        order = order[image_scores[order] >= 0]
        count = 0
        while count < max_outputs and order.numel():
            best, order = order[0], order[1:]
            selected[image, count] = best
            count += 1
            rivals = overlaps_graph(image_boxes[best][None], image_boxes[order])[0] > iou_threshold
            if class_ids is not None:
                rivals |= _has_no_area(image_boxes[best])
                rivals &= class_ids[image][order] == class_ids[image][best]
            order = order[~rivals]
    return selected
