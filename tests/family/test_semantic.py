"""FCN, SegNet and U-Net: sizes, geometry, training, any image size, weights."""

from __future__ import annotations

import http.server
import threading

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.datasets.semantic import VOID, load_label_map
from mrcnn.datasets.shapes import ShapesDataset
from mrcnn.evaluation import evaluate_labels
from mrcnn.family import load
from mrcnn.family.semantic import NETWORKS, SemanticConfig, SemanticModel
from mrcnn.family.semantic.batches import SemanticBatches, augment
from mrcnn.family.semantic.frames import Frame
from mrcnn.family.semantic.unet import VALID_MARGIN, build_unet
from mrcnn.family.semantic.vgg16 import convolution_names, load_imagenet_values
from tests.tiny import shapes_only

numpy = ops.convert_to_numpy


class ThinConfig(SemanticConfig):
    NUM_CLASSES = 4
    BASE_WIDTH = 4
    IMAGES_PER_GPU = 4
    LEARNING_RATE = 0.05
    TILE_SIDE = 20


class GrayConfig(ThinConfig):
    IMAGE_CHANNEL_COUNT = 1
    MEAN_PIXEL = np.array([127.0])


def _shapes(count, side=64):
    dataset = ShapesDataset()
    dataset.load_shapes(count, side, side)
    dataset.prepare()
    return dataset


def _image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "name, num_classes, channels, num_values, num_trained",
    [
        ("fcn32s", 21, 3, 136_152_917, 136_152_917 - 64 * 64 * 21 * 21),
        ("fcn16s", 21, 3, 134_815_994, 134_815_994 - 32 * 32 * 21 * 21),
        ("fcn8s", 21, 3, 134_489_759, 134_489_759 - 16 * 16 * 21 * 21),
        ("segnet", 11, 3, 29_465_227, 29_449_355),
        ("unet", 2, 1, 31_030_658, 31_030_658),
    ],
)
def test_sizes_are_those_of_the_published_networks(
    name, num_classes, channels, num_values, num_trained
):
    with shapes_only():
        model = NETWORKS[name].build(num_classes=num_classes, channels=channels, width=64)
    assert model.count_params() == num_values
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == num_trained
    if channels == 3:
        vgg = [model.get_layer(layer) for layer in convolution_names()]
        assert sum(layer.count_params() for layer in vgg) == 14_714_688
    if name == "fcn8s":
        dense = [model.get_layer(layer).count_params() for layer in ("fc6", "fc7")]
        # The dense layer of the 1,000 classes of ImageNet is left out of an FCN.
        assert 14_714_688 + sum(dense) + (4096 + 1) * 1000 == 138_357_544


@pytest.mark.parametrize("padding, sizes", [("same", (64, 80)), ("valid", (572, 188))])
def test_size_of_unet_does_not_depend_on_its_padding(padding, sizes):
    model = build_unet(2, 1, 2, padding)
    assert model.count_params() == build_unet(2, 1, 2).count_params()
    outputs = model.predict_on_batch(np.zeros((1, *sizes, 1), np.float32))
    margin = 2 * VALID_MARGIN if padding == "valid" else 0
    assert outputs.shape == (1, sizes[0] - margin, sizes[1] - margin, 2)


def test_a_constant_score_stays_constant_through_the_upsampling_of_an_fcn():
    for name in ("fcn32s", "fcn16s", "fcn8s"):
        model = SemanticModel(name, ThinConfig()).keras_model
        model.get_layer("score_fr").bias.assign([0, 1, 2, 3])
        logits = numpy(model.predict_on_batch(np.zeros((1, 96, 96, 3), np.float32)))
        np.testing.assert_allclose(logits[0, 40:56, 40:56], np.ones((16, 16, 1)) * np.arange(4))


@pytest.mark.parametrize("name", NETWORKS)
def test_images_of_any_size(name):
    model = SemanticModel(name, ThinConfig())
    images = [_image(33, 50), _image(33, 50, 1), _image(1, 70), _image(64, 32)[..., 0]]
    results = model.segment(images)
    for image, result in zip(images, results, strict=True):
        assert result["labels"].shape == image.shape[:2]
        assert result["labels"].dtype == np.uint8
        assert result["probabilities"].shape == (*image.shape[:2], 4)
        np.testing.assert_allclose(result["probabilities"].sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(result["labels"], result["probabilities"].argmax(axis=-1))
    alone = model.segment(images[1:2])[0]["probabilities"]
    np.testing.assert_allclose(alone, results[1]["probabilities"], atol=1e-5)
    assert model.segment([]) == []


def test_overlapping_tiles_give_what_one_tile_gives():
    class Tiled(GrayConfig):
        PADDING = "valid"

    class Whole(Tiled):
        TILE_SIDE = 100

    tiled, whole = SemanticModel("unet", Tiled()), SemanticModel("unet", Whole())
    whole.keras_model.set_weights(tiled.keras_model.get_weights())
    image = _image(30, 45)
    results = [model.segment([image])[0]["probabilities"] for model in (tiled, whole)]
    assert results[0].std() > 1e-3
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


@pytest.mark.parametrize("name", ["unet", "segnet"])
def test_large_images_are_computed_in_parts_with_the_same_result(name, monkeypatch):
    # With other weights, two cells of a window may be so near that rounding chooses the maximum.
    keras.utils.set_random_seed(0)
    model = SemanticModel(name, ThinConfig())
    image = _image(40, 700)
    whole = model.segment([image])[0]["probabilities"]
    monkeypatch.setattr("mrcnn.family.semantic.model._WHOLE_PIXELS", 1000)
    monkeypatch.setattr("mrcnn.family.semantic.model._PART_SIDE", 128)
    sizes = []
    monkeypatch.setattr(model, "_probabilities", _noting(model._probabilities, sizes))
    results = model.segment([image[:, ::-1], image])
    assert whole.std() > 1e-3
    np.testing.assert_allclose(results[1]["probabilities"], whole, atol=1e-5)
    assert sizes == [(1, 48 if name == "unet" else 64, 640, 3)] * 12


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["fcn8s", "segnet", "unet"])
def test_precision_is_of_the_layers_and_not_of_weights_and_logits(name, precision, tmp_path):
    keras.utils.set_random_seed(0)
    exact, rough = (SemanticModel(name, _config(PRECISION=kind)) for kind in ("float32", precision))
    for layer in exact.keras_model.layers:
        if layer.name.startswith("score_"):  # they start at zero
            layer.kernel.assign(np.random.default_rng(0).normal(0, 0.3, layer.kernel.shape))
    rough.keras_model.set_weights(exact.keras_model.get_weights())
    assert {w.dtype for w in rough.keras_model.weights} == {"float32"}
    convolution = {"unet": "down1_conv1"}.get(name, "block1_conv1")
    assert rough.keras_model.get_layer(convolution).compute_dtype == precision
    assert exact.keras_model.get_layer(convolution).compute_dtype == "float32"
    logits = rough.keras_model.predict_on_batch(np.ones((1, 32, 32, 3), np.float32))
    assert logits.dtype == np.float32

    image = _image(32, 48)
    expected, found = (m.segment([image])[0]["probabilities"] for m in (exact, rough))
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert 0 < abs(found - expected).mean() < 0.2 * expected.std()

    rough.save_weights(tmp_path / "a.h5")
    again = load(str(tmp_path / "a.h5"))
    assert again.config.PRECISION == precision
    assert again.keras_model.get_layer(convolution).compute_dtype == precision


@pytest.mark.parametrize("layer, value", [("logits", np.nan), ("down1_conv1", 1e38)])
def test_values_that_are_not_finite_are_no_labels(layer, value):
    model = SemanticModel("unet", ThinConfig())
    kernel = model.keras_model.get_layer(layer).kernel
    kernel.assign(np.full(kernel.shape, value, np.float32))
    with pytest.raises(ValueError, match="the network unet gives values that are not finite; its"):
        model.segment([_image(20, 20)])


@pytest.mark.parametrize("precision, optimizer", [("bfloat16", "SGD"), ("float16", "LossScaleO")])
def test_training_in_half_precision(precision, optimizer, tmp_path):
    keras.utils.set_random_seed(0)
    model = SemanticModel("unet", _config(PRECISION=precision), model_dir=tmp_path)
    dataset = _shapes(4, 48)
    losses = [model.train(dataset, epochs=k, verbose=0).history["loss"][0] for k in (1, 2)]
    assert losses[1] < losses[0]
    assert type(model.keras_model.optimizer).__name__.startswith(optimizer)
    assert {w.dtype for w in model.keras_model.weights} == {"float32"}


def _noting(function, sizes):
    def call(values):
        sizes.append(values.shape)
        return function(values)

    return call


@pytest.mark.parametrize(
    "name, loss, padding, class_weights",
    [
        ("segnet", "cross_entropy", "same", None),
        ("unet", "cross_entropy+dice", "same", [1, 1, 2, 1]),
        pytest.param("unet", "cross_entropy", "valid", None, marks=pytest.mark.long),
        ("fcn8s", "cross_entropy", "same", "median"),
    ],
)
def test_training_lowers_the_loss(name, loss, padding, class_weights):
    class Config(ThinConfig):
        PADDING = padding

    keras.utils.set_random_seed(0)
    model = SemanticModel(name, Config())
    dataset = _shapes(8, 48)
    history = model.train(
        dataset,
        dataset,
        epochs=4,
        loss=loss,
        class_weights=class_weights,
        optimizer=keras.optimizers.Adam(3e-3),
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert len(history["val_loss"]) == 4
    assert model.class_names == dataset.class_names
    if name == "fcn8s":
        upsampling = model.keras_model.get_layer("upscore8").get_weights()[0]
        np.testing.assert_array_equal(upsampling[..., 0, 1], 0)  # the last one is not trained
        assert model.keras_model.get_layer("upscore2").get_weights()[0][..., 0, 1].any()


@pytest.mark.long
def test_a_small_unet_learns_a_few_images_by_heart():
    keras.utils.set_random_seed(0)

    class Config(ThinConfig):
        BASE_WIDTH = 8

    model = SemanticModel("unet", Config())
    dataset = _shapes(4)
    background = float(np.mean([load_label_map(dataset, i) == 0 for i in range(4)]))
    model.train(
        dataset,
        epochs=150,
        loss="cross_entropy+dice",
        optimizer=keras.optimizers.Adam(2e-3),
        verbose=0,
    )
    report = evaluate_labels(model.segment, dataset)
    assert report.pixel_accuracy > (1 + background) / 2
    assert report.mean_iou > 0.5


def test_weights_written_and_read_give_the_same_labels(tmp_path):
    model = SemanticModel("segnet", ThinConfig(), list("abcd"))
    rng = np.random.default_rng(0)
    weights = model.keras_model.get_weights()
    model.keras_model.set_weights([w + rng.uniform(0, 0.1, w.shape) for w in weights])
    model.save_weights(tmp_path / "a.h5")
    other = SemanticModel("segnet", ThinConfig())
    report = other.load_weights(tmp_path / "a.h5")
    assert not report.missing_in_file and not report.unused_in_file
    image = _image(40, 40)
    np.testing.assert_allclose(
        other.segment([image])[0]["probabilities"],
        model.segment([image])[0]["probabilities"],
        atol=1e-6,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_an_fcn_starts_from_the_coarser_one(tmp_path):
    coarse, fine = SemanticModel("fcn32s", ThinConfig()), SemanticModel("fcn16s", ThinConfig())
    coarse.save_weights(tmp_path / "a.h5")
    report = fine.load_weights(tmp_path / "a.h5")
    assert sorted(report.missing_in_file) == ["score_pool4", "upscore16", "upscore2"]
    assert report.unused_in_file == ("upscore32",)
    for name in ("block5_conv3", "fc6"):
        np.testing.assert_array_equal(
            fine.keras_model.get_layer(name).get_weights()[0],
            coarse.keras_model.get_layer(name).get_weights()[0],
        )


def test_weights_of_another_network_or_number_of_classes(tmp_path):
    SemanticModel("unet", ThinConfig()).save_weights(tmp_path / "unet.h5")
    model = SemanticModel("segnet", ThinConfig())
    with pytest.raises(ValueError, match=r"unet.h5"):
        model.load_weights(tmp_path / "unet.h5")
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "none.h5")

    class Seven(ThinConfig):
        NUM_CLASSES = 7

    other = SemanticModel("unet", Seven())
    with pytest.raises(ValueError, match="logits"):
        other.load_weights(tmp_path / "unet.h5")
    assert other.load_weights(tmp_path / "unet.h5", skip_mismatch=True).mismatched == ("logits",)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random values in the file of `keras.applications.VGG16` without dense layers."""
    path = tmp_path_factory.mktemp("vgg") / "vgg16.weights.h5"
    model = keras.applications.VGG16(False, None, input_shape=(None, None, 3))
    model.save_weights(path)
    return path, model


class SegNetConfig(SemanticConfig):
    NUM_CLASSES = 2


def test_imagenet_values_of_a_file(vgg_file):
    path, published = vgg_file
    model = SemanticModel("segnet", SegNetConfig())
    model.load_imagenet(path)
    for name in convolution_names():
        kernel, bias = published.get_layer(name).get_weights()
        ours = model.keras_model.get_layer(name).get_weights()
        np.testing.assert_array_equal(
            ours[0], kernel[:, :, ::-1] if name == "block1_conv1" else kernel
        )
        np.testing.assert_array_equal(ours[1], bias)
    # The published network takes BGR minus the mean, ours RGB minus the mean.
    image = _image(8, 8).astype(np.float32)
    theirs = published.get_layer("block1_conv1")(
        keras.applications.vgg16.preprocess_input(image.copy()[None])
    )
    mean = np.array([123.68, 116.779, 103.939], np.float32)
    found = ops.relu(model.keras_model.get_layer("block1_conv1")((image - mean)[None]))
    np.testing.assert_allclose(numpy(found), numpy(theirs), rtol=1e-3, atol=1e-3)


def test_dense_layers_become_convolutions(monkeypatch):
    width = 64
    image = keras.Input((64, 64, 3))
    x = image
    for name, filters in (("block1_conv1", width), ("fc6", 5), ("fc7", 4)):
        x = keras.layers.Conv2D(filters, 2 if name == "fc6" else 1, name=name)(x)
    model = keras.Model(image, x)
    values = {
        "block1_conv1": [np.ones((1, 1, 3, width)), np.zeros(width)],
        "fc1": [np.arange(4 * width * 5).reshape(-1, 5), np.arange(5)],
        "fc2": [np.arange(20).reshape(5, 4), np.arange(4)],
    }
    monkeypatch.setattr("mrcnn.family.semantic.vgg16.convolution_names", lambda: ["block1_conv1"])
    monkeypatch.setattr(
        "mrcnn.family.semantic.vgg16._published_network",
        lambda with_dense, path: _FakeNetwork(values) if with_dense else None,
    )
    load_imagenet_values(model)
    kernel, bias = model.get_layer("fc6").get_weights()
    assert kernel[1, 0, 3, 2] == (2 * width + 3) * 5 + 2  # row 1, column 0, channel 3
    assert bias.tolist() == [0, 1, 2, 3, 4]
    assert model.get_layer("fc7").get_weights()[0][0, 0, 4, 3] == 19


class _FakeNetwork:
    def __init__(self, values):
        self.values = values

    def get_layer(self, name):
        layer = keras.layers.Layer()
        layer.get_weights = lambda: [np.asarray(v, np.float32) for v in self.values[name]]
        return layer


def test_imagenet_values_that_cannot_be_had(tmp_path, monkeypatch):
    class Missing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    model = SemanticModel("segnet", SegNetConfig())
    with http.server.HTTPServer(("127.0.0.1", 0), Missing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/vgg16.h5"
        place = "keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP"
        monkeypatch.setattr(place, address)
        with pytest.raises(OSError, match=r"cannot be downloaded .*404.*give the path of the file"):
            model.load_imagenet()
        server.shutdown()
    with pytest.raises(FileNotFoundError, match=r"path is .*none.h5; it must be an existing file"):
        model.load_imagenet(tmp_path / "none.h5")
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a weight file of VGG-16 without its dense layers"):
        model.load_imagenet(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"the model is unet; it must be built on VGG-16"):
        SemanticModel("unet", ThinConfig()).load_imagenet()
    with pytest.raises(ValueError, match=r"3 channels to 4 filters; .* must take 3 to 64"):
        SemanticModel("segnet", ThinConfig()).load_imagenet()


def _config(**settings):
    return type("Settings", (ThinConfig,), settings)()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SemanticModel("fcn4s"), "model is 'fcn4s'; it must be one of fcn32s, fcn16s"),
        (
            lambda: SemanticModel("unet", _config(NUM_CLASSES=256)),
            "NUM_CLASSES is 256; .* 1 to 255",
        ),
        (
            lambda: SemanticModel("unet", _config(PADDING="reflect")),
            "PADDING is 'reflect'; it must",
        ),
        (lambda: SemanticModel("segnet", _config(PADDING="valid")), "PADDING is 'valid'; it must"),
        (lambda: SemanticModel("unet", _config(IMAGE_CHANNEL_COUNT=1)), "MEAN_PIXEL has 3 values"),
        (lambda: SemanticModel("unet", ThinConfig(), ["a"]), "class_names has 1 entries"),
        (lambda: SemanticModel("unet", _config(PRECISION="int8")), "PRECISION is 'int8'; it must"),
        (lambda: SemanticModel("unet", _config(BASE_WIDTH=0)), "BASE_WIDTH is 0; it must be"),
        (lambda: SemanticModel("unet", _config(IMAGE_MAX_DIM=0)), "IMAGE_MAX_DIM is 0; it must be"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_training_arguments():
    model = SemanticModel("unet", _config(NUM_CLASSES=3))
    with pytest.raises(ValueError, match="train_dataset has 4 classes; it must have NUM_CLASSES"):
        model.train(_shapes(2))
    model = SemanticModel("unet", ThinConfig())
    with pytest.raises(ValueError, match="class_weights is 'balanced'; it must be 'median'"):
        model.train(_shapes(2), class_weights="balanced")
    with pytest.raises(ValueError, match="dataset has 0 images"):
        model.train(_shapes(0))


class MixedSizes(ShapesDataset):
    """Shapes images cut to sizes of their own."""

    SIZES = ((40, 64), (64, 33))

    def load_image(self, image_id):
        height, width = self.SIZES[image_id]
        return super().load_image(image_id)[:height, :width]

    def image_size(self, image_id):
        return self.SIZES[image_id]

    def load_mask(self, image_id):
        height, width = self.SIZES[image_id]
        masks, class_ids = super().load_mask(image_id)
        return masks[:height, :width], class_ids


def _batches(dataset, **options):
    options = {"mean": np.array([100.0, 110, 120]), **options}
    return SemanticBatches(dataset, options.pop("frame", Frame(16)), 2, **options)


def test_batches_have_one_size_and_void_beside_the_images():
    dataset = MixedSizes()
    dataset.load_shapes(2, 64, 64)
    dataset.prepare()
    images, labels = _batches(dataset)[0]
    assert images.shape == (2, 64, 64, 3) and labels.shape == (2, 64, 64)
    first = 0 if (labels[0, 40:] == VOID).all() else 1
    assert (labels[first, 40:] == VOID).all() and (labels[first, :40] != VOID).all()
    assert not images[first, 40:].any()
    expected = dataset.load_image(0).astype(np.float32) - [100, 110, 120]
    np.testing.assert_array_equal(images[first, :40], expected)

    framed, labels = _batches(dataset, frame=Frame(16, 92, 4))[0]
    assert framed.shape == (2, 68 + 184, 68 + 184, 3) and labels.shape == (2, 68, 68)


def test_a_broken_image_does_not_hinder_the_others(monkeypatch):
    dataset = _shapes(3)
    size = dataset.image_size

    def image_size(image_id):
        if image_id == 1:
            raise ValueError("not an image")
        return size(image_id)

    monkeypatch.setattr(dataset, "image_size", image_size)
    assert _batches(dataset).limits == [64, 64]
    alone = dataset.subset([1])
    with pytest.raises(ValueError, match="not an image"):
        _batches(alone)


def test_large_images_are_cut_and_order_and_places_change_with_the_pass():
    batches = _batches(_shapes(2), max_side=40)
    images, labels = batches[0]
    assert images.shape == (2, 48, 48, 3)
    assert (labels[:, 40:] == VOID).all() and (labels[:, :40, :40] != VOID).all()
    np.testing.assert_array_equal(batches[0][0], images)
    batches.on_epoch_end()
    assert (batches[0][0] != images).any()


def test_augmentation_moves_image_and_labels_together():
    def roll(image, mask):
        mask = np.roll(mask, 1, axis=1)
        mask[:, 0] = False
        return np.roll(image, 1, axis=1), mask

    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    labels = np.array([[0, 3, VOID, 1]] * 2, np.uint8)
    new_image, new_labels = augment(roll, image, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(new_image, np.roll(image, 1, axis=1))
    assert new_labels.tolist() == [[VOID, 0, 3, VOID]] * 2


def test_labels_of_another_size_than_the_image(monkeypatch):
    dataset = _shapes(1)
    monkeypatch.setattr(
        dataset, "load_mask", lambda image_id: (np.ones((8, 9, 1), bool), np.array([1]))
    )
    with pytest.raises(ValueError, match=r"labels of image 0 have the size \(8, 9\)"):
        _batches(dataset)[0]
