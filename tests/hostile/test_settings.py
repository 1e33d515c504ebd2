"""Settings beside a weight file that were damaged or made to harm.

`describe_weights` gives either settings that keep every rule or a ValueError that names the file;
nothing large is allocated. `MRCNN_MUTATIONS` sets the number of seeded mutations.
"""

import json
import os
import random
import re
import time
import tracemalloc
import warnings

import h5py
import numpy as np
import pytest

from mrcnn.checkpoints import HeldOut, save_weights
from mrcnn.checkpoints.description import describe_weights, read_description
from mrcnn.config import Config
from mrcnn.config_rules import find_problems
from mrcnn.files.names import printable
from mrcnn.training.starting import find_starting_point
from tests.checkpoints.fakes import small_mask_rcnn
from tests.counts import num_mutations
from tests.weight_files import write_weight_file

COUNT = num_mutations(300)
MAX_SECONDS = 2.0
MAX_BYTES = 2**26

RECORD = HeldOut("data", "/x/data", "coco", "train", 0.2, (1, "b")).to_dict()

ODD_VALUES = [
    None, True, False, 0, -1, 1, 3.5, 1e9, 10**9, 10**18, 10**400, -(10**30), float("nan"),
    float("inf"), "", "x", "resnet50", "../../x", "\x1b[2J", "\ud800", [], [1], [0] * 5,
    [[1, 2], [3]],
    [10**9] * 3, [1e308] * 3, ["a", "b", "c"], {}, {"a": 1}, {"rpn_class_loss": "x"}, [None] * 4,
    [[[[1]]]], "1" * 1000, [1] * 1000,
]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return write_weight_file(tmp_path / "w.h5")


def sound():
    config = Config()
    config.NUM_CLASSES = 3
    return {"config": config.to_dict(), "class_names": ["BG", "a", "b"]}


def describe(path, text=None):
    """The error, or None for settings that keep the rules; bounded in time and memory."""
    if text is not None:
        path.with_suffix(".json").write_bytes(text)
    began = time.process_time()
    tracemalloc.start()
    try:
        described = describe_weights(str(path))
    except ValueError as error:
        shown = str(error)
        assert not isinstance(error, UnicodeError)
        assert path.stem in shown and len(shown) < 50_000
        assert all(character.isprintable() or character == "\n" for character in shown)
        return shown
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_BYTES
        assert time.process_time() - began < MAX_SECONDS
    assert find_problems(described.config) == []
    assert all(name.isprintable() for name in described.class_names)
    assert str(described).isprintable()
    json.dumps(described.config.to_dict())
    return None


def mutated(rng):
    content = sound()
    kind = rng.randrange(6)
    if kind < 3:
        for name in rng.sample(sorted(content["config"]), rng.choice([1, 1, 2, 6])):
            content["config"][name] = rng.choice(ODD_VALUES)
    elif kind == 3:
        content[rng.choice(["config", "class_names"])] = rng.choice(ODD_VALUES)
    elif kind == 4:
        content["class_names"][rng.randrange(3)] = rng.choice(ODD_VALUES)
    text = bytearray(json.dumps(content).encode())
    if kind == 5:
        for _ in range(rng.choice([1, 3, 20])):
            text[rng.randrange(len(text))] = rng.randrange(256)
        if rng.random() < 0.2:
            del text[rng.randrange(len(text)) :]
    return bytes(text)


@pytest.mark.filterwarnings("ignore")
def test_mutated_settings(path):
    refused = sum(describe(path, mutated(random.Random(seed))) is not None for seed in range(COUNT))
    assert COUNT / 4 < refused < COUNT
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert describe(path, json.dumps(sound()).encode()) is None


@pytest.mark.filterwarnings("ignore")
def test_mutated_settings_inside_the_file(path):
    refused = 0
    for seed in range(COUNT // 3):
        text = np.frombuffer(mutated(random.Random(seed)), np.uint8)
        with h5py.File(path, "w") as file:
            file.create_dataset("mrcnn_metadata", data=text)
        refused += describe(path) is not None
    assert COUNT / 12 < refused < COUNT / 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TOP_DOWN_PYRAMID_SIZE", 10**9, "TOP_DOWN_PYRAMID_SIZE is 1000000000; it must be"),
        ("IMAGE_CHANNEL_COUNT", 10**9, "IMAGE_CHANNEL_COUNT is 1000000000; it must be"),
        ("FPN_CLASSIF_FC_LAYERS_SIZE", 2**16, "number of parameters"),
        ("NAME", "../../x", "NAME is '../../x'; it must be"),
        ("NAME", "a\x1b[2J", "NAME is"),
        ("IMAGES_PER_GPU", [1], r"IMAGES_PER_GPU is \[1\]; it must be"),
        ("NUM_CLASSES", "3", "NUM_CLASSES is '3'; it must be"),
        ("NUM_CLASSES", 10**9, "NUM_CLASSES is 1000000000; it must be"),
    ],
)
def test_refused_by_name(path, name, value, message):
    content = sound()
    content["config"][name] = value
    path.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"(?s)w\.json: .*{message}"):
        describe_weights(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xfe{}", "is not UTF-8 text"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"a":' * 100_000, "is not valid JSON"),
        (b"1" * 10_000, "is not valid JSON|holds a JSON int"),
        (b'"config"', "holds a JSON str; it must hold an object"),
        (b'{"config": []}', "config of .* is a list; it must be an object"),
        (b'{"config": {}, "class_names": "BG"}', "class_names of .* is 'BG'; it must be a list"),
        (b'{"config": {}, "class_names": ["BG", 5]}', "class_names of .* must be a list of names"),
        (b'{"config": {}, "class_names": []}', "class_names of .* must be a list of names"),
    ],
)
def test_files_that_are_no_description(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_description(path)


def test_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"NUM_CLASSES": 2}')
    assert read_description(path) == {"config": {"NUM_CLASSES": 2}}


def test_pipes_and_large_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is a pipe, device or socket; it must be a settings file"):
        read_description(tmp_path / "pipe")
    with open(tmp_path / "large.json", "wb") as stream:
        stream.truncate(2**30)
    with pytest.raises(ValueError, match="must have at most"):
        read_description(tmp_path / "large.json")


def test_class_names_reach_the_caller_without_escape_codes(path):
    content = sound()
    content["class_names"][1] = "\x1b[2Jcat\u202e"
    path.with_suffix(".json").write_text(json.dumps(content))
    assert describe_weights(str(path)).class_names[1] == "\\x1b[2Jcat\\u202e"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("RPN_NMS_TRESHOLD", ", such as RPN_NMS_THRESHOLD"),
        ("learning_rate", ", such as LEARNING_RATE"),
        ("MIN_CONFIDENCE", ", such as DETECTION_MIN_CONFIDENCE"),
        ("x", ""),
        ("\x1b[2J", ""),
    ],
)
def test_an_unknown_setting_of_a_given_file_is_an_error(path, tmp_path, name, near):
    path.with_suffix(".json").write_text(json.dumps(sound()))
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"RPN_NMS_THRESHOLD": 0.6, name: 0.6}))
    message = f"mine.json has the entry {printable(name)!r}; it must be the name of a setting{near}"
    for weights in (str(path), "none"):
        with pytest.raises(ValueError, match=re.escape(message) + "$"):
            find_starting_point(weights, config_path=mine)
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        describe_weights(str(path), mine)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"config": [1]}, "config of the metadata of .* is a list; it must be an object"),
        ({"config": {"NUM_CLASSES": 10**9}}, "NUM_CLASSES is 1000000000; it must be"),
        ({"class_names": 5}, "class_names of the metadata of .* is 5; it must be a list"),
        ({"config": {"NUM_CLASSES": 3, "NAME": "../x"}}, "NAME is '../x'; it must be"),
    ],
)
def test_metadata_inside_the_file_obeys_the_same_rules(tmp_path, metadata, message):
    path = tmp_path / "w.h5"
    save_weights(small_mask_rcnn(num_classes=3), path, metadata=metadata)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        describe_weights(str(path))


ODD_RECORDS = {
    "epoch": [-1, 1.5, "3", True, 10**30, [1]],
    "held_out": [
        5, [], "x", {}, {"ids": [1]},
        *({**RECORD, "ids": ids} for ids in (None, "ab", [None], [True], [1.5], [["a"]], {"a": 1})),
        *({**RECORD, "val_fraction": value} for value in (None, "1", -0.1, 2, True, float("nan"))),
        *({**RECORD, "path": value} for value in (None, 5, ["x"])),
        *({**RECORD, name: 5} for name in ("dataset", "format", "part", "identified_by")),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in ODD_RECORDS.items() for value in values]
)
def test_an_odd_record_of_the_training_is_ignored_with_a_warning(path, name, value):
    path.with_suffix(".json").write_text(json.dumps({**sound(), name: value}))
    with pytest.warns(UserWarning, match=rf"w\.json: {name}.* is .*; it must be .* ignored"):
        described = describe_weights(str(path))
    assert (described.epoch, described.held_out) == (None, None)
    assert described.class_names == ["BG", "a", "b"]
