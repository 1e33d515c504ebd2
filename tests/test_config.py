"""Defaults, derived settings, overriding, checks and the round trip through JSON."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from mrcnn.config import Config
from tests.parity.reference import load_npz


class ThreeClasses(Config):
    NAME = "three"
    NUM_CLASSES = 3
    IMAGE_MIN_DIM = 256
    IMAGE_MAX_DIM = 320


def test_values_equal_matterports():
    """Every setting of a recorded configuration that was left at its default."""
    recorded = load_npz("case_A.npz")["config_json"]
    set_there = {"BACKBONE", "NAME", "NUM_CLASSES", "IMAGES_PER_GPU", "BATCH_SIZE"} | {
        "IMAGE_MIN_DIM", "IMAGE_MAX_DIM", "IMAGE_SHAPE", "IMAGE_META_SIZE",
        "DETECTION_MIN_CONFIDENCE",
    }  # fmt: skip
    ours = Config().to_dict()
    assert set(ours) - set(recorded) == {
        "PRECISION",
        "RPN_CHANNELS",
        "MASK_CHANNELS",
        "CANONICAL_BOX_SIZE",
        "MASK_ROIS_PER_IMAGE",
        "PARTIAL_LABELS",
        "CLASS_AGNOSTIC_MASK",
        "JOINT_SCORES",
        "MASK_SCORES",
        "ACCUMULATE_STEPS",
        "USE_RPN",
        "USE_MASK",
        "ROI_POOLING",
        "ROI_LEVEL",
    }
    assert set(recorded) <= set(ours)
    for name in set(recorded) - set_there:
        assert ours[name] == recorded[name], name


def test_defaults_set_in_the_recorded_configuration():
    config = Config()
    assert config.NAME is None and config.NUM_CLASSES == 1 and config.BACKBONE == "resnet101"
    assert (config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM) == (800, 1024)
    assert (config.GPU_COUNT, config.IMAGES_PER_GPU, config.BATCH_SIZE) == (1, 2, 2)
    assert config.DETECTION_MIN_CONFIDENCE == 0.7


def test_derived_settings():
    config = ThreeClasses()
    assert config.IMAGE_SHAPE.tolist() == [320, 320, 3]
    assert config.IMAGE_META_SIZE == 15
    assert config.BATCH_SIZE == 2


def test_image_shape_of_crop_mode_comes_from_min_dim():
    class Crop(ThreeClasses):
        IMAGE_RESIZE_MODE = "crop"

    assert Crop().IMAGE_SHAPE.tolist() == [256, 256, 3]


def test_derived_settings_follow_later_changes():
    config = ThreeClasses()
    config.IMAGES_PER_GPU, config.GPU_COUNT, config.NUM_CLASSES = 4, 2, 8
    config.IMAGE_MAX_DIM = 512
    assert config.BATCH_SIZE == 8
    assert config.IMAGE_META_SIZE == 20
    assert config.IMAGE_SHAPE.tolist() == [512, 512, 3]


def test_assigned_derived_setting_wins_until_deleted():
    config = ThreeClasses()
    config.BATCH_SIZE = 7
    config.IMAGES_PER_GPU = 1
    assert config.BATCH_SIZE == 7
    del config.BATCH_SIZE
    assert config.BATCH_SIZE == 1


def test_image_shape_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        ThreeClasses().IMAGE_SHAPE[0] = 64


def test_init_of_a_subclass():
    class InInit(Config):
        def __init__(self, side):
            self.IMAGE_MAX_DIM = side
            self.BATCH_SIZE = 99  # as in Matterport's, lost in Config.__init__
            super().__init__()
            self.IMAGE_META_SIZE = 77

    config = InInit(128)
    assert config.IMAGE_SHAPE.tolist() == [128, 128, 3]
    assert config.BATCH_SIZE == 2
    assert config.IMAGE_META_SIZE == 77


def test_derived_constant_in_a_class_body_has_no_effect_and_says_so():
    with pytest.warns(UserWarning, match=r"InBody\.BATCH_SIZE = 1 has no effect"):

        class InBody(Config):
            BATCH_SIZE = 1

    assert InBody().BATCH_SIZE == 2


def test_derived_property_in_a_class_body_is_kept():
    class WithProperty(Config):
        @property
        def BATCH_SIZE(self):
            return 5

    assert WithProperty().BATCH_SIZE == 5


def test_settings_of_two_instances_are_apart():
    first, second = ThreeClasses(), ThreeClasses()
    first.NUM_CLASSES = 9
    assert second.NUM_CLASSES == 3 and ThreeClasses.NUM_CLASSES == 3


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies(duplicate):
    config = ThreeClasses()
    config.BATCH_SIZE, config.NUM_CLASSES = 6, 4
    twin = duplicate(config)
    assert (twin.BATCH_SIZE, twin.NUM_CLASSES, twin.IMAGE_META_SIZE) == (6, 4, 16)


def test_display(capsys):
    config = ThreeClasses()
    config.BACKBONE = lambda image: image
    config.display()
    lines = capsys.readouterr().out.split("\n")
    assert lines[:2] == ["", "Configurations:"]
    assert lines[-3:] == ["", "", ""]
    names = [line.split()[0] for line in lines[2:-3]]
    assert names == sorted(names)
    assert {"BATCH_SIZE", "IMAGE_SHAPE", "WEIGHT_DECAY"} <= set(names)
    assert not {"BACKBONE", "display", "validate"} & set(names)
    assert "IMAGE_SHAPE                    [320 320   3]" in lines
    assert "NUM_CLASSES                    3" in lines


def test_sound_configurations_pass():
    ThreeClasses().validate()
    shapes = load_npz("case_F.npz")["config_json"]
    Config.from_dict(shapes).validate()


def shape_function(image_shape):
    return np.ones((5, 2), int)


SOUND = [
    ("IMAGE_MIN_DIM", 1000),  # larger than IMAGE_MAX_DIM: capped when resizing
    ("IMAGE_MIN_DIM", 0),
    ("IMAGE_MIN_DIM", None),
    ("STEPS_PER_EPOCH", 12.5),
    ("VALIDATION_STEPS", 0),
    ("DETECTION_MIN_CONFIDENCE", 0),
    ("DETECTION_MIN_CONFIDENCE", 1),
    ("TRAIN_BN", None),
    ("MEAN_PIXEL", [1, 2, 3]),
    ("MEAN_PIXEL", 127.5),
    ("NUM_CLASSES", np.int64(5)),
    ("BACKBONE", "squeezenet"),
    ("PRECISION", "bfloat16"),
    ("MINI_MASK_SHAPE", [28, 20]),
    ("RPN_ANCHOR_SCALES", np.array([8, 16, 32, 64, 128])),
    ("LOSS_WEIGHTS", {"mrcnn_mask_loss": 2}),
    ("TRAIN_ROIS_PER_IMAGE", 4),
    ("BACKBONE_STRIDES", (4, 8, 16, 32, 64)),
    ("DETECTION_MAX_INSTANCES", 5000),  # more than there are proposals
    ("IMAGE_SHAPE", [128, 320, 3]),
    ("IMAGE_SHAPE", (128, 320, 3)),
    ("IMAGE_SHAPE", np.array([128, 320, 3])),
    ("RPN_ANCHOR_SCALES", (32, 64, 128)),
    ("RPN_ANCHOR_SCALES", [8, 16, 32, 64]),
    ("RPN_ANCHOR_RATIOS", (0.5, 1, 2)),
    ("RPN_ANCHOR_RATIOS", np.array([0.5, 1, 2], np.float32)),
    ("RPN_BBOX_STD_DEV", (0.1, 0.1, 0.2, 0.2)),
    ("MASK_SHAPE", (28, 28)),
    ("MASK_SHAPE", np.array([28, 28])),
    ("MEAN_PIXEL", (1, 2, 3)),
    ("MEAN_PIXEL", np.float32(127.5)),
    ("MEAN_PIXEL", np.array(127.5)),
    ("LEARNING_RATE", np.float32(0.01)),
    ("DETECTION_MIN_CONFIDENCE", np.float16(0.5)),
    ("TRAIN_BN", np.False_),
    ("USE_MINI_MASK", np.True_),
    ("USE_MINI_MASK", 0),
    ("BACKBONE", np.str_("resnet50")),
]


@pytest.mark.parametrize(("name", "value"), SOUND, ids=lambda value: str(value)[:30])
def test_sound_values_pass(name, value):
    config = ThreeClasses()
    setattr(config, name, value)
    config.validate()


WRONG = [
    ("NAME", 5, "string"),
    ("NAME", "ships/large", "without slashes"),
    ("NUM_CLASSES", 1, "at least 2"),
    ("NUM_CLASSES", 3.0, "whole number"),
    ("NUM_CLASSES", True, "whole number"),
    ("GPU_COUNT", 0, "at least 1"),
    ("IMAGES_PER_GPU", 0, "at least 1"),
    ("IMAGES_PER_GPU", None, "at least 1"),
    ("BATCH_SIZE", 0, "at least 1"),
    ("STEPS_PER_EPOCH", 0, "above 0"),
    ("BACKBONE", "vgg", "'squeezenet', 'nanodet', 'nanodet_pan', 'efficientnet_lite0', a network"),
    ("BACKBONE", "resnet18", "or a function; nearest are 'resnet101', 'resnet50'"),
    ("BACKBONE", "MobileNetV2", "or a function; nearest are 'mobilenet_v2', 'mobilenet'"),
    ("BACKBONE", "nanodet" * 1000, "or a function."),
    ("BACKBONE_STRIDES", [4, 8, 16, 32], "must have 5 values"),
    ("BACKBONE_STRIDES", [8, 16, 32, 64, 128], "must be [4, 8, 16, 32, 64] with BACKBONE"),
    ("RPN_TRAIN_ANCHORS_PER_IMAGE", 1, "at least 2"),
    ("TRAIN_ROIS_PER_IMAGE", 3, "at least 1 after multiplication by ROI_POSITIVE_RATIO = 0.33"),
    ("RPN_ANCHOR_SCALES", (1, 2, 3, 4, 5, 6), "at most 5 values, one for each of BACKBONE_STRIDES"),
    ("RPN_ANCHOR_SCALES", ((8, 16), (32, 64), 1, 2, 3), "sequence of up to 100 numbers"),
    ("RPN_ANCHOR_RATIOS", [], "sequence of up to 100 numbers above 0"),
    ("RPN_ANCHOR_RATIOS", [0.5, -1], "sequence of up to 100 numbers above 0"),
    ("RPN_ANCHOR_STRIDE", 0, "at least 1"),
    ("RPN_CHANNELS", 0, "at least 1"),
    ("MASK_CHANNELS", 25.6, "whole number"),
    ("CANONICAL_BOX_SIZE", 0, "above 0"),
    ("RPN_NMS_THRESHOLD", 1.5, "between 0 and 1"),
    ("DETECTION_MIN_CONFIDENCE", -0.1, "between 0 and 1"),
    ("DETECTION_MIN_CONFIDENCE", float("nan"), "between 0 and 1"),
    ("DETECTION_NMS_THRESHOLD", "0.3", "between 0 and 1"),
    ("ROI_POSITIVE_RATIO", 0, "above 0"),
    ("IMAGE_RESIZE_MODE", "squre", "'none', 'square', 'pad64', 'crop'"),
    ("IMAGE_MAX_DIM", 300, "multiple of 64"),
    ("IMAGE_MAX_DIM", None, "multiple of 64"),
    ("IMAGE_SHAPE", [100, 320, 3], "multiples of 64"),
    ("IMAGE_SHAPE", [320, 320], "height, width"),
    ("IMAGE_CHANNEL_COUNT", 0, "at least 1"),
    ("MEAN_PIXEL", [1.0, 2.0, 3.0, 4.0], "each of the IMAGE_CHANNEL_COUNT = 3"),
    ("MINI_MASK_SHAPE", (56,), "height, width"),
    ("MINI_MASK_SHAPE", (56, 0), "height, width"),
    ("MASK_SHAPE", [56, 56], "[28, 28], twice MASK_POOL_SIZE = 14"),
    ("RPN_BBOX_STD_DEV", np.array([0.1, 0.1, 0.2]), "four numbers"),
    ("BBOX_STD_DEV", [0.1, 0.1, 0.2, 0], "four numbers"),
    ("LEARNING_RATE", -1e-3, "at least 0"),
    ("LEARNING_MOMENTUM", 1, "below 1"),
    ("GRADIENT_CLIP_NORM", 0, "above 0"),
    ("PARTIAL_LABELS", "yes", "True or False"),
    ("CLASS_AGNOSTIC_MASK", None, "True or False"),
    ("JOINT_SCORES", "yes", "True or False"),
    ("MASK_SCORES", 1.5, "True or False"),
    ("MASK_ROIS_PER_IMAGE", 0, "at least 1 and at most 1000000, or be None"),
    ("ACCUMULATE_STEPS", 0, "whole number of at least 1"),
    ("LOSS_WEIGHTS", {"rpn_class_loss": -1}, "numbers of at least 0"),
    ("TRAIN_BN", "no", "None, False, True"),
    ("TRAIN_BN", 0, "None, False, True"),
    ("NAME", "..", "string"),
    ("NAME", "a\x1b[2J", "control characters"),
    ("NAME", "x" * 101, "at most 100 bytes"),
    ("TOP_DOWN_PYRAMID_SIZE", 10**9, "at most 4096"),
    ("MASK_CHANNELS", 10**400, "at most 4096"),
    ("IMAGE_MAX_DIM", 2**40, "at most 16384"),
    ("IMAGE_SHAPE", [2**40, 2**40, 3], "at most 16384"),
    ("IMAGE_META_SIZE", 10**12, "at most 2000000"),
    ("LEARNING_RATE", 10**400, "at least 0"),
    ("USE_MINI_MASK", "no", "True or False"),
    ("BACKBONE", ["resnet50"], "or a function"),
    ("MEAN_PIXEL", [[1, 2], [3]], "each of the IMAGE_CHANNEL_COUNT = 3"),
    ("PRECISION", "float64", "'float32', 'bfloat16', 'float16'"),
]


@pytest.mark.parametrize(
    ("name", "value", "rule"), WRONG, ids=lambda value: str(value).replace(" ", "")[:30]
)
def test_wrong_values_are_named_with_their_rule(name, value, rule):
    config = ThreeClasses()
    setattr(config, name, value)
    with pytest.raises(ValueError) as error:
        config.validate()
    (line,) = [line for line in str(error.value).split("\n") if line.startswith(f"  {name} is ")]
    assert repr(value).replace("\x1b", "\\x1b")[:200] in line
    assert rule in line
    assert "ThreeClasses" in str(error.value)


def test_weight_of_a_loss_that_does_not_exist():
    config = ThreeClasses()
    config.LOSS_WEIGHTS = {"mrcnn_masks_loss": 2.0, "rpn_class_loss": 1.0}
    with pytest.warns(UserWarning, match=r"\['mrcnn_masks_loss'\].*mrcnn_mask_loss"):
        config.validate()


def test_keras_applications_need_color():
    config = Config()
    config.NUM_CLASSES, config.BACKBONE, config.IMAGE_CHANNEL_COUNT = 2, "mobilenet_v2", 4
    config.MEAN_PIXEL = [0.0] * 4
    with pytest.raises(
        ValueError, match="IMAGE_CHANNEL_COUNT is 4; it must be 3 with BACKBONE 'mo"
    ):
        config.validate()
    config.IMAGE_CHANNEL_COUNT, config.MEAN_PIXEL = 3, [0.0] * 3
    config.validate()


def test_joint_scores_need_those_of_the_rpn():
    config = ThreeClasses()
    config.JOINT_SCORES, config.USE_RPN = True, False
    with pytest.raises(ValueError, match="JOINT_SCORES is True; it must be False where USE_RPN"):
        config.validate()


def test_the_scores_of_masks_are_left_out_without_masks():
    config = ThreeClasses()
    config.MASK_SCORES, config.USE_MASK = True, False
    config.validate()


def test_strides_are_free_with_a_backbone_function():
    config = ThreeClasses()
    config.BACKBONE = config.COMPUTE_BACKBONE_SHAPE = shape_function
    config.BACKBONE_STRIDES = [8, 16, 32, 64, 128]
    config.validate()


def test_all_problems_are_told_at_once():
    config = ThreeClasses()
    config.NUM_CLASSES, config.IMAGE_MAX_DIM = 0, 1000
    with pytest.raises(ValueError, match=r"(?s)NUM_CLASSES is 0;.*IMAGE_MAX_DIM is 1000;"):
        config.validate()


@pytest.mark.parametrize("mode", ["pad64", "crop"])
def test_min_dim_must_be_a_multiple_of_64_where_it_makes_the_size(mode):
    config = ThreeClasses()
    config.IMAGE_RESIZE_MODE = mode
    config.validate()
    config.IMAGE_MIN_DIM = 200
    with pytest.raises(ValueError, match=f"IMAGE_MIN_DIM is 200; .*64 .*'{mode}'"):
        config.validate()


@pytest.mark.parametrize("mode", ["pad64", "none"])
def test_max_dim_is_free_where_it_is_not_used(mode):
    config = ThreeClasses()
    config.IMAGE_RESIZE_MODE, config.IMAGE_MAX_DIM = mode, 1000
    config.validate()


def test_a_network_of_too_many_parameters():
    config = ThreeClasses()
    config.TOP_DOWN_PYRAMID_SIZE, config.FPN_CLASSIF_FC_LAYERS_SIZE = 2048, 4096
    config.validate()
    config.POOL_SIZE = 14
    with pytest.raises(ValueError, match=r"is about 1\.8e\+09; it must be at most 1\.1e\+09"):
        config.validate()


@pytest.mark.parametrize("make", [list, tuple, np.array])
def test_image_shape_assigned_for_n_channels(make):
    """Matterport's network takes its channels from IMAGE_SHAPE."""

    class Depth(ThreeClasses):
        MEAN_PIXEL = np.array([1.0, 2.0, 3.0, 4.0])

        def __init__(self):
            super().__init__()
            self.IMAGE_SHAPE = make([256, 256, 4])

    config = Depth()
    config.validate()
    assert config.IMAGE_CHANNEL_COUNT == 4
    assert json.loads(json.dumps(config.to_dict()))["IMAGE_CHANNEL_COUNT"] == 4
    twin = Config.from_dict(config.to_dict())
    twin.validate()
    assert (twin.IMAGE_CHANNEL_COUNT, list(twin.IMAGE_SHAPE)) == (4, [256, 256, 4])
    config.MEAN_PIXEL = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="each of the IMAGE_CHANNEL_COUNT = 4 channels"):
        config.validate()


def test_image_shape_and_channel_count_that_disagree():
    config = ThreeClasses()
    config.IMAGE_CHANNEL_COUNT, config.IMAGE_SHAPE = 3, [256, 256, 4]
    with pytest.raises(ValueError, match=r"IMAGE_SHAPE is \[256, 256, 4\]; it must be"):
        config.validate()


def test_channels_of_an_image_shape_in_a_class_body():
    with pytest.warns(UserWarning, match="only sets IMAGE_CHANNEL_COUNT = 4") as warned:

        class Depth(Config):
            IMAGE_SHAPE = np.array([512, 512, 4])
            NUM_CLASSES = 2
            MEAN_PIXEL = np.array([1.0, 2.0, 3.0, 4.0])

    assert warned[0].filename == __file__
    assert Depth().IMAGE_SHAPE.tolist() == [1024, 1024, 4]
    Depth().validate()


def test_grayscale_images_need_one_mean():
    config = ThreeClasses()
    config.IMAGE_CHANNEL_COUNT = 1
    with pytest.raises(ValueError, match="MEAN_PIXEL"):
        config.validate()
    config.MEAN_PIXEL = np.array([114.0])
    config.validate()


def test_mask_shape_follows_pool_size():
    config = ThreeClasses()
    config.MASK_POOL_SIZE = 7
    with pytest.raises(ValueError, match=r"MASK_SHAPE is \[28, 28\]; it must be \[14, 14\]"):
        config.validate()
    config.MASK_SHAPE = (14, 14)
    config.validate()


def test_backbone_function_needs_shape_function():
    config = ThreeClasses()
    config.BACKBONE = lambda image, stage5, train_bn: None
    with pytest.raises(ValueError, match="COMPUTE_BACKBONE_SHAPE is None;"):
        config.validate()
    config.COMPUTE_BACKBONE_SHAPE = shape_function
    config.validate()


def test_round_trip_through_json():
    config = ThreeClasses()
    config.BATCH_SIZE = 7
    config.EXTRA = {"a": (1, np.float32(0.5))}
    values = json.loads(json.dumps(config.to_dict()))
    assert values["IMAGE_SHAPE"] == [320, 320, 3]
    assert values["MINI_MASK_SHAPE"] == [56, 56]
    assert values["EXTRA"] == {"a": [1, 0.5]}
    twin = Config.from_dict(values)
    assert type(twin) is Config
    assert twin.to_dict() == values
    assert twin.MINI_MASK_SHAPE == (56, 56)
    assert isinstance(twin.MEAN_PIXEL, np.ndarray) and isinstance(twin.MASK_SHAPE, list)
    assert twin.BATCH_SIZE == 7
    # Only what differed was pinned: the rest still follows.
    twin.NUM_CLASSES = 5
    assert twin.IMAGE_META_SIZE == 17


def test_from_dict_with_a_few_values_keeps_defaults():
    config = Config.from_dict({"NUM_CLASSES": 4, "IMAGE_MAX_DIM": 128})
    assert config.IMAGE_SHAPE.tolist() == [128, 128, 3] and config.IMAGE_META_SIZE == 16
    assert config.POOL_SIZE == 7


@pytest.mark.parametrize("value", [None, "x", b"x", {}, {"a": 1}, True, 7, [1, "x"], [[1], [2, 3]]])
@pytest.mark.parametrize("name", ["BATCH_SIZE", "IMAGE_META_SIZE"])
def test_from_dict_keeps_a_derived_setting_of_any_type(name, value):
    assert getattr(Config.from_dict({name: value, "GPU_COUNT": 2}), name) == value


def test_from_dict_of_a_subclass():
    config = ThreeClasses.from_dict({"IMAGES_PER_GPU": 1})
    assert type(config) is ThreeClasses
    assert (config.BATCH_SIZE, config.NUM_CLASSES) == (1, 3)


def test_from_dict_names_the_setting_that_was_probably_meant():
    with pytest.warns(UserWarning, match="RPN_CHANNEL is not a setting.*RPN_CHANNELS is one") as w:
        config = Config.from_dict({"RPN_CHANNEL": 64, "MY_OWN": 1})
    assert (len(w), w[0].filename) == (1, __file__)
    assert (config.RPN_CHANNEL, config.MY_OWN, config.RPN_CHANNELS) == (64, 1, 512)


@pytest.mark.parametrize("name", ["display", "_x", "__class__", 3])
def test_from_dict_refuses_what_is_no_setting(name):
    with pytest.raises(ValueError, match="not the name of a setting"):
        Config.from_dict({name: 1})


def test_to_dict_stores_the_name_of_a_function():
    config = ThreeClasses()
    config.BACKBONE = config.COMPUTE_BACKBONE_SHAPE = shape_function
    values = config.to_dict()
    assert values["BACKBONE"] == values["COMPUTE_BACKBONE_SHAPE"] == "shape_function"


def test_import_is_light():
    code = (
        "import sys, mrcnn, mrcnn.config, mrcnn.utils;"
        "heavy = {'tensorflow', 'keras', 'torch', 'jax', 'skimage', 'matplotlib', 'imgaug'};"
        "found = heavy & set(sys.modules); assert not found, found;"
        "assert mrcnn.Config is mrcnn.config.Config; print(mrcnn.__version__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "3.1.0\n"
