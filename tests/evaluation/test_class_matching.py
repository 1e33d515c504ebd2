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
        (["BG", "traffic light"], ["BG", "Traffic_Light"], [0, 1]),
        (["BG", "t-shirt"], ["BG", "cat", "T Shirt"], [0, 2]),
        (["BG", "Straße"], ["BG", "STRASSE"], [0, 1]),
        (["BG", "Cat", "cat"], ["BG", "cat"], [0, 0, 1]),
        (["BG", "cat"], ["BG", "Cat", "cat"], [0, 2]),
        (["BG", "cat", "cat"], ["BG", "cat"], [0, 1, 1]),
        (["BG", "cat"], ["BG", "cat", "cat"], [0, 1]),
    ],
    ids=[
        *("same", "other order", "part", "nameless", "nameless data", "underscore", "hyphen"),
        *("casefold", "exact wins in the model", "exact wins in the data", "twice in the model"),
        "twice in the data",
    ],
)
def test_match_classes(model, data, numbers):
    assert match_classes(model, data).numbers == numbers


def test_what_is_not_equal_is_told():
    match = match_classes(["BG", "traffic light", "cat"], ["BG", "owl", "Traffic_Light", "emu"])
    assert match.respelled == [("traffic light", "Traffic_Light")]
    assert match.not_in_model == ["owl", "emu"]
    assert match.not_in_data == ["cat"]
    assert match.class_ids == [2]
    assert match.notes() == [
        "Classes whose names differ only in spelling: 'traffic light' is 'Traffic_Light'.",
        "Left out of all figures, as the model does not have them: 2 of the 3 classes of the "
        "dataset (owl, emu).",
    ]
    assert match_classes(["BG", "a"], ["BG", "a"]).notes() == []
    (note,) = match_classes(["BG", "class 1"], ["BG", "dog"]).notes()
    assert note == "Classes are matched by their order, as one side has no names."


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (["BG", "Cat", "CAT"], ["BG", "cat"]),
        (["BG", "cat"], ["BG", "Cat", "c-a-t"]),
        (["BG", "cat", "Dog", "DOG"], ["BG", "cat", "dog"]),
    ],
)
def test_a_name_like_several_is_refused(model, data):
    with pytest.raises(ValueError, match="differ only in spelling; each must be like one name"):
        match_classes(model, data)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (["BG", "cat"], ["BG", "dog"]),
        (["BG", "class 1"], ["BG", "dog", "owl"]),
        (["BG"], ["BG", "dog"]),
        (["BG", "cat"], ["BG"]),
        (["BG"], ["BG"]),
    ],
    ids=["other names", "other number", "no model class", "no data class", "neither"],
)
def test_classes_without_a_match_are_refused(model, data):
    with pytest.raises(ValueError, match="must have a name in common"):
        match_classes(model, data)


def test_the_error_lists_both_sides_and_the_nearest_names():
    with pytest.raises(ValueError) as error:
        match_classes(["BG", "balloon", "person\x1b[2J"], ["BG", "persons", "kangaroo"])
    assert str(error.value) == (
        "the classes of the model are balloon, person\\x1b[2J; those of the dataset are persons, "
        "kangaroo; they must have a name in common (the nearest: persons and person\\x1b[2J)"
    )
    with pytest.raises(ValueError, match="model are cat; those of the dataset are none; they must"):
        match_classes(["BG", "cat"], ["BG"])
    many = [f"class {number}" for number in range(1, 1001)]
    with pytest.raises(ValueError, match="class 7, class 8 and 992 more; those of"):
        match_classes(["BG", *many], ["BG", "dog"])


def test_the_error_says_how_to_name_the_class_of_a_dataset_without_names():
    with pytest.raises(ValueError, match=r"in common\. The only .* --option class_name=cat$"):
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
