"""Mean IoU after an epoch, its sheet, and what else follows from it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mrcnn.datasets.semantic import load_label_map
from mrcnn.datasets.shapes import ShapesDataset
from mrcnn.training.callbacks import resolve_callbacks
from mrcnn.training.label_validation import ValidationLabels


class Oracle:
    """Segments the images of a dataset as they are labeled, in its order."""

    config = SimpleNamespace(BATCH_SIZE=2)

    def __init__(self, dataset, log_dir):
        self.log_dir = str(log_dir)
        self.labels = {
            dataset.load_image(i).tobytes(): load_label_map(dataset, i) for i in dataset.image_ids
        }
        self.is_blind = False

    def segment(self, images):
        found = [self.labels[image.tobytes()] for image in images]
        return [{"labels": one * 0 if self.is_blind else one} for one in found]


@pytest.fixture
def shapes():
    dataset = ShapesDataset()
    dataset.load_shapes(5, 64, 96)
    dataset.prepare()
    return dataset


def test_scores_and_sheet(shapes, tmp_path):
    model = Oracle(shapes, tmp_path)
    validation = ValidationLabels(model, shapes, max_images=3, sheet_images=2, verbose=0)
    validation.params = {"epochs": 2}
    assert validation.image_ids == [0, 2, 4]
    logs = {}
    validation.on_epoch_end(0, logs)
    assert logs == {"val_mean_iou": 1.0, "val_mean_pixel_accuracy": 1.0, "val_pixel_accuracy": 1.0}
    sheet = cv2.imread(str(tmp_path / "validation_0001.jpg"))
    assert len(validation.pairs) == 2 and sheet.shape[0] > 2 * 5 * 64
    model.is_blind = True
    validation.on_epoch_end(1, logs)
    truth = np.concatenate([load_label_map(shapes, i).ravel() for i in validation.image_ids])
    background = float((truth == 0).mean())
    assert logs["val_pixel_accuracy"] == pytest.approx(background)
    num_classes = len(np.unique(truth))
    assert logs["val_mean_iou"] == pytest.approx(background / num_classes)
    assert validation.expected == validation.seconds > 0


def test_the_weights_before_a_training_are_measured_if_wanted(shapes, tmp_path):
    model = Oracle(shapes, tmp_path)
    validation = ValidationLabels(model, shapes, sheet_images=0, measure_first=True, verbose=0)
    validation.on_train_begin()
    assert validation.before["val_mean_iou"] == 1.0 and not list(tmp_path.iterdir())


def test_the_best_weights_are_those_of_the_best_mean_iou(shapes, tmp_path):
    model = Oracle(shapes, tmp_path)
    validation = ValidationLabels(model, shapes, verbose=0)
    callbacks = resolve_callbacks(["best", "early_stopping", validation], model, shapes)
    assert callbacks[0] is validation
    assert [one.monitor for one in callbacks[1:]] == ["val_mean_iou"] * 2
    assert callbacks[1].mode == "max"


def test_boxes_alone_are_refused_before_the_training(shapes, tmp_path, monkeypatch):
    model = Oracle(shapes, tmp_path)
    monkeypatch.setattr(shapes, "image_has_masks", lambda image_id: np.array([image_id == 1]))
    with pytest.raises(ValueError, match="dataset has boxes and no masks"):
        ValidationLabels(model, shapes, max_images=3)
    assert ValidationLabels(model, shapes).image_ids == [0, 1, 2, 3, 4]
