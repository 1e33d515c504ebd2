"""The notebooks run from top to bottom, and what is stored in them is complete."""

import json

import pytest

from samples import scenes
from tests.samples.notebooks import ROOT, images_of, run_notebook, stored_problems

PATHS = sorted((ROOT / "samples").rglob("*.ipynb"))
NAMES = [path.relative_to(ROOT / "samples").as_posix() for path in PATHS]
# The least number of images in the outputs; 1 for others.
IMAGES = {
    "demo.ipynb": 4,
    "shapes/train_shapes.ipynb": 4,
    "balloon/inspect_balloon_data.ipynb": 8,
    "balloon/inspect_balloon_model.ipynb": 9,
    "nucleus/inspect_nucleus.ipynb": 5,
    "motorcycle/refine.ipynb": 4,
}
LONG = {"family/from_rcnn_to_mask_rcnn.ipynb"}
# Trainings are shortened, so that a notebook takes seconds: text -> what is executed instead.
SHORTER = {
    "shapes/train_shapes.ipynb": {
        "config.STEPS_PER_EPOCH = 15": "config.STEPS_PER_EPOCH = 2",
        "epochs = 3 ": "epochs = 1 ",
        # Two steps take less time than the compilation of the network.
        "keras.utils.set_random_seed(3)": "import tensorflow\n"
        "tensorflow.config.run_functions_eagerly(True)\nkeras.utils.set_random_seed(3)",
    },
    "family/from_rcnn_to_mask_rcnn.ipynb": {
        '("fcn32s", 20), ("fcn8s", 10), ("unet", 8)': '("fcn32s", 1), ("fcn8s", 1), ("unet", 1)',
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name, marks=pytest.mark.long if name in LONG else ())
        for path, name in zip(PATHS, NAMES, strict=True)
    ],
)
def test_runs_from_top_to_bottom(path, monkeypatch):
    name = path.relative_to(ROOT / "samples").as_posix()
    book = run_notebook(path, monkeypatch=monkeypatch, replaced=SHORTER.get(name, {}))
    assert images_of(book) == images_of(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_stored_outputs(path):
    assert stored_problems(path) == []
    book = json.loads(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT / "samples").as_posix()
    assert images_of(book) >= IMAGES.get(name, 1)


def test_all_are_there():
    assert set(IMAGES) <= set(NAMES)


def test_problems_of_outputs_are_seen(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output
    book.cells = [
        nbformat.v4.new_code_cell("1", execution_count=2),
        nbformat.v4.new_code_cell(
            "2",
            execution_count=1,
            outputs=[
                output("stream", name="stdout", text="wrote /home/me/x.h5"),
                output("stream", name="stderr", text="be warned"),
                output("error", ename="ValueError", evalue="", traceback=[]),
            ],
        ),
    ]
    path = tmp_path / "a.ipynb"
    nbformat.write(book, path)
    assert stored_problems(path) == [
        "cells were executed in the order [2, 1]",
        "cell 2 wrote to stderr: 'be warned'",
        "cell 2 ended with ValueError",
        "cell 2 shows '/home/m'",
    ]


def test_scenes_of_balloons_are_read_by_the_sample(tmp_path):
    from samples.balloon.balloon import BalloonDataset

    scenes.write_balloons(tmp_path, train=2, val=1)
    dataset = BalloonDataset()
    dataset.load_balloon(str(tmp_path), "train")
    dataset.prepare()
    for image_id in range(2):
        image, outlines = scenes.draw_balloons(image_id)
        masks, class_ids = dataset.load_mask(image_id)
        assert dataset.load_image(image_id).shape == image.shape == (360, 480, 3)
        assert class_ids.tolist() == [1] * len(outlines)
        areas = [scenes.fill(outline).sum() for outline in outlines]
        assert masks.sum(axis=(0, 1)).tolist() == pytest.approx(areas, rel=0.05)
    assert not dataset.check().problems


def test_scenes_of_nuclei_are_read_by_the_sample(tmp_path):
    from samples.nucleus.nucleus import NucleusDataset

    scenes.write_nuclei(tmp_path, count=1)
    dataset = NucleusDataset()
    dataset.load_nucleus(str(tmp_path), "stage1_train")
    dataset.prepare()
    masks, _ = dataset.load_mask(0)
    _, expected = scenes.draw_nuclei(0)
    assert masks.shape == (256, 256, len(expected))
    assert (masks.any(axis=2) == sum(expected).astype(bool)).all()
    assert masks.sum(axis=2).max() == 1
