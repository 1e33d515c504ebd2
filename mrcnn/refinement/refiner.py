"""The refiner: sharpens the masks of any detections with a trained patch network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.refinement import patches as geometry
from mrcnn.refinement.recipes import Recipe, Scale, get_recipe
from mrcnn.refinement.snap import snap_to_colours

FORMAT = "mrcnn.refiner.1"
# Patches the network sees at once: one shape, so that every backend compiles once.
PREDICT_BATCH = 8
# Patches held in memory before they are predicted.
MAX_PENDING = 1024


class Refiner:
    """Refines mask probabilities with one or more patch networks.

    Attributes:
        recipe: The settings the networks were trained with and refine with.
        networks: Keras models, `[batch, S, S, 4]` to `[batch, S, S, 1]`; averaged.
        notes: Facts about the training, kept in the file.

    Example:
        >>> refiner = Refiner.load("weights/mask_refiner_motorcycle.h5")  # doctest: +SKIP
        >>> refined = refiner.refine(image, result["mask_probs"], result["rois"])  # doctest: +SKIP
    """

    def __init__(
        self, recipe: str | Recipe, networks: Sequence[Any] = (), notes: dict | None = None
    ) -> None:
        self.recipe = get_recipe(recipe)
        self.networks = list(networks)
        self.notes = dict(notes or {})
        if not self.networks:
            self.networks = [build_from_recipe(self.recipe) for _ in range(self.recipe.networks)]

    @classmethod
    def load(cls, path: str | Path) -> Refiner:
        """Read a refiner from the one file that `save` writes.

        Raises:
            FileNotFoundError: No such file.
            ValueError: The file is no refiner, or its arrays do not fit its settings.
        """
        import h5py

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"No refiner at {path}.")
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise ValueError(f"{path} is no refiner file: {error}") from error
        with file:
            if file.attrs.get("format") != FORMAT:
                raise ValueError(f"{path} is no refiner file (no format {FORMAT!r} in it).")
            recipe = Recipe.from_dict(json.loads(file.attrs["recipe"]))
            refiner = cls(recipe, notes=json.loads(file.attrs["notes"]))
            for index, network in enumerate(refiner.networks):
                group = file.get(f"network{index}")
                if group is None:
                    raise ValueError(f"{path} has no network {index} of {recipe.networks}.")
                _read_weights(network, group, path)
        return refiner

    def save(self, path: str | Path) -> None:
        """Write settings and weights (kernels in float16, compressed) into one HDF5 file.

        The file is written beside its place and moved there, so that a failure leaves what
        was there before.
        """
        import h5py

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        recipe = self.recipe.replace(networks=len(self.networks))
        with h5py.File(partial, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["recipe"] = json.dumps(recipe.to_dict())
            file.attrs["notes"] = json.dumps(self.notes)
            for index, network in enumerate(self.networks):
                group = file.create_group(f"network{index}")
                for name, values in named_weights(network).items():
                    # Kernels in half precision halve the file; vectors stay (a moving variance
                    # can be larger than half precision holds).
                    kind = np.float16 if values.ndim > 1 else np.float32
                    group.create_dataset(
                        name, data=values.astype(kind), compression="gzip", shuffle=True
                    )
        partial.replace(path)

    def refine(
        self,
        image: np.ndarray,
        mask_probs: np.ndarray,
        boxes: np.ndarray | None = None,
    ) -> np.ndarray:
        """Refine the masks of one picture.

        Args:
            image: `[H, W, 3]` uint8 RGB.
            mask_probs: `[H, W, N]` probabilities in 0..1 (float) or bool masks.
            boxes: `[N, 4]` `(y1, x1, y2, x2)` pixels of the detections; None takes each mask's
                own extent.

        Returns:
            `[H, W, N]` float32 probabilities in 0..1. An empty mask stays as it is.

        Raises:
            ValueError: Shapes that do not belong together.
        """
        image, probabilities = self._check(image, mask_probs, boxes)
        if probabilities.shape[2] == 0:
            return probabilities
        found = [
            geometry.object_box(probabilities[..., i]) if boxes is None else _usable(boxes[i])
            for i in range(probabilities.shape[2])
        ]
        scales = self.recipe.scales
        result = probabilities.copy()
        # Without a cascade no scale waits for another: all patches go through in one batch.
        for together in [[scale] for scale in scales] if self.recipe.cascade else [scales]:
            found_passes = self._predict_scales(image, result, found, together)
            for i, passes in found_passes.items():
                result[..., i] = self._merge(result[..., i], passes)
        if self.recipe.snap is not None:
            for i in [i for i, box in enumerate(found) if box is not None]:
                result[..., i] = snap_to_colours(image, result[..., i], self.recipe.snap)
        return result

    def _check(self, image, mask_probs, boxes) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture and float32 probabilities, or say what does not fit."""
        image, mask_probs = np.asarray(image), np.asarray(mask_probs)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image is {image.dtype} {image.shape}, must be uint8 [H, W, 3].")
        if mask_probs.ndim != 3 or mask_probs.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"mask_probs has shape {mask_probs.shape}, must be "
                f"[{image.shape[0]}, {image.shape[1]}, N] like the image."
            )
        if boxes is not None and np.shape(boxes) != (mask_probs.shape[2], 4):
            raise ValueError(
                f"boxes has shape {np.shape(boxes)}, must be ({mask_probs.shape[2]}, 4)."
            )
        return image, mask_probs.astype(np.float32)

    def _predict_scales(
        self, image, probabilities, boxes, scales: Sequence[Scale]
    ) -> dict[int, list[tuple]]:
        """Return `{instance: [(view, sum of weighted predictions, sum of weights), ...]}`."""
        size = self.recipe.patch_size
        weights = geometry.patch_weights(size, self.recipe.decay)
        finished: dict[int, list[tuple]] = {}
        pending: list[tuple[int, geometry.View, np.ndarray, np.ndarray]] = []

        def flush() -> None:
            if not pending:
                return
            predictions = self.predict(np.concatenate([item[3] for item in pending]))
            start = 0
            for i, view, centres, _ in pending:
                part = predictions[start : start + len(centres)]
                start += len(centres)
                sums = geometry.sum_patches(part, centres, weights, view.shape)
                finished.setdefault(i, []).append((view, *sums))
            pending.clear()

        for i, box in enumerate(boxes):
            for scale in scales if box is not None else ():
                view = geometry.View.around(box, image.shape, scale, size)
                stack = view_stack(view, image, probabilities[..., i])
                centres = geometry.patch_centres(
                    view, stack[..., 3], scale, pad_is_boundary=self.recipe.pad_is_boundary
                )
                if not len(centres):
                    continue
                cut = geometry.extract_patches(stack, centres, size, self.recipe.pad_value)
                pending.append((i, view, centres, cut))
                if sum(len(item[2]) for item in pending) >= MAX_PENDING:
                    flush()
        flush()
        return finished

    def _merge(self, original: np.ndarray, passes: Sequence[tuple]) -> np.ndarray:
        """Average one instance's probability `[H, W]` with the patches of its passes."""
        total, weight = np.zeros_like(original), np.zeros_like(original)
        for view, part_total, part_weight in passes:
            top, left, bottom, right = view.region
            total[top:bottom, left:right] += view.restore(part_total)
            weight[top:bottom, left:right] += view.restore(part_weight)
        return geometry.blend(
            original, total, weight, self.recipe.original_weight, self.recipe.patch_weight
        )

    def predict(self, patches: np.ndarray) -> np.ndarray:
        """Run the networks: `[n, S, S, 4]` float32 in 0..1 to `[n, S, S]` float32 in 0..1."""
        count, size = len(patches), patches.shape[1]
        inputs = np.asarray(patches, np.float32)
        if self.recipe.flip:
            inputs = np.concatenate([inputs, inputs[:, :, ::-1]])
        results = np.zeros((len(inputs), size, size), np.float32)
        for start in range(0, len(inputs), PREDICT_BATCH):
            batch = inputs[start : start + PREDICT_BATCH]
            missing = PREDICT_BATCH - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            for network in self.networks:
                predicted = np.asarray(network.predict_on_batch(padded))[: len(batch), ..., 0]
                results[start : start + len(batch)] += predicted
        results /= len(self.networks)
        if self.recipe.flip:
            results = (results[:count] + results[count:, :, ::-1]) / 2
        return results


def build_from_recipe(recipe: Recipe):
    """Build one untrained network of a recipe."""
    from mrcnn.startup.backend import import_backend

    import_backend()
    from mrcnn.refinement.unet import build_network

    return build_network(recipe.architecture, recipe.patch_size, recipe.filters, recipe.dropout)


def view_stack(view: geometry.View, image: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return `[h, w, 4]` float32 in 0..1: RGB and probability of a view."""
    stack = np.empty((*view.shape, 4), np.float32)
    stack[..., :3] = view.crop(image).astype(np.float32) / 255.0
    stack[..., 3] = view.crop(probability)
    return stack


def named_weights(network) -> dict[str, np.ndarray]:
    """Return `{layer/variable: values}` of a network."""
    return {
        f"{layer.name}/{variable.name}": np.asarray(values)
        for layer in network.layers
        for variable, values in zip(layer.weights, layer.get_weights(), strict=True)
        if "seed" not in variable.name
    }


def assign_named_weights(network, values: dict[str, np.ndarray]) -> None:
    """Set weights by `layer/variable` name; every one must be there with its shape.

    Raises:
        ValueError: A weight is missing or has another shape; nothing has changed then.
    """
    current = named_weights(network)
    for name, own in current.items():
        shape = np.shape(values[name]) if name in values else "missing"
        if shape != own.shape:
            raise ValueError(f"weight {name} is {shape}, must have shape {own.shape}.")
    for layer in network.layers:
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name}"
            if name in current:
                variable.assign(np.asarray(values[name], np.float32))


def _read_weights(network, group, path: Path) -> None:
    """Fill a network from an open HDF5 group."""
    values: dict[str, np.ndarray] = {}

    def collect(name: str, item) -> None:
        if hasattr(item, "shape"):
            values[name] = item[()]

    group.visititems(collect)
    try:
        assign_named_weights(network, values)
    except ValueError as error:
        raise ValueError(f"{path} does not fit its own settings: {error}") from error


def _usable(box) -> np.ndarray | None:
    """Return a box with an area as float, else None."""
    box = np.asarray(box, np.float32)
    return box if box[2] > box[0] and box[3] > box[1] else None
