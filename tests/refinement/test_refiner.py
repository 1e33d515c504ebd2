"""The refiner on any image, its file, and the merging of the study."""

import numpy as np
import pytest

from mrcnn.refinement import Recipe, Refiner, Scale

TINY = Recipe(
    name="tiny",
    patch_size=32,
    filters=(8, 8, 8, 8),
    scales=(
        Scale(object_size=28, centers="object"),
        Scale(object_size=48, centers="boundary", stride=8, max_patches=12),
    ),
)


class Constant:
    """Stands in for a network: every patch has the same probability."""

    def __init__(self, value: float) -> None:
        self.value, self.batches = value, []

    def predict_on_batch(self, patches):
        self.batches.append(patches)
        return np.full((*patches.shape[:3], 1), self.value, np.float32)


class Copy:
    """Stands in for a network: returns the probability it is given."""

    def predict_on_batch(self, patches):
        return patches[..., 3:]


def scene(height=60, width=80, boxes=((10, 20, 40, 60), (5, 5, 25, 15))):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = np.zeros((height, width, len(boxes)), np.float32)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = 0.9
    return image, masks, np.array(boxes)


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("with_boxes", [False, True])
def test_a_copying_network_changes_little(cascade, with_boxes):
    image, masks, boxes = scene()
    refiner = Refiner(TINY.replace(cascade=cascade), [Copy()])
    refined = refiner.refine(image, masks, boxes if with_boxes else None)
    assert refined.shape == masks.shape and refined.dtype == np.float32
    # Resampling softens the outline only.
    assert np.abs(refined - masks).mean() < 0.03
    assert ((refined >= 0.5) == (masks >= 0.5)).mean() > 0.97


class Grow:
    """Stands in for a network: moves what it is given to the right by 4 pixels, and adds it."""

    def predict_on_batch(self, patches):
        given = patches[..., 3:]
        return np.maximum(given, np.roll(given, 4, axis=2))


@pytest.mark.parametrize("with_boxes", [False, True])
def test_passes_refine_what_the_one_before_has_found(with_boxes):
    image, masks, boxes = scene()
    boxes = boxes if with_boxes else None
    recipe = TINY.replace(flip=False)
    once = Refiner(recipe, [Grow()])
    twice = Refiner(recipe.replace(passes=2), [Grow()]).refine(image, masks, boxes)
    np.testing.assert_array_equal(
        twice, once.refine(image, once.refine(image, masks, boxes), boxes)
    )
    assert (twice >= 0.5).sum() > (once.refine(image, masks, boxes) >= 0.5).sum()
    with pytest.raises(ValueError, match="passes is 0; it must be at least 1"):
        recipe.replace(passes=0)


def test_only_the_surroundings_of_an_object_change():
    image, masks, _ = scene(200, 200, ((20, 20, 40, 40),))
    refined = Refiner(TINY, [Constant(1.0)]).refine(image, masks)
    assert refined[30, 30, 0] > 0.99
    assert (refined[100:, 100:] == 0).all()


def test_empty_masks_and_no_masks():
    image, masks, _ = scene()
    masks[..., 1] = 0
    network = Constant(1.0)
    refiner = Refiner(TINY, [network])
    assert refiner.refine(image, masks)[..., 1].max() == 0
    assert refiner.refine(image, masks[..., :0]).shape == (60, 80, 0)
    # A box without an area has no patches either.
    boxes = np.array([[10, 20, 40, 60], [0, 0, 0, 0]])
    assert refiner.refine(image, masks, boxes)[..., 1].max() == 0


def test_bool_masks_are_accepted():
    image, masks, _ = scene()
    refined = Refiner(TINY, [Copy()]).refine(image, masks > 0.5)
    assert refined.dtype == np.float32 and refined.max() > 0.95


def test_patches_of_all_objects_share_batches_of_one_shape():
    image, masks, _ = scene()
    recipe = TINY.replace(scales=TINY.scales[:1])
    together, one = Constant(0.5), Constant(0.5)
    Refiner(recipe, [together]).refine(image, masks)
    # Two objects, one patch and its mirror image each: one batch of four.
    assert [batch.shape for batch in together.batches] == [(4, 32, 32, 4)]
    np.testing.assert_array_equal(together.batches[0][2], together.batches[0][0][:, ::-1])
    Refiner(recipe, [one]).refine(image, masks[..., :1])
    assert [batch.shape for batch in one.batches] == [(4, 32, 32, 4)]
    assert (one.batches[0][2:] == 0).all()


def test_networks_are_averaged_and_mirrors_turned_back():
    class Ramp:
        def predict_on_batch(self, patches):
            ramp = np.arange(patches.shape[2], dtype=np.float32) / 100
            return np.broadcast_to(ramp[None, None, :, None], (*patches.shape[:3], 1))

    patches = np.zeros((1, 4, 4, 4), np.float32)
    recipe = TINY.replace(flip=False)
    predicted = Refiner(recipe, [Constant(1.0), Constant(0.5)]).predict(patches)
    assert (predicted == 0.75).all() and predicted.shape == (1, 4, 4)
    mirrored = Refiner(TINY, [Ramp()]).predict(patches)
    # (0, 1, 2, 3) and its mirror image average to 1.5.
    np.testing.assert_allclose(mirrored[0, 0], [0.015] * 4, rtol=1e-5)


def test_study_merging_weights():
    image, masks, _ = scene(40, 40, ((10, 10, 30, 30),))
    recipe = Recipe(
        name="study merge",
        patch_size=16,
        filters=(8, 8, 8, 8),
        scales=(Scale(object_size=None, centers="boundary", stride=1),),
        decay=16.0,
        original_weight=1.0,
        patch_weight=1 / 20,
        flip=False,
    )
    refined = Refiner(recipe, [Constant(0.0)]).refine(image, masks)[..., 0]
    # Weight at pixel (10, 10): the sum over all boundary pixels within the patch's reach.
    inside = masks[..., 0] >= 0.5
    from mrcnn.refinement.patches import boundary_pixels

    offsets = np.array([10, 10]) - boundary_pixels(inside)
    reached = ((offsets >= -8) & (offsets < 8)).all(axis=1)
    weight = np.exp(-np.hypot(*offsets[reached].T) / 16).sum() / 20
    np.testing.assert_allclose(refined[10, 10], 0.9 / (1 + weight), rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "masks", "boxes", "message"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1)), None, "image is uint8"),
        (np.zeros((4, 4, 3)), np.zeros((4, 4, 1)), None, "image is float64"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 1)), None, "mask_probs has shape"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), None, "mask_probs has shape"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 1)), np.zeros((2, 4)), "boxes has shape"),
    ],
)
def test_shapes_that_do_not_belong_together(image, masks, boxes, message):
    with pytest.raises(ValueError, match=message):
        Refiner(TINY, [Copy()]).refine(image, masks, boxes)


def test_file_round_trip(tmp_path):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    refiner = Refiner(TINY, notes={"images": 3})
    change = refiner.networks[0].get_layer("logit_change")
    kernel = np.random.default_rng(0).normal(size=change.get_weights()[0].shape)
    change.set_weights([kernel, np.array([0.25])])
    refiner.save(tmp_path / "refiner.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["refiner.h5"]
    loaded = Refiner.load(tmp_path / "refiner.h5")
    assert loaded.recipe == TINY and loaded.notes == {"images": 3}
    image, masks, _ = scene()
    before, after = refiner.refine(image, masks), loaded.refine(image, masks)
    assert np.abs(before - masks).max() > 0.05
    # Kernels are kept in half precision.
    np.testing.assert_allclose(after, before, atol=2e-2)
    assert np.abs(after - before).mean() < 1e-3


def test_files_that_are_no_refiner(tmp_path):
    h5py = pytest.importorskip("h5py")
    with pytest.raises(FileNotFoundError, match="refiner file not found"):
        Refiner.load(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match="is not an HDF5 refiner file"):
        Refiner.load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layer"] = np.zeros(3)
    with pytest.raises(ValueError, match="has no attribute format"):
        Refiner.load(tmp_path / "other.h5")


def test_a_file_with_a_missing_weight_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    recipe = TINY.replace(architecture="unet", filters=(4, 4))
    Refiner(recipe).save(tmp_path / "refiner.h5")
    with h5py.File(tmp_path / "refiner.h5", "r+") as file:
        del file["network0/down0a_conv/kernel"]
    with pytest.raises(ValueError, match=r"down0a_conv/kernel is missing"):
        Refiner.load(tmp_path / "refiner.h5")
