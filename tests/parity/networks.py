"""Networks with the recorded cases' configurations and weights."""

import importlib.util

import keras
import pytest

from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from tests.parity.reference import PARITY, load_npz, make_weights


def need_engine(name):
    """Skip the test where an engine cannot run."""
    if name == "openvino":
        if importlib.util.find_spec("openvino") is None:
            pytest.skip("needs openvino: pip install openvino")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("OpenVINO reads Keras on TensorFlow")


def recorded_case(name, mode, folder):
    """The arrays of a recorded case and a model at its weights.

    Args:
        name: file name without its ending, such as "case_A".
        mode: "inference" or "training".
        folder: where the weight file may be written.

    Returns:
        `(arrays, model)`.
    """
    arrays = load_npz(f"{name}.npz")
    recipe = arrays["weights_json"]
    path = folder / f"{name}.h5"
    make_weights().make(str(PARITY / recipe["layout"]), str(path), recipe["seed"])
    assert make_weights().fingerprint(str(path)) == recipe["fingerprint"]
    model = MaskRCNN(mode, Config.from_dict(arrays["config_json"]), str(folder))
    model.load_weights(str(path), by_name=True)
    return arrays, model


def sliced(arrays, key, value):
    """The part of a tensor that was recorded under `key`."""
    index = arrays.get("slices_json", {}).get(key)
    return eval(f"value{index}", {"value": value}) if index else value
