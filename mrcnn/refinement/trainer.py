"""Training the refiner, and measuring it: hold-out and cross-validation by image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.refinement import degrade
from mrcnn.refinement import patches as patch_geometry
from mrcnn.refinement.pairs import MaskPair, mask_iou
from mrcnn.refinement.recipes import Recipe, Scale, get_recipe
from mrcnn.refinement.refiner import (
    Refiner,
    assign_named_weights,
    build_from_recipe,
    named_weights,
    view_stack,
)
from mrcnn.refinement.results import open_refiner

Tensor = Any
# Surroundings that a prepared view keeps for shifts, rotations and zooms, in patch sizes.
VIEW_MARGIN = 0.45


def build_patch_set(
    pairs: Sequence[MaskPair], recipe: str | Recipe, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a fixed set of training patches along the boundaries, without augmentation.

    From each image and scale at most `recipe.patches_per_image` random centers; with
    `recipe.fill_patches` all-zero patches make up for missing ones, as in the study.

    Args:
        pairs: images with a true mask and a probability.
        recipe: recipe or its name.
        seed: of the random choice.

    Returns:
        `[n, S, S, 4]` float32 RGB and probability in 0..1; `[n, S, S, 2]` float32 true mask,
        and 1 (every pixel counts).
    """
    recipe, rng = get_recipe(recipe), np.random.default_rng(seed)
    size, inputs, targets = recipe.patch_size, [], []
    for pair in pairs:
        for scale in (scale for scale in recipe.scales if scale.share):
            probability = _probability(pair)
            box = patch_geometry.object_box(probability)
            cut = np.zeros((0, size, size, 5), np.float32)
            if box is not None:
                cut = _random_patches(pair, probability, box, scale, recipe, rng)
            missing = recipe.patches_per_image - len(cut)
            if recipe.fill_patches and missing > 0:
                cut = np.concatenate([cut, np.zeros((missing, size, size, 5), np.float32)])
            inputs.append(cut[..., :4])
            targets.append(cut[..., 4:])
    x, y = np.concatenate(inputs), np.concatenate(targets)
    return x, np.concatenate([y, np.ones_like(y)], axis=-1)


def _random_patches(
    pair: MaskPair,
    probability: np.ndarray,
    box: tuple[int, int, int, int],
    scale: Scale,
    recipe: Recipe,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return `[n, S, S, 5]`: RGB, probability, true mask around random centers."""
    view = patch_geometry.View.around(box, pair.image.shape, scale, recipe.patch_size)
    stack = np.dstack(
        [
            view_stack(view, pair.image, probability),
            view.crop(_true_mask(pair).astype(np.float32)),
        ]
    )
    centers = patch_geometry.patch_centers(
        view, stack[..., 3], scale, pad_is_boundary=recipe.pad_is_boundary
    )
    if len(centers) > recipe.patches_per_image:
        centers = rng.permutation(centers)[: recipe.patches_per_image]
    # The study pads the true mask like the probability.
    pad_value = (*recipe.pad_value, recipe.pad_value[3])
    return patch_geometry.extract_patches(stack, centers, recipe.patch_size, pad_value)


# uint8 image, (probability, mask, inside) as uint8, center of the box, boundary pixels, and whether
# the probability is the model's.
_PreparedView = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]


class PatchSampler:
    """Draws augmented training patches, each time.

    Every object is resampled once to each scale of the recipe; a draw then is one affine warp.
    """

    def __init__(self, pairs: Sequence[MaskPair], recipe: Recipe) -> None:
        self.recipe = recipe
        self.scales = [scale for scale in recipe.scales if scale.share]
        self.views = [
            [_prepare_view(pair, scale, recipe) for scale in self.scales] for pair in pairs
        ]
        shares = np.array([scale.share for scale in self.scales], float)
        self.shares = shares / shares.sum()

    def __len__(self) -> int:
        return len(self.views)

    def draw(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return one patch of image `index`: `[S, S, 4]` and `[S, S, 2]` (mask, inside)."""
        recipe, settings = self.recipe, self.recipe.augmentation
        number = rng.choice(len(self.shares), p=self.shares)
        image, planes, center, edges, has_probability = self.views[index][number]
        scale = self.scales[number]
        if scale.centers == "boundary" and len(edges):
            center = edges[rng.integers(len(edges))]
        matrix = degrade.random_affine(rng, center, recipe.patch_size, settings)
        pad_color = [value * 255 for value in recipe.pad_value[:3]]
        color = degrade.warp(image, matrix, recipe.patch_size, pad_color) / np.float32(255)
        pad_planes = (recipe.pad_value[3] * 255, 0, 0)
        given, mask, inside = np.moveaxis(
            degrade.warp(planes, matrix, recipe.patch_size, pad_planes) / np.float32(255), -1, 0
        )
        if settings is not None:
            color = degrade.jitter_colors(rng, color, inside, settings.color)
            if not has_probability or rng.random() < settings.degrade:
                given = degrade.coarse_probability(rng, mask) * inside
            else:
                given = degrade.perturb_probability(rng, given, settings.perturb) * inside
        return np.dstack([color, given]).astype(np.float32), np.dstack([mask, inside])


def _true_mask(pair: MaskPair) -> np.ndarray:
    """Return the true mask `[H, W]`; raise where there is none."""
    if pair.mask is None:
        raise ValueError(f"{pair.name}: mask is None; it must be known to train on it.")
    return pair.mask


def _probability(pair: MaskPair) -> np.ndarray:
    """Return the probability `[H, W]`; raise where there is none."""
    if pair.probability is None:
        raise ValueError(f"{pair.name}: probability is None; it must be known here.")
    return pair.probability


def _prepare_view(pair: MaskPair, scale: Scale, recipe: Recipe) -> _PreparedView:
    """Resample one object: uint8 image, (probability, mask, inside), center, edges."""
    true_mask = _true_mask(pair).astype(np.float32)
    source = true_mask if pair.probability is None else pair.probability
    height, width = true_mask.shape
    box = patch_geometry.object_box(source) or (0, 0, height, width)
    view = patch_geometry.View.around(
        box, pair.image.shape, scale, recipe.patch_size, margin=VIEW_MARGIN
    )
    probability, mask = view.crop(source), view.crop(true_mask)
    planes = np.dstack([probability, mask, np.ones_like(mask)])
    edges = patch_geometry.boundary_pixels(probability >= 0.5)
    return (
        view.crop(pair.image),
        np.round(planes * 255).astype(np.uint8),
        np.array(view.box_center),
        edges,
        pair.probability is not None,
    )


def _batches(sampler: PatchSampler, recipe: Recipe, seed: int) -> Any:
    """Return a Keras dataset of new patches in each epoch, the same for the same seed."""
    import keras

    class Batches(keras.utils.PyDataset):
        epoch = 0

        def __len__(self) -> int:
            total = len(sampler) * recipe.patches_per_image
            return max(1, round(total / recipe.batch_size))

        def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
            rng = np.random.default_rng((seed, self.epoch, batch))
            order = np.random.default_rng((seed, self.epoch)).permutation(len(sampler))
            start = batch * recipe.batch_size
            chosen = [order[(start + i) % len(order)] for i in range(recipe.batch_size)]
            drawn = [sampler.draw(int(index), rng) for index in chosen]
            return np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn])

        def on_epoch_end(self) -> None:
            self.epoch += 1

    return Batches()


def patch_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss on `y_true` `[b, S, S, 2]` (mask, inside) and `y_pred` `[b, S, S, 1]`.

    "mse": mean squared error. "bce_iou": binary cross-entropy plus one minus the soft IoU of
    each patch (Rahman and Wang 2016), both over the pixels inside the image.
    """
    from keras import ops

    def squared(y_true: Tensor, y_pred: Tensor) -> Tensor:
        mask, inside = y_true[..., 0], y_true[..., 1]
        return ops.mean(ops.square(y_pred[..., 0] - mask) * inside, axis=(1, 2))

    def entropy_and_iou(y_true: Tensor, y_pred: Tensor) -> Tensor:
        mask, inside = y_true[..., 0], y_true[..., 1]
        p = ops.clip(ops.cast(y_pred[..., 0], "float32"), 1e-4, 1.0 - 1e-4)
        entropy = -(mask * ops.log(p) + (1.0 - mask) * ops.log(1.0 - p))
        area = ops.sum(inside, axis=(1, 2)) + 1.0
        both = ops.sum(mask * p * inside, axis=(1, 2))
        either = ops.sum((mask + p - mask * p) * inside, axis=(1, 2))
        return ops.sum(entropy * inside, axis=(1, 2)) / area + 1.0 - (both + 1.0) / (either + 1.0)

    return {"mse": squared, "bce_iou": entropy_and_iou}[name]


def patch_iou(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the hard IoU of each patch, inside the image."""
    from keras import ops

    inside = y_true[..., 1] > 0.5
    truth = ops.logical_and(y_true[..., 0] > 0.5, inside)
    found = ops.logical_and(y_pred[..., 0] > 0.5, inside)
    both = ops.sum(ops.cast(ops.logical_and(truth, found), "float32"), axis=(1, 2))
    either = ops.sum(ops.cast(ops.logical_or(truth, found), "float32"), axis=(1, 2))
    return (both + 1e-3) / (either + 1e-3)


def train_refiner(
    pairs: Sequence[MaskPair],
    recipe: str | Recipe = "default",
    *,
    start: Refiner | str | Path | None = None,
    encoder_weights: str | Path | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> Refiner:
    """Train a refiner.

    Args:
        pairs: images with their true masks; `probability` may be None where the recipe makes
            its own coarse masks (`augmentation.degrade`).
        recipe: recipe or its name.
        start: refiner (or its file, or the name of one that comes with the package) of the same
            architecture to continue from.
        encoder_weights: SqueezeNet file for a "squeeze" network, see
            `load_squeezenet_weights`; ignored where `start` is given.
        seed: of the weights, the patches and their order.
        verbose: 0 silent, 1 progress bar, 2 one line per epoch.

    Returns:
        The trained `Refiner`; `notes` hold seed, images and seconds.

    Raises:
        ValueError: no pairs, or pairs without a probability for a recipe that needs them.
    """
    import keras

    recipe = get_recipe(recipe)
    _check_pairs(pairs, recipe)
    first = None if start is None else open_refiner(start)
    began, networks = time.time(), []
    for number in range(recipe.networks):
        network_seed = seed + 1000 * number
        keras.utils.set_random_seed(network_seed)
        network = build_from_recipe(recipe)
        if first is not None:
            source = first.networks[number % len(first.networks)]
            assign_named_weights(network, named_weights(source))
        elif encoder_weights is not None:
            from mrcnn.refinement.unet import load_squeezenet_weights

            load_squeezenet_weights(network, encoder_weights)
        networks.append(_fit(network, pairs, recipe, network_seed, verbose))
    notes = {"seed": seed, "images": len(pairs), "seconds": round(time.time() - began)}
    return Refiner(recipe, networks, notes)


def _fit(network: Any, pairs: Sequence[MaskPair], recipe: Recipe, seed: int, verbose: int) -> Any:
    """Compile and fit one network."""
    if recipe.augmentation is None:
        inputs, targets = build_patch_set(pairs, recipe, seed)
        data: dict[str, Any] = {"x": inputs, "y": targets, "batch_size": recipe.batch_size}
        steps = int(np.ceil(len(inputs) / recipe.batch_size))
    else:
        data = {"x": _batches(PatchSampler(pairs, recipe), recipe, seed)}
        steps = len(data["x"])
    network.compile(
        optimizer=_optimizer(recipe, steps * recipe.epochs),
        loss=patch_loss(recipe.loss),
        metrics=[patch_iou],
        # XLA's convolutions on a CPU took twice the time of TensorFlow's own.
        jit_compile=False,
    )
    network.fit(**data, epochs=recipe.epochs, verbose=verbose)
    return network


def _optimizer(recipe: Recipe, total_steps: int) -> Any:
    """Return Adam with the recipe's schedule."""
    import keras

    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        warm_up = max(1, min(50, total_steps // 10))
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 10, max(1, total_steps - warm_up), 0.01, warmup_target=rate, warmup_steps=warm_up
        )
    extra = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    return keras.optimizers.Adam(rate, weight_decay=recipe.weight_decay or None, **extra)


def _check_pairs(pairs: Sequence[MaskPair], recipe: Recipe) -> None:
    """Raise where the pairs cannot train the recipe."""
    if not pairs:
        raise ValueError("pairs is empty; it must hold at least one image.")
    unknown = [pair.name for pair in pairs if pair.mask is None]
    if unknown:
        raise ValueError(f"{unknown[0]}: mask is None; it must be known to train on it.")
    bare = sum(pair.probability is None for pair in pairs)
    if bare and recipe.augmentation is None:
        raise ValueError(
            f"{bare} of {len(pairs)} pairs have no probability, and recipe {recipe.name!r} "
            "makes none itself (augmentation is None)."
        )


def evaluate_refiner(refiner: Refiner, pairs: Sequence[MaskPair]) -> list[dict[str, Any]]:
    """Measure every image: `{"name", "before", "after"}`, hard IoU at 0.5 in 0..1."""
    return [
        measure(pair, refiner.refine(pair.image, _probability(pair)[..., None])[..., 0])
        for pair in pairs
    ]


def measure(pair: MaskPair, refined: np.ndarray) -> dict[str, Any]:
    """Return the row of `evaluate_refiner` for a pair and its refined probability `[H, W]`."""
    mask = _true_mask(pair)
    return {
        "name": pair.name,
        "before": mask_iou(_probability(pair) >= 0.5, mask),
        "after": mask_iou(refined >= 0.5, mask),
    }


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means and medians over rows of `evaluate_refiner`.

    Returns:
        `images` (number of rows), `before` and `after` (mean IoU), `median_before`,
        `median_after`, `improved`, `worsened` (numbers of images whose IoU rose or fell).
    """
    before = np.array([row["before"] for row in rows])
    after = np.array([row["after"] for row in rows])
    return {
        "images": len(rows),
        "before": float(before.mean()),
        "after": float(after.mean()),
        "median_before": float(np.median(before)),
        "median_after": float(np.median(after)),
        "improved": int((after > before).sum()),
        "worsened": int((after < before).sum()),
    }


# The name of earlier versions.
summarise = summarize


def _image_of(pair: MaskPair) -> str:
    """Return the name of a pair's image: "photo" of "photo/3"."""
    image, _, number = pair.name.rpartition("/")
    return image if image and number.isdecimal() else pair.name


def cross_validate(
    pairs: Sequence[MaskPair],
    recipe: str | Recipe = "default",
    folds: int = 5,
    *,
    seed: int = 0,
    extra: Sequence[MaskPair] = (),
    only_folds: Sequence[int] | None = None,
    on_fold: Callable[[int, list[dict[str, Any]]], None] | None = None,
    **training: Any,
) -> list[dict[str, Any]]:
    """Train on all folds but one, measure that one, in turn; folds are by image.

    Args:
        pairs: images with true masks and probabilities. Pairs named "photo/0", "photo/1" are
            objects of one image, as `pairs_from_dataset` names them, and share a fold.
        recipe: recipe or its name.
        folds: number of folds, 2 to the number of images.
        seed: of the training; the folds are always the same.
        extra: more pairs to train on, never measured: those named like an image that is
            being measured are left out of that training.
        only_folds: numbers of the folds to measure, from 0; None for all.
        on_fold: called with each fold's number and rows when it is done.
        **training: more arguments of `train_refiner`.

    Returns:
        Rows of `evaluate_refiner` with `fold` added; `summarize` condenses them.

    Raises:
        ValueError: impossible number of folds, a fold that does not exist, or a pair without
            probability.
    """
    images = list(dict.fromkeys(_image_of(pair) for pair in pairs))
    if not 2 <= folds <= len(images):
        raise ValueError(f"folds is {folds}; it must be 2 to {len(images)} (the images).")
    chosen = list(range(folds) if only_folds is None else only_folds)
    if missing := [fold for fold in chosen if fold not in range(folds)]:
        raise ValueError(
            f"only_folds holds {missing[0]}; it must hold numbers of 0 to {folds - 1}."
        )
    for pair in pairs:
        if pair.probability is None:
            raise ValueError(f"{pair.name}: probability is None; it must be given to be measured.")
    numbers = np.random.default_rng(0).permutation(len(images)) % folds
    fold_of = dict(zip(images, numbers.tolist(), strict=True))
    rows: list[dict[str, Any]] = []
    for fold in chosen:
        rest = [pair for pair in pairs if fold_of[_image_of(pair)] != fold]
        held = [pair for pair in pairs if fold_of[_image_of(pair)] == fold]
        names = {_image_of(pair) for pair in held}
        rest += [pair for pair in extra if _image_of(pair) not in names]
        refiner = train_refiner(rest, recipe, seed=seed, **training)
        part = [{**row, "fold": int(fold)} for row in evaluate_refiner(refiner, held)]
        rows += part
        if on_fold is not None:
            on_fold(int(fold), part)
    return rows
