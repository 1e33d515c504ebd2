"""The result of one image: a dictionary for old scripts, an object for new ones."""

import copy
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.detection import DetectionResult, Detections
from mrcnn.drawing import draw_instances
from mrcnn.drawing.colors import fixed_colors
from mrcnn.geometry.rle import encode_rle

NAMES = ["BG", "cat", "dog"]
KEYS = ["rois", "class_ids", "scores", "masks"]


def scene(count=3):
    masks = np.zeros((40, 60, count), bool)
    boxes = [(1, 2, 11, 22), (20, 30, 40, 60), (5, 40, 15, 50)][:count]
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        masks[y1:y2, x1:x2, i] = True
    return {
        "rois": np.array(boxes, np.int32).reshape(-1, 4),
        "class_ids": np.array([2, 1, 2], np.int32)[:count],
        "scores": np.array([0.9, 0.8, 0.7], np.float32)[:count],
        "masks": masks,
    }


def result(count=3, rle=False, **extra):
    entries = scene(count)
    if rle:
        entries["rles"] = encode_rle(entries.pop("masks"))
    return DetectionResult({**entries, **extra}, class_names=NAMES, image_size=(40, 60))


IMAGE = np.full((40, 60, 3), 100, np.uint8)


# ---- a dictionary ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        list,
        tuple,
        sorted,
        lambda r: list(r.keys()),
        lambda r: [key for key, _ in r.items()],
        lambda r: list(dict(r)),
        lambda r: list({**r}),
        lambda r: list((lambda **entries: entries)(**r)),
        lambda r: list(r | {}),
        lambda r: list({} | r),
        lambda r: list(copy.copy(r)),
        lambda r: list(copy.deepcopy(r)),
        lambda r: list(r.copy()),
        lambda r: list(pickle.loads(pickle.dumps(r))),
        lambda r: list(dict(zip(r.keys(), r.values()))),
        lambda r: [key for key in r if key in r],
        lambda r: list(json.loads(json.dumps(r, default=lambda array: array.tolist()))),
        lambda r: list(json.loads(json.dumps(r, default=np.ndarray.tolist, indent=1))),
        lambda r: list({key: r[key] for key in r}),
        lambda r: list(reversed(list(reversed(r)))),
    ],
)
@pytest.mark.parametrize("count", [0, 3])
def test_a_result_is_the_dictionary_of_old_scripts(use, count):
    given = result(count)
    keys = use(given)
    assert list(keys) == KEYS or (use is sorted and keys == sorted(KEYS))
    assert all(given[key] is dict.__getitem__(given, key) for key in KEYS)


def test_a_result_is_a_dictionary_and_true():
    given = result(0)
    assert isinstance(given, dict) and isinstance(given, Mapping)
    assert given and bool(given) is True
    assert not DetectionResult()
    assert len(given.keys()) == 4
    r = {**given}
    assert type(r) is dict
    assert given.get("missing") is None and given.get("missing", 1) == 1
    with pytest.raises(KeyError, match="missing"):
        given["missing"]
    for key in ((0, 1), None, 0.5):
        with pytest.raises(KeyError):
            given[key]


def test_entries_can_be_changed_as_before():
    given = result()
    given["masks"] = given["masks"][..., :1]
    given["track"] = "a"
    del given["scores"]
    assert given.pop("track") == "a"
    given.update(rois=given["rois"][:1], class_ids=given["class_ids"][:1])
    assert (list(given), len(given)) == (["rois", "class_ids", "masks"], 1)
    given.clear()
    assert (len(given), bool(given)) == (0, False)


def test_results_in_numpy_and_pickle(tmp_path):
    results = [result(3), result(2)]
    array = np.array(results)
    assert (array.shape, array.dtype) == ((2,), object)
    np.save(tmp_path / "a.npy", array)
    loaded = np.load(tmp_path / "a.npy", allow_pickle=True)[1]
    assert (type(loaded), len(loaded)) == (DetectionResult, 2)
    assert (loaded.class_names, loaded.image_size) == (NAMES, (40, 60))
    np.savez(tmp_path / "b.npz", **results[0])
    assert sorted(np.load(tmp_path / "b.npz").files) == sorted(KEYS)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_do_not_hold_the_image(protocol):
    given = DetectionResult(scene(), class_names=NAMES, image=IMAGE)
    loaded = pickle.loads(pickle.dumps(given, protocol))
    assert repr(loaded) == repr(given)
    np.testing.assert_array_equal(loaded["masks"], given["masks"])
    with pytest.raises(ValueError, match="image is None"):
        loaded.save("a.png")


def test_copies_keep_the_names_and_the_image():
    given = DetectionResult(scene(), class_names=NAMES, image=IMAGE)
    for other in (given.copy(), copy.copy(given), given[:]):
        assert type(other) is DetectionResult and other is not given
        assert (other.class_names, other.image_size) == (NAMES, (40, 60))
        assert other._given_or_known(None) is IMAGE
    other = given.copy()
    other["rois"] = 1
    assert given["rois"] is not other["rois"]


# ---- a sequence of detections ------------------------------------------------------------------


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (np.array(2), [2]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        ([2, 0], [2, 0]),
        ([], []),
        (range(2), [0, 1]),
        ([True, False, True], [0, 2]),
        (np.array([False, False, False]), []),
        (np.array([1, 1]), [1, 1]),
    ],
)
def test_selections(selection, rows, rle):
    given = result(rle=rle, mask_probs=np.arange(9.0).reshape(1, 3, 3), image_id="x")
    given["captions"] = ["a", "b", "c"]
    chosen = given[selection]
    assert type(chosen) is DetectionResult
    assert len(chosen) == len(rows)
    assert list(chosen) == list(given)
    for key in ("rois", "class_ids", "scores"):
        np.testing.assert_array_equal(chosen[key], given[key][rows])
        assert chosen[key].dtype == given[key].dtype
    np.testing.assert_array_equal(chosen.masks, scene()["masks"][..., rows])
    np.testing.assert_array_equal(chosen["mask_probs"], given["mask_probs"][..., rows])
    assert chosen["captions"] == [given["captions"][row] for row in rows]
    assert chosen["image_id"] == "x"
    assert (chosen.class_names, chosen.image_size) == (NAMES, (40, 60))


@pytest.mark.parametrize(
    "selection",
    [3, -4, [0, 5], np.array([True, False]), True, np.zeros((1, 1), int), np.array([0.5])],
)
def test_bad_selections_are_refused(selection):
    with pytest.raises(IndexError):
        result()[selection]


def test_instances_are_results_of_one_detection():
    given = result()
    assert [len(one) for one in given.instances] == [1, 1, 1]
    assert [repr(one) for one in given.instances][1] == "1 detection in 40 x 60: 1 cat (0.80)"
    assert result(0).instances == []
    assert np.shares_memory(given.instances[1]["masks"], given["masks"])


# ---- views and conversions ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (result(), "3 detections in 40 x 60: 2 dog (0.90), 1 cat (0.80)"),
        (result(1), "1 detection in 40 x 60: 1 dog (0.90)"),
        (result(0), "no detections in 40 x 60"),
        (result(rle=True), "3 detections in 40 x 60: 2 dog (0.90), 1 cat (0.80)"),
        (DetectionResult(scene()), "3 detections in 40 x 60: 2 class 2 (0.90), 1 class 1 (0.80)"),
        (
            DetectionResult(scene(1), class_names=["BG", "a", "two\nlines"]),
            r"1 detection in 40 x 60: 1 two\nlines (0.90)",
        ),
        (
            DetectionResult(
                {"rois": np.zeros((12, 4)), "class_ids": np.arange(12), "scores": np.ones(12)}
            ),
            "12 detections: "
            + "".join(f"1 class {k} (1.00), " for k in range(7))
            + "5 other classes",
        ),
        (DetectionResult({"rois": [1]}), "{'rois': [1]}"),
        (DetectionResult({"class_ids": [1], "scores": []}), "{'class_ids': [1], 'scores': []}"),
        (DetectionResult(), "{}"),
    ],
    ids=range(10),
)  # fmt: skip
def test_repr(given, text):
    assert repr(given) == str(given) == text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_masks_and_run_lengths_on_demand(count):
    dense, rles = result(count), result(count, rle=True)
    assert dense.masks is dense["masks"]
    np.testing.assert_array_equal(rles.masks, dense["masks"])
    assert rles.masks.dtype == bool and rles.masks.shape == (40, 60, count)
    assert dense.rles == rles.rles == rles["rles"]
    assert "masks" not in rles
    with pytest.raises(KeyError, match=r"result.masks converts the masks"):
        rles["masks"]
    with pytest.raises(KeyError, match=r"result.rles converts the masks"):
        dense["rles"]
    boxes = {key: value for key, value in scene(count).items() if key != "masks"}
    boxes = DetectionResult(boxes)
    assert (boxes.masks, boxes.rles) == (None, None)
    with pytest.raises(KeyError, match=r"^'masks'$"):
        boxes["masks"]


def test_a_result_is_thin_over_detections():
    given = result()
    assert type(given.detections) is Detections
    assert given.detections.boxes is given["rois"]
    given["scores"] = given["scores"][:2]
    with pytest.raises(
        ValueError, match="scores has 2 entries; it must have one for each of the 3"
    ):
        given.to_coco()


def test_to_coco():
    given = result(rle=True)
    entries = given.to_coco(7, "a.jpg")
    assert entries == given.detections.to_coco(7, "a.jpg", NAMES)
    assert given[0].to_coco()[0]["image_id"] == 0
    assert result(0).to_coco() == []
    coco = DetectionResult(scene(), class_names=list(COCO_CLASS_NAMES))
    coco["class_ids"] = np.array([80, 1, 13])
    assert [one["category_id"] for one in coco.to_coco()] == [90, 1, 14]
    numbers = coco.to_coco(category_ids=range(81))
    assert [one["category_id"] for one in numbers] == [80, 1, 13]
    assert "category_name" not in DetectionResult(scene()).to_coco()[0]
    polygons = given.to_coco(segmentation="polygon", tolerance=1)
    assert isinstance(polygons[0]["segmentation"], list)


class FakeSupervision:
    """Its `Detections` with the fields that are used, checked as the package does."""

    class Detections:
        def __init__(self, xyxy, mask, confidence, class_id, data):
            n = len(xyxy)
            assert xyxy.shape == (n, 4) and confidence.shape == class_id.shape == (n,)
            assert mask is None or (mask.ndim == 3 and len(mask) == n and mask.dtype == bool)
            self.__dict__.update(locals())


@pytest.mark.parametrize("rle", [False, True])
def test_to_supervision(monkeypatch, rle):
    monkeypatch.setitem(sys.modules, "supervision", FakeSupervision)
    found = result(rle=rle).to_supervision()
    assert found.xyxy.tolist()[0] == [2, 1, 22, 11]
    np.testing.assert_array_equal(found.mask, scene()["masks"].transpose(2, 0, 1))
    np.testing.assert_array_equal(found.confidence, scene()["scores"])
    assert found.class_id.tolist() == [2, 1, 2]
    assert found.data["class_name"].tolist() == ["dog", "cat", "dog"]
    assert result(0, rle=rle).to_supervision().mask.shape == (0, 40, 60)
    boxes = result()
    del boxes["masks"]
    assert boxes.to_supervision().mask is None


def test_supervision_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"needs the package supervision \(pip install superv"):
        result().to_supervision()


# ---- images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rle", [False, True])
def test_save_draws_what_draw_instances_draws(tmp_path, rle):
    import cv2

    given = result(rle=rle)
    path = given.save(tmp_path / "new" / "a.png", IMAGE)
    read = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(read, draw_instances(IMAGE, scene(), class_names=NAMES))
    path = given.save(str(tmp_path / "b.png"), IMAGE, captions=["", "", ""], class_names=["BG"] * 3)
    read = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(read, draw_instances(IMAGE, scene(), show_label=False))


def test_the_image_is_known_as_long_as_it_exists(tmp_path):
    image = IMAGE.copy()
    given = DetectionResult(scene(), class_names=NAMES, image=image)
    assert given.image_size == (40, 60)
    given[:2].save(tmp_path / "a.png")
    del image
    message = "image is None; it must be the image of these detections"
    with pytest.raises(ValueError, match=message):
        given.save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=message):
        given.plot()
    with pytest.raises(ValueError, match=r"image has the shape \(60, 40, 3\).* 40 x 60 pixels"):
        given.save(tmp_path / "b.png", IMAGE.transpose(1, 0, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("rle", [False, True])
def test_plot_into_axes(rle):
    _, ax = plt.subplots()
    result(rle=rle).plot(IMAGE, ax=ax, title="T")
    boxes = [patch for patch in ax.patches if type(patch).__name__ == "Rectangle"]
    colors = fixed_colors(2)
    assert [one.get_edgecolor()[:3] for one in boxes] == [colors[1], colors[0], colors[1]]
    assert sorted(text.get_text() for text in ax.texts) == ["cat 0.80", "dog 0.70", "dog 0.90"]
    assert ax.get_title() == "T"
    shown = ax.images[0].get_array()
    assert (shown[0, 0] == 100).all() and (shown[5, 10] != 100).any()
    plt.close("all")


@pytest.mark.parametrize(
    "image",
    [
        IMAGE[..., 0],
        np.dstack([IMAGE, IMAGE[..., :1]]),
        IMAGE.astype(np.uint16) * 257,
        IMAGE / np.float32(255),
        IMAGE.astype(np.float64),
    ],
    ids=["gray", "RGBA", "16 bit", "0..1", "0..255"],
)
def test_images_of_every_kind_that_detect_takes(image, tmp_path):
    import cv2

    _, ax = plt.subplots()
    given = DetectionResult(scene(1), image=image)
    given.plot(ax=ax)
    assert ax.images[0].get_array()[30, 40].tolist() == [100] * 3
    assert cv2.imread(str(given.save(tmp_path / "a.png")))[30, 40].tolist() == [100] * 3
    plt.close("all")


@pytest.mark.parametrize("backend, warns", [("agg", True), ("PDF", True), ("inline", False)])
def test_plot_shows_one_figure(monkeypatch, backend, warns):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    monkeypatch.setattr(plt, "get_backend", lambda: backend)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result(0).plot(IMAGE, figsize=(3, 2))
    messages = [str(one.message) for one in caught if "plot has shown nothing" in str(one.message)]
    assert len(messages) == warns and all("save(path)" in message for message in messages)
    assert shown == [[1]]
    assert plt.gcf().get_size_inches().tolist() == [3, 2]
    plt.close("all")


def test_run_lengths_and_masks_are_plotted_alike():
    drawn = []
    for rle in (False, True):
        figure, ax = plt.subplots(figsize=(3, 2))
        result(rle=rle).plot(IMAGE, ax=ax, color_by="instance")
        figure.canvas.draw()
        drawn.append(np.asarray(figure.canvas.buffer_rgba()).copy())
    np.testing.assert_array_equal(*drawn)
    plt.close("all")


def test_importing_results_loads_no_drawing_and_no_network():
    code = (
        "import sys, mrcnn.detection.result_dict; print([m for m in "
        "('tensorflow', 'keras', 'matplotlib', 'cv2', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
