"""All models by name, and building one of them."""

from __future__ import annotations

import copy
import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mrcnn.config import MODEL_SETTINGS
from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.config import Config

# The model of every file and command that names none.
DEFAULT = "mask_rcnn"
_SEMANTIC_CONFIG = "mrcnn.family.semantic.config:SemanticConfig"


@dataclass(frozen=True)
class Model:
    """An entry of `MODELS`.

    Attributes:
        name: what users write.
        title: its name in text.
        family: models of one family have the same options: "rcnn", "mask_rcnn" (also Fast and
            Faster R-CNN), "semantic", "yolo".
        finds: "masks" (instances with masks), "boxes" (instances without), or "labels" (a class for
            every pixel).
        home: "module:Class" of its Python class.
        config_home: "module:Class" of its settings.
        weights: what a training starts from where nothing is said: "none" for random values.
        changes: settings that make the model of the usual ones.
        is_trained: False for one that takes ImageNet's values and classes as they are.
    """

    name: str
    title: str
    family: str
    finds: Literal["masks", "boxes", "labels"]
    home: str
    config_home: str
    weights: str = "none"
    changes: Mapping[str, Any] = field(default_factory=dict)
    is_trained: bool = True

    @property
    def measured_confidence(self) -> float:
        """The lowest score of detections that AP is measured on.

        All for Mask R-CNN. YOLO gives each of its boxes a score for each class, most of them near
        0; Darknet measures from 0.005.
        """
        return 0.005 if self.family == "yolo" else 0.0

    def load_class(self) -> Any:
        """Import and return the Python class."""
        return _load(self.home)

    def load_settings(self) -> tuple[str, ...]:
        """Return the names of the settings that its weight files hold."""
        return _load(f"{self.config_home.partition(':')[0]}:SETTINGS")

    def make_config(self) -> Config:
        """Return the default settings."""
        config = _load(self.config_home)()
        self.change(config)
        return config

    def make_new_config(self) -> Config:
        """Return the default settings of a new network: a YOLO has the published image side."""
        config = self.make_config()
        if self.family == "yolo":
            from mrcnn.family.yolo.descriptions import find_network

            config.IMAGE_MAX_DIM = find_network(self.name).image_size
        return config

    def change(self, config: Config) -> None:
        """Change settings to those of this model."""
        for name, value in self.changes.items():
            setattr(config, name, value)


def _mask_rcnn(
    name: str, title: str, finds: Literal["masks", "boxes"], weights: str = "small"
) -> Model:
    home, config = "mrcnn.model:MaskRCNN", "mrcnn.config:Config"
    return Model(name, title, DEFAULT, finds, home, config, weights, MODEL_SETTINGS[name])


def _semantic(name: str, title: str, weights: str) -> Model:
    home, config = "mrcnn.family.semantic.model:SemanticModel", _SEMANTIC_CONFIG
    return Model(name, title, "semantic", "labels", home, config, weights)


def _yolo(name: str, title: str) -> Model:
    home = "mrcnn.family.yolo.model:Yolo"
    return Model(name, title, "yolo", "boxes", home, "mrcnn.family.yolo.config:YoloConfig")


# The models by name.
MODELS = {
    model.name: model
    for model in (
        Model(
            *("rcnn", "R-CNN", "rcnn", "boxes", "mrcnn.family.rcnn.model:RCNN"),
            *("mrcnn.family.rcnn.settings:RCNNConfig", "imagenet"),
        ),
        Model(
            *("region_classifier", "Region classifier", "rcnn", "boxes"),
            *("mrcnn.family.rcnn.classifier:RegionClassifier",),
            *("mrcnn.family.rcnn.settings:RCNNConfig", "imagenet"),
            {"NUM_CLASSES": 1001, "DETECTION_MIN_CONFIDENCE": 0.9},
            is_trained=False,
        ),
        # Its one level has not the features that the class head of the small model reads.
        _mask_rcnn("fast_rcnn", "Fast R-CNN", "boxes", "coco"),
        _mask_rcnn("faster_rcnn", "Faster R-CNN", "boxes"),
        _mask_rcnn(DEFAULT, "Mask R-CNN", "masks"),
        _semantic("fcn32s", "FCN-32s", "imagenet"),
        _semantic("fcn16s", "FCN-16s", "imagenet"),
        _semantic("fcn8s", "FCN-8s", "imagenet"),
        _semantic("segnet", "SegNet", "imagenet"),
        _semantic("unet", "U-Net", "none"),
        _yolo("yolov1", "YOLOv1"),
        _yolo("yolov2", "YOLOv2"),
        _yolo("yolov3", "YOLOv3"),
        _yolo("yolov3-tiny", "YOLOv3-tiny"),
    )
}


def find_model(name: str) -> Model:
    """Return the entry of a name.

    Args:
        name: one of `MODELS`; case, "_" and "-" do not matter.

    Raises:
        ValueError: there is no such model; the message names the nearest.
    """
    plain = _plain(name)
    for model in MODELS.values():
        if _plain(model.name) == plain:
            return model
    names = {_plain(known): known for known in MODELS}
    near = difflib.get_close_matches(plain, names, n=1, cutoff=0.5)
    hint = f"; did you mean {names[near[0]]}?" if near else ""
    raise ValueError(f"model is {printable(name)!r}; it must be one of {', '.join(MODELS)}{hint}")


def build(
    name: str,
    config: Config | None = None,
    class_names: Sequence[str] | None = None,
    model_dir: str | None = None,
) -> Any:
    """Build a model with random values.

    Args:
        name: one of `MODELS`.
        config: its settings; None takes the defaults of the model.
        class_names: names by class id, the background first; of a semantic network by the numbers
            of its label maps.
        model_dir: folder that receives a log folder for each training; None for none.

    Returns:
        A `MaskRCNN` of mode "training", a `SemanticModel`, a `Yolo`, an `RCNN`, or a
        `RegionClassifier`, whose class names are ImageNet's.

    Raises:
        ValueError: there is no such model, or a setting does not suit it.

    Example:
        model = build("unet", class_names=["background", "cell"])
        model.train(train_set, val_set, epochs=20)
    """
    model = find_model(name)
    if model.family == DEFAULT:
        config = model.make_config() if config is None else copy.copy(config)
        model.change(config)
        if class_names is not None:
            config.NUM_CLASSES = len(class_names)
        built = model.load_class()("training", config, model_dir or "logs")
        built.class_names = None if class_names is None else list(class_names)
        return built
    if not model.is_trained:
        return model.load_class()(model.make_config() if config is None else config)
    if config is None and class_names is not None:
        config = model.make_new_config()
        config.NUM_CLASSES = len(class_names)
    if model.family == "rcnn":  # whose training has no epochs, and so no log folder
        return model.load_class()(config, class_names)
    return model.load_class()(model.name, config, class_names, model_dir=model_dir)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _load(home: str) -> Any:
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)
