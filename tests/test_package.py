"""The public face: `import mrcnn` is light, and its names are what the documentation lists."""

import importlib
import subprocess
import sys

import pytest

import mrcnn
import mrcnn.detection

HEAVY = ("numpy", "tensorflow", "keras", "cv2", "matplotlib", "scipy", "skimage", "h5py")
NAMES = {
    "Config": "mrcnn.config",
    "Dataset": "mrcnn.datasets.dataset",
    "MaskRCNN": "mrcnn.model",
    "Refiner": "mrcnn.refinement.refiner",
    "draw_instances": "mrcnn.drawing.rendering",
    "evaluate_coco": "mrcnn.evaluation.coco",
    "export": "mrcnn.exports.writing",
    "load": "mrcnn.model",
    "merge": "mrcnn.datasets.views",
    "open_dataset": "mrcnn.datasets.registry",
    "open_export": "mrcnn.exports.opening",
    "save_instances": "mrcnn.drawing.rendering",
    "train": "mrcnn.model_training",
}


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("code", ["import mrcnn; dir(mrcnn)", "import mrcnn.detection"])
def test_importing_is_light(code):
    assert not modules_after(code) & set(HEAVY)


def test_names_load_from_their_homes():
    assert set(mrcnn.__all__) == {*NAMES, "__version__"}
    assert set(mrcnn.__all__) <= set(dir(mrcnn))
    for name, home in NAMES.items():
        assert getattr(mrcnn, name) is getattr(importlib.import_module(home), name)
    assert all(name in mrcnn.__doc__ for name in NAMES)
    with pytest.raises(AttributeError, match="module 'mrcnn' has no attribute 'nonsense'"):
        _ = mrcnn.nonsense


def test_names_of_the_detection_room():
    for name in mrcnn.detection.__all__:
        assert callable(getattr(mrcnn.detection, name))


def test_type_checkers_see_every_name():
    source = open(mrcnn.__file__, encoding="utf-8").read()
    block = source.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    assert all(name in block for name in NAMES)
