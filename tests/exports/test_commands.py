"""Commands that take an exported model in place of weights, and those that cannot."""

import importlib.util
import json
import re

import cv2
import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports need Keras on TensorFlow", allow_module_level=True)

from mrcnn.checkpoints import HeldOut
from mrcnn.exports import export
from tests.exports.conftest import NAMES, images
from tests.tiny import Squares

LEAST = 0.45


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A COCO dataset of two images of 64 x 64 with a bright and a dark square each."""
    folder, squares = tmp_path_factory.mktemp("data") / "squares", Squares()
    folder.mkdir()
    entries, objects = [], []
    for image_id in squares.image_ids:
        name = f"{image_id}.png"
        cv2.imwrite(str(folder / name), squares.load_image(image_id)[..., ::-1])
        entries.append({"id": int(image_id), "file_name": name, "height": 64, "width": 64})
        for y, x, side, class_id in squares.image_info[image_id]["squares"]:
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            objects.append(
                {
                    **{"id": len(objects) + 1, "image_id": int(image_id), "iscrowd": 0},
                    **{"category_id": class_id, "segmentation": [corners]},
                    **{"bbox": [x, y, side, side], "area": side * side},
                }
            )
    categories = [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}]
    content = {"images": entries, "annotations": objects, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def strict(model, data, tmp_path_factory):
    """An export that leaves out low scores, with masks for boxes, and a held-out image."""
    made_from = model.with_min_confidence(LEAST)
    made_from.class_names = model.class_names
    made_from.held_out = HeldOut(str(data), str(data), None, None, 0.5, (1,))
    path = tmp_path_factory.mktemp("strict") / "strict_model"
    export(made_from, path, "saved_model", masks="box", precision="float16", image=images(1)[0])
    return path


@pytest.mark.parametrize("name", NAMES)
def test_an_export_is_measured_as_its_model_is(run, model, exported, data, name, tmp_path):
    path = exported(name).path
    results = tmp_path / "found.json"
    code, out, err = run("evaluate", data, "--weights", path, "--json", "--results", results)
    assert code == 0, err
    assert json.loads(out)["notes"] == [] and f"{path}: 2 classes, 64x64" in err
    found = model.detect([Squares().load_image(0), Squares().load_image(1)])
    expected = sorted(float(score) for result in found for score in result["scores"])
    assert len(expected) >= 4
    scores = sorted(entry["score"] for entry in json.loads(results.read_text()))
    assert scores == pytest.approx(expected, abs=1e-3)


def test_the_held_out_image_and_a_note_about_scores(run, strict, data):
    code, out, err = run("evaluate", data, "--weights", strict)
    assert code == 0, err
    assert "COCO evaluation: 1 image, 2 objects" in out
    assert (
        f"Note     the exported model leaves out detections of a score below {LEAST}, which AP "
        "needs; `mrcnn export --min-confidence 0` makes one that is measured as its weights are"
    ) in out.splitlines()
    code, out, err = run(
        *("evaluate", data, "--weights", strict, "--subset", "all"),
        *("--min-confidence", 0.5, "--report", strict.parent / "report"),
    )
    assert code == 0, err
    assert "COCO evaluation: 2 images, 4 objects" in out and "leaves out" not in out
    page = (strict.parent / "report" / "report.html").read_text()
    assert "TensorFlow" in page and "Runner object" not in page


@pytest.mark.parametrize(
    "words,message",
    [
        (("--min-confidence", 0.2), f"--min-confidence is 0.2; it must be at least {LEAST}"),
        (("--engine", "keras"), "--engine is keras; it must not be given with an exported model"),
        (("--precision", "int8"), "--precision is int8; it must not be given"),
        (("--calibration", "photos"), "--calibration is photos; it must not be given"),
        (("--model", "unet"), "--model is unet; it must not be given with an exported model"),
    ],
)
def test_options_that_an_export_does_not_take(run, strict, data, words, message):
    code, out, err = run("evaluate", data, "--weights", strict, *words)
    assert code == 2 and message in err, (out, err)


def test_a_refiner_needs_masks_for_boxes(run, exported, strict, data, tmp_path):
    path = exported("saved_model").path
    for words in (("evaluate", data), ("detect", data / "0.png", "--output", tmp_path / "out")):
        code, _, err = run(*words, "--weights", path, "--refine", "general")
        assert code == 2
        assert "--refine is general; it must not be given with this exported model" in err
    assert not (tmp_path / "out").exists()
    code, out, err = run("evaluate", data, "--weights", strict, "--refine", "general")
    assert code == 0 and "Refiner  general" in out, err


@pytest.mark.parametrize("name,title", [("saved_model", "SavedModel"), ("onnx", "ONNX")])
def test_info(run, exported, name, title):
    path = exported(name).path
    code, out, err = run("info", path)
    assert (code, err) == (0, "")
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines())
    assert rows["format"] == f"exported model, {title}; it can detect, not be trained"
    assert rows["classes"] == "2 and the background" and rows["class names"] == "bright, dark"
    assert rows["network's input"] == "64x64 pixels" and rows["minimum confidence"] == "0"
    assert rows["masks"] == "of the size of the image"
    assert "backbone" not in rows and "held out" not in rows  # the backbone is a function
    code, _, err = run("info", path, "--layers")
    assert code == 2 and "--layers is given; " in err


def test_info_as_json(run, strict):
    code, out, err = run("info", strict, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["precision"] == "float16" and facts["masks"] == "box"
    assert facts["min_confidence"] == LEAST and facts["held_out"]["ids"] == [1]
    assert facts["size_bytes"] == sum(
        file.stat().st_size for file in strict.rglob("*") if file.is_file()
    )
    assert facts["config"]["BACKBONE"] is None and facts["image_size"] == [64, 64]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_export_cannot_do(run, exported, data, tmp_path, name):
    path = exported(name).path
    message = "it is an exported model, which the commands detect, evaluate, serve and info"
    for words in (
        ("train", data, "--weights", path, "--output", tmp_path / "logs"),
        ("export", path, "--format", "saved_model", "--output", tmp_path / "again"),
    ):
        code, out, err = run(*words)
        assert code == 2 and message in err, (words, out, err)
    import mrcnn

    with pytest.raises(ValueError, match=message):
        mrcnn.load(path)
    assert not (tmp_path / "logs").exists() and not (tmp_path / "again").exists()


@pytest.mark.skipif(not importlib.util.find_spec("fastapi"), reason="needs the extra serve")
def test_an_application_with_an_export(exported, strict, data):
    from starlette.testclient import TestClient

    from mrcnn.cli.serve import make_app
    from mrcnn.service.limits import Limits

    photo = (data / "0.png").read_bytes()

    def options(weights, **others):
        names = ("config", "precision", "calibration", "refine", "no_refine", "threshold")
        usual = dict.fromkeys(names)
        return {"weights": str(weights), "engine": "auto", **usual, **others}

    def objects(app, query):
        with TestClient(app) as client:
            answer = client.post(f"/detect{query}", content=photo)
            assert answer.status_code == 200, answer.text
            return answer.json()["objects"], client.get("/").text

    found, page = objects(make_app(options(exported("saved_model").path), Limits()), "")
    assert len(found) >= 2 and 'min="0.05"' in page
    kept, page = objects(make_app(options(strict, refine="general"), Limits()), "?threshold=0")
    assert f'min="{LEAST}"' in page
    scores = [one["score"] for one in kept]
    assert scores[0] == pytest.approx(found[0]["score"], abs=0.02)
    assert LEAST <= min(scores) and len(kept) <= len(found)
    with pytest.raises(ValueError, match=r"--config is settings\.json; it must not be given"):
        make_app(options(strict, config="settings.json"), Limits())


def test_a_threshold_below_that_of_the_export(run, strict):
    code, _, err = run("serve", "--weights", strict, "--threshold", 0.2)
    assert code == 2 and f"--threshold is 0.2; it must be at least {LEAST}" in err
    code, _, err = run("serve", "--weights", strict, "--config", __file__)
    assert code == 2 and "--config is" in err
