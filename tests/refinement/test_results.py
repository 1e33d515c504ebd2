"""The hook behind `detect(images, refiner=...)`: what names a refiner, and what it changes."""

import os
import types

import numpy as np
import pytest

from mrcnn.refinement import Recipe, Refiner, Scale, open_refiner, refine_result
from mrcnn.refinement.results import precision_for

# An object whose longer side is 28 pixels is seen at its own resolution: nothing is resampled.
SAME_SIZE = Recipe(
    patch_size=32, filters=(8, 8, 8, 8), scales=(Scale(object_size=28, centers="object"),)
)


class Network:
    """Stands in for a network; `answer` maps patches `[n, S, S, 4]` to `[n, S, S]`."""

    def __init__(self, answer):
        self.answer = answer

    def predict_on_batch(self, patches):
        return np.asarray(self.answer(patches), np.float32)[..., None]


def copying():
    return Refiner(SAME_SIZE, [Network(lambda patches: patches[..., 3])])


def inverting():
    return Refiner(SAME_SIZE, [Network(lambda patches: 1 - patches[..., 3])])


def detections(height=50, width=60):
    """A cat of 28 x 20 pixels and a dog of 10 x 28."""
    boxes = np.array([[4, 5, 32, 25], [38, 30, 48, 58]], np.int32)
    probabilities = np.zeros((height, width, 2), np.float32)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        probabilities[y1:y2, x1:x2, i] = 0.25
        probabilities[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2, i] = 0.75
    return {
        "rois": boxes,
        "class_ids": np.array([1, 2], np.int32),
        "scores": np.array([0.9, 0.8], np.float32),
        "masks": probabilities >= 0.5,
        "mask_probs": probabilities,
    }


@pytest.mark.parametrize("shape", [(50, 60, 3), (50, 60), (50, 60, 4)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_network_that_returns_its_input_changes_nothing(shape, dtype):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    result = detections()
    refined = refine_result(image, result, copying(), mask_probabilities=True)
    assert list(refined) == list(result)
    for key, values in result.items():
        assert refined[key].dtype == values.dtype, key
        np.testing.assert_allclose(refined[key], values, atol=1e-5)


def test_every_instance_and_class_is_refined_and_nothing_else_changes():
    result = detections()
    refined = refine_result(np.zeros((50, 60, 3), np.uint8), result, inverting())
    assert "mask_probs" not in refined
    for key in ("rois", "class_ids", "scores"):
        np.testing.assert_array_equal(refined[key], result[key])
    # Patches of 32 pixels around (18, 15) and (43, 44): inverted there, untouched elsewhere.
    expected = np.zeros((50, 60, 2), bool)
    expected[2:34, 0:31, 0] = expected[27:50, 28:60, 1] = True
    np.testing.assert_array_equal(refined["masks"], expected & ~result["masks"])


def test_no_detections():
    result = {key: values[:0] for key, values in detections().items()}
    result["masks"], result["mask_probs"] = np.zeros((2, 50, 60, 0))
    refined = refine_result(np.zeros((50, 60, 3), np.uint8), result, copying(), True)
    assert refined["masks"].shape == (50, 60, 0) and refined["masks"].dtype == bool
    assert refined["mask_probs"].shape == (50, 60, 0)


def test_all_scales_and_objects_share_a_batch():
    shapes = []

    def answer(patches):
        shapes.append(patches.shape)
        return patches[..., 3]

    scales = (Scale(object_size=20, centers="object"), Scale(object_size=28, centers="object"))
    refiner = Refiner(SAME_SIZE.replace(scales=scales), [Network(answer)])
    refine_result(np.zeros((50, 60, 3), np.uint8), detections(), refiner)
    # Two objects at two scales, and their mirror images.
    assert shapes == [(4, 32, 32, 4)] * 2


def test_a_refiner_computes_in_the_precision_of_the_engine():
    engine = types.SimpleNamespace(precision="bfloat16")
    assert precision_for(types.SimpleNamespace(engine=engine)) == "bfloat16"
    assert precision_for(types.SimpleNamespace(engine=object())) == "float32"
    assert precision_for(object()) == "float32"


def test_opening_a_refiner(tmp_path):
    pytest.importorskip("keras")
    refiner = copying()
    assert open_refiner(refiner) is refiner
    path = tmp_path / "refiner.h5"
    Refiner(SAME_SIZE, notes={"number": 1}).save(path)
    first = open_refiner(path)
    assert first.notes == {"number": 1}
    assert open_refiner(str(path)) is first
    Refiner(SAME_SIZE, notes={"number": 2}).save(path)
    os.utime(path, ns=(1, 1))
    assert open_refiner(path).notes == {"number": 2}


def test_the_general_refiner_comes_with_the_package():
    pytest.importorskip("keras")
    refiner = open_refiner("general")
    assert refiner.recipe.name == "general"
    refined = refine_result(np.zeros((50, 60, 3), np.uint8), detections(), refiner, True)
    assert refined["mask_probs"].shape == (50, 60, 2)
    assert 0 <= refined["mask_probs"].min() and refined["mask_probs"].max() <= 1


def test_what_is_no_refiner(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"refiner not found: bike \(.*general"):
        open_refiner("bike")
    with pytest.raises(ValueError, match=r"a folder; it must be the file of a refiner"):
        open_refiner(tmp_path)
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match=r"text\.h5 \(.*\) is not an HDF5 refiner file"):
        open_refiner(tmp_path / "text.h5")
    with pytest.raises(TypeError, match="refiner is int; it must be"):
        open_refiner(3)
