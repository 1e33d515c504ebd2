"""Named sets of settings for the refinement: what a patch is, how it is learnt and merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Scale:
    """One pass of the refiner over an object, at one magnification.

    Attributes:
        object_size: The longest side of the object's box after resampling, in patch pixels;
            None keeps the picture's own resolution.
        centres: "object": one patch on the middle of the box (context: the whole object).
            "boundary": patches along the boundary of the mask.
        stride: Spacing of the patch centres along the boundary, in patch pixels; 1 takes every
            boundary pixel.
        max_patches: Upper bound of the patches of one object, None for no bound.
        share: How often training draws this scale, relative to the others; 0 never.
    """

    object_size: int | None = None
    centres: str = "boundary"
    stride: int = 1
    max_patches: int | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.centres not in ("object", "boundary"):
            raise ValueError(f"centres is {self.centres!r}, must be 'object' or 'boundary'.")
        if self.object_size is not None and self.object_size < 8:
            raise ValueError(f"object_size is {self.object_size}, must be at least 8 pixels.")
        if self.centres == "object" and self.object_size is None:
            raise ValueError("object_size is None, must be a number where centres is 'object'.")
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride}, must be at least 1 pixel.")
        if self.max_patches is not None and self.max_patches < 1:
            raise ValueError(f"max_patches is {self.max_patches}, must be at least 1 or None.")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training patches; every amount is a maximum, 0 switches it off.

    Attributes:
        flip: Mirror left and right for half of the patches.
        rotation: Degrees either way.
        zoom: Log of the magnification either way (0.3: from 1/1.35 to 1.35 times).
        aspect: Log of the width-to-height change either way.
        shift: Share of the patch size either way.
        colour: Strength of the random brightness, contrast and colour-mixing.
        perturb: Strength of the random changes of a given probability mask.
        degrade: Share of the patches whose probability is made from the true mask (coarse,
            shifted, blobs added and taken away) although a real one exists.
    """

    flip: bool = True
    rotation: float = 10.0
    zoom: float = 0.25
    aspect: float = 0.15
    shift: float = 0.08
    colour: float = 0.2
    perturb: float = 0.5
    degrade: float = 0.3


@dataclass(frozen=True)
class Snap:
    """The last step: doubtful pixels are decided by GrabCut, see `mrcnn.refinement.snap`.

    Attributes:
        share: Weight of GrabCut's answer in the average with the probability, 0..1.
        side: Longer side of the picture that GrabCut sees, in pixels, at most.
        band: Pixels whose probability is within this distance of 0.5 are doubtful.
        iterations: Of GrabCut.
    """

    share: float = 0.35
    side: int = 128
    band: float = 0.2
    iterations: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, must be above 0, at most 1.")
        if self.side < 16:
            raise ValueError(f"side is {self.side}, must be at least 16 pixels.")
        if not 0 < self.band < 0.5:
            raise ValueError(f"band is {self.band}, must be between 0 and 0.5.")
        if self.iterations < 1:
            raise ValueError(f"iterations is {self.iterations}, must be at least 1.")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a refiner is trained and how it refines.

    Attributes:
        name: Name of the recipe.
        architecture: "unet" or "squeeze", see `mrcnn.refinement.unet`.
        patch_size: Side of a patch in pixels.
        filters: Filters of the network, see `build_network`.
        dropout: Dropped share of the features in training.
        networks: Networks trained from different seeds; their predictions are averaged.
        scales: The passes over an object, in order.
        cascade: A scale reads the result of the scale before it (else the given mask).
        pad_value: R, G, B and probability in 0..1 outside the picture.
        pad_is_boundary: The padding counts as foreground when boundary pixels are looked for.
        decay: Patches are averaged with weights `exp(-r / decay)`, r pixels from the centre.
        original_weight: Weight of the given probability in the average.
        patch_weight: Factor of the patches' weights in the average (the study: 1 / 20).
        flip: Average with the prediction of the mirrored patch.
        snap: The last step, None for none.
        loss: "mse" or "bce_iou" (binary cross-entropy plus soft IoU).
        epochs: Passes over the training pictures.
        batch_size: Patches a step.
        learning_rate: Of Adam, at its highest.
        schedule: "constant" or "cosine" (a short warm-up, then down to zero).
        weight_decay: Decoupled weight decay; 0 is plain Adam.
        ema: Momentum of the averaged weights that are kept, 0 keeps the last ones.
        patches_per_picture: Patches drawn from a picture (study: once; with augmentation: each
            epoch anew).
        fill_patches: Pictures with fewer boundary pixels get all-zero patches for the rest.
        augmentation: Random changes, None for none.
    """

    name: str = "custom"
    architecture: str = "squeeze"
    patch_size: int = 128
    filters: tuple[int, ...] = (128, 96, 64, 32)
    dropout: float = 0.2
    networks: int = 1
    scales: tuple[Scale, ...] = (Scale(object_size=112, centres="object"),)
    cascade: bool = False
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
    patches_per_picture: int = 1
    fill_patches: bool = False
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales is empty, must have at least one Scale.")
        if min(scale.share for scale in self.scales) < 0 or not any(
            scale.share for scale in self.scales
        ):
            shares = [scale.share for scale in self.scales]
            raise ValueError(f"shares are {shares}, must be 0 or more, and one above 0.")
        if self.loss not in ("mse", "bce_iou"):
            raise ValueError(f"loss is {self.loss!r}, must be 'mse' or 'bce_iou'.")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule is {self.schedule!r}, must be 'constant' or 'cosine'.")
        if len(self.pad_value) != 4:
            raise ValueError(f"pad_value is {self.pad_value}, must be 4 numbers (R, G, B, mask).")
        for setting in ("patch_size", "epochs", "batch_size", "patches_per_picture", "networks"):
            if getattr(self, setting) < 1:
                raise ValueError(f"{setting} is {getattr(self, setting)}, must be at least 1.")
        for setting in ("decay", "patch_weight", "learning_rate"):
            if getattr(self, setting) <= 0:
                raise ValueError(f"{setting} is {getattr(self, setting)}, must be above 0.")

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with other settings, checked like a new one."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe from `to_dict` (also after a trip through JSON).

        Raises:
            ValueError: A setting that does not exist.
        """
        unknown = set(settings) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"Unknown refinement settings: {sorted(unknown)}.")
        values = dict(settings)
        for key in ("filters", "pad_value"):
            if key in values:
                values[key] = tuple(values[key])
        if "scales" in values:
            values["scales"] = tuple(
                item if isinstance(item, Scale) else Scale(**item) for item in values["scales"]
            )
        if isinstance(values.get("snap"), Mapping):
            values["snap"] = Snap(**values["snap"])
        if isinstance(values.get("augmentation"), Mapping):
            values["augmentation"] = Augmentation(**values["augmentation"])
        return cls(**values)


# The settings of github.com/AlternatingSum/Image-segmentation: 64-pixel patches at the
# picture's resolution on every boundary pixel, padded with ones, mean squared error.
STUDY = Recipe(
    name="study",
    architecture="unet",
    patch_size=64,
    filters=(16, 32, 64, 128, 256),
    dropout=0.3,
    scales=(Scale(object_size=None, centres="boundary", stride=1),),
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
    patches_per_picture=50,
    fill_patches=True,
    augmentation=None,
)

# The whole object in one patch, seen at three magnifications and mirrored: what the study's
# patches lack is the context that tells a motorcycle from its rider. Half of the result is the
# given mask, which keeps the refiner from doing harm where it knows no better; then the pixels
# that both leave in doubt are decided by the picture's colours.
DEFAULT = Recipe(
    name="default",
    architecture="squeeze",
    patch_size=96,
    filters=(128, 96, 64, 32),
    scales=(
        Scale(object_size=76, centres="object", share=0.0),
        Scale(object_size=84, centres="object", share=1.0),
        Scale(object_size=92, centres="object", share=0.0),
    ),
    decay=1000.0,
    original_weight=0.97,
    patch_weight=1 / 3,
    snap=Snap(),
    epochs=24,
    learning_rate=6e-4,
    ema=0.97,
    augmentation=Augmentation(
        rotation=8.0, zoom=0.2, aspect=0.15, shift=0.05, colour=0.2, perturb=0.4, degrade=0.15
    ),
)

# The same view of the object, then patches along its boundary at a finer magnification.
BOUNDARY = DEFAULT.replace(
    name="boundary",
    scales=(
        Scale(object_size=84, centres="object", share=0.75),
        Scale(object_size=150, centres="boundary", stride=32, max_patches=16, share=0.25),
    ),
    decay=48.0,
    original_weight=0.55,
    patch_weight=1.0,
    snap=None,
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (STUDY, DEFAULT, BOUNDARY)}


def get_recipe(recipe: str | Recipe) -> Recipe:
    """Return a recipe by its name, one of `RECIPES`; a `Recipe` comes back as it is.

    Raises:
        ValueError: No recipe has that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}, must be one of {sorted(RECIPES)}.")
    return RECIPES[recipe]
