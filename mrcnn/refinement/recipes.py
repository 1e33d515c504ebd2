"""Named sets of settings for the refinement: what a patch is, how it is learned and merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from mrcnn.files.names import shown
from mrcnn.value_types import has_type, is_number


@dataclass(frozen=True)
class Scale:
    """One pass of the refiner over an object, at one magnification.

    Attributes:
        object_size: the longest side of the object's box after resampling, in patch pixels;
            None keeps the image's own resolution.
        centers: "object": one patch on the middle of the box (context: the whole object).
            "boundary": patches along the boundary of the mask.
        stride: spacing of the patch centers along the boundary, in patch pixels; 1 takes every
            boundary pixel.
        max_patches: upper bound of the patches of one object, None for no bound.
        share: how often training draws this scale, relative to the others; 0 never.
    """

    object_size: int | None = None
    centers: str = "boundary"
    stride: int = 1
    max_patches: int | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.centers not in ("object", "boundary"):
            raise ValueError(f"centers is {self.centers!r}; it must be 'object' or 'boundary'.")
        if self.object_size is not None and self.object_size < 8:
            raise ValueError(f"object_size is {self.object_size}; it must be at least 8 pixels.")
        if self.centers == "object" and self.object_size is None:
            raise ValueError("object_size is None; it must be a number where centers is 'object'.")
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride}; it must be at least 1 pixel.")
        if self.max_patches is not None and self.max_patches < 1:
            raise ValueError(f"max_patches is {self.max_patches}; it must be at least 1 or None.")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training patches; every amount is a maximum, 0 switches it off.

    Attributes:
        flip: mirror left and right for half of the patches.
        rotation: degrees either way.
        zoom: log of the magnification either way (0.3: from 1/1.35 to 1.35 times).
        aspect: log of the width-to-height change either way.
        shift: share of the patch size either way.
        color: strength of the random brightness, contrast and color-mixing.
        perturb: strength of the random changes of a given probability mask.
        degrade: share of the patches whose probability is made from the true mask (coarse,
            shifted, blobs added and taken away) although a real one exists.
    """

    flip: bool = True
    rotation: float = 10.0
    zoom: float = 0.25
    aspect: float = 0.15
    shift: float = 0.08
    color: float = 0.2
    perturb: float = 0.5
    degrade: float = 0.3


@dataclass(frozen=True)
class Snap:
    """The last step: doubtful pixels are decided by GrabCut, see `mrcnn.refinement.snap`.

    Attributes:
        share: weight of GrabCut's answer in the average with the probability, 0..1.
        side: longer side of the image that GrabCut sees, in pixels, at most.
        band: pixels whose probability is within this distance of 0.5 are doubtful.
        iterations: of GrabCut.
    """

    share: float = 0.35
    side: int = 128
    band: float = 0.2
    iterations: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; it must be above 0, at most 1.")
        if self.side < 16:
            raise ValueError(f"side is {self.side}; it must be at least 16 pixels.")
        if not 0 < self.band < 0.5:
            raise ValueError(f"band is {self.band}; it must be between 0 and 0.5.")
        if self.iterations < 1:
            raise ValueError(f"iterations is {self.iterations}; it must be at least 1.")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a refiner is trained and how it refines.

    Attributes:
        name: name of the recipe.
        architecture: "unet" or "squeeze", see `mrcnn.refinement.unet`.
        patch_size: side of a patch in pixels.
        filters: filters of the network, see `build_network`.
        dropout: dropped share of the features in training.
        networks: networks trained from different seeds; their predictions are averaged.
        scales: the passes over an object, in order.
        cascade: A scale reads the result of the scale before it (else the given mask).
        passes: how often a mask is refined: each time the result of the time before is given.
        pad_value: R, G, B and probability in 0..1 outside the image.
        pad_is_boundary: the padding counts as foreground when boundary pixels are looked for.
        decay: patches are averaged with weights `exp(-r / decay)`, r pixels from the center.
        original_weight: weight of the given probability in the average.
        patch_weight: factor of the patches' weights in the average (the study: 1 / 20).
        flip: average with the prediction of the mirrored patch.
        snap: the last step, None for none.
        loss: "mse" or "bce_iou" (binary cross-entropy plus soft IoU).
        epochs: passes over the training images.
        batch_size: number of patches per training step.
        learning_rate: of Adam, at its highest.
        schedule: "constant" or "cosine" (a short warm-up, then down to 1 %).
        weight_decay: decoupled weight decay; 0 is plain Adam.
        ema: momentum of the averaged weights that are kept, 0 keeps the last ones.
        patches_per_image: patches drawn from an image (study: once; with augmentation: each
            epoch).
        fill_patches: images with fewer boundary pixels get all-zero patches for the rest.
        augmentation: random changes, None for none.
    """

    name: str = "custom"
    architecture: str = "squeeze"
    patch_size: int = 128
    filters: tuple[int, ...] = (128, 96, 64, 32)
    dropout: float = 0.2
    networks: int = 1
    scales: tuple[Scale, ...] = (Scale(object_size=112, centers="object"),)
    cascade: bool = False
    passes: int = 1
    pad_value: tuple[float, ...] = (123 / 255, 117 / 255, 104 / 255, 0.0)
    pad_is_boundary: bool = False
    decay: float = 32.0
    original_weight: float = 0.0
    patch_weight: float = 1.0
    flip: bool = True
    snap: Snap | None = None
    loss: str = "bce_iou"
    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    ema: float = 0.0
    patches_per_image: int = 1
    fill_patches: bool = False
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales is empty; it must have at least one Scale.")
        if min(scale.share for scale in self.scales) < 0 or not any(
            scale.share for scale in self.scales
        ):
            shares = [scale.share for scale in self.scales]
            raise ValueError(f"shares are {shares}; it must be 0 or more, and one above 0.")
        if self.loss not in ("mse", "bce_iou"):
            raise ValueError(f"loss is {self.loss!r}; it must be 'mse' or 'bce_iou'.")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule is {self.schedule!r}; it must be 'constant' or 'cosine'.")
        if len(self.pad_value) != 4:
            raise ValueError(
                f"pad_value is {self.pad_value}; it must be 4 numbers (R, G, B, mask)."
            )
        counts = ("patch_size", "passes", "epochs", "batch_size", "patches_per_image", "networks")
        for setting in counts:
            if getattr(self, setting) < 1:
                raise ValueError(f"{setting} is {getattr(self, setting)}; it must be at least 1.")
        for setting in ("decay", "patch_weight", "learning_rate"):
            if getattr(self, setting) <= 0:
                raise ValueError(f"{setting} is {getattr(self, setting)}; it must be above 0.")

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with other settings, checked like a new one."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_dict` described, also after a round trip through JSON.

        The settings may come from a downloaded file: types and bounds are checked.

        Args:
            settings: the values by name; those that are missing keep their defaults.

        Raises:
            ValueError: a setting that does not exist, of another type, or beyond its bounds.
        """
        values = _checked_fields(cls, settings, "recipe")
        for key in ("filters", "pad_value"):
            if key in values:
                values[key] = tuple(values[key])
        if "scales" in values:
            values["scales"] = tuple(
                item if isinstance(item, Scale) else Scale(**_checked_fields(Scale, item, "scales"))
                for item in values["scales"]
            )
        for name, part in (("snap", Snap), ("augmentation", Augmentation)):
            if isinstance(values.get(name), Mapping):
                values[name] = part(**_checked_fields(part, values[name], name))
        return cls(**values)


# Bounds of settings that decide how much memory and time a network takes.
_LIMITS = {
    "patch_size": 1024,
    "networks": 64,
    "passes": 64,
    "stride": 1024,
    "max_patches": 10**6,
    "object_size": 8192,
    "side": 4096,
    "iterations": 1000,
    "filters": 1024,
    "scales": 64,
    "batch_size": 4096,
}
# Former names of settings, in files of refiners.
_FORMER_NAMES = {
    "centres": "centers",
    "colour": "color",
    "patches_per_picture": "patches_per_image",
}
MAX_ITEMS = 64
MAX_NUMBER = 10**15


def _checked_fields(owner: type, settings: Any, name: str) -> dict[str, Any]:
    """Return settings as arguments of a dataclass, each of the type of the dataclass's field."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"{name} is {shown(settings)}; it must be an object with settings.")
    known = {one.name: str(one.type) for one in fields(owner)}
    for former, now in _FORMER_NAMES.items():
        if former in settings and now in known and now not in settings:
            settings = {now if key == former else key: value for key, value in settings.items()}
    unknown = [str(key) for key in settings if key not in known]
    if unknown:
        raise ValueError(
            f"{name} has unknown refinement settings: {shown(sorted(unknown))}; they must be "
            f"some of {', '.join(known)}."
        )
    for key, value in settings.items():
        if not _fits(value, known[key]) or not _is_bounded(value, _LIMITS.get(key)):
            limit = f" of at most {_LIMITS[key]}" if key in _LIMITS else ""
            raise ValueError(f"{key} is {shown(value)}; it must be a {known[key]}{limit}.")
    return dict(settings)


def _fits(value: Any, annotation: str) -> bool:
    """Return whether a value, perhaps from JSON, is of a field's type."""
    if has_type(value, annotation):
        return True
    for kind in annotation.split(" | "):
        if kind.startswith("tuple[") and isinstance(value, list | tuple) and len(value) < MAX_ITEMS:
            item = kind[len("tuple[") : -len(", ...]")]
            if all(_fits(one, item) for one in value):
                return True
        # The settings of a part are checked one by one.
        if kind in ("Scale", "Snap", "Augmentation"):
            if isinstance(value, Mapping) or is_dataclass(value):
                return True
    return False


def _is_bounded(value: Any, limit: int | None) -> bool:
    """Return whether the numbers of a setting are at most its limit, and none is absurd."""
    numbers = value if isinstance(value, list | tuple) else [value]
    return all(
        abs(one) < MAX_NUMBER and (limit is None or one <= limit)
        for one in numbers
        if is_number(one)
    )


# The settings of github.com/AlternatingSum/Image-segmentation: 64-pixel patches at the
# image's resolution on every boundary pixel, padded with ones, mean squared error.
STUDY = Recipe(
    name="study",
    architecture="unet",
    patch_size=64,
    filters=(16, 32, 64, 128, 256),
    dropout=0.3,
    scales=(Scale(object_size=None, centers="boundary", stride=1),),
    pad_value=(1.0, 1.0, 1.0, 1.0),
    pad_is_boundary=True,
    decay=16.0,
    original_weight=1.0,
    patch_weight=1 / 20,
    flip=False,
    loss="mse",
    epochs=15,
    batch_size=32,
    learning_rate=1e-3,
    schedule="constant",
    patches_per_image=50,
    fill_patches=True,
    augmentation=None,
)

# The whole object in one patch, seen at three magnifications and mirrored: what the study's
# patches lack is the context that distinguishes a motorcycle from its rider. Half of the result is
# the given mask, which limits the damage where the refiner is wrong; then the pixels that both
# leave in doubt are decided by the image's colors.
DEFAULT = Recipe(
    name="default",
    architecture="squeeze",
    patch_size=96,
    filters=(128, 96, 64, 32),
    scales=(
        Scale(object_size=76, centers="object", share=0.0),
        Scale(object_size=84, centers="object", share=1.0),
        Scale(object_size=92, centers="object", share=0.0),
    ),
    decay=1000.0,
    original_weight=0.97,
    patch_weight=1 / 3,
    snap=Snap(),
    epochs=24,
    learning_rate=6e-4,
    ema=0.97,
    augmentation=Augmentation(
        rotation=8.0, zoom=0.2, aspect=0.15, shift=0.05, color=0.2, perturb=0.4, degrade=0.15
    ),
)

# The same view of the object, then patches along its boundary at a finer magnification.
BOUNDARY = DEFAULT.replace(
    name="boundary",
    scales=(
        Scale(object_size=84, centers="object", share=0.75),
        Scale(object_size=150, centers="boundary", stride=32, max_patches=16, share=0.25),
    ),
    decay=48.0,
    original_weight=0.55,
    patch_weight=1.0,
    snap=None,
)

# Recipes by name, for `get_recipe`.
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (STUDY, DEFAULT, BOUNDARY)}


def get_recipe(recipe: str | Recipe) -> Recipe:
    """Return a recipe by its name, one of `RECIPES`; a `Recipe` is returned unchanged.

    Raises:
        ValueError: no recipe has that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}; it must be one of {sorted(RECIPES)}.")
    return RECIPES[recipe]
