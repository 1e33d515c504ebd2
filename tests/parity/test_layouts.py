"""Weight files against the recorded layouts of Matterport's own files."""

import importlib.util
import json

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import (
    load_weights,
    matterport_layer_names,
    read_squeezenet,
    save_weights,
    verify,
)
from mrcnn.checkpoints.names import expects_weights
from tests.checkpoints.fakes import FakeModel, conv, model_of_layout, variables

CASES = [
    # layout, backbone, mode, settings
    ("resnet50", "resnet50", "inference", {"NUM_CLASSES": 81}),
    ("resnet101", "resnet101", "inference", {"NUM_CLASSES": 81}),
    ("case_A", "resnet50", "inference", {"NUM_CLASSES": 5}),
    ("case_B", "resnet101", "inference", {"NUM_CLASSES": 81}),
    ("case_C", "resnet50", "inference", {"NUM_CLASSES": 3}),
    (
        *("case_F", "resnet50", "inference"),
        {"NUM_CLASSES": 6, "TOP_DOWN_PYRAMID_SIZE": 128, "FPN_CLASSIF_FC_LAYERS_SIZE": 256},
    ),
    ("case_T", "resnet50", "training", {"NUM_CLASSES": 5}),
    ("shapes_trained", "resnet50", "training", {"NUM_CLASSES": 4}),
]
NAMES = [case[0] for case in CASES]


@pytest.fixture
def read_layout(parity_dir):
    return lambda name: json.loads((parity_dir / f"layout_{name}.json").read_text())


@pytest.fixture
def make_weights(parity_dir):
    spec = importlib.util.spec_from_file_location("make_weights", parity_dir / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name, backbone, mode, _", CASES, ids=NAMES)
def test_layer_names(read_layout, name, backbone, mode, _):
    layout = read_layout(name)
    assert matterport_layer_names(backbone, mode) == layout["layer_names"]
    weighted = [n for n in layout["layer_names"] if layout["groups"][n]["datasets"]]
    assert [n for n in layout["layer_names"] if expects_weights(n)] == weighted


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_layer_names_of_the_training_model(read_layout, backbone):
    expected = read_layout(backbone)["layer_names_training_model"]
    assert matterport_layer_names(backbone, "training") == expected


def structure(path):
    """Everything a reader can see of a file but the values, attribute types included."""
    found = {}

    def attributes(item):
        return {
            name: (str(np.asarray(value).dtype), np.asarray(value).tolist())
            for name, value in item.attrs.items()
        }

    def visit(name, item):
        kind = (item.shape, str(item.dtype)) if isinstance(item, h5py.Dataset) else "group"
        found[name] = (kind, attributes(item))

    with h5py.File(path) as file:
        found["/"] = attributes(file)
        file.visititems(visit)
    return found


def test_saved_file_equals_the_recorded_one(read_layout, make_weights, tmp_path):
    layout = read_layout("case_A")
    make_weights.make(layout, tmp_path / "expected.h5", seed=1)
    # The model's layers in another order and without the weightless ones: only names count.
    model = model_of_layout(layout, lambda path, shape: make_weights.values(path, shape, seed=1))
    model.layers = [layer for layer in reversed(model.layers) if layer.weights]
    path = tmp_path / "saved.h5"
    save_weights(model, path, matterport_layer_names("resnet50", "inference"))
    assert structure(path) == structure(tmp_path / "expected.h5")
    assert make_weights.fingerprint(path) == make_weights.fingerprint(tmp_path / "expected.h5")
    # A description adds one array at the root, which `layer_names` does not list.
    text = {"class_names": ["BG", "ü"]}
    save_weights(model, path, matterport_layer_names("resnet50", "inference"), metadata=text)
    described = structure(path)
    size = len(json.dumps(text))
    assert described.pop("mrcnn_metadata") == (((size,), "uint8"), {})
    assert described == structure(tmp_path / "expected.h5")


def test_recorded_file_loads_into_the_training_model(read_layout, make_weights, tmp_path):
    layout = read_layout("case_T")
    make_weights.make(layout, tmp_path / "weights.h5")
    model = model_of_layout(read_layout("case_T"))
    report = load_weights(model, tmp_path / "weights.h5", by_name=False)
    assert (len(report.loaded), report.missing_in_file, report.unused_in_file) == (131, (), ())
    for name, variable in variables(model).items():
        path = name if name.startswith("rpn_model/") else f"{name.split('/')[0]}/{name}"
        expected = make_weights.values(f"{path}:0", variable.shape)
        np.testing.assert_array_equal(variable.value, expected, err_msg=name)


@pytest.mark.parametrize("name, backbone, mode, settings", CASES, ids=NAMES)
def test_verify_finds_the_settings(read_layout, tmp_path, name, backbone, mode, settings):
    layout = read_layout(name)
    path = tmp_path / "weights.h5"
    # Sparse: shapes without bytes on the disk.
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [n.encode() for n in layout["layer_names"]]
        for layer in layout["layer_names"]:
            group = file.create_group(layer)
            group.attrs["weight_names"] = [
                n.encode() for n in layout["groups"][layer]["weight_names"]
            ]
            for dataset in layout["groups"][layer]["datasets"]:
                file.create_dataset(dataset["path"], dataset["shape"], np.float32)
    info = verify(path)
    found = info.config_settings()
    assert found["BACKBONE"] == backbone
    assert {key: found[key] for key in settings} == settings
    assert info.num_parameters == layout["total_parameters"]
    assert info.backbone_channels == (256, 512, 1024, 2048)
    assert info.anchors_per_location == 3
    assert info.has_heads and info.has_rpn


def test_file_that_keras_2_wrote(parity_dir, read_layout):
    path = parity_dir / "shapes_resnet50_trained.h5"
    model = model_of_layout(read_layout("shapes_trained"))
    assert len(load_weights(model, path).loaded) == 131
    with h5py.File(path) as file:
        np.testing.assert_array_equal(
            model.value("rpn_model", "rpn_conv_shared/kernel"),
            file["rpn_model/rpn_conv_shared/kernel:0"][()],
        )
        np.testing.assert_array_equal(
            model.value("bn5c_branch2c", "moving_variance"),
            file["bn5c_branch2c/bn5c_branch2c/moving_variance:0"][()],
        )


def test_squeezenet_file(shared_dir):
    path = shared_dir / "weights" / "squeezenet1_1_imagenet_notop.h5"
    values = read_squeezenet(path)
    assert list(values)[:3] == ["squeeze_conv1", "fire2_squeeze1x1", "fire2_expand1x1"]
    assert len(values) == 25
    assert sum(array.size for arrays in values.values() for array in arrays) == 722496
    with h5py.File(path) as file:
        kernel = file["conv1/uniform1"][()]
        bias = file["fire2/squeeze1x1/fire2/squeeze1x1_b"][()]
    np.testing.assert_array_equal(values["squeeze_conv1"][0][:, :, 0], kernel[:, :, 2])
    # Our network divides the pixels by 32, and so the biases.
    np.testing.assert_array_equal(values["fire2_squeeze1x1"][1], bias / 32)

    info = verify(path)
    assert (info.backbone, info.num_parameters, info.has_heads) == ("squeezenet", 722496, False)
    model = FakeModel([conv(name, kernel.shape) for name, (kernel, _) in values.items()])
    assert len(load_weights(model, path).loaded) == 25
    np.testing.assert_array_equal(model.value("fire9_expand3x3"), values["fire9_expand3x3"][0])
