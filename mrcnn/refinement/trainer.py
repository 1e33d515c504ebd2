"""Training the refiner, and measuring it: hold-out and cross-validation by picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mrcnn.refinement import degrade
from mrcnn.refinement import patches as geometry
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

# Surroundings that a prepared view keeps for shifts, rotations and zooms, in patch sizes.
VIEW_MARGIN = 0.45


def build_patch_set(
    pairs: Sequence[MaskPair], recipe: str | Recipe, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a fixed set of training patches along the boundaries, without augmentation.

    From each picture and scale at most `recipe.patches_per_picture` random centres; with
    `recipe.fill_patches` all-zero patches make up for missing ones, as in the study.

    Args:
        pairs: Pictures with a true mask and a probability.
        recipe: Recipe or its name.
        seed: Of the random choice.

    Returns:
        `[n, S, S, 4]` float32 RGB and probability in 0..1; `[n, S, S, 2]` float32 true mask,
        and 1 (every pixel counts).
    """
    recipe, rng = get_recipe(recipe), np.random.default_rng(seed)
    size, inputs, targets = recipe.patch_size, [], []
    for pair in pairs:
        for scale in (scale for scale in recipe.scales if scale.share):
            box = geometry.object_box(pair.probability)
            cut = np.zeros((0, size, size, 5), np.float32)
            if box is not None:
                cut = _random_patches(pair, box, scale, recipe, rng)
            missing = recipe.patches_per_picture - len(cut)
            if recipe.fill_patches and missing > 0:
                cut = np.concatenate([cut, np.zeros((missing, size, size, 5), np.float32)])
            inputs.append(cut[..., :4])
            targets.append(cut[..., 4:])
    x, y = np.concatenate(inputs), np.concatenate(targets)
    return x, np.concatenate([y, np.ones_like(y)], axis=-1)


def _random_patches(pair, box, scale, recipe, rng) -> np.ndarray:
    """Return `[n, S, S, 5]`: RGB, probability, true mask around random centres."""
    view = geometry.View.around(box, pair.image.shape, scale, recipe.patch_size)
    stack = np.dstack(
        [
            view_stack(view, pair.image, pair.probability),
            view.crop(pair.mask.astype(np.float32)),
        ]
    )
    centres = geometry.patch_centres(
        view, stack[..., 3], scale, pad_is_boundary=recipe.pad_is_boundary
    )
    if len(centres) > recipe.patches_per_picture:
        centres = rng.permutation(centres)[: recipe.patches_per_picture]
    # The study pads the true mask like the probability.
    pad_value = (*recipe.pad_value, recipe.pad_value[3])
    return geometry.extract_patches(stack, centres, recipe.patch_size, pad_value)


class PatchSampler:
    """Draws augmented training patches, anew each time.

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
        """Return one patch of picture `index`: `[S, S, 4]` and `[S, S, 2]` (mask, inside)."""
        recipe, settings = self.recipe, self.recipe.augmentation
        number = rng.choice(len(self.shares), p=self.shares)
        picture, planes, centre, edges, has_probability = self.views[index][number]
        scale = self.scales[number]
        if scale.centres == "boundary" and len(edges):
            centre = edges[rng.integers(len(edges))]
        matrix = degrade.random_affine(rng, centre, recipe.patch_size, settings)
        pad_colour = [value * 255 for value in recipe.pad_value[:3]]
        colour = degrade.warp(picture, matrix, recipe.patch_size, pad_colour) / np.float32(255)
        pad_planes = (recipe.pad_value[3] * 255, 0, 0)
        given, mask, inside = np.moveaxis(
            degrade.warp(planes, matrix, recipe.patch_size, pad_planes) / np.float32(255), -1, 0
        )
        if settings is not None:
            colour = degrade.jitter_colours(rng, colour, inside, settings.colour)
            if not has_probability or rng.random() < settings.degrade:
                given = degrade.coarse_probability(rng, mask) * inside
            else:
                given = degrade.perturb_probability(rng, given, settings.perturb) * inside
        return np.dstack([colour, given]).astype(np.float32), np.dstack([mask, inside])


def _prepare_view(pair: MaskPair, scale: Scale, recipe: Recipe):
    """Resample one object: uint8 picture, (probability, mask, inside), centre, edges."""
    source = pair.mask.astype(np.float32) if pair.probability is None else pair.probability
    box = geometry.object_box(source)
    if box is None:
        box = (0, 0, *pair.mask.shape)
    view = geometry.View.around(box, pair.image.shape, scale, recipe.patch_size, margin=VIEW_MARGIN)
    probability, mask = view.crop(source), view.crop(pair.mask.astype(np.float32))
    planes = np.dstack([probability, mask, np.ones_like(mask)])
    edges = geometry.boundary_pixels(probability >= 0.5)
    return (
        view.crop(pair.image),
        np.round(planes * 255).astype(np.uint8),
        np.array(view.box_centre),
        edges,
        pair.probability is not None,
    )


def _batches(sampler: PatchSampler, recipe: Recipe, seed: int):
    """Return a Keras data set whose epochs are drawn anew, the same for the same seed."""
    import keras

    class Batches(keras.utils.PyDataset):
        epoch = 0

        def __len__(self) -> int:
            total = len(sampler) * recipe.patches_per_picture
            return max(1, round(total / recipe.batch_size))

        def __getitem__(self, batch: int):
            rng = np.random.default_rng((seed, self.epoch, batch))
            order = np.random.default_rng((seed, self.epoch)).permutation(len(sampler))
            start = batch * recipe.batch_size
            chosen = [order[(start + i) % len(order)] for i in range(recipe.batch_size)]
            drawn = [sampler.draw(int(index), rng) for index in chosen]
            return np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn])

        def on_epoch_end(self) -> None:
            self.epoch += 1

    return Batches()


def patch_loss(name: str) -> Callable:
    """Return a loss on `y_true` `[b, S, S, 2]` (mask, inside) and `y_pred` `[b, S, S, 1]`.

    "mse": mean squared error. "bce_iou": binary cross-entropy plus one minus the soft IoU of
    each patch (Rahman and Wang 2016), both over the pixels inside the picture.
    """
    from keras import ops

    def squared(y_true, y_pred):
        mask, inside = y_true[..., 0], y_true[..., 1]
        return ops.mean(ops.square(y_pred[..., 0] - mask) * inside, axis=(1, 2))

    def entropy_and_iou(y_true, y_pred):
        mask, inside = y_true[..., 0], y_true[..., 1]
        p = ops.clip(ops.cast(y_pred[..., 0], "float32"), 1e-4, 1.0 - 1e-4)
        entropy = -(mask * ops.log(p) + (1.0 - mask) * ops.log(1.0 - p))
        area = ops.sum(inside, axis=(1, 2)) + 1.0
        both = ops.sum(mask * p * inside, axis=(1, 2))
        either = ops.sum((mask + p - mask * p) * inside, axis=(1, 2))
        return ops.sum(entropy * inside, axis=(1, 2)) / area + 1.0 - (both + 1.0) / (either + 1.0)

    return {"mse": squared, "bce_iou": entropy_and_iou}[name]


def patch_iou(y_true, y_pred):
    """Mean hard IoU of the patches, inside the picture."""
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
        pairs: Pictures with their true masks; `probability` may be None where the recipe makes
            its own coarse masks (`augmentation.degrade`).
        recipe: Recipe or its name.
        start: Refiner (or its file, or the name of one that comes with the package) of the same
            architecture to continue from.
        encoder_weights: SqueezeNet file for a "squeeze" network, see
            `load_squeezenet_weights`; ignored where `start` is given.
        seed: Of the weights, the patches and their order.
        verbose: 0 silent, 1 progress bar, 2 one line an epoch.

    Returns:
        The trained `Refiner`; `notes` hold seed, pictures and seconds.

    Raises:
        ValueError: No pairs, or pairs without a probability for a recipe that needs them.
    """
    import keras

    recipe = get_recipe(recipe)
    _check_pairs(pairs, recipe)
    start = None if start is None else open_refiner(start)
    began, networks = time.time(), []
    for number in range(recipe.networks):
        network_seed = seed + 1000 * number
        keras.utils.set_random_seed(network_seed)
        network = build_from_recipe(recipe)
        if start is not None:
            source = start.networks[number % len(start.networks)]
            assign_named_weights(network, named_weights(source))
        elif encoder_weights is not None:
            from mrcnn.refinement.unet import load_squeezenet_weights

            load_squeezenet_weights(network, encoder_weights)
        networks.append(_fit(network, pairs, recipe, network_seed, verbose))
    notes = {"seed": seed, "pictures": len(pairs), "seconds": round(time.time() - began)}
    return Refiner(recipe, networks, notes)


def _fit(network, pairs, recipe: Recipe, seed: int, verbose: int):
    """Compile and fit one network."""
    if recipe.augmentation is None:
        inputs, targets = build_patch_set(pairs, recipe, seed)
        data = {"x": inputs, "y": targets, "batch_size": recipe.batch_size}
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


def _optimizer(recipe: Recipe, total_steps: int):
    """Return Adam with the recipe's schedule."""
    import keras

    rate = recipe.learning_rate
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
        raise ValueError("pairs is empty, must hold at least one picture.")
    unknown = [pair.name for pair in pairs if pair.mask is None]
    if unknown:
        raise ValueError(f"{unknown[0]}: mask is None, must be known to train on it.")
    bare = sum(pair.probability is None for pair in pairs)
    if bare and recipe.augmentation is None:
        raise ValueError(
            f"{bare} of {len(pairs)} pairs have no probability, and recipe {recipe.name!r} "
            "makes none itself (augmentation is None)."
        )


def evaluate_refiner(refiner: Refiner, pairs: Sequence[MaskPair]) -> list[dict]:
    """Measure every picture: `{"name", "before", "after"}`, hard IoU at 0.5 in 0..1."""
    return [
        measure(pair, refiner.refine(pair.image, pair.probability[..., None])[..., 0])
        for pair in pairs
    ]


def measure(pair: MaskPair, refined: np.ndarray) -> dict:
    """Compare a pair's refined probability `[H, W]` with its true mask; a row as above."""
    return {
        "name": pair.name,
        "before": mask_iou(pair.probability >= 0.5, pair.mask),
        "after": mask_iou(refined >= 0.5, pair.mask),
    }


def summarise(rows: Sequence[dict]) -> dict:
    """Condense `evaluate_refiner` rows.

    Returns:
        `pictures`, `before` and `after` (mean IoU), `median_before`, `median_after`,
        `improved`, `worsened` (numbers of pictures whose IoU rose or fell).
    """
    before = np.array([row["before"] for row in rows])
    after = np.array([row["after"] for row in rows])
    return {
        "pictures": len(rows),
        "before": float(before.mean()),
        "after": float(after.mean()),
        "median_before": float(np.median(before)),
        "median_after": float(np.median(after)),
        "improved": int((after > before).sum()),
        "worsened": int((after < before).sum()),
    }


def cross_validate(
    pairs: Sequence[MaskPair],
    recipe: str | Recipe = "default",
    folds: int = 5,
    *,
    seed: int = 0,
    extra: Sequence[MaskPair] = (),
    only_folds: Sequence[int] | None = None,
    on_fold: Callable[[int, list[dict]], None] | None = None,
    **training,
) -> list[dict]:
    """Train on all folds but one, measure that one, in turn; folds are by picture.

    Args:
        pairs: Pictures with true masks and probabilities.
        recipe: Recipe or its name.
        folds: Number of folds, 2 to `len(pairs)`.
        seed: Of the training; the folds are always the same.
        extra: More pairs to train on, never measured: those named like a picture that is
            being measured are left out of that training.
        only_folds: Numbers of the folds to measure, None for all.
        on_fold: Called with each fold's number and rows when it is done.
        **training: More arguments of `train_refiner`.

    Returns:
        Rows of `evaluate_refiner` with `fold` added; `summarise` condenses them.

    Raises:
        ValueError: Impossible number of folds.
    """
    if not 2 <= folds <= len(pairs):
        raise ValueError(f"folds is {folds}, must be 2 to {len(pairs)} (the pictures).")
    fold_of = np.random.default_rng(0).permutation(len(pairs)) % folds
    rows: list[dict] = []
    for fold in range(folds) if only_folds is None else only_folds:
        rest = [pair for pair, number in zip(pairs, fold_of, strict=True) if number != fold]
        held = [pair for pair, number in zip(pairs, fold_of, strict=True) if number == fold]
        names = {pair.name for pair in held}
        rest += [pair for pair in extra if pair.name not in names]
        refiner = train_refiner(rest, recipe, seed=seed, **training)
        part = [{**row, "fold": int(fold)} for row in evaluate_refiner(refiner, held)]
        rows += part
        if on_fold is not None:
            on_fold(int(fold), part)
    return rows
