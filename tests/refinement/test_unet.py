"""The two networks: structure, identity at the start, checks, and ImageNet values."""

import numpy as np
import pytest

unet = pytest.importorskip("mrcnn.refinement.unet", reason="needs a Keras backend")


def test_study_network_has_the_study_structure():
    network = unet.build_unet()
    assert network.input_shape == (None, 64, 64, 4)
    assert network.output_shape == (None, 64, 64, 1)
    kinds = [type(layer).__name__ for layer in network.layers]
    # Five levels down, four up, two convolutions each, and the 1x1 at the end.
    assert kinds.count("Conv2D") == 2 * 9 + 1
    assert kinds.count("BatchNormalization") == 2 * 9
    assert kinds.count("Conv2DTranspose") == 4
    assert kinds.count("Dropout") == 5
    widths = [network.get_layer(f"down{level}b_conv").filters for level in range(5)]
    assert widths == [16, 32, 64, 128, 256]


def test_squeeze_network_starts_as_the_identity():
    network = unet.build_squeeze_unet(32, (8, 8, 8, 8))
    patches = np.random.default_rng(0).random((2, 32, 32, 4)).astype(np.float32)
    patches[..., 3] = patches[..., 3] * 0.9 + 0.05
    refined = np.asarray(network.predict_on_batch(patches))
    np.testing.assert_allclose(refined, patches[..., 3:], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet", 64, (8,)), "architecture is 'resnet'"),
        (("unet", 60, (4, 4, 4, 4)), "patch_size is 60; it must be a positive multiple of 8"),
        (("squeeze", 40, (8, 8, 8, 8)), "patch_size is 40; it must be a positive multiple of 16"),
        (("squeeze", 32, (8, 8)), "filters has 2 entries"),
    ],
)
def test_impossible_networks_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        unet.build_network(*arguments)


def test_imagenet_values_arrive_with_red_first(shared_dir):
    path = shared_dir / "weights" / "squeezenet1_1_imagenet_notop.h5"
    if not path.is_file():
        pytest.skip(f"no SqueezeNet file at {path}")
    h5py = pytest.importorskip("h5py")
    network = unet.build_squeeze_unet(32, (8, 8, 8, 8))
    fourth = network.get_layer("conv1").get_weights()[0][:, :, 3].copy()
    unet.load_squeezenet_weights(network, path)
    kernel = network.get_layer("conv1").get_weights()[0]
    with h5py.File(path) as file:
        stored = file["conv1/uniform1"][()]
        names = file["fire2/squeeze1x1"].attrs["weight_names"]
        bias = file["fire2/squeeze1x1"][names[1]][()]
    assert (kernel[:, :, 0] == stored[:, :, 2]).all() and (kernel[:, :, 2] == stored[:, :, 0]).all()
    assert (kernel[:, :, 3] == fourth).all()
    assert (network.get_layer("fire2_squeeze1x1").get_weights()[1] == bias).all()


def test_a_file_without_the_layers_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"fire2/squeeze1x1"])
        file.create_group("fire2/squeeze1x1").attrs["weight_names"] = np.array([b"uniform"])
        file["fire2/squeeze1x1/uniform"] = np.zeros((1, 1, 64, 16), np.float32)
    with pytest.raises(ValueError, match="has no layer conv1"):
        unet.load_squeezenet_weights(unet.build_squeeze_unet(32, (8,) * 4), tmp_path / "other.h5")
