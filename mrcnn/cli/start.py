"""What the samples share: from the word behind `--weights` to a model.

The settings are those of the sample's own `Config`. Only the network itself follows the weights,
where these say which one they belong to: the small model has other layers than a ResNet.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.cli.train import CLASS_LAYERS, last_checkpoint
from mrcnn.cli.weights import IncompleteWeightsError, describe_weights

if TYPE_CHECKING:
    from mrcnn.config import Config

# The settings that decide which layers there are, and of what shape.
NETWORK = (
    "BACKBONE",
    "TOP_DOWN_PYRAMID_SIZE",
    "RPN_CHANNELS",
    "MASK_CHANNELS",
    "CANONICAL_BOX_SIZE",
    "FPN_CLASSIF_FC_LAYERS_SIZE",
    "POOL_SIZE",
)
# Published weights that Matterport's samples load into whatever network they have.
ANY_NETWORK = ("coco", "imagenet", "none")


def start_model(mode: str, config: Config, weights: str, logs: str) -> Any:
    """Build a model and load the weights that a sample's command line names.

    Args:
        mode: "training" or "inference".
        config: the sample's settings; those in `NETWORK` are replaced by the weights' own.
        weights: `coco`, `imagenet`, `small`, `none` (random), `last` (the newest checkpoint of
            this `NAME` in `logs`), or the path of a weight file. The layers that depend on the
            number of classes are left out where the weights have another number.
        logs: folder of trainings.

    Returns:
        A `mrcnn.model.MaskRCNN`.

    Raises:
        FileNotFoundError: there is no such file, or no checkpoint yet.
        ValueError: the weights do not fit, or are to detect and lack a part of the network.
    """
    word = str(weights).lower()
    if word == "last":
        weights = str(last_checkpoint(Path(logs), config.NAME))
    num_classes = {"coco": 81}.get(word)
    if word not in ANY_NETWORK:
        num_classes = follow_network(config, weights)
    config.display()
    from mrcnn.quiet import import_backend

    import_backend()
    from mrcnn.model import MaskRCNN

    model = MaskRCNN(mode=mode, config=config, model_dir=logs)
    if word == "none":
        return model
    print("Loading weights", weights)
    other_classes = num_classes not in (None, config.NUM_CLASSES)
    exclude = CLASS_LAYERS if other_classes else None
    report = model.load_weights(weights, by_name=True, exclude=exclude)
    if mode == "inference" and (other_classes or getattr(report, "missing_in_file", ())):
        raise ValueError(
            f"weights is {weights}, which was not trained on these {config.NUM_CLASSES} classes "
            "or lacks layers: what it detects would be noise. Train first, then use 'last'."
        )
    return model


def follow_network(config: Config, weights: str) -> int | None:
    """Give `config` the network of a weight file.

    Returns:
        The number of classes of the weights, None for a backbone alone.
    """
    try:
        described = describe_weights(weights)
    except IncompleteWeightsError as error:
        if error.info.backbone != "other":
            config.BACKBONE = error.info.backbone
        return None
    for name in NETWORK:
        setattr(config, name, getattr(described.config, name))
    return described.config.NUM_CLASSES
