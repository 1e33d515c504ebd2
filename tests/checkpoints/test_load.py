import re
import shutil
import warnings

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import load_weights, non_finite_layers, read_squeezenet, save_weights
from tests.checkpoints.fakes import (
    FakeLayer,
    FakeModel,
    FakeVariable,
    conv,
    norm,
    small_mask_rcnn,
    variables,
)


@pytest.fixture
def saved(tmp_path):
    """Saves a model and gives the path."""

    def save(model, name="weights.h5", **kwargs):
        save_weights(model, tmp_path / name, **kwargs)
        return tmp_path / name

    return save


def untouched(model):
    return all(variable.assigned == 0 for variable in variables(model).values())


def write_h5(path, groups, attribute_type=bytes, root="/"):
    """A Keras 1 or 2 file: {layer: [(weight name, value)]}."""

    def text(names):
        encoded = [attribute_type(n, "utf-8") if attribute_type is bytes else n for n in names]
        return np.array(encoded) if attribute_type is bytes else encoded

    with h5py.File(path, "w") as file:
        top = file.require_group(root)
        top.attrs["layer_names"] = text(groups)
        for layer, weights in groups.items():
            group = top.create_group(layer)
            group.attrs["weight_names"] = text([name for name, _ in weights])
            for name, value in weights:
                group[name] = np.asarray(value, np.float32)
    return path


def test_round_trip_sets_every_value_once(saved):
    rng = np.random.default_rng(0)
    source, target = small_mask_rcnn(), small_mask_rcnn()
    for variable in variables(source).values():
        variable.value = rng.standard_normal(variable.shape).astype(np.float32)
    report = load_weights(target, saved(source))
    for name, variable in variables(target).items():
        np.testing.assert_array_equal(variable.value, variables(source)[name].value)
        assert variable.assigned == 1
    assert len(report.loaded) == 19
    assert (report.missing_in_file, report.unused_in_file, report.mismatched) == ((), (), ())


def test_report_names_what_only_one_side_has(saved):
    source = FakeModel([conv("conv1", (1, 1, 3, 2), 1.0), conv("fc1000", (2, 10))])
    target = FakeModel([conv("conv1", (1, 1, 3, 2)), FakeLayer("relu"), conv("fpn_p2", (2, 2))])
    report = load_weights(target, saved(source))
    assert report.loaded == ("conv1",)
    assert report.missing_in_file == ("fpn_p2",)
    assert report.unused_in_file == ("fc1000",)
    assert "1 layers loaded, 1 not in the file (fpn_p2)" in report.summary()
    assert np.all(target.value("conv1") == 1.0)


def test_other_class_count_lists_all_and_changes_nothing(saved):
    # User demand: COCO weights with other class counts.
    target = small_mask_rcnn(num_classes=3)
    path = saved(small_mask_rcnn(num_classes=81, fill=1.0))
    with pytest.raises(ValueError) as error:
        load_weights(target, path)
    message = str(error.value)
    assert message.startswith(f"{path}: 3 layers have another shape")
    assert "Nothing was loaded" in message
    for line in (
        "mrcnn_class_logits/kernel (16, 81) (16, 3)",
        "mrcnn_bbox_fc/bias (324,) (12,)",
        "NUM_CLASSES = 81 (the model has 3)",
        'exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]',
    ):
        assert line in re.sub(" +", " ", message)
    assert untouched(target)


def test_the_advice_of_the_error_works(saved):
    target = small_mask_rcnn(num_classes=3)
    path = saved(small_mask_rcnn(num_classes=81, fill=1.0))
    exclude = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
    report = load_weights(target, path, exclude=exclude)
    assert report.excluded == tuple(exclude)
    assert np.all(target.value("mrcnn_class_logits") == 0.0)
    assert np.all(target.value("conv1") == 1.0)
    # Matterport's samples also name a layer that has no weights.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_weights(target, path, exclude=[*exclude, "mrcnn_bbox"])


def test_balloon_file_is_named_where_coco_is_expected(saved):
    # https://github.com/matterport/Mask_RCNN/issues/1515
    with pytest.raises(ValueError, match=r"mask_rcnn_balloon.h5, of Matterport's release v2.1"):
        load_weights(small_mask_rcnn(num_classes=81), saved(small_mask_rcnn(num_classes=2)))


def test_other_widths_are_named_as_settings(saved):
    path = saved(small_mask_rcnn(pyramid=4, fc=32, anchors=5))
    with pytest.raises(ValueError) as error:
        load_weights(small_mask_rcnn(), path)
    for setting in (
        "TOP_DOWN_PYRAMID_SIZE = 4 (the model has 8)",
        "FPN_CLASSIF_FC_LAYERS_SIZE = 32 (the model has 16)",
        "5 RPN_ANCHOR_RATIOS (the model has 3)",
    ):
        assert setting in str(error.value)
    assert "NUM_CLASSES" not in str(error.value)


def test_skip_mismatch_loads_whole_layers_only(saved):
    target = small_mask_rcnn(num_classes=3)
    path = saved(small_mask_rcnn(num_classes=3, pyramid=4, fill=1.0))
    report = load_weights(target, path, skip_mismatch=True)
    # The bias of rpn_conv_shared has the same shape, but belongs to another kernel.
    assert "rpn_model" in report.mismatched
    assert np.all(target.value("rpn_model", "rpn_conv_shared/bias") == 0.0)
    assert np.all(target.value("mrcnn_class_logits") == 1.0)


def test_missing_bias_is_a_mismatch(saved):
    target = FakeModel([FakeLayer("conv1", [FakeVariable("kernel", np.zeros((1, 1, 3, 2)))])])
    with pytest.raises(ValueError, match=r"conv1 +2 weights +1 weights"):
        load_weights(target, saved(FakeModel([conv("conv1", (1, 1, 3, 2))])))


def test_file_of_another_network(saved):
    path = saved(FakeModel([conv("block1_conv1", (3, 3, 3, 64)), conv("fc1", (8, 8))]))
    with pytest.raises(ValueError, match=r"No layer of the file .* \(block1_conv1, fc1\)"):
        load_weights(small_mask_rcnn(), path)


@pytest.mark.parametrize(
    "source, kwargs, message",
    [
        (FakeModel([FakeLayer("relu")]), {}, "holds no weights"),
        (FakeModel([conv("conv1", (7, 7, 3, 4))]), {"exclude": ["conv1"]}, "exclude leaves out"),
        (FakeModel([conv("conv1", (9, 9, 3, 4))]), {"skip_mismatch": True}, "have other shapes"),
        (FakeModel([conv("conv1", (7, 7, 3, 4))]), {"exclude": "conv1"}, "exclude is 'conv1'"),
    ],
)
def test_nothing_to_load_is_an_error(saved, source, kwargs, message):
    target = small_mask_rcnn()
    with pytest.raises(ValueError, match=message):
        load_weights(target, saved(source), **kwargs)
    assert untouched(target)


def test_misspelled_exclude_warns(saved):
    with pytest.warns(UserWarning, match="the model lacks: mrcnn_clas_logits"):
        load_weights(small_mask_rcnn(), saved(small_mask_rcnn()), exclude=["mrcnn_clas_logits"])


@pytest.mark.parametrize(
    "in_file, in_model, rest",
    [("resnet50", "resnet101", "keep their initial"), ("resnet101", "resnet50", "are ignored")],
)
def test_the_other_resnet_loads_with_a_warning(saved, in_file, in_model, rest):
    target = small_mask_rcnn(backbone=in_model)
    with pytest.warns(
        UserWarning, match=rf"has the backbone {in_file}, the model {in_model}.*{rest}"
    ):
        load_weights(target, saved(small_mask_rcnn(backbone=in_file, fill=1.0)))
    assert np.all(target.value("res4f_branch2a") == 1.0)


def test_a_chance_match_of_names_warns(saved):
    source = FakeModel([conv("conv1", (7, 7, 3, 4)), conv("a", (2, 2)), conv("b", (2, 2))])
    with pytest.warns(UserWarning, match=r"shares only 1 layers \(conv1\)"):
        load_weights(small_mask_rcnn(), saved(source))


def test_not_by_name_demands_the_same_layers(saved):
    source = FakeModel([conv("b", (2, 3), 2.0), conv("a", (3, 2), 1.0)])
    same = FakeModel([conv("a", (3, 2)), conv("b", (2, 3))])
    load_weights(same, saved(source), by_name=False)  # another order: by name all the same
    assert same.value("a")[0, 0] == 1.0
    renamed = FakeModel([conv("x", (2, 3)), conv("y", (3, 2))])
    load_weights(renamed, saved(source), by_name=False)  # other names: by order
    assert renamed.value("x")[0, 0] == 2.0
    fewer = FakeModel([conv("a", (3, 2))])
    with pytest.raises(ValueError, match=r"Not in the model: b\."):
        load_weights(fewer, saved(source), by_name=False)


@pytest.mark.parametrize("channels, factor", [(1, 3.0), (4, 0.75), (6, 0.5)])
def test_first_kernel_is_adapted_to_the_image_channels(saved, channels, factor):
    source, target = small_mask_rcnn(), small_mask_rcnn(channels=channels)
    kernel = np.random.default_rng(1).standard_normal((7, 7, 3, 4)).astype(np.float32)
    variables(source)["conv1/kernel"].value = kernel
    report = load_weights(target, saved(source))
    assert report.adapted == ("conv1",)
    adapted = target.value("conv1")
    mean = kernel.mean(axis=2)
    for channel in range(channels):
        np.testing.assert_allclose(adapted[:, :, channel], mean * factor, rtol=1e-5, atol=1e-7)
    # A gray image gives the same response as with the original kernel.
    np.testing.assert_allclose(adapted.sum(axis=2), kernel.sum(axis=2), rtol=1e-4, atol=1e-6)


def test_channels_are_not_adapted_on_request_nor_from_other_counts(saved):
    with pytest.raises(ValueError, match=r"IMAGE_CHANNEL_COUNT = 3 \(the model has 1\)"):
        load_weights(small_mask_rcnn(channels=1), saved(small_mask_rcnn()), adapt_channels=False)
    with pytest.raises(ValueError, match="IMAGE_CHANNEL_COUNT = 4"):
        load_weights(small_mask_rcnn(channels=1), saved(small_mask_rcnn(channels=4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_loaded_with_a_warning(saved, value):
    source, target = small_mask_rcnn(), small_mask_rcnn()
    variables(source)["mrcnn_mask/bias"].value[1] = value
    path = saved(source)
    with pytest.warns(UserWarning, match=r"not finite in 1 layers \(mrcnn_mask\)") as warned:
        load_weights(target, path)
    assert [warning.filename for warning in warned] == [__file__]
    np.testing.assert_array_equal(target.value("mrcnn_mask", "bias")[:2], [0, value])
    assert non_finite_layers(path) == ["mrcnn_mask"]


@pytest.mark.parametrize("attribute_type", [bytes, str])
@pytest.mark.parametrize("root", ["/", "model_weights"])
def test_attributes_as_text_or_bytes_and_whole_model_files(tmp_path, attribute_type, root):
    # h5py: 'str' object has no attribute 'decode' (Mask_RCNN issues 2594, 2660, 2495)
    weights = [("conv1/kernel:0", np.ones((1, 1, 3, 2))), ("conv1/bias:0", np.ones(2))]
    path = write_h5(tmp_path / "w.h5", {"input": [], "conv1": weights}, attribute_type, root)
    target = FakeModel([FakeLayer("input"), conv("conv1", (1, 1, 3, 2))])
    assert load_weights(target, path).loaded == ("conv1",)
    assert np.all(target.value("conv1") == 1.0)


def test_names_of_keras_1(tmp_path):
    # As in resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5, here in shuffled order.
    path = write_h5(
        tmp_path / "resnet50.h5",
        {
            "conv1": [("conv1_b_1:0", [1, 2]), ("conv1_W_1:0", np.full((1, 1, 3, 2), 3.0))],
            "bn_conv1": [
                ("bn_conv1_running_std_1:0", [4, 4]),
                ("bn_conv1_gamma_1:0", [1, 1]),
                ("bn_conv1_running_mean_1:0", [3, 3]),
                ("bn_conv1_beta_1:0", [2, 2]),
            ],
        },
    )
    target = FakeModel([conv("conv1", (1, 1, 3, 2)), norm("bn_conv1", 2)])
    load_weights(target, path)
    assert target.value("conv1", "bias").tolist() == [1, 2]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    assert [target.value("bn_conv1", name)[0] for name in names] == [1, 2, 3, 4]


def test_unknown_weight_names_go_by_order(tmp_path):
    path = write_h5(tmp_path / "w.h5", {"conv1": [("uniform1", np.ones((2, 2))), ("x", [5, 6])]})
    target = FakeModel([conv("conv1", (2, 2))])
    load_weights(target, path)
    assert target.value("conv1", "bias").tolist() == [5, 6]


def test_names_of_keras_applications(tmp_path):
    kernel = [("conv4_block2_1_conv/kernel:0", np.ones((1, 1, 4, 4)))]
    bias = [("conv4_block2_1_conv/bias:0", np.ones(4))]
    first = [("conv1_conv/kernel:0", np.ones((7, 7, 3, 4))), ("conv1_conv/bias:0", np.ones(4))]
    path = write_h5(tmp_path / "w.h5", {"conv1_conv": first, "conv4_block2_1_conv": kernel + bias})
    target = small_mask_rcnn()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_weights(target, path).loaded == ("conv1", "res4b_branch2a")


def squeezenet_file(path):
    """The first layers of a keras-squeezenet file, kernels numbered through."""
    first = np.zeros((3, 3, 3, 2), np.float32)
    first[:, :, 0], first[:, :, 2] = 1.0, 3.0  # blue, red
    return write_h5(
        path,
        {
            "conv1": [("uniform1", first), ("conv1_b", [7, 8])],
            "pool1": [],
            "fire2/squeeze1x1": [
                ("uniform2", np.full((1, 1, 2, 2), 2.0)),
                ("fire2/squeeze1x1_b", [9, 9]),
            ],
        },
    )


def test_squeezenet_is_read_for_rgb(tmp_path):
    values = read_squeezenet(squeezenet_file(tmp_path / "squeezenet.h5"))
    assert list(values) == ["squeeze_conv1", "fire2_squeeze1x1"]
    kernel, bias = values["squeeze_conv1"]
    assert kernel[0, 0, :, 0].tolist() == [3.0, 0.0, 1.0]
    assert bias.tolist() == [7 / 32, 8 / 32]
    assert values["fire2_squeeze1x1"][0].shape == (1, 1, 2, 2)


def test_squeezenet_is_recognised_when_loaded(tmp_path):
    path = squeezenet_file(tmp_path / "squeezenet.h5")
    target = FakeModel(
        [conv("squeeze_conv1", (3, 3, 3, 2)), conv("fire2_squeeze1x1", (1, 1, 2, 2))]
    )
    assert load_weights(target, path).loaded == ("squeeze_conv1", "fire2_squeeze1x1")
    assert target.value("squeeze_conv1")[0, 0, :, 0].tolist() == [3.0, 0.0, 1.0]
    # What we save of it is not turned again.
    save_weights(target, tmp_path / "ours.h5")
    load_weights(target, tmp_path / "ours.h5")
    assert target.value("squeeze_conv1")[0, 0, :, 0].tolist() == [3.0, 0.0, 1.0]


def test_squeezenet_reader_refuses_other_files(saved):
    with pytest.raises(ValueError, match="not a keras-squeezenet file"):
        read_squeezenet(saved(small_mask_rcnn()))


def test_inner_model_of_a_multi_gpu_wrapper(saved):
    wrapper = FakeModel([FakeLayer("lambda")])
    wrapper.inner_model = small_mask_rcnn()
    load_weights(wrapper, saved(small_mask_rcnn(fill=1.0)))
    assert np.all(wrapper.inner_model.value("conv1") == 1.0)


def test_a_file_cut_short_changes_nothing(saved, tmp_path):
    path = saved(small_mask_rcnn(fill=1.0))
    cut = shutil.copy(path, tmp_path / "cut.h5")
    with open(cut, "r+b") as stream:
        stream.truncate(path.stat().st_size // 2)
    target = small_mask_rcnn()
    with pytest.raises(ValueError, match=r"cut\.h5 \([\d,]+ bytes\) is cut short"):
        load_weights(target, cut)
    assert untouched(target)


def test_only_the_first_kernel_is_adapted(saved):
    source = FakeModel([conv("conv1", (1, 1, 3, 3)), conv("fpn_p2", (1, 1, 3, 2))])
    target = FakeModel([conv("conv1", (1, 1, 3, 3)), conv("fpn_p2", (1, 1, 4, 2))])
    with pytest.raises(ValueError, match=r"fpn_p2/kernel +\(1, 1, 3, 2\) +\(1, 1, 4, 2\)"):
        load_weights(target, saved(source))


def test_what_keras_half_loaded_is_restored(tmp_path):
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 2))  # and no name anywhere
    target = FakeModel([conv("conv1", (1, 1, 3, 2))])

    def load_half(path, skip_mismatch):
        variables(target)["conv1/kernel"].assign(np.full((1, 1, 3, 2), 9.0))
        raise RuntimeError("layer dense not found")

    target.load_weights = load_half
    with pytest.raises(ValueError, match=r"Keras cannot load it .* layer dense not found"):
        load_weights(target, path)
    assert np.all(target.value("conv1") == 0.0)
