"""Recipes: the study's settings, JSON round trip, and the checks."""

import json

import pytest

from mrcnn.refinement.recipes import RECIPES, Augmentation, Recipe, Scale, get_recipe


def test_study_recipe_is_the_study():
    study = get_recipe("study")
    assert (study.patch_size, study.filters, study.dropout) == (64, (16, 32, 64, 128, 256), 0.3)
    assert study.scales == (Scale(object_size=None, centers="boundary", stride=1),)
    assert study.pad_value == (1.0, 1.0, 1.0, 1.0) and study.pad_is_boundary
    assert (study.decay, study.original_weight, study.patch_weight) == (16.0, 1.0, 1 / 20)
    assert (study.loss, study.epochs, study.batch_size) == ("mse", 15, 32)
    assert (study.learning_rate, study.schedule) == (1e-3, "constant")
    assert (study.patches_per_image, study.fill_patches) == (50, True)
    assert study.augmentation is None and not study.flip


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_json_round_trip(name):
    recipe = RECIPES[name]
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert get_recipe(recipe) is recipe


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: get_recipe("fastest"), "recipe is 'fastest'; it must be one of"),
        (lambda: Recipe.from_dict({"epoch": 3}), "unknown refinement settings"),
        (lambda: Recipe(loss="dice"), "loss is 'dice'"),
        (lambda: Recipe(scales=()), "scales is empty"),
        (lambda: Recipe(scales=(Scale(share=0.0),)), r"shares are \[0\.0\]"),
        (lambda: Recipe(epochs=0), "epochs is 0"),
        (lambda: Recipe(decay=0.0), r"decay is 0\.0"),
        (lambda: Recipe(schedule="step"), "schedule is 'step'"),
        (lambda: Recipe(pad_value=(0.0,)), "pad_value is"),
        (lambda: Scale(centers="grid"), "centers is 'grid'"),
        (lambda: Scale(object_size=None, centers="object"), "object_size is None"),
        (lambda: Scale(object_size=2), "object_size is 2"),
        (lambda: Scale(stride=0), "stride is 0"),
        (lambda: Scale(max_patches=0), "max_patches is 0"),
    ],
)
def test_impossible_settings_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_augmentation_survives_as_its_own_type():
    recipe = Recipe(augmentation=Augmentation(rotation=3.0))
    assert Recipe.from_dict(recipe.to_dict()).augmentation == Augmentation(rotation=3.0)


def test_former_names_of_settings_are_read():
    content = RECIPES["default"].to_dict()
    for scale in content["scales"]:
        scale["centres"] = scale.pop("centers")
    content["patches_per_picture"] = content.pop("patches_per_image")
    content["augmentation"]["colour"] = content["augmentation"].pop("color")
    assert Recipe.from_dict(content) == RECIPES["default"]
    content["patches_per_image"] = 2
    with pytest.raises(ValueError, match=r"unknown refinement settings: .*patches_per_picture"):
        Recipe.from_dict(content)


@pytest.mark.parametrize("value", [10**15, -(10**15), float("inf"), float("nan")])
def test_numbers_without_a_limit_of_their_own_are_bounded(value):
    with pytest.raises(ValueError, match=r"decay is .*; it must be a float"):
        Recipe.from_dict({**RECIPES["default"].to_dict(), "decay": value})
