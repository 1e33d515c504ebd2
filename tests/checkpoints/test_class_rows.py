"""Classes that a file and a model share keep what the file knows of them."""

import numpy as np
import pytest

from mrcnn.checkpoints import load_class_rows, save_weights
from mrcnn.checkpoints.class_rows import describe_class_match, match_class_names
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


MEAN = 2.5  # of classes 1 to 4


@pytest.mark.parametrize(
    ("names", "known", "rows"),
    [
        (["BG", "motorcycle"], {"motorcycle": "motorcycle"}, [0, 2]),
        (
            ["background", "dog", "helmet", "person"],
            {"dog": "dog", "person": "person"},
            [0, 4, -1, 1],
        ),
        (["BG", "Motorcycle", "Cat"], {"Motorcycle": "motorcycle", "Cat": "cat"}, [0, 2, 3]),
        (STORED, {name: name for name in STORED[1:]}, [0, 1, 2, 3, 4]),
        (["BG", "helmet"], {}, [0, -1]),
        (["BG", "BG"], {}, [0, -1]),  # the background is no class of objects
    ],
)
def test_rows_of_known_and_of_new_classes(path, names, known, rows):
    model = small_mask_rcnn(num_classes=len(names), fill=-1)
    assert load_class_rows(model, path, STORED, names) == known
    assert list(known) == [name for name in names if name in known]
    for layer, per_class in ROWS.items():
        new = MEAN if layer in ("mrcnn_mask", "mrcnn_bbox_fc") else -1
        expected = [new if row == -1 else row for row in rows]
        for name in ("kernel", "bias"):
            value = model.value(layer, name)
            assert (value == np.repeat(expected, per_class)).all(), layer
    assert (model.value("mrcnn_class_conv1") == -1).all()  # the rest is left alone


def test_a_file_without_classes_of_objects(tmp_path):
    save_weights(numbered(1), tmp_path / "w.h5")
    model = small_mask_rcnn(num_classes=2, fill=-1)
    assert load_class_rows(model, tmp_path / "w.h5", ["BG"], ["BG", "cat"]) == {}
    assert (model.value("mrcnn_mask") == [0, -1]).all()


def test_renamed_classes(path):
    names = ["BG", "Pedestrian", "cat", "kitten"]
    model = small_mask_rcnn(num_classes=4, fill=-1)
    rename = {"pedestrian": "PERSON", "kitten": "cat", "cat": "dog"}
    known = load_class_rows(model, path, STORED, names, rename)
    assert known == {"Pedestrian": "person", "cat": "dog", "kitten": "cat"}
    assert (model.value("mrcnn_mask") == [0, 1, 4, 3]).all()
    assert (model.value("mrcnn_class_logits", "bias") == [0, 1, 4, 3]).all()


def test_letter_case_counts_where_it_alone_tells_names_apart():
    known = match_class_names(["BG", "a", "A", "Straße"], ["BG", "A", "a", "STRASSE"])
    assert known == {"A": "A", "a": "a", "STRASSE": "Straße"}


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            {"pedestrain": "person"},
            "rename has 'pedestrain'; it must be a class of the dataset: pedestrian, cat; the "
            "nearest is 'pedestrian'",
        ),
        ({"pedestrian": "Persom"}, "must be a class of the weights: .*; the nearest is 'person'"),
        ({"BG": "person"}, "rename has 'BG'; it must be a class of the dataset: pedestrian, cat"),
        ({"cat": "BG"}, "rename has 'BG'; it must be a class of the weights: person, motorcycle"),
        ({"cat": "\x1b[2J"}, r"rename has '\\x1b\[2J'; .* person, motorcycle, cat, dog$"),
        ({"": "person"}, "rename has ''; it must be a class of the dataset"),
    ],
)
def test_classes_that_cannot_be_renamed(path, rename, message):
    model = small_mask_rcnn(num_classes=3, fill=-1)
    with pytest.raises(ValueError, match=message):
        load_class_rows(model, path, STORED, ["BG", "pedestrian", "cat"], rename)
    assert all(variable.assigned == 0 for variable in variables(model).values())


def test_the_lines_about_classes():
    names = ["BG", "cat", "Dog", "pedestrian", "gnu\x1b[2J"]
    known = {"cat": "cat", "Dog": "dog", "pedestrian": "person"}
    assert describe_class_match(names, known) == [
        "known to the weights: cat",
        "known under another name: Dog (in the weights: dog), pedestrian (in the weights: person)",
        "new to the weights: gnu\\x1b[2J",
    ]
    many = ["BG", *(f"n{k}" for k in range(80))]
    (line,) = describe_class_match(many, {name: name for name in many[1:]})
    assert line.endswith("n10, n11, ... (80 in all)")


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
    assert list(load_class_rows(model, tmp_path / "w.h5", STORED, names)) == shared
    assert (model.value("mrcnn_mask", "kernel") == 7).all()
    assert (model.value("mrcnn_mask", "bias") == 7).all()
    assert model.value("mrcnn_class_logits", "bias")[-1] == -1


@pytest.mark.parametrize("lacks_masks", ["file", "model", "both"])
def test_a_network_without_mask_head(lacks_masks, tmp_path):
    """Faster R-CNN starts from Mask R-CNN's classes, and the other way round."""
    stored, model = numbered(3), small_mask_rcnn(num_classes=2, fill=-1)
    for one, name in ((stored, "file"), (model, "model")):
        if lacks_masks in (name, "both"):
            del one.layers[-1]
    save_weights(stored, tmp_path / "w.h5")
    known = load_class_rows(model, tmp_path / "w.h5", ["BG", "cat", "dog"], ["BG", "dog"])
    assert known == {"dog": "dog"}
    assert (model.value("mrcnn_class_logits") == [0, 2]).all()
    if lacks_masks == "file":
        assert (model.value("mrcnn_mask") == -1).all()
