"""Selection of the layers to train: Matterport's patterns, and the walk that applies them."""

from __future__ import annotations

import re

import keras

from mrcnn.config_rules import APPLICATIONS, application_mark

# From a stage of the backbone up. After Matterport's names follow those of the stages of
# SqueezeNet, NanoDet, whose own neck and head (nano_pan3) come after them, and EfficientNet-Lite.
LAYER_PATTERNS = {
    "heads": r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)|(fire1[01]\_.*)",
    "roi_heads": r"mrcnn\_.*",
    "3+": r"(res3.*)|(bn3.*)|(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(fire[4-9]\_.*)|(fire1[01]\_.*)"
    r"|(nano[3-5]?\_.*)|(lite[3-5]\_.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "4+": r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(fire[6-9]\_.*)|(fire1[01]\_.*)"
    r"|(nano[45]?\_.*)|(lite[45]\_.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "5+": r"(res5.*)|(bn5.*)|(fire1[01]\_.*)|(nano5?\_.*)|(lite5\_.*)"
    r"|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "all": ".*",
}

# The last stage that each keeps as it is.
_FROZEN_STAGES = {"3+": 2, "4+": 3, "5+": 4}


def layer_regex(layers: str) -> re.Pattern[str]:
    """Return the regular expression of a name of layers, or of a regular expression.

    SqueezeNet's last stage (fire10, fire11) has no ImageNet weights and so counts as a head. The
    stages of backbones from keras.applications have no names in common; `set_trainable` finds
    their layers itself.

    Args:
        layers: `heads`, `roi_heads`, `3+`, `4+`, `5+`, `all`, or a regular expression over layer
            names.

    Raises:
        ValueError: it is no valid regular expression.
    """
    try:
        return re.compile(LAYER_PATTERNS.get(layers, layers))
    except (re.error, TypeError) as error:
        raise ValueError(
            f"layers is {layers!r}; it must be one of {sorted(LAYER_PATTERNS)} or a regular "
            f"expression over layer names ({error})"
        ) from error


def layers_with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    """Return all layers that hold weights, those of nested models (the RPN) included, in order."""
    found: list[keras.layers.Layer] = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found.extend(layers_with_weights(layer))
        elif layer.weights:
            found.append(layer)
    return found


def set_trainable(model: keras.Model, layers: str) -> list[str]:
    """Make the layers whose whole name matches trainable, and freeze the others.

    Args:
        model: a Keras model.
        layers: name or regular expression, see `layer_regex`.

    Returns:
        The names of the trainable layers.

    Raises:
        ValueError: no layer matches; nothing is changed then.
    """
    regex = layer_regex(layers)
    candidates = layers_with_weights(model)
    unnamed = _application_layers(model, layers) if layers in _FROZEN_STAGES else set()
    selected = [
        layer.name for layer in candidates if regex.fullmatch(layer.name) or layer.name in unnamed
    ]
    if not selected:
        some = ", ".join(layer.name for layer in candidates[:8])
        raise ValueError(
            f"layers is {layers!r}, which matches none of the model's {len(candidates)} layers "
            f"with weights ({some}, ...)"
        )
    for layer in candidates:
        layer.trainable = layer.name in selected
    return selected


def _application_layers(model: keras.Model, layers: str) -> set[str]:
    """Return the backbone's layers after a stage; none unless it is of keras.applications."""
    names = {layer.name for layer in model.layers}
    if not any(application_mark(name) in names for name in APPLICATIONS):
        return set()

    def until(stage: int) -> set[str]:
        features = model.get_layer(f"fpn_c{stage}p{stage}").input
        return {layer.name for layer in keras.Model(model.inputs[0], features).layers}

    return until(5) - until(_FROZEN_STAGES[layers])
