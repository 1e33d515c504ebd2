"""Classes that a file and a model share keep what the file knows of them."""

import numpy as np
import pytest

from mrcnn.checkpoints import load_class_rows, save_weights
from tests.checkpoints.fakes import small_mask_rcnn, variables

ROWS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}
STORED = ["BG", "person", "motorcycle", "cat", "dog"]


def numbered(count):
    """A model whose class layers hold, for each class, its number."""
    model = small_mask_rcnn(num_classes=count)
    for layer, per_class in ROWS.items():
        for name in ("kernel", "bias"):
            variable = variables(model)[f"{layer}/{name}"]
            row = np.repeat(np.arange(count, dtype=np.float32), per_class)
            variable.value = np.broadcast_to(row, variable.shape).copy()
    return model


@pytest.fixture
def path(tmp_path):
    save_weights(numbered(5), tmp_path / "w.h5")
    return tmp_path / "w.h5"


@pytest.mark.parametrize(
    ("names", "shared", "rows"),
    [
        (["BG", "motorcycle"], ["motorcycle"], [0, 2]),
        (["background", "dog", "helmet", "person"], ["dog", "person"], [0, 4, -1, 1]),
        (["BG", "Motorcycle", "Cat"], ["Motorcycle", "Cat"], [0, 2, 3]),
        (STORED, STORED[1:], [0, 1, 2, 3, 4]),
        (["BG", "helmet"], [], [-1, -1]),
        (["BG", "BG"], [], [-1, -1]),  # the background is no class of objects
    ],
)
def test_rows_of_shared_classes(path, names, shared, rows):
    model = small_mask_rcnn(num_classes=len(names), fill=-1)
    assert load_class_rows(model, path, STORED, names) == shared
    for layer, per_class in ROWS.items():
        for name in ("kernel", "bias"):
            value = model.value(layer, name)
            assert (value == np.repeat(rows, per_class)).all()
    assert (model.value("mrcnn_class_conv1") == -1).all()  # the rest is left alone


@pytest.mark.parametrize(
    ("stored_names", "names", "message"),
    [
        (
            STORED[:3],
            ["BG", "person"],
            r"mrcnn_class_logits/kernel of the file has .*\(16, 5\); its last axis must be 3",
        ),
        (
            STORED,
            ["BG", "person", "cat"],
            r"of the model has the shape \(16, 2\); its last axis must be 3, for 3 class names",
        ),
    ],
)
def test_wrong_number_of_names(path, stored_names, names, message):
    model = small_mask_rcnn(num_classes=2, fill=-1)
    with pytest.raises(ValueError, match=message):
        load_class_rows(model, path, stored_names, names)
    assert all(variable.assigned == 0 for variable in variables(model).values())


def test_another_width(path):
    model = small_mask_rcnn(num_classes=2, fc=8, fill=-1)
    with pytest.raises(ValueError, match="only the last axis may differ"):
        load_class_rows(model, path, STORED, ["BG", "cat"])
    assert all(variable.assigned == 0 for variable in variables(model).values())


@pytest.mark.parametrize(
    ("names", "shared"), [(["BG", "person", "kangaroo"], ["person"]), (["BG", "kangaroo"], [])]
)
def test_every_class_takes_over_masks_that_are_the_same_for_all(tmp_path, names, shared):
    stored = numbered(5)
    for name in ("kernel", "bias"):
        variable = variables(stored)[f"mrcnn_mask/{name}"]
        variable.value = np.full(variable.shape, 7, np.float32)
    save_weights(stored, tmp_path / "w.h5")
    model = small_mask_rcnn(num_classes=len(names), fill=-1)
    assert load_class_rows(model, tmp_path / "w.h5", STORED, names, True) == shared
    assert (model.value("mrcnn_mask", "kernel") == 7).all()
    assert (model.value("mrcnn_mask", "bias") == 7).all()
    assert model.value("mrcnn_class_logits", "bias")[-1] == -1
