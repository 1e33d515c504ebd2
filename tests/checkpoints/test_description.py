"""Which settings and class names go with a weight file."""

import json
import types

import pytest

from mrcnn import checkpoints
from mrcnn.checkpoints.coco_names import COCO_CLASS_NAMES
from mrcnn.checkpoints.description import IncompleteWeightsError, describe_weights
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


def test_metadata_inside_the_file(weights, monkeypatch):
    content = json.loads(weights.with_suffix(".json").read_text())
    weights.with_suffix(".json").unlink()
    monkeypatch.setattr(checkpoints, "verify", lambda path: info(str(path), metadata=content))
    found = describe_weights(str(weights))
    assert found.class_names == NAMES
    assert found.source == "settings: in the file"


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
