"""Which settings and class names go with a weight file."""

import json
import types
import warnings

import pytest

from mrcnn import checkpoints
from mrcnn.checkpoints import HeldOut, save_weights
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.checkpoints.description import IncompleteWeightsError, describe_weights
from tests.checkpoints.fakes import small_mask_rcnn
from tests.fake_model import NAMES, describe


def info(path="w.h5", **changes):
    """What `verify` says of Matterport's COCO file, with changes."""
    facts = {
        "path": path,
        "backbone": "resnet101",
        "has_rpn": True,
        "has_heads": True,
        "metadata": {},
        "num_classes": 81,
        **changes,
    }
    found = types.SimpleNamespace(**facts)
    found.config_settings = lambda: {"BACKBONE": found.backbone, "NUM_CLASSES": found.num_classes}
    return found


@pytest.mark.parametrize(
    ("stored", "changes", "shape"),
    [
        ([64, 64, 3], {"IMAGE_MIN_DIM": 128, "IMAGE_MAX_DIM": 192}, [192, 192, 3]),
        ([64, 64, 3], {"IMAGE_MAX_DIM": 128, "IMAGE_RESIZE_MODE": "crop"}, [64, 64, 3]),
        ([64, 64, 3], {"DETECTION_MIN_CONFIDENCE": 0.5}, [64, 64, 3]),
        ([64, 64, 3], {"IMAGE_SHAPE": [192, 128, 3]}, [192, 128, 3]),
        ([64, 128, 3], {"IMAGE_MAX_DIM": 256}, [64, 128, 3]),  # assigned, not derived
    ],
)
def test_derived_settings_follow_a_file_of_settings(weights, tmp_path, stored, changes, shape):
    beside = weights.with_suffix(".json")
    content = json.loads(beside.read_text())
    content["config"] |= {"IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64, "IMAGE_SHAPE": stored}
    beside.write_text(json.dumps(content))
    (tmp_path / "settings.json").write_text(json.dumps(changes))
    found = describe_weights(str(weights), tmp_path / "settings.json")
    assert found.config.IMAGE_SHAPE.tolist() == shape


def test_description_beside_the_file(weights):
    found = describe_weights(str(weights))
    assert found.class_names == NAMES
    assert found.config.BACKBONE == "squeezenet"
    assert found.config.IMAGE_SHAPE.tolist() == [64, 64, 3]
    assert str(found) == (
        f"{weights}: squeezenet, 2 classes, 64x64 (settings: {weights.with_suffix('.json')})"
    )


def test_config_json_of_the_folder_comes_second(weights):
    describe(weights.with_name("config.json"), ["BG", "owl"])
    assert describe_weights(str(weights)).class_names == NAMES
    weights.with_suffix(".json").unlink()
    assert describe_weights(str(weights)).class_names == ["BG", "owl"]


def test_an_empty_config_json_counts_as_absent(weights, monkeypatch):
    weights.with_suffix(".json").write_text("")
    describe(weights.with_name("config.json"), ["BG", "owl"])
    assert describe_weights(str(weights)).class_names == ["BG", "owl"]


def test_unrelated_config_json_is_passed_over(weights, monkeypatch):
    weights.with_suffix(".json").unlink()
    weights.with_name("config.json").write_text('{"editor": "tabs"}')
    monkeypatch.setattr(checkpoints, "verify", lambda path: info(str(path)))
    assert describe_weights(str(weights)).class_names == list(COCO_CLASS_NAMES)


def test_shapes_alone_give_coco_names_for_81_classes_and_numbers_otherwise(weights, monkeypatch):
    weights.with_suffix(".json").unlink()
    monkeypatch.setattr(checkpoints, "verify", lambda path: info(str(path)))
    found = describe_weights(str(weights))
    assert found.class_names == list(COCO_CLASS_NAMES)
    assert found.config.BACKBONE == "resnet101"
    assert found.config.NAME == "pets"
    monkeypatch.setattr(checkpoints, "verify", lambda path: info(str(path), num_classes=3))
    assert describe_weights(str(weights)).class_names == ["BG", "class 1", "class 2"]


def put_inside(path, class_names, **settings):
    """Write a weight file whose metadata are a description, and return the description."""
    describe(path.with_name("inside.txt"), class_names, **settings)
    content = json.loads(path.with_name("inside.txt").read_text())
    save_weights(small_mask_rcnn(num_classes=len(class_names)), path, metadata=content)
    return content


def test_the_file_itself_knows_best(weights, tmp_path):
    put_inside(weights, ["BG", "owl", "elk", "emu"], IMAGE_MIN_DIM=128, IMAGE_MAX_DIM=128)
    # A sidecar of an earlier file of this name, and the config.json of another training.
    describe(weights.with_name("config.json"), ["BG", "yak"])
    with pytest.warns(UserWarning, match=r"pets.json and .*pets.h5 disagree about IMAGE_"):
        found = describe_weights(str(weights))
    assert found.class_names == ["BG", "owl", "elk", "emu"]
    weights.with_suffix(".json").write_text("{")
    with pytest.warns(UserWarning, match="pets.json is not valid JSON.*; it is ignored, as"):
        describe_weights(str(weights))
    weights.with_suffix(".json").unlink()  # config.json is that of a folder: nothing to warn of
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        describe_weights(str(weights))
    assert found.config.IMAGE_SHAPE.tolist() == [128, 128, 3]
    assert found.source == "settings: in the file"
    assert (found.guess, found.epoch, found.held_out) == (None, None, None)
    # What the user states overrules it, one setting at a time.
    describe(tmp_path / "mine.json", ["BG", "uhu", "elk", "emu"], IMAGE_MAX_DIM=64)
    stated = describe_weights(str(weights), tmp_path / "mine.json")
    assert (stated.class_names[1], stated.config.IMAGE_MAX_DIM) == ("uhu", 64)


def test_class_names_alone_inside(weights):
    save_weights(
        small_mask_rcnn(num_classes=3), weights, metadata={"class_names": ["BG", "a", "b"]}
    )
    found = describe_weights(str(weights))
    assert found.class_names == ["BG", "a", "b"]
    assert found.source == f"settings: {weights.with_suffix('.json')}"


def test_class_names_beside_settings_inside(weights):
    content = put_inside(weights, NAMES)
    del content["class_names"]
    save_weights(small_mask_rcnn(num_classes=3), weights, metadata=content)
    place = weights.with_suffix(".json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # they agree
        describe_weights(str(weights))
    assert describe_weights(str(weights)).source == f"settings: in the file, names: {place}"
    describe(place, ["BG", "owl"])  # of another number of classes
    with pytest.warns(UserWarning, match="disagree about IMAGE_META_SIZE, NUM_CLASSES;"):
        found = describe_weights(str(weights))
    assert found.class_names == ["BG", "class 1", "class 2"]
    assert found.guess.startswith(f"{weights} does not say which class names it was trained")
    place.unlink()
    describe(weights.with_name("config.json"), ["BG", "owl", "elk"])
    assert describe_weights(str(weights)).class_names == ["BG", "owl", "elk"]


def test_epoch_and_held_out_images_inside(weights):
    content = put_inside(weights, NAMES)
    record = HeldOut("data", "/x/data", "coco", None, 0.2, (7, "\udcff\n.jpg"))
    content |= {"epoch": 12, "held_out": record.to_dict()}
    save_weights(small_mask_rcnn(num_classes=3), weights, metadata=content)
    found = describe_weights(str(weights))
    assert (found.epoch, found.held_out) == (12, record)


def test_guesses_are_named(weights, monkeypatch):
    assert describe_weights(str(weights)).guess is None
    names = weights.parent / "names.json"
    names.write_text('{"class_names": ["BG", "cat", "dog"]}')
    weights.with_suffix(".json").unlink()
    monkeypatch.setattr(checkpoints, "verify", lambda path: info(str(path), num_classes=3))
    guess = describe_weights(str(weights)).guess
    assert guess.startswith(f"{weights} does not say which settings and class names it was trained")
    assert "1024x1024 pixels" in guess and "the class names class 1, class 2. If" in guess
    assert "--config FILE" in guess
    # The example in the message is one that works.
    example = guess[guess.index('{"config"') :]
    names.with_name("example.json").write_text(example)
    stated = describe_weights(str(weights), names.with_name("example.json"))
    assert (stated.guess, stated.config.IMAGE_MAX_DIM) == (None, 512)
    guess = describe_weights(str(weights), names).guess
    assert guess.startswith(f"{weights} does not say which settings it was trained with")
    assert "class names class" not in guess
    names.write_text('{"DETECTION_MIN_CONFIDENCE": 0.5}')
    assert "which settings and class names" in describe_weights(str(weights), names).guess
    names.write_text('{"IMAGE_MAX_DIM": 512, "IMAGE_MIN_DIM": 512}')
    guess = describe_weights(str(weights), names).guess
    assert guess.startswith(f"{weights} does not say which class names it was trained")


@pytest.mark.parametrize(
    ("name", "num_classes", "names"),
    [("coco", 81, list(COCO_CLASS_NAMES)), ("Balloon", 2, ["BG", "balloon"])],
)
def test_published_weights_are_known_and_not_guessed(
    tmp_path, monkeypatch, name, num_classes, names
):
    path = tmp_path / "w.h5"
    save_weights(small_mask_rcnn(num_classes=num_classes), path)
    monkeypatch.setattr("mrcnn.checkpoints.known.resolve_weights", lambda name: str(path))
    found = describe_weights(name)
    assert (found.class_names, found.guess) == (names, None)
    assert describe_weights(str(path)).guess is not None


def test_config_option_overrules(weights, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"DETECTION_NMS_THRESHOLD": 0.5, "RPN_ANCHOR_SCALES": [8, 16, 32, 64, 128]}')
    found = describe_weights(str(weights), path)
    assert found.config.DETECTION_NMS_THRESHOLD == 0.5
    assert found.config.RPN_ANCHOR_SCALES == (8, 16, 32, 64, 128)
    assert found.class_names == NAMES
    path.write_text('{"class_names": ["BG", "Katze", "Hund"]}')
    assert describe_weights(str(weights), path).class_names == ["BG", "Katze", "Hund"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine.json is not valid JSON"),
        ("[1]", "holds a JSON list; it must hold an object"),
        (
            '{"class_names": ["BG", "cat"]}',
            "class_names has 2 entries; it must have NUM_CLASSES = 3",
        ),
    ],
)
def test_bad_config_options_are_refused(weights, tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        describe_weights(str(weights), path)


def test_files_without_heads_cannot_detect(weights, monkeypatch):
    weights.with_suffix(".json").unlink()
    monkeypatch.setattr(
        checkpoints, "verify", lambda path: info(str(path), has_rpn=False, has_heads=False)
    )
    with pytest.raises(IncompleteWeightsError, match="can start a training, not detect"):
        describe_weights(str(weights))
    monkeypatch.setattr(checkpoints, "verify", lambda path: info(str(path), backbone="other"))
    with pytest.raises(ValueError, match=r"put its settings beside it in pets\.json"):
        describe_weights(str(weights))
