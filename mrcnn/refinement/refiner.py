"""The refiner: sharpens the masks of any detections with a trained patch network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.checkpoints.hdf5 import open_hdf5
from mrcnn.engines.selection import can_compile
from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable
from mrcnn.refinement import patches as patch_geometry
from mrcnn.refinement.recipes import Recipe, Scale, get_recipe
from mrcnn.refinement.snap import snap_to_colors

if TYPE_CHECKING:
    import h5py

    from mrcnn.engines.patch_networks import NetworksFile, PatchNetwork

FORMAT = "mrcnn.refiner.1"
# Patches in one call of the network: one shape, so that every backend compiles once.
PREDICT_BATCH = 4
# Patches held in memory before they are predicted.
MAX_PENDING = 1024
# The modules of this folder that determine the networks of a file.
_SOURCES = ("refiner.py", "recipes.py", "unet.py")


class Refiner:
    """Refines mask probabilities with one or more patch networks.

    Where OpenVINO is installed, it runs the networks of a file, from the cache where an earlier
    start has left them there. From when `networks` is asked for, Keras runs them.

    Attributes:
        recipe: the settings the networks were trained with and refine with.
        notes: facts about the training, kept in the file.

    Example:
        >>> from mrcnn.checkpoints.known import resolve_weights
        >>> refiner = Refiner.load(resolve_weights("general", kind="refiner"))
        >>> mask_probs = np.zeros((64, 96, 1), np.float32)
        >>> mask_probs[20:40, 30:60] = 0.9
        >>> refiner.refine(np.zeros((64, 96, 3), np.uint8), mask_probs).shape
        (64, 96, 1)
    """

    # Of a refiner from a file that OpenVINO may run: the file, and the compiled networks.
    _path: Path
    _file: NetworksFile | None = None
    _compiled: list[PatchNetwork] | None = None

    def __init__(
        self,
        recipe: str | Recipe,
        networks: Sequence[Any] = (),
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.recipe = get_recipe(recipe)
        self.notes = dict(notes or {})
        self._keras_networks: list[Any] | None = list(networks)
        if not self._keras_networks:
            count = self.recipe.networks
            self._keras_networks = [build_from_recipe(self.recipe) for _ in range(count)]

    @property
    def networks(self) -> list[Any]:
        """Keras models, `[batch, S, S, 4]` to `[batch, S, S, 1]`; their results are averaged.

        Raises:
            ValueError: the file of the refiner has changed since it was loaded.
        """
        if self._keras_networks is None and self._file is not None:
            self._file.check()
            with open_hdf5(self._path, "refiner file") as file:
                self._keras_networks = _read_networks(file, self._path, self.recipe)
        self._file = self._compiled = None
        return self._keras_networks or []

    @property
    def source(self) -> Path | None:
        """The file that the networks come from; None where they may differ from it."""
        return None if self._file is None else self._path

    @classmethod
    def load(cls, path: str | Path) -> Refiner:
        """Read a refiner from the one file that `save` writes.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no refiner, is damaged, refers to other files, or its arrays
                do not fit its settings.
        """
        path = Path(path)
        with open_hdf5(path, "refiner file") as file:
            recipe, notes = _read_settings(file, path)
            networks_file = _networks_file(path)
            compiled = None if networks_file is None else networks_file.find(recipe.networks)
            if compiled is None:
                refiner = cls(recipe, _read_networks(file, path, recipe), notes)
            else:
                refiner = cls.__new__(cls)
                refiner.recipe, refiner.notes, refiner._keras_networks = recipe, notes, None
        refiner._path, refiner._file, refiner._compiled = path, networks_file, compiled
        return refiner

    def save(self, path: str | Path) -> None:
        """Write settings and weights (kernels in float16, compressed) into one HDF5 file.

        Args:
            path: the file; a failure leaves what was there before.
        """
        import h5py

        networks = self.networks
        recipe = self.recipe.replace(networks=len(networks))
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["recipe"] = json.dumps(recipe.to_dict())
            file.attrs["notes"] = json.dumps(self.notes)
            for index, network in enumerate(networks):
                group = file.create_group(f"network{index}")
                for name, values in named_weights(network).items():
                    # Kernels in half precision halve the file; vectors stay (a moving variance
                    # can be larger than half precision holds).
                    kind = np.float16 if values.ndim > 1 else np.float32
                    group.create_dataset(
                        name, data=values.astype(kind), compression="gzip", shuffle=True
                    )

    def refine(
        self,
        image: np.ndarray,
        mask_probs: np.ndarray,
        boxes: np.ndarray | None = None,
        precision: str = "float32",
    ) -> np.ndarray:
        """Refine the masks of one image.

        Args:
            image: `[H, W, 3]` uint8 RGB.
            mask_probs: `[H, W, N]` probabilities in 0..1 (float) or bool masks.
            boxes: `[N, 4]` `(y1, x1, y2, x2)` pixels of the detections; None takes each mask's
                own extent.
            precision: what networks compute in that OpenVINO runs: "float32", or "bfloat16" where
                the CPU multiplies in it.

        Returns:
            `[H, W, N]` float32 probabilities in 0..1. An empty mask is returned unchanged.

        Raises:
            ValueError: shapes that do not belong together.
        """
        image, probabilities = self._check(image, mask_probs, boxes)
        if probabilities.shape[2] == 0:
            return probabilities
        result = probabilities
        for _ in range(self.recipe.passes):
            found = self._boxes(result, boxes)
            result = self._refine_once(image, result, found, precision)
        if self.recipe.snap is not None:
            for i in [i for i, box in enumerate(found) if box is not None]:
                result[..., i] = snap_to_colors(image, result[..., i], self.recipe.snap)
        return result

    def _boxes(self, probabilities: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        """Return where each object is; None for an empty mask."""
        return [
            patch_geometry.object_box(probabilities[..., i]) if boxes is None else _usable(boxes[i])
            for i in range(probabilities.shape[2])
        ]

    def _refine_once(
        self, image: np.ndarray, probabilities: np.ndarray, found: Sequence[Any], precision: str
    ) -> np.ndarray:
        """Return the probabilities `[H, W, N]` after a pass over all scales."""
        scales = self.recipe.scales
        result = probabilities.copy()
        # Without a cascade no scale waits for another: all patches go through in one batch.
        for together in [[scale] for scale in scales] if self.recipe.cascade else [scales]:
            found_passes = self._predict_scales(image, result, found, together, precision)
            for i, passes in found_passes.items():
                result[..., i] = self._blend_passes(result[..., i], passes)
        return result

    def _check(self, image: Any, mask_probs: Any, boxes: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the image and float32 probabilities; raise for shapes that do not fit."""
        image, mask_probs = np.asarray(image), np.asarray(mask_probs)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image is {image.dtype} {image.shape}; it must be uint8 [H, W, 3].")
        if mask_probs.ndim != 3 or mask_probs.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"mask_probs has shape {mask_probs.shape}; it must be "
                f"[{image.shape[0]}, {image.shape[1]}, N] like the image."
            )
        if boxes is not None and np.shape(boxes) != (mask_probs.shape[2], 4):
            raise ValueError(
                f"boxes has shape {np.shape(boxes)}; it must be ({mask_probs.shape[2]}, 4)."
            )
        return image, mask_probs.astype(np.float32)

    def _predict_scales(
        self,
        image: np.ndarray,
        probabilities: np.ndarray,
        boxes: Sequence[Any],
        scales: Sequence[Scale],
        precision: str,
    ) -> dict[int, list[tuple]]:
        """Return `{instance: [(view, sum of weighted predictions, sum of weights), ...]}`."""
        size = self.recipe.patch_size
        weights = patch_geometry.patch_weights(size, self.recipe.decay)
        finished: dict[int, list[tuple]] = {}
        pending: list[tuple[int, patch_geometry.View, np.ndarray, np.ndarray]] = []

        def flush() -> None:
            if not pending:
                return
            predictions = self.predict(np.concatenate([item[3] for item in pending]), precision)
            start = 0
            for i, view, centers, _ in pending:
                part = predictions[start : start + len(centers)]
                start += len(centers)
                sums = patch_geometry.sum_patches(part, centers, weights, view.shape)
                finished.setdefault(i, []).append((view, *sums))
            pending.clear()

        for i, box in enumerate(boxes):
            for scale in scales if box is not None else ():
                view = patch_geometry.View.around(box, image.shape, scale, size)
                stack = view_stack(view, image, probabilities[..., i])
                centers = patch_geometry.patch_centers(
                    view, stack[..., 3], scale, pad_is_boundary=self.recipe.pad_is_boundary
                )
                if not len(centers):
                    continue
                cut = patch_geometry.extract_patches(stack, centers, size, self.recipe.pad_value)
                pending.append((i, view, centers, cut))
                if sum(len(item[2]) for item in pending) >= MAX_PENDING:
                    flush()
        flush()
        return finished

    def _blend_passes(self, original: np.ndarray, passes: Sequence[tuple]) -> np.ndarray:
        """Average one instance's probability `[H, W]` with the patches of its passes."""
        total, weight = np.zeros_like(original), np.zeros_like(original)
        for view, part_total, part_weight in passes:
            top, left, bottom, right = view.region
            total[top:bottom, left:right] += view.restore(part_total)
            weight[top:bottom, left:right] += view.restore(part_weight)
        return patch_geometry.blend(
            original, total, weight, self.recipe.original_weight, self.recipe.patch_weight
        )

    def predict(self, patches: np.ndarray, precision: str = "float32") -> np.ndarray:
        """Run the networks: `[n, S, S, 4]` float32 in 0..1 to `[n, S, S]` float32 in 0..1.

        Args:
            patches: RGB and probability.
            precision: as for `refine`.
        """
        networks = self._runners(precision)
        count, size = len(patches), patches.shape[1]
        inputs = np.asarray(patches, np.float32)
        if self.recipe.flip:
            inputs = np.concatenate([inputs, inputs[:, :, ::-1]])
        results = np.zeros((len(inputs), size, size), np.float32)
        for start in range(0, len(inputs), PREDICT_BATCH):
            batch = inputs[start : start + PREDICT_BATCH]
            missing = PREDICT_BATCH - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            for network in networks:
                predicted = np.asarray(network(padded))[: len(batch), ..., 0]
                results[start : start + len(batch)] += predicted
        results /= np.float32(len(networks))
        if self.recipe.flip:
            return (results[:count] + results[count:, :, ::-1]) / np.float32(2)
        return results

    def _runners(self, precision: str) -> list[Callable[[np.ndarray], Any]]:
        """Return what runs: compiled networks for a file, where OpenVINO accepts them."""
        if self._file is not None:
            try:
                if self._compiled is None:
                    self._compiled = self._file.convert(self._keras_networks or [])
                return [network.prepare(precision) for network in self._compiled]
            except Exception:  # any of another library; Keras runs instead
                pass
        return [network.predict_on_batch for network in self.networks]


def _networks_file(path: Path) -> NetworksFile | None:
    """Return what OpenVINO needs to run the networks of a file; None where it does not run."""
    if not can_compile():
        return None
    from mrcnn.engines.patch_networks import NetworksFile

    folder = Path(__file__).parent
    try:
        return NetworksFile(path, [folder / name for name in _SOURCES], PREDICT_BATCH)
    except Exception:  # OpenVINO is installed and cannot be loaded
        return None


def _read_networks(file: h5py.File, path: Path, recipe: Recipe) -> list[Any]:
    """Return the Keras networks of an open refiner file."""
    values = [_read_arrays(file, index, path) for index in range(recipe.networks)]
    try:
        networks = [build_from_recipe(recipe) for _ in values]
        for network, arrays in zip(networks, values):
            assign_named_weights(network, _read_values(network, arrays))
    except ValueError as error:
        raise ValueError(
            f"{printable(path)} does not fit its own settings: {printable(error)}"
        ) from error
    return networks


def build_from_recipe(recipe: Recipe) -> Any:
    """Build one untrained network of a recipe."""
    from mrcnn.startup.backend import import_backend
    from mrcnn.startup.building import compiled_quickly

    import_backend()
    from mrcnn.refinement.unet import build_network

    with compiled_quickly():
        return build_network(recipe.architecture, recipe.patch_size, recipe.filters, recipe.dropout)


def view_stack(view: patch_geometry.View, image: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return `[h, w, 4]` float32 in 0..1: RGB and probability of a view."""
    stack = np.empty((*view.shape, 4), np.float32)
    stack[..., :3] = view.crop(image).astype(np.float32) / 255.0
    stack[..., 3] = view.crop(probability)
    return stack


def named_weights(network: Any) -> dict[str, np.ndarray]:
    """Return `{layer/variable: values}` of a network."""
    return {
        f"{layer.name}/{variable.name}": np.asarray(values)
        for layer in network.layers
        for variable, values in zip(layer.weights, layer.get_weights(), strict=True)
        if "seed" not in variable.name
    }


def assign_named_weights(network: Any, values: dict[str, np.ndarray]) -> None:
    """Set weights by `layer/variable` name; every one must be there with its shape.

    Raises:
        ValueError: a weight is missing or has another shape; nothing has changed then.
    """
    current = named_weights(network)
    _check_weights(current, {name: np.shape(value) for name, value in values.items()})
    for layer in network.layers:
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name}"
            if name in current:
                variable.assign(np.asarray(values[name], np.float32))


def _check_weights(own: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise unless every weight of a network is there with its shape."""
    for name, value in own.items():
        shape = shapes.get(name, "missing")
        if shape != value.shape:
            raise ValueError(f"weight {name} is {shape}; it must have shape {value.shape}.")


def _read_settings(file: h5py.File, path: Path) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe and the notes of an open refiner file."""
    from mrcnn.checkpoints.hdf5 import HDF5ContentError, content_errors, read_text_attribute

    shown = printable(path)
    with content_errors(path):
        if read_text_attribute(path, file, "format") != FORMAT:
            raise HDF5ContentError(
                f"{shown} is not a refiner file: it has no attribute format of {FORMAT!r}"
            )
        texts = [read_text_attribute(path, file, name) for name in ("recipe", "notes")]
    try:
        recipe, notes = (json.loads(text or "") for text in texts)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown}: its settings are not JSON: {printable(error)}") from error
    if not isinstance(notes, dict):
        raise ValueError(f"notes of {shown} is a {type(notes).__name__}; it must be an object")
    try:
        return Recipe.from_dict(recipe), notes
    except ValueError as error:
        raise ValueError(f"{shown}: {printable(error)}") from error


def _read_arrays(file: h5py.File, index: int, path: Path) -> dict[str, h5py.Dataset]:
    """Return the checked arrays of one network by `layer/variable`; no values are read."""
    import h5py

    from mrcnn.checkpoints.hdf5 import HDF5ContentError, check_array, content_errors

    arrays: dict[str, h5py.Dataset] = {}
    with content_errors(path):
        group = file.get(f"network{index}")
        if not isinstance(group, h5py.Group):
            raise HDF5ContentError(f"{printable(path)} has no network {index}")
        group.visititems(
            lambda name, item: (
                arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None
            )
        )
        return {name: check_array(path, name, array) for name, array in arrays.items()}


def _read_values(network: Any, arrays: dict[str, h5py.Dataset]) -> dict[str, np.ndarray]:
    """Return the values of the arrays that a network has, after comparing their shapes."""
    own = named_weights(network)
    _check_weights(own, {name: array.shape for name, array in arrays.items()})
    for name in own:
        if arrays[name].dtype.kind != "f":
            raise ValueError(
                f"weight {name} is of type {arrays[name].dtype}; it must be floating-point"
            )
    try:
        return {name: arrays[name][()] for name in own}
    except (OSError, RuntimeError, TypeError, MemoryError) as error:
        raise ValueError(f"values cannot be read; the file is damaged ({error})") from error


def _usable(box: Any) -> np.ndarray | None:
    """Return a box with an area as float, else None."""
    box = np.asarray(box, np.float32)
    return box if box[2] > box[0] and box[3] > box[1] else None
