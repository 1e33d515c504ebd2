"""Settings of a Mask R-CNN: every value the model, its training and its data depend on.

Subclass `Config` and override what differs:

    class BalloonConfig(Config):
        NAME = "balloon"
        NUM_CLASSES = 1 + 1  # background + balloon
        IMAGES_PER_GPU = 2

Names, defaults and derived values are those of Matterport's package; `PRECISION`,
`RPN_CHANNELS`, `MASK_CHANNELS`, `CANONICAL_BOX_SIZE`, `MASK_ROIS_PER_IMAGE`, `PARTIAL_LABELS`,
`CLASS_AGNOSTIC_MASK`, `JOINT_SCORES`, `MASK_SCORES`, `ACCUMULATE_STEPS`, `USE_RPN`, `USE_MASK`,
`ROI_POOLING` and `ROI_LEVEL` are ours. With the last four the same graph is Fast R-CNN or Faster
R-CNN, see `MODEL_SETTINGS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from mrcnn.config_rules import LOSS_NAMES, find_problems
from mrcnn.config_rules import SIDE_MULTIPLE as SIDE_MULTIPLE
from mrcnn.files.names import printable
from mrcnn.geometry.image_meta import image_meta_size
from mrcnn.startup.caller import warn_caller


class _Derived:
    """A setting computed from others each time it is read.

    It defines no `__set__`, so a value assigned on an instance hides it.
    """

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self.compute(owner if instance is None else instance)


class _ChannelCount:
    """IMAGE_CHANNEL_COUNT as long as it is not set: that of an IMAGE_SHAPE set explicitly, else 3.

    Matterport's package takes the channels of the network from IMAGE_SHAPE, so scripts for images
    of N channels assign that alone.
    """

    def __get__(self, instance: Any, owner: type) -> Any:
        shape = None if instance is None else instance.__dict__.get("IMAGE_SHAPE")
        if isinstance(shape, list | tuple | np.ndarray) and len(shape) == 3:
            return shape[2].item() if isinstance(shape[2], np.generic) else shape[2]
        return 3


class Config:
    """All settings, as class attributes to be overridden in a subclass or on an instance.

    `BATCH_SIZE`, `IMAGE_SHAPE` and `IMAGE_META_SIZE` are derived: they follow the
    settings they come from, also when those change after construction, unless assigned
    directly on the instance. `Config.__init__` drops such assignments, so in a subclass
    assign them after `super().__init__()`.

    Example:
        >>> class SmallConfig(Config):
        ...     NAME = "small"
        ...     NUM_CLASSES = 4
        ...     IMAGE_MAX_DIM = 256
        >>> config = SmallConfig()
        >>> config.IMAGE_SHAPE.tolist(), config.IMAGE_META_SIZE
        ([256, 256, 3], 16)
    """

    # --- Experiment -----------------------------------------------------------------
    # Name of the experiment; part of the name of the log folder. Set it in a subclass.
    NAME: str | None = None

    # --- Hardware and steps -----------------------------------------------------------
    # Devices trained on together. 1 for a CPU. If there are fewer, a warning is issued, and
    # those that exist share the same BATCH_SIZE.
    GPU_COUNT = 1
    # Images on one device per step. A 12 GB GPU holds about two of 1024x1024.
    IMAGES_PER_GPU = 2
    # Training steps per epoch. Checkpoints and validation come at the end of an epoch.
    STEPS_PER_EPOCH = 1000
    # Validation steps at the end of every epoch.
    VALIDATION_STEPS = 50

    # --- Backbone and pyramid -----------------------------------------------------------
    # "resnet50", "resnet101", or ours: "squeezenet", "nanodet", "nanodet_pan" and
    # "efficientnet_lite0" (small and fast), a network of keras.applications such as
    # "mobilenet_v2", or a function (input_image, stage5, train_bn) -> [C1, C2, C3, C4, C5].
    BACKBONE: Any = "resnet101"
    # Needed with a BACKBONE function: image_shape -> [levels, (height, width)] of P2 .. P6.
    COMPUTE_BACKBONE_SHAPE: Any = None
    # Pixels of the image a cell of each pyramid level covers.
    BACKBONE_STRIDES = [4, 8, 16, 32, 64]  # noqa: RUF012
    # Units of the fully connected layers of the class and box head.
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024
    # Channels of every pyramid level.
    TOP_DOWN_PYRAMID_SIZE = 256

    # Ours: widths that Matterport's package fixes, the RPN's shared convolution and the
    # convolutions of the mask head. Smaller ones suit small backbones.
    RPN_CHANNELS = 512
    MASK_CHANNELS = 256

    # Ours: side in pixels of the boxes whose features come from the middle of P4; twice as large
    # ones are cut from P5, half as large ones from P3. Raise it for finer features.
    CANONICAL_BOX_SIZE = 224

    # Ours: the parts that make Mask R-CNN of Fast R-CNN. Without the RPN, boxes come from outside:
    # `Dataset.load_proposals` in training, `detect(images, proposals=...)`. Without the mask head,
    # `detect` returns boxes alone, and masks of the dataset serve for their boxes.
    USE_RPN = True
    USE_MASK = True
    # Ours: how the features of a box are pooled. "align": RoIAlign (Mask R-CNN). "max": RoIPool
    # (Fast and Faster R-CNN), the maximum of the cells in each bin; it needs ROI_LEVEL.
    ROI_POOLING = "align"
    # Ours: the pyramid level that all boxes are pooled from, 2 to 5; 4 has a stride of 16 pixels,
    # the one map of Fast R-CNN. None: the level that suits the size of each box.
    ROI_LEVEL: int | None = None

    # --- Classes ------------------------------------------------------------------------
    # Number of classes, the background (class 0) included.
    NUM_CLASSES = 1

    # --- Region proposal network ------------------------------------------------------------
    # Side of a square anchor in pixels, one for each pyramid level from P2 on. Levels beyond the
    # last scale have no anchors.
    RPN_ANCHOR_SCALES = (32, 64, 128, 256, 512)
    # Width / height of the anchors at each cell. 1 is a square, 0.5 a tall box.
    RPN_ANCHOR_RATIOS = [0.5, 1, 2]  # noqa: RUF012
    # 1: anchors at every cell, 2: at every second one, and so on.
    RPN_ANCHOR_STRIDE = 1
    # Proposals that overlap a better one by more than this IoU are dropped.
    RPN_NMS_THRESHOLD = 0.7
    # Anchors of an image that count in the RPN losses.
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256
    # Best scoring anchors kept before non-maximum suppression ...
    PRE_NMS_LIMIT = 6000
    # ... and proposals kept after it. Without RPN, the first is the largest number of proposals of
    # an image that are trained on.
    POST_NMS_ROIS_TRAINING = 2000
    POST_NMS_ROIS_INFERENCE = 1000

    # --- Masks of the ground truth ---------------------------------------------------------
    # Store each mask cropped to its box at MINI_MASK_SHAPE (height, width): saves memory.
    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)

    # --- Images ---------------------------------------------------------------------------
    # How images get their size; see mrcnn.geometry.images.resize_image.
    # "square": scale, then pad with zeros to [IMAGE_MAX_DIM, IMAGE_MAX_DIM].
    # "pad64":  scale by IMAGE_MIN_DIM and IMAGE_MIN_SCALE, pad to multiples of 64.
    # "crop":   scale likewise, then a random crop of [IMAGE_MIN_DIM, IMAGE_MIN_DIM].
    # "none":   neither scaled nor padded.
    IMAGE_RESIZE_MODE = "square"
    # Pixels. The shorter side is scaled up to IMAGE_MIN_DIM as far as the longer one
    # stays within IMAGE_MAX_DIM.
    IMAGE_MIN_DIM = 800
    IMAGE_MAX_DIM = 1024
    # Lower bound of the up-scaling factor; 0 for none. 2 doubles every image.
    IMAGE_MIN_SCALE = 0
    # Channels: 1 grayscale, 3 RGB, 4 RGB and depth. Needs a MEAN_PIXEL of the same length.
    # 3, unless IMAGE_SHAPE is assigned on the instance: then the channels of that.
    IMAGE_CHANNEL_COUNT: Any = _ChannelCount()
    # Mean of each channel (RGB), subtracted from the image.
    MEAN_PIXEL = np.array([123.7, 116.8, 103.9])

    # --- Heads ----------------------------------------------------------------------------
    # ROIs of an image given to the heads in training; the paper takes 512. Too many
    # leave too few positives among the proposals to keep ROI_POSITIVE_RATIO.
    TRAIN_ROIS_PER_IMAGE = 200
    # Share of positives among them.
    ROI_POSITIVE_RATIO = 0.33
    # Ours: ROIs of an image that go through the mask head in training, positives first. None:
    # as many as can be positive, or all of them when batch normalization is trained (TRAIN_BN
    # is not False), whose statistics Matterport's package takes over all. A third of all then
    # learns faster: in detection the head sees objects only.
    MASK_ROIS_PER_IMAGE: int | None = None
    # Side of the pooled feature map: class and box head, mask head.
    POOL_SIZE = 7
    MASK_POOL_SIZE = 14
    # Height and width of a predicted mask: twice MASK_POOL_SIZE.
    MASK_SHAPE = [28, 28]  # noqa: RUF012
    # Ours: the labels are incomplete. Instances may have a weight or no mask (see
    # `Dataset.load_label_weights`), and images objects that are not annotated (`add_image` with
    # exhaustive=False). The training model then has a further input. A box with a negative class id
    # is ignored: what lies inside by half of its area is no background.
    PARTIAL_LABELS = False
    # Ours: one mask for all classes. Every class learns from every mask, which is better where a
    # class has few. The weights keep a row for each class, and all rows are equal.
    CLASS_AGNOSTIC_MASK = False
    # Ours: the score of a detection is the geometric mean of its class's probability and of the
    # RPN's probability of an object, which says how well the proposal fits.
    JOINT_SCORES = False
    # Ours: the score of a detection is multiplied by the mean probability of the cells of its mask
    # that are at least one half, which says how sure the mask is (Wang et al. 2020, SOLO). Those
    # that fall below DETECTION_MIN_CONFIDENCE are dropped. Without USE_MASK it changes nothing.
    MASK_SCORES = False
    # Largest number of ground truth instances of an image; others are left out at random.
    MAX_GT_INSTANCES = 100
    # Standard deviation of the box deltas (dy, dx, log dh, log dw): RPN and box head.
    RPN_BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])
    BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])

    # --- Detections -------------------------------------------------------------------------
    # Largest number of detections of an image.
    DETECTION_MAX_INSTANCES = 100
    # Detections that score lower are dropped.
    DETECTION_MIN_CONFIDENCE = 0.7
    # IoU above which two detections of a class count as one.
    DETECTION_NMS_THRESHOLD = 0.3

    # --- Training ---------------------------------------------------------------------------
    # Lower than the paper's 0.02, which diverges with these losses and small batches.
    LEARNING_RATE = 0.001
    LEARNING_MOMENTUM = 0.9
    # L2 penalty on weights other than batch normalization's.
    WEIGHT_DECAY = 0.0001
    # Factor of each part of the loss.
    LOSS_WEIGHTS = {  # noqa: RUF012
        "rpn_class_loss": 1.0,
        "rpn_bbox_loss": 1.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 1.0,
    }
    # False: train the heads on boxes from outside instead of the RPN's.
    USE_RPN_ROIS = True
    # Batch normalization. None: train it. False: keep its statistics (small batches).
    # True: batch statistics always, in inference as well.
    TRAIN_BN: bool | None = False
    # Upper bound of the norm of all gradients together.
    GRADIENT_CLIP_NORM = 5.0
    # Ours: batches whose gradients are averaged before the weights change, for larger batches
    # than fit into memory.
    ACCUMULATE_STEPS = 1
    # Ours. Type the layers compute in: "float32", "bfloat16" or "float16". Weights and
    # box coordinates stay in float32.
    PRECISION = "float32"

    @_Derived
    def BATCH_SIZE(self) -> int:
        """Return the number of images of a step on all devices together."""
        return self.IMAGES_PER_GPU * self.GPU_COUNT

    @_Derived
    def IMAGE_SHAPE(self) -> np.ndarray:
        """[height, width, channels] of the images after resizing."""
        side = self.IMAGE_MIN_DIM if self.IMAGE_RESIZE_MODE == "crop" else self.IMAGE_MAX_DIM
        shape = np.array([side, side, self.IMAGE_CHANNEL_COUNT])
        # Computed at each reading: a change in place would be lost silently.
        shape.flags.writeable = False
        return shape

    @_Derived
    def IMAGE_META_SIZE(self) -> int:
        """Return the length of an image_meta vector; see `mrcnn.geometry.image_meta`."""
        return image_meta_size(self.NUM_CLASSES)

    def __init__(self) -> None:
        for name in DERIVED:
            self.__dict__.pop(name, None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep derived settings derived: in Matterport's package `__init__` overwrites constants.

        The channels of a constant IMAGE_SHAPE are kept as IMAGE_CHANNEL_COUNT.
        """
        super().__init_subclass__(**kwargs)
        for name in DERIVED:
            value = cls.__dict__.get(name)
            if value is None or hasattr(value, "__get__"):
                continue
            delattr(cls, name)
            effect = "has no effect"
            if name == "IMAGE_SHAPE" and cls._takes_channels(value):
                cls.IMAGE_CHANNEL_COUNT = int(value[2])
                effect = f"only sets IMAGE_CHANNEL_COUNT = {int(value[2])}"
            warn_caller(
                f"{cls.__name__}.{name} = {value} {effect}: {name} is computed from other "
                "settings. Assign it on the instance to force a value."
            )

    @classmethod
    def _takes_channels(cls, shape: Any) -> bool:
        """Return whether only a constant IMAGE_SHAPE defines the number of channels."""
        counts = [vars(base)["IMAGE_CHANNEL_COUNT"] for base in cls.__mro__[:-1]
                  if "IMAGE_CHANNEL_COUNT" in vars(base)]  # fmt: skip
        is_default = isinstance(counts[0], _ChannelCount)
        return is_default and np.shape(shape) == (3,) and 1 <= shape[2] != 3

    def display(self) -> None:
        """Print every setting and its value."""
        print("\nConfigurations:")
        for name in dir(self):
            value = None if name.startswith("__") else getattr(self, name)
            if not name.startswith("__") and not callable(value):
                print(f"{name:30} {value}")
        print("\n")

    def validate(self) -> None:
        """Check every setting and how they fit together.

        A weight for a loss that does not exist has no effect; as Matterport's package takes it,
        there is only a warning.

        Raises:
            ValueError: settings break rules; the message names each with its value and rule.
        """
        problems = find_problems(self)
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ValueError(f"{type(self).__name__} has invalid settings:{lines}")
        unknown = [name for name in self.LOSS_WEIGHTS if name not in LOSS_NAMES]
        if unknown:
            warn_caller(
                f"LOSS_WEIGHTS has weights for {unknown}, which have no effect: no loss has these "
                f"names. The losses are {', '.join(LOSS_NAMES)}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return every setting, derived ones included, as values that `json.dump` accepts.

        Arrays and tuples become lists; a function (`BACKBONE`) becomes its name.
        """
        return {
            name: _to_json(getattr(self, name))
            for name in dir(self)
            if not name.startswith("_")
            and (name in _FUNCTION_SETTINGS or not callable(getattr(self, name)))
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Return a configuration with the given settings; the others keep their defaults.

        Lists become arrays or tuples where the default is one. Derived settings are assigned only
        where they differ from what the others give. The values are not checked; see `validate`.

        Args:
            values: setting name to value, as `to_dict` gives them. Names of no setting are kept as
                further attributes, with a warning if a setting has nearly that name.

        Raises:
            ValueError: a name is that of a method, private, or no text.
        """
        config = cls()
        for name, value in values.items():
            if not isinstance(name, str) or name.startswith("_") or name in _METHODS:
                shown = printable(name) if isinstance(name, str) else name
                raise ValueError(f"from_dict: {shown!r} is not the name of a setting.")
            if name not in DERIVED:
                setattr(config, name, _like(value, getattr(config, name, None)))
        for name in DERIVED:
            if name not in values:
                continue
            derived = _derived_value(config, name)
            if derived is None or not _is_equal(values[name], derived):
                setattr(config, name, _like(values[name], derived))
        _warn_of_similar_names([name for name in values if not hasattr(cls, name)])
        return config


# The settings that make the models of the family of this one graph, by the model's name.
MODEL_SETTINGS: dict[str, dict[str, Any]] = {
    "fast_rcnn": {
        "USE_RPN": False,
        "USE_MASK": False,
        "JOINT_SCORES": False,
        "ROI_POOLING": "max",
        "ROI_LEVEL": 4,
    },
    "faster_rcnn": {"USE_RPN": True, "USE_MASK": False},
    "mask_rcnn": {"USE_RPN": True, "USE_MASK": True},
}


def model_name(config: Config) -> str:
    """Return the name of the model that settings make, a key of `MODEL_SETTINGS`.

    Args:
        config: the settings; with a mask head it is a Mask R-CNN, whatever its boxes come from.
    """
    if config.USE_MASK:
        return "mask_rcnn"
    return "faster_rcnn" if config.USE_RPN else "fast_rcnn"


DERIVED = tuple(name for name, value in vars(Config).items() if isinstance(value, _Derived))
_METHODS = frozenset(
    name
    for name, value in vars(Config).items()
    if not name.startswith("_") and (callable(value) or isinstance(value, classmethod))
)
_FUNCTION_SETTINGS = ("BACKBONE", "COMPUTE_BACKBONE_SHAPE")


# The settings that each derived setting is computed from.
_SOURCES = {
    "BATCH_SIZE": ("IMAGES_PER_GPU", "GPU_COUNT"),
    "IMAGE_SHAPE": ("IMAGE_MIN_DIM", "IMAGE_MAX_DIM", "IMAGE_CHANNEL_COUNT"),
    "IMAGE_META_SIZE": ("NUM_CLASSES",),
}


def nearest_setting(name: str, cutoff: float = 0.8) -> str | None:
    """Return the setting whose name is closest to an unknown name; None if none is close.

    Args:
        name: the unknown name, in any case.
        cutoff: how similar it must be, 0..1, as `difflib` measures it.
    """
    settings = [known for known in vars(Config) if known.isupper()]
    near = difflib.get_close_matches(name.upper(), settings, n=1, cutoff=cutoff)
    return near[0] if near else None


def _warn_of_similar_names(names: list[str]) -> None:
    """Warn of names that are probably misspelled settings."""
    near = {name: nearest_setting(name) for name in names}
    for name, setting in near.items():
        if setting is not None:
            warn_caller(f"{printable(name)} is not a setting and has no effect; {setting} is one")


def _derived_value(config: Config, name: str) -> Any:
    """Return a derived setting; None if the values it is computed from are not numbers."""
    values = [getattr(config, source) for source in _SOURCES[name]]
    if all(value is None or isinstance(value, Real) for value in values):
        try:
            return getattr(config, name)
        except (TypeError, OverflowError):
            pass
    return None


def _to_json(value: Any) -> Any:
    """Return the value in terms of dict, list, str, int, float, bool and None."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return str(value)


def _is_equal(value: Any, derived: Any) -> bool:
    """Return whether a value is a derived number or array; values of other types are not."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of several lengths
        return False
    # np.array_equal of NumPy 2.0 fails for a single object or text.
    return array.dtype.kind in "biuf" and np.array_equal(array, derived)


def _like(value: Any, default: Any) -> Any:
    """Return a list as the sequence type of the default; other values as they are."""
    if isinstance(value, list | tuple):
        if isinstance(default, np.ndarray):
            try:
                return np.array(value)
            except ValueError:  # lists of several lengths
                return value
        if isinstance(default, tuple):
            return tuple(value)
    return value
