"""Classes of a model matched with those of a dataset by name."""

import numpy as np
import pytest

from mrcnn.evaluation.class_matching import RenumberedClasses, match_classes
from tests.fake_model import fake_model  # noqa: F401


@pytest.mark.parametrize(
    ("model", "data", "numbers"),
    [
        (["BG", "cat", "dog"], ["BG", "cat", "dog"], [0, 1, 2]),
        (["BG", "cat", "dog"], ["BG", "Dog", "owl", "CAT"], [0, 3, 1]),
        (["BG", "cat", "dog"], ["BG", "dog"], [0, 0, 1]),
        (["BG", "class 1", "class 2"], ["BG", "dog", "owl"], [0, 1, 2]),
        (["BG", "balloon"], ["BG", "object"], [0, 1]),
    ],
    ids=["same", "other order", "part", "nameless", "nameless data"],
)
def test_match_classes(model, data, numbers):
    assert match_classes(model, data) == numbers


@pytest.mark.parametrize(
    ("model", "data"),
    [(["BG", "cat"], ["BG", "dog"]), (["BG", "class 1"], ["BG", "dog", "owl"])],
    ids=["other names", "other number"],
)
def test_classes_without_a_match_are_refused(model, data):
    with pytest.raises(ValueError, match="must have a name in common"):
        match_classes(model, data)


def test_the_error_says_how_to_name_the_class_of_a_dataset_without_names():
    with pytest.raises(ValueError, match="in common; the option class_name=NAME "):
        match_classes(["BG", "cat", "dog"], ["BG", "object"])


def test_renumbered_classes_drops_what_the_dataset_lacks(fake_model):  # noqa: F811
    class Settings:
        BATCH_SIZE = 1

        def validate(self):
            pass

    model = RenumberedClasses(fake_model("inference", Settings(), "."), [0, 0, 7])
    (result,) = model.detect([np.zeros((10, 10, 3), np.uint8)], verbose=0)
    np.testing.assert_array_equal(result["class_ids"], [7])
    np.testing.assert_array_equal(result["rois"], [[5, 5, 10, 10]])
    assert result["masks"].shape == (10, 10, 1)
    assert result["masks"].sum() == 25
    assert len(result["scores"]) == 1
    assert model.config.BATCH_SIZE == 1
