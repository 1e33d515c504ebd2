"""Refiner files that were damaged or made to harm: the same checks as for weight files."""

import json
import os
import random

import h5py
import numpy as np
import pytest

from mrcnn.refinement import Recipe, Refiner, Scale, open_refiner
from mrcnn.refinement.recipes import RECIPES
from tests.counts import num_mutations
from tests.hostile.test_weights import (
    cut_or_splice,
    flip_bytes,
    odd_array,
    outcome,
    outside,
    replace_attribute,
)

COUNT = num_mutations(40)
TINY = Recipe(
    name="tiny",
    architecture="unet",
    patch_size=8,
    filters=(2, 2),
    scales=(Scale(object_size=8, centers="object"),),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("refiner") / "refiner.h5"
    Refiner(TINY).save(path)
    return path.read_bytes()


@pytest.fixture
def path(saved, tmp_path):
    path = tmp_path / "refiner.h5"
    path.write_bytes(saved)
    return path


def replace_array(rng, path):
    with h5py.File(path, "r+") as file:
        odd_array(rng, file, f"network0/{rng.choice(sorted(file['network0']))}/kernel")


ODD_SETTINGS = [None, True, -1, 0, 10**9, 1e30, "x", [], [1], {}, {"x": 1}, [[1]], float("nan")]


def replace_setting(rng, path):
    with h5py.File(path, "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        parts = [recipe, recipe["scales"][0], recipe["augmentation"]]
        part = rng.choice(parts)
        part[rng.choice(sorted(part))] = rng.choice(ODD_SETTINGS)
        file.attrs["recipe"] = json.dumps(recipe)


MUTATIONS = [flip_bytes, cut_or_splice, replace_attribute, replace_array, replace_setting]


def test_mutated_refiner_files(saved, path):
    refused = 0
    for seed in range(COUNT):
        path.write_bytes(saved)
        rng = random.Random(seed)
        mutation = rng.choice(MUTATIONS)
        try:
            mutation(rng, path)
        except KeyError:  # a layer without a kernel
            continue
        refused += outcome(Refiner.load, path) is not None
    assert refused > COUNT / 4


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("patch_size", 10**6, "patch_size is 1000000; it must be a int of at most 1024"),
        ("patch_size", "8", "patch_size is '8'; it must be a int"),
        ("networks", 10**9, "networks is 1000000000; it must be"),
        ("filters", [10**6, 10**6], "filters is .*; it must be"),
        ("filters", 5, "filters is 5; it must be"),
        ("scales", [{"object_size": "x"}], "object_size is 'x'; it must be"),
        ("scales", [1], r"scales is \[1\]; it must be"),
        ("snap", [1], r"snap is \[1\]; it must be"),
        ("augmentation", {"flip": 3}, "flip is 3; it must be"),
        ("name", "\x1b[2J", r"does not|x1b"),
        ("dropout", 10**400, "dropout is .*; it must be"),
    ],
)
def test_settings_that_are_refused_by_name(path, setting, value, message):
    with h5py.File(path, "r+") as file:
        recipe = {**json.loads(file.attrs["recipe"]), setting: value}
        file.attrs["recipe"] = json.dumps(recipe)
    if setting == "name":  # harmless until it is shown
        assert Refiner.load(path).recipe.name == value
        return
    with pytest.raises(ValueError, match=message) as error:
        Refiner.load(path)
    assert "refiner.h5" in str(error.value)


def test_links_to_other_files_are_refused(path):
    other = outside(path)
    with h5py.File(path, "r+") as file:
        name = f"network0/{min(file['network0'])}"
        del file[name]
        file[name] = h5py.ExternalLink(str(other), "/")
    with pytest.raises(ValueError, match="is a link to another file"):
        Refiner.load(path)


def test_pipes_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="refiner"):
            Refiner.load(place)
        with pytest.raises(ValueError, match="refiner"):
            open_refiner(place)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_with_numpy_numbers(name):
    settings = RECIPES[name].to_dict()
    settings["epochs"], settings["decay"] = np.int64(3), np.float32(2)
    assert Recipe.from_dict(settings).epochs == 3
