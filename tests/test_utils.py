"""mrcnn.utils offers every name of Matterport's, with its parameters."""

import inspect

import numpy as np
import pytest

from mrcnn import utils
from tests.parity.reference import each_call

# Name -> parameters, in order, as public scripts pass them.
SIGNATURES = {
    "extract_bboxes": "mask",
    "compute_iou": "box boxes box_area boxes_area",
    "compute_overlaps": "boxes1 boxes2",
    "compute_overlaps_masks": "masks1 masks2",
    "non_max_suppression": "boxes scores threshold",
    "apply_box_deltas": "boxes deltas",
    "box_refinement_graph": "box gt_box",
    "box_refinement": "box gt_box",
    "resize_image": "image min_dim max_dim min_scale mode",
    "resize_mask": "mask scale padding crop",
    "minimize_mask": "bbox mask mini_shape",
    "mold_mask": "mask config",
    "expand_mask": "bbox mini_mask image_shape",
    "unmold_mask": "mask bbox image_shape",
    "generate_anchors": "scales ratios shape feature_stride anchor_stride",
    "generate_pyramid_anchors": "scales ratios feature_shapes feature_strides anchor_stride",
    "trim_zeros": "x",
    "compute_matches": "gt_boxes gt_class_ids gt_masks pred_boxes pred_class_ids pred_scores "
    "pred_masks iou_threshold score_threshold",
    "compute_ap": "gt_boxes gt_class_ids gt_masks pred_boxes pred_class_ids pred_scores "
    "pred_masks iou_threshold",
    "compute_ap_range": "gt_box gt_class_id gt_mask pred_box pred_class_id pred_score "
    "pred_mask iou_thresholds verbose",
    "compute_recall": "pred_boxes gt_boxes iou",
    "batch_slice": "inputs graph_fn batch_size names",
    "download_trained_weights": "coco_model_path verbose",
    "norm_boxes": "boxes shape",
    "denorm_boxes": "boxes shape",
    "resize": "image output_shape order mode cval clip preserve_range anti_aliasing "
    "anti_aliasing_sigma",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    parameters = list(inspect.signature(getattr(utils, name)).parameters)
    expected = SIGNATURES[name].split()
    # Further parameters of ours may follow.
    assert parameters[: len(expected)] == expected


def test_every_public_name_is_there():
    assert set(SIGNATURES) | {"Dataset", "COCO_MODEL_URL"} == set(utils.__all__)
    assert utils.COCO_MODEL_URL.endswith("mask_rcnn_coco.h5")
    assert set(utils.__all__) <= set(dir(utils))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = utils.nonsense


def test_dataset_is_an_ordinary_class():
    class Toy(utils.Dataset):
        def load_mask(self, image_id):
            return np.ones((4, 4, 1), bool), np.ones(1, np.int32)

    assert utils.Dataset.__mro__ == (utils.Dataset, object)
    dataset = Toy()
    dataset.add_class("toy", 1, "cat")
    dataset.add_image("toy", image_id=0, path=None)
    dataset.prepare()
    assert dataset.num_classes == 2 and dataset.class_names == ["BG", "cat"]


def test_batch_slice():
    from keras import ops

    first, second = np.arange(6.0).reshape(3, 2), np.float64([10, 20, 30])
    total = utils.batch_slice([first, second], lambda x, y: x + y, 3)
    assert ops.convert_to_numpy(total).tolist() == [[10, 11], [22, 23], [34, 35]]
    both = utils.batch_slice(first, lambda x: (x, -x), 2, names=["a", "b"])
    assert isinstance(both, list)
    assert ops.convert_to_numpy(both[0]).tolist() == [[0, 1], [2, 3]]
    assert ops.convert_to_numpy(both[1]).tolist() == [[0, -1], [-2, -3]]


@each_call("utils.box_refinement_graph")
def test_box_refinement_graph_equals_the_original(call):
    from keras import ops

    result = ops.convert_to_numpy(utils.box_refinement_graph(**call.args))
    np.testing.assert_allclose(result, call.out["result"], rtol=1e-5, atol=1e-6)
