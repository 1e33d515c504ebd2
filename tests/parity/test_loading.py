"""The loader against numbers recorded from Matterport's package."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.datasets.dataset import Dataset
from mrcnn.geometry.interpolation import resize_linear
from mrcnn.loading.batches import TrainingBatches
from mrcnn.loading.detection_targets import build_detection_targets, generate_random_rois
from mrcnn.loading.generator import data_generator
from mrcnn.loading.image_gt import load_image_gt
from mrcnn.loading.rpn_targets import build_rpn_targets
from tests.parity.reference import Call, call_id, load_call, load_calls


def config_of(call: Call) -> Config:
    return type("RecordedConfig", (Config,), dict(call.args["config"]))()


class RecordedDataset(Dataset):
    """The dataset in memory that the recorded calls used."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays = load_call("dataset#0").args
        for class_id, name in ((1, "cat"), (2, "dog"), (3, "cow")):
            self.add_class("toy", class_id, name)
        self.add_class("other", 1, "car")
        for number in range(3):
            self.add_image("toy", number, path=None)
        self.prepare()

    def load_image(self, image_id: int) -> np.ndarray:
        return self.arrays[f"image_{image_id}"]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        return self.arrays[f"mask_{image_id}"], self.arrays[f"class_ids_{image_id}"]


def test_dataset() -> None:
    dataset, out = RecordedDataset(), load_call("dataset#0").out
    assert dataset.class_names == out["class_names"]
    assert dataset.num_classes == out["num_classes"]
    for source, class_ids in out["source_class_ids"].items():
        assert dataset.source_class_ids[source] == class_ids


@pytest.mark.parametrize("through_full", [False, True], ids=["direct", "through_full_masks"])
@pytest.mark.parametrize("call", load_calls("model.load_image_gt"), ids=call_id)
def test_load_image_gt(call: Call, through_full: bool) -> None:
    random.seed(call.seed)
    # An augmentation that does nothing goes the way over masks of full size.
    augmentation = (lambda image, mask: (image, mask)) if through_full else None
    image, image_meta, class_ids, bbox, mask = load_image_gt(
        RecordedDataset(),
        config_of(call),
        call.args["image_id"],
        use_mini_mask=call.args["use_mini_mask"],
        augmentation=augmentation,
    )
    out = call.out
    assert image.dtype == out["image"].dtype
    # Sums are exact here; there a whole number sometimes came out a hair smaller, and was
    # rounded down to the next. Likewise samples of mini masks that lie exactly half way.
    difference = np.abs(image.astype(int) - out["image"])
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 11
    assert image_meta.dtype == out["image_meta"].dtype
    np.testing.assert_allclose(image_meta, out["image_meta"], rtol=1e-12)
    for ours, theirs in ((class_ids, out["class_ids"]), (bbox, out["bbox"])):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert mask.dtype == bool
    assert mask.shape == out["mask"].shape
    differs = np.argwhere(mask != out["mask"])
    if len(differs):
        assert call.args["use_mini_mask"] and len(differs) <= 9
        random.seed(call.seed)
        _, _, _, _, full = load_image_gt(RecordedDataset(), config_of(call), call.args["image_id"])
        for row, column, instance in differs:
            y1, x1, y2, x2 = bbox[instance]
            samples = resize_linear(full[y1:y2, x1:x2, instance], mask.shape[:2])
            assert samples[row, column] == pytest.approx(0.5, abs=1e-12)


def rpn_arguments(call: Call) -> dict[str, Any]:
    args = dict(call.args, config=config_of(call))
    if isinstance(args["anchors"], str):
        args["anchors"] = load_call("model.build_rpn_targets#0").args["anchors"]
    return args


@pytest.mark.parametrize("call", load_calls("model.build_rpn_targets"), ids=call_id)
def test_build_rpn_targets(call: Call) -> None:
    np.random.seed(call.seed)
    rpn_match, rpn_bbox = build_rpn_targets(**rpn_arguments(call))
    assert rpn_match.dtype == np.int32
    np.testing.assert_array_equal(rpn_match, call.out["rpn_match"])
    stored = call.out["rpn_bbox"]
    assert rpn_bbox.dtype == stored.dtype
    assert len(rpn_bbox) == call.out["rpn_bbox_full_rows"]
    np.testing.assert_allclose(rpn_bbox[: len(stored)], stored, rtol=1e-12, atol=1e-12)
    assert not rpn_bbox[len(stored) :].any()


@pytest.mark.parametrize("call", load_calls("model.generate_random_rois"), ids=call_id)
def test_generate_random_rois(call: Call) -> None:
    np.random.seed(call.seed)
    rois = generate_random_rois(**call.args)
    assert rois.dtype == call.out["rois"].dtype
    np.testing.assert_array_equal(rois, call.out["rois"])


@pytest.mark.parametrize("call", load_calls("model.build_detection_targets"), ids=call_id)
def test_build_detection_targets(call: Call) -> None:
    np.random.seed(call.seed)
    names = ("rois", "class_ids", "bboxes", "masks")
    results = build_detection_targets(**dict(call.args, config=config_of(call)))
    for name, ours in zip(names, results, strict=True):
        theirs = call.out[name]
        assert ours.dtype == theirs.dtype, name
        # One recording keeps the first masks only.
        close = np.isclose(ours[: len(theirs)], theirs, rtol=1e-5, atol=1e-6)
        # A pixel of a mini mask put back into its box lies exactly half way.
        num_ties = 1 if name == "masks" and call.id.endswith("#1") else 0
        assert np.count_nonzero(~close) <= num_ties, name


INPUTS = (
    "batch_images",
    "batch_image_meta",
    "batch_rpn_match",
    "batch_rpn_bbox",
    "batch_gt_class_ids",
    "batch_gt_boxes",
    "batch_gt_masks",
)


def check_batch(inputs: list[np.ndarray], out: dict[str, Any]) -> None:
    assert [list(array.shape) for array in inputs] == out["shapes"]
    # Stored thinned out.
    stored = dict(zip(INPUTS, inputs, strict=True))
    stored["batch_images"] = stored["batch_images"][:, ::4, ::4]
    stored["batch_rpn_bbox"] = stored["batch_rpn_bbox"][:, :1000]
    for name in INPUTS:
        np.testing.assert_allclose(stored[name], out[name], rtol=1e-6, atol=1e-5, err_msg=name)


def test_data_generator() -> None:
    call = load_call("model.data_generator#0")
    batches = data_generator(RecordedDataset(), config_of(call), shuffle=False, batch_size=2)
    inputs, outputs = next(batches)
    assert [str(array.dtype) for array in inputs] == call.out["dtypes"]
    assert len(outputs) == call.out["outputs_len"]
    check_batch(inputs, call.out)


def test_training_batches_hold_the_same() -> None:
    call = load_call("model.data_generator#0")
    batches = TrainingBatches(RecordedDataset(), config_of(call), shuffle=False)
    (inputs,) = batches[0]
    check_batch(inputs, call.out)
    assert [str(array.dtype) for array in inputs] == [
        "float32", "float32", "int32", "float32", "int32", "int32", "bool",
    ]  # fmt: skip
