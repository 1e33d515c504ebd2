"""Box arithmetic on tensors: exact small cases and agreement with the NumPy twins."""

import numpy as np
import pytest

from mrcnn.geometry import boxes as numpy_boxes
from mrcnn.layers import boxes as box_ops
from tests.layers.arrays import numpy, tensor

BOXES = [[10, 20, 30, 60], [0, 0, 8, 8]]
MOVED = [[0, 0, 40, 40], [4, 2, 12, 6]]


def test_no_delta_keeps_the_box():
    found = box_ops.apply_box_deltas_graph(tensor(BOXES), tensor(np.zeros((2, 4))))
    np.testing.assert_allclose(numpy(found), BOXES, rtol=1e-6)


def test_deltas_move_by_shares_of_the_box_and_scale_by_logarithms():
    deltas = [[0.5, -0.25, np.log(2), np.log(0.5)]]
    found = box_ops.apply_box_deltas_graph(tensor(BOXES[:1]), tensor(deltas))
    # center (20, 40) goes to (30, 30), size (20, 40) to (40, 20)
    np.testing.assert_allclose(numpy(found), [[10, 20, 50, 40]], rtol=1e-5)


def test_refinement_is_the_inverse_of_applying():
    deltas = box_ops.box_refinement_graph(tensor(BOXES), tensor(MOVED))
    found = box_ops.apply_box_deltas_graph(tensor(BOXES), deltas)
    np.testing.assert_allclose(numpy(found), MOVED, atol=1e-4)
    twin = numpy_boxes.box_refinement(np.array(BOXES, float), np.array(MOVED, float))
    np.testing.assert_allclose(numpy(deltas), twin, rtol=1e-5)


def test_refinement_of_boxes_without_area_is_finite():
    flat, real = [[5, 5, 5, 9]], [[0, 0, 8, 8]]
    for box, target in ((flat, real), (real, flat), (flat, flat)):
        assert np.isfinite(numpy(box_ops.box_refinement_graph(tensor(box), tensor(target)))).all()


def test_clip_to_one_window_and_to_one_a_image():
    boxes = tensor([[[-5, 2, 9, 30]], [[-5, 2, 9, 30]]])
    one = numpy(box_ops.clip_boxes_graph(boxes, np.array([0, 0, 8, 8])))
    assert one.tolist() == [[[0, 2, 8, 8]], [[0, 2, 8, 8]]]
    each = numpy(box_ops.clip_boxes_graph(boxes, tensor([[0, 0, 8, 8], [1, 3, 5, 40]])))
    assert each.tolist() == [[[0, 2, 8, 8]], [[1, 3, 5, 30]]]


def test_overlaps_of_every_pair():
    boxes = tensor([[0, 0, 2, 2], [0, 1, 2, 3], [5, 5, 6, 6]])
    found = numpy(box_ops.overlaps_graph(boxes, boxes))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]], rtol=1e-6)


def test_overlaps_without_area_are_zero_not_nan():
    boxes = tensor([[0, 0, 0, 0], [1, 1, 1, 3]])
    assert not numpy(box_ops.overlaps_graph(boxes, boxes)).any()


def test_overlaps_in_a_batch_equal_those_of_each_image():
    random = np.random.RandomState(0).rand(2, 5, 4)
    corners = np.concatenate([random[..., :2], random[..., :2] + random[..., 2:]], axis=-1)
    found = numpy(box_ops.overlaps_graph(tensor(corners), tensor(corners[:, :3])))
    assert found.shape == (2, 5, 3)
    for image in range(2):
        expected = numpy_boxes.compute_overlaps(corners[image], corners[image, :3])
        np.testing.assert_allclose(found[image], expected, rtol=1e-4, atol=1e-6)


def test_normalized_boxes_and_back():
    boxes = tensor([[0, 0, 64, 128], [16, 32, 48, 64]])
    normal = box_ops.norm_boxes_graph(boxes, tensor([64, 128]))
    np.testing.assert_allclose(numpy(normal)[0], [0, 0, 1, 1])
    np.testing.assert_allclose(numpy(normal)[1], [16 / 63, 32 / 127, 47 / 63, 63 / 127], rtol=1e-6)
    back = numpy(box_ops.denorm_boxes_graph(normal, tensor([64, 128])))
    assert back.dtype == np.int32
    assert back.tolist() == [[0, 0, 64, 128], [16, 32, 48, 64]]


def test_zero_rows_are_no_boxes():
    boxes = tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0.5]])
    assert numpy(box_ops.is_real_box(boxes)).tolist() == [True, False, True]
    rows, kept = box_ops.trim_zeros_graph(boxes)
    assert numpy(rows).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0.5]]
    assert numpy(kept).tolist() == [True, False, True]


def test_batch_pack():
    rows = tensor(np.arange(6).reshape(2, 3))
    assert numpy(box_ops.batch_pack_graph(rows, tensor([2, 1], "int32"), 2)).tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    "key, expected",
    [
        ("image_id", 7),
        ("original_image_shape", [30, 40, 3]),
        ("image_shape", [64, 64, 3]),
        ("window", [8, 0, 56, 64]),
        ("scale", 1.5),
        ("active_class_ids", [1, 0, 1]),
    ],
)
def test_image_meta(key, expected):
    meta = tensor([[7, 30, 40, 3, 64, 64, 3, 8, 0, 56, 64, 1.5, 1, 0, 1]])
    assert numpy(box_ops.parse_image_meta_graph(meta)[key])[0].tolist() == expected
