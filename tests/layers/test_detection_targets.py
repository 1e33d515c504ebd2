"""DetectionTargetLayer: which proposals are taken, in what order, and what they should answer."""

import numpy as np
import pytest

from mrcnn.geometry.boxes import box_refinement
from mrcnn.layers.detection_targets import DetectionTargetLayer, max_positives
from tests.layers.arrays import numpy, tensor
from tests.tiny import tiny_config

CAT, DOG = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
ON_CAT, ON_DOG = [0.1, 0.1, 0.5, 0.45], [0.62, 0.6, 0.9, 0.9]
FAR = [0.0, 0.7, 0.1, 0.8]
ZEROS = [0.0] * 4


def targets(proposals, gt_class_ids, gt_boxes, gt_masks=None, **settings):
    """The layer's four results for one image."""
    config = tiny_config(**{"TRAIN_ROIS_PER_IMAGE": 9, **settings})
    if gt_masks is None:
        gt_masks = np.ones((*config.MINI_MASK_SHAPE, len(gt_boxes)), bool)
    layer = DetectionTargetLayer(config, seed=0)
    found = layer(
        [
            tensor([proposals]),
            tensor([gt_class_ids], "int32"),
            tensor([gt_boxes]),
            tensor([gt_masks], bool),
        ]
    )
    shapes = layer.compute_output_shape([(1, len(proposals), 4)])
    assert [tuple(x.shape) for x in found] == [tuple(shape) for shape in shapes]
    return [numpy(x)[0] for x in found]


def test_positives_first_then_negatives_then_zeros():
    proposals = [FAR, ON_DOG, ZEROS, ON_CAT, FAR, FAR, FAR, FAR, FAR]
    rois, class_ids, deltas, masks = targets(proposals, [1, 2, 0], [CAT, DOG, ZEROS])
    order = 0 if class_ids[0] == 1 else 1  # which positive comes first is random
    assert class_ids.tolist() == [[1, 2], [2, 1]][order] + [0] * 7
    np.testing.assert_allclose(rois[:2], [[ON_CAT, ON_DOG], [ON_DOG, ON_CAT]][order])
    # Two positives at a ratio of 0.33: int(2 / 0.33) - 2 = 4 negatives.
    np.testing.assert_allclose(rois[2:6], [FAR] * 4)
    assert not rois[6:].any()
    gt = np.array([[CAT, DOG], [DOG, CAT]][order])
    expected = box_refinement(rois[:2].astype(float), gt) / [0.1, 0.1, 0.2, 0.2]
    np.testing.assert_allclose(deltas[:2], expected, rtol=1e-4, atol=1e-5)
    assert not deltas[2:].any()
    assert masks[:2].all() and not masks[2:].any()


@pytest.mark.parametrize(
    "gt_class_ids, gt_boxes",
    [
        ([0, 0], [ZEROS, ZEROS]),  # an image without objects
        ([1, 0], [[0.9, 0.0, 1.0, 0.1], ZEROS]),  # no proposal on the object
        ([-1, 0], [CAT, ZEROS]),  # only a crowd
    ],
)
def test_without_positives_everything_is_zero(gt_class_ids, gt_boxes):
    for found in targets([ON_CAT, ON_DOG, FAR, ZEROS], gt_class_ids, gt_boxes):
        assert not found.any()


def test_proposals_on_a_crowd_are_no_negatives():
    proposals = [ON_CAT, ON_DOG, [0.7, 0.7, 0.8, 0.8]]
    rois, class_ids, *_ = targets(proposals, [1, -2], [CAT, DOG])
    assert class_ids.tolist() == [1] + [0] * 8
    np.testing.assert_allclose(rois[0], ON_CAT)
    assert not rois[1:].any()


def test_more_proposals_than_needed():
    proposals = [ON_CAT] * 20 + [FAR] * 20
    rois, class_ids, _, masks = targets(proposals, [1], [CAT])
    # int(9 * 0.33) = 2 positives, int(2 / 0.33) - 2 = 4 negatives
    assert class_ids.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(rois[2:6], [FAR] * 4)
    assert masks.any(axis=(1, 2)).tolist() == [True] * 2 + [False] * 7


@pytest.mark.parametrize("num_rois, ratio, positives, taken", [(8, 0.5, 4, 8), (12, 0.25, 3, 12)])
def test_counts_follow_the_ratio(num_rois, ratio, positives, taken):
    settings = {"TRAIN_ROIS_PER_IMAGE": num_rois, "ROI_POSITIVE_RATIO": ratio}
    assert max_positives(num_rois, ratio) == positives
    rois, class_ids, *_ = targets([ON_CAT] * 20 + [FAR] * 20, [1], [CAT], **settings)
    assert (class_ids > 0).sum() == positives
    assert rois.any(axis=1).sum() == taken


def test_the_sample_changes_from_call_to_call():
    config = tiny_config(TRAIN_ROIS_PER_IMAGE=4)
    layer = DetectionTargetLayer(config, seed=0)
    proposals = np.array([[0.1, 0.1, 0.5, 0.45 + i / 1000] for i in range(40)])
    masks = np.ones((1, *config.MINI_MASK_SHAPE, 1), bool)
    inputs = [tensor([proposals]), tensor([[1]], "int32"), tensor([[CAT]]), tensor(masks, bool)]
    rois = {tuple(numpy(layer(inputs)[0])[0, 0]) for _ in range(4)}
    assert len(rois) > 1


def test_mini_mask_is_cut_where_the_proposal_lies():
    # Ten of fourteen columns of the cat's box are its mask.
    mask = np.zeros((14, 14, 1), bool)
    mask[:, :10] = True
    left, right = [0.1, 0.1, 0.5, 0.35], [0.1, 0.2, 0.5, 0.5]
    _, _, _, masks = targets([left], [1], [CAT], mask)
    assert masks[0].all()
    _, _, _, masks = targets([right], [1], [CAT], mask)
    # From a quarter of the box on: 28 samples in columns 3.25 to 13, the 18th in column 9.39.
    assert masks[0, :, :18].all() and not masks[0, :, 18:].any()


def test_whole_masks_without_mini_masks():
    settings = {"USE_MINI_MASK": False}
    mask = np.zeros((64, 64, 1), bool)
    mask[:, :32] = True
    whole = [0.0, 0.0, 1.0, 1.0]
    _, class_ids, _, masks = targets([whole], [1], [whole], mask, **settings)
    assert class_ids[0] == 1
    assert masks[0, :, :14].all() and not masks[0, :, 14:].any()


def test_images_of_a_batch_do_not_mix():
    config = tiny_config()
    masks = np.zeros((2, *config.MINI_MASK_SHAPE, 1), bool)
    masks[1] = True
    layer = DetectionTargetLayer(config, seed=0)
    rois, class_ids, _, masks = layer(
        [
            tensor([[ON_DOG], [ON_CAT]]),
            tensor([[2], [1]], "int32"),
            tensor([[DOG], [CAT]]),
            tensor(masks, bool),
        ]
    )
    assert numpy(class_ids)[:, 0].tolist() == [2, 1]
    np.testing.assert_allclose(numpy(rois)[:, 0], [ON_DOG, ON_CAT])
    assert not numpy(masks)[0].any() and numpy(masks)[1, 0].all()


def weighted(proposals, gt_class_ids, gt_boxes, gt_weights, **settings):
    """The class ids, ROIs and two weights that the layer gives for one image."""
    config = tiny_config(TRAIN_ROIS_PER_IMAGE=9, PARTIAL_LABELS=True, **settings)
    layer = DetectionTargetLayer(config, seed=0)
    inputs = [
        tensor([proposals]),
        tensor([gt_class_ids], "int32"),
        tensor([gt_boxes]),
        tensor([np.ones((*config.MINI_MASK_SHAPE, len(gt_boxes)))], bool),
        tensor([gt_weights]),
    ]
    found = layer(inputs)
    shapes = layer.compute_output_shape([x.shape for x in inputs])
    assert [tuple(x.shape) for x in found] == [tuple(shape) for shape in shapes]
    rois, class_ids, _, _, weights, mask_weights = (numpy(x)[0] for x in found)
    return class_ids.tolist(), rois, weights.tolist(), mask_weights.tolist()


def test_weights_are_those_of_the_matched_object():
    found = weighted([ON_DOG, FAR], [1, 2], [CAT, DOG], [[0.25, 1], [0.75, 0.5]])
    class_ids, rois, weights, mask_weights = found
    assert class_ids == [2] + [0] * 8
    np.testing.assert_allclose(rois[1], FAR)
    assert weights == [0.75] + [1] * 8  # negatives and padding count fully
    assert mask_weights == [0.375] + [1] * 8


def test_an_object_with_a_box_alone_has_no_mask_weight():
    _, _, weights, mask_weights = weighted([ON_CAT], [1], [CAT], [[1, 0]])
    assert (weights[0], mask_weights[0]) == (1, 0)


@pytest.mark.parametrize(
    "proposal, taken",
    [
        ([0.6, 0.6, 0.9, 0.75], False),  # inside of the ignored box
        ([0.6, 0.45, 0.9, 0.76], False),  # by 16 of 31
        ([0.6, 0.44, 0.9, 0.75], True),  # by 15 of 31: Matterport's rule leaves it out
        ([0.0, 0.7, 0.1, 0.8], True),
    ],
)
def test_proposals_on_an_ignored_box(proposal, taken):
    gt = [1, -2], [CAT, DOG]
    _, rois, *_ = weighted([ON_CAT, proposal], *gt, np.ones((2, 2)))
    assert rois[1].any() == taken


def test_partial_labels_of_weight_1_give_the_same_targets():
    proposals = [FAR, ON_DOG, ZEROS, ON_CAT, FAR, FAR]
    plain = targets(proposals, [1, 2], [CAT, DOG])
    class_ids, rois, weights, mask_weights = weighted(
        proposals, [1, 2], [CAT, DOG], np.ones((2, 2))
    )
    np.testing.assert_array_equal(rois, plain[0])
    assert class_ids == plain[1].tolist()
    assert weights == mask_weights == [1] * 9


def test_objects_with_a_mask_are_chosen_first():
    found = weighted([ON_CAT] * 9 + [ON_DOG], [1, 2], [CAT, DOG], [[1, 0], [0.5, 1]])
    class_ids, rois, weights, mask_weights = found
    # int(9 * 0.33) = 2 positives: the only one with a mask, and one of the nine others.
    assert class_ids == [2, 1] + [0] * 7
    np.testing.assert_allclose(rois[:2], [ON_DOG, ON_CAT])
    assert weights[:2] == [0.5, 1] and mask_weights[:2] == [0.5, 0]
