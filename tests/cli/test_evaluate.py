"""`mrcnn evaluate`: classes matched by name, held-out images, figures and page written."""

import json

import numpy as np
import pytest

from mrcnn.cli.image_choice import open_images
from tests.fake_model import describe
from tests.weight_files import write_weight_file


def coco_folder(folder, name="dog", count=2):
    """Images of 40 x 60 with the fake model's dog in them, and no cat."""
    import cv2

    images, annotations = [], []
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 60, 3), 90, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 60})
        box = [30, 20, 30, 20]
        corners = [[30, 20, 60, 20, 60, 40, 30, 40]]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 5,
                "bbox": box,
                "area": 600,
                "iscrowd": 0,
                "segmentation": corners,
            }
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 5, "name": name}, {"id": 6, "name": "owl"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_perfect_detections_have_ap_1(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco")
    code, out, _ = run(
        *("evaluate", data, "--weights", weights),
        *("--output", tmp_path / "o" / "figures.json", "--results", tmp_path / "r" / "found.json"),
    )
    assert code == 0
    assert ": 2 images" in out
    assert fake_model.built[0].config.DETECTION_MIN_CONFIDENCE == 0.0
    figures = json.loads((tmp_path / "o" / "figures.json").read_text())
    assert figures["box_AP"] == pytest.approx(1.0)
    assert figures["mask_AP"] == pytest.approx(1.0)
    found = json.loads((tmp_path / "r" / "found.json").read_text())
    assert [(e["image_id"], e["category_id"]) for e in found] == [(1, 5), (2, 5)]


def test_limit(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco")
    code, out, _ = run("evaluate", data, "--weights", weights, "--limit", 1)
    assert code == 0
    assert "COCO evaluation: 1 image, 1 object" in out
    assert f"Dataset  {data}: 2 images, of which the first 1" in out.splitlines()


def test_refiner(run, fake_model, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.refinement.open_refiner", lambda name: f"opened {name}")
    data = coco_folder(tmp_path / "coco")
    code, out, _ = run("evaluate", data, "--weights", weights, "--refine", "general")
    assert code == 0 and "Refiner  general" in out.splitlines()
    assert fake_model.built[0].refiner == "opened general"
    code, _, err = run("evaluate", data, "--weights", weights, "--refine", "general", "--no-refine")
    assert code == 2 and "it must not be given together with --no-refine" in err


def test_classes_are_matched_and_told(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco", "D_o g")
    code, out, _ = run("evaluate", data, "--weights", weights)
    assert code == 0
    assert "Note     Classes whose names differ only in spelling: 'dog' is 'D_o g'." in out
    assert "not have them: 1 of the 2 classes of the dataset (owl)." in out
    assert "owl" not in out.split("COCO evaluation")[1]
    code, _, error = run("evaluate", coco_folder(tmp_path / "b", "emu"), "--weights", weights)
    assert code == 2 and not fake_model.built[1:]
    assert "the classes of the model are cat, dog; those of the dataset are emu, owl" in error


def test_json_is_all_of_stdout(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco")
    code, out, error = run("evaluate", data, "--weights", weights, "--json")
    assert code == 0
    content = json.loads(out)
    assert content["mask_AP"] == pytest.approx(1.0) and content["mask_APl"] is None
    assert content["num_images"] == 2 and content["unreadable"] == []
    assert content["classes"][0]["mask_AP75"] == pytest.approx(1.0)
    assert content["dataset"] == f"{data}: 2 images" and len(content["notes"]) == 1
    assert "COCO evaluation: 2 images" in error
    run("evaluate", data, "--weights", weights, "--output", tmp_path / "figures.json")
    saved = json.loads((tmp_path / "figures.json").read_text())
    assert {**saved, "seconds_per_image": 0} == {**content, "seconds_per_image": 0}


def test_report(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco")
    code, out, _ = run("evaluate", data, "--weights", weights, "--report", tmp_path / "new" / "r")
    assert code == 0
    page = tmp_path / "new" / "r" / "report.html"
    assert out.splitlines()[-1] == f"Report   {page}"
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 2
    assert "DETECTION_MIN_CONFIDENCE" in text and f"{data}: 2 images" in text
    file = tmp_path / "file"
    file.write_text("x")
    code, _, error = run("evaluate", data, "--weights", weights, "--report", file)
    assert (code, len(fake_model.built)) == (2, 1)
    assert f"--report is {file}, which is a file; it must be a folder" in error


def test_broken_images_are_listed(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco", count=3)
    (data / "2.png").write_bytes(b"no image")
    words = ("evaluate", data, "--weights", weights, "--report", tmp_path / "r", "--json")
    code, out, error = run(*words)
    assert code == 1
    assert "1 of 3 images failed:" in error and "2.png" in error
    content = json.loads(out)
    assert (content["num_images"], content["num_unreadable"]) == (2, 1)
    assert content["unreadable"][0]["image"] == "2.png"
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "1 image could not be read and is in none" in page
    for number in (1, 3):
        (data / f"{number}.png").write_bytes(b"no image")
    code, _, error = run(*words)
    assert code == 2 and "none of the 3 images can be read; the first: " in error


def test_a_dataset_without_objects_of_the_model(run, fake_model, weights, tmp_path):
    data = coco_folder(tmp_path / "coco")
    content = json.loads((data / "annotations.json").read_text())
    for one in content["annotations"]:
        one["category_id"] = 6  # an owl
    (data / "annotations.json").write_text(json.dumps(content))
    code, _, error = run("evaluate", data, "--weights", weights)
    assert (code, fake_model.built) == (2, [])
    assert "the dataset has no object of dog in 2 images; it must have one" in error


@pytest.fixture
def trained(tmp_path):
    """A dataset of 10 images, the record of a training that held out 2, and its weights."""
    from mrcnn.checkpoints import HeldOut

    data = coco_folder(tmp_path / "pets", count=10)
    held_out = HeldOut(str(data), str(data), None, None, 0.2, (3, 8))
    path = tmp_path / "weights" / "pets.h5"
    write_weight_file(path)
    describe(path.with_suffix(".json"))
    content = json.loads(path.with_suffix(".json").read_text())
    content["held_out"] = held_out.to_dict()
    path.with_suffix(".json").write_text(json.dumps(content))
    return data, held_out, path


def test_the_images_that_the_training_held_out(run, fake_model, trained, tmp_path):
    data, _, weights = trained
    results = tmp_path / "found.json"
    words = ("evaluate", data, "--weights", weights, "--results", results)
    code, out, _ = run(*words)
    assert code == 0
    expected = f"Dataset  {data}: 2 images of 10, those that the training held out"
    assert expected in out.splitlines()
    assert "COCO evaluation: 2 images" in out
    assert sorted({one["image_id"] for one in json.loads(results.read_text())}) == [3, 8]
    code, out, _ = run(*words, "--limit", 1)
    assert f"{expected}, of which the first 1" in out.splitlines()
    code, out, _ = run(*words, "--subset", "all")
    assert f"Dataset  {data}: 10 images" in out.splitlines()
    assert "Note     The training used 8 of these 10 images." in out.splitlines()
    assert len(json.loads(results.read_text())) == 10


def test_the_record_of_a_training_applies_to_its_own_dataset(trained, tmp_path):
    data, held_out, _ = trained
    other = coco_folder(tmp_path / "others", count=10)
    (tmp_path / "elsewhere").mkdir()
    moved = coco_folder(tmp_path / "elsewhere" / "pets", count=10)

    def choose(folder, subset=None):
        return open_images(str(folder), None, subset, None, None, held_out)[1]

    assert choose(data).image_ids == [2, 7]
    assert choose(other).image_ids == list(range(10))
    (warning,) = choose(other).warnings  # it may be a copy
    assert warning.startswith("The images include all that the training held out of pets (2 images")
    (other / "annotations.json").unlink()
    coco_folder(other, count=20)  # has images of these ids, too
    assert choose(other) == every_image(other)
    assert choose(moved).image_ids == [2, 7]
    (moved / "annotations.json").unlink()
    coco_folder(moved, count=7)  # one of the held-out images is not there
    assert choose(moved) == every_image(moved)


def every_image(folder):
    return open_images(str(folder), None, None, None, None, None)[1]


def test_a_dataset_that_lost_images(trained):
    data, held_out, _ = trained
    content = json.loads((data / "annotations.json").read_text())
    content["images"] = content["images"][:5]
    content["annotations"] = content["annotations"][:5]
    (data / "annotations.json").write_text(json.dumps(content))
    _, choice = open_images(str(data), None, None, None, None, held_out)
    assert choice.image_ids == [2]
    assert choice.warnings == ("1 of the 2 held-out images are not in it any more.",)
    content["images"], content["annotations"] = content["images"][:2], content["annotations"][:2]
    (data / "annotations.json").write_text(json.dumps(content))
    _, choice = open_images(str(data), None, None, None, None, held_out)
    assert choice.image_ids == [0, 1]
    assert choice.warnings == (
        "The 2 images that the training held out are not in this dataset any more; "
        "the training may have used all.",
    )


def test_parts(tmp_path):
    from mrcnn.checkpoints import HeldOut

    data = tmp_path / "coco"
    for part, count in (("train", 4), ("val", 2)):
        coco_folder(tmp_path / part, count=count)
        (data / part).mkdir(parents=True)
        for image in (tmp_path / part).glob("*.png"):
            image.rename(data / part / image.name)
        (data / "annotations").mkdir(exist_ok=True)
        (tmp_path / part / "annotations.json").rename(
            data / "annotations" / f"instances_{part}.json"
        )
    record = HeldOut(str(data), str(data), None, "train", 0.25, (2,))

    def choose(subset):
        return open_images(str(data), None, subset, None, None, record)[1]

    assert str(choose(None)) == " (val): 2 images"
    assert str(choose("train")) == " (train): 4 images"
    assert choose("train").warnings == ("The training used 3 of these 4 images.",)
    assert str(choose("all")) == " (train, val): 6 images"
    # Once the validation part is gone, the held-out images of the training part are measured.
    (data / "annotations" / "instances_val.json").unlink()
    assert str(choose(None)) == " (train): 1 image of 4, those that the training held out"


def test_progress_in_a_log_file(capsys, monkeypatch):
    from mrcnn.cli import evaluate

    now = iter([0.0, 10.0, 40.0, 50.0, 400.0, 500.0])
    monkeypatch.setattr(evaluate.time, "monotonic", lambda: next(now))
    show = evaluate.ProgressLines()
    for done in (1, 20, 30, 50, 100):
        show(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "20 of 100 images, 3 min left",
        "50 of 100 images, 7 min left",
    ]
