"""A model that Matterport's package trained gives its own recorded detections and mAP here."""

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.evaluation.matching import compute_ap
from mrcnn.model import MaskRCNN
from tests.parity.networks import need_engine
from tests.parity.reference import PARITY, available, load_npz, unpack_bits

pytestmark = pytest.mark.skipif(not available(), reason="recorded reference numbers not found")


@pytest.fixture(scope="module")
def recording():
    return load_npz("shapes_trained_10_images.npz")


@pytest.fixture(scope="module", params=["keras", "openvino"])
def results(request, recording, tmp_path_factory):
    need_engine(request.param)
    config = Config.from_dict(recording["config_json"])
    folder = str(tmp_path_factory.mktemp("logs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRCNN_HOME", folder)
        model = MaskRCNN("inference", config, folder, engine=request.param)
        model.load_weights(str(PARITY / "shapes_resnet50_trained.h5"), by_name=True)
        return model.detect([recording[f"image_{i}"] for i in range(10)])


@pytest.mark.parametrize("i", range(10))
def test_detections(recording, results, i):
    result = results[i]
    boxes = recording[f"detect_rois_{i}"]
    assert len(result["rois"]) == len(boxes)
    np.testing.assert_array_equal(result["class_ids"], recording[f"detect_class_ids_{i}"])
    assert np.abs(result["rois"] - boxes).max(initial=0) <= 1
    np.testing.assert_allclose(result["scores"], recording[f"detect_scores_{i}"], atol=1e-3)
    masks = unpack_bits(recording[f"detect_masks_bits_{i}"], recording[f"detect_masks_shape_{i}"])
    union = (result["masks"] | masks).sum(axis=(0, 1))
    overlap = (result["masks"] & masks).sum(axis=(0, 1)) / np.maximum(union, 1)
    assert overlap[union > 0].min(initial=1.0) >= 0.99


def test_average_precision(recording, results):
    found = []
    for i, result in enumerate(results):
        gt_masks = unpack_bits(recording[f"gt_masks_bits_{i}"], recording[f"gt_masks_shape_{i}"])
        ap, *_ = compute_ap(
            recording[f"gt_boxes_{i}"],
            recording[f"gt_class_ids_{i}"],
            gt_masks,
            result["rois"],
            result["class_ids"],
            result["scores"],
            result["masks"],
        )
        found.append(ap)
    np.testing.assert_allclose(found, recording["ap50_per_image"], atol=1e-6)
    assert np.mean(found) == pytest.approx(recording["info_json"]["mAP50_these_images"], abs=1e-6)
