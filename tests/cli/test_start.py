"""What the samples share: weights by word, and the network that follows them."""

import pytest

from mrcnn.checkpoints.description import CLASS_LAYERS
from mrcnn.checkpoints.load import LoadReport
from mrcnn.cli.start import start_model
from mrcnn.config import Config
from tests.fake_model import describe
from tests.weight_files import write_weight_file


class ToyConfig(Config):
    NAME = "toy"
    NUM_CLASSES = 3
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 128


@pytest.fixture
def config():
    return ToyConfig()


def test_network_follows_described_weights_and_nothing_else(fake_model, weights, config):
    read = {"JOINT_SCORES": True, "CLASS_AGNOSTIC_MASK": True}
    describe(weights.with_suffix(".json"), TOP_DOWN_PYRAMID_SIZE=64, RPN_CHANNELS=32, **read)
    model = start_model("training", config, str(weights), "logs")
    assert (config.BACKBONE, config.TOP_DOWN_PYRAMID_SIZE, config.RPN_CHANNELS) == (
        "squeezenet",
        64,
        32,
    )
    assert config.JOINT_SCORES and config.CLASS_AGNOSTIC_MASK
    assert (config.NAME, config.IMAGE_MAX_DIM, config.NUM_CLASSES) == ("toy", 128, 3)
    assert (model.mode, model.model_dir) == ("training", "logs")
    assert model.loaded == [(str(weights), True, None)]


def test_heads_of_other_classes_are_left_out(fake_model, weights, config):
    config.NUM_CLASSES = 2
    assert start_model("training", config, str(weights), "logs").loaded[0][2] == CLASS_LAYERS


@pytest.mark.parametrize(
    ("word", "num_classes", "exclude"),
    [("coco", 3, CLASS_LAYERS), ("COCO", 81, None), ("imagenet", 3, None)],
)
def test_published_weights_leave_the_network_alone(
    fake_model, config, monkeypatch, word, num_classes, exclude
):
    config.NUM_CLASSES = num_classes
    model = start_model("training", config, word, "logs")
    assert config.BACKBONE == "resnet50"
    assert model.loaded == [(word, True, exclude)]


def test_none_loads_nothing(fake_model, config):
    assert start_model("training", config, "none", "logs").loaded == []


def test_last_is_the_newest_checkpoint_of_the_name(fake_model, config, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint of a training 'toy'"):
        start_model("inference", config, "last", str(tmp_path))
    for run, epoch in (("toy20260101T0000", 3), ("toy20260201T0000", 1), ("other20260301T0000", 9)):
        write_weight_file(tmp_path / run / f"mask_rcnn_{run[:-13]}_{epoch:04d}.h5")
        describe(tmp_path / run / "config.json")
    model = start_model("inference", config, "last", str(tmp_path))
    expected = tmp_path / "toy20260201T0000" / "mask_rcnn_toy_0001.h5"
    assert model.loaded == [(str(expected), True, None)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (None, r"3 classes with the background \(cat, dog\), not on these 2 classes"),
        ("coco", r"81 .*\(person, bicycle, car, motorcycle, airplane, \.\.\.\), not on these 2"),
        ("none", "lacks layers"),
        ("imagenet", "lacks layers"),
    ],
)
def test_weights_of_other_classes_cannot_detect(fake_model, weights, config, word, message):
    config.NUM_CLASSES = 2
    with pytest.raises(ValueError, match=message):
        start_model("inference", config, word or str(weights), "logs")
    assert fake_model.built == []


def test_weights_with_holes_cannot_detect(fake_model, weights, config, monkeypatch, capsys):
    report = LoadReport("pets.h5", loaded=("conv1",), missing_in_file=("rpn_model",))
    monkeypatch.setattr(fake_model, "report", report)
    with pytest.raises(ValueError, match="lacks layers"):
        start_model("inference", config, str(weights), "logs")
    assert start_model("training", config, str(weights), "logs").mode == "training"
    assert "pets.h5: 1 layers loaded, 1 not in the file (rpn_model)" in capsys.readouterr().out


def test_backbone_alone(fake_model, config, shared_dir):
    path = shared_dir / "weights" / "squeezenet1_1_imagenet_notop.h5"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    model = start_model("training", config, str(path), "logs")
    assert config.BACKBONE == "squeezenet"
    assert model.loaded == [(str(path), True, None)]
