"""A Keras model whose weight files have Matterport's layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import h5py
import keras

from mrcnn.checkpoints.load import load_weights
from mrcnn.checkpoints.save import save_weights, write_metadata
from mrcnn.files.atomic import atomic_path
from mrcnn.files.names import printable


@keras.saving.register_keras_serializable(package="mrcnn")
class NamedWeightsModel(keras.Model):
    """A functional Keras model whose `.h5` weight files have Matterport's layout.

    `save_weights("x.h5")`, which Keras 3 itself refuses, writes that layout; a name that ends in
    `.weights.h5` means Keras 3's own. `load_weights` reads both. `save("x.keras")` writes the whole
    model, for `keras.saving.load_model`.

    Args:
        *args: inputs and outputs, as for `keras.Model`.
        file_layer_names: the order of layers in weight files; None for the order of the model.
        **kwargs: as for `keras.Model`.

    Attributes:
        describe_file: returns the metadata for weight files that are written, such as settings and
            class names; None for none. `MaskRCNN` sets it.
    """

    describe_file: Callable[[], Mapping[str, Any]] | None = None

    # All versions of Keras 3 save, load and copy a functional model whose class has this signature.
    def __init__(
        self, *args: Any, file_layer_names: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.file_layer_names = None if file_layer_names is None else list(file_layer_names)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which `from_config` builds the model again."""
        names = self.file_layer_names
        return {**super().get_config(), "file_layer_names": None if names is None else list(names)}

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
        """Write the whole model to a `.keras` file; a failed save leaves no file.

        Args:
            filepath: the file.
            overwrite: whether a file that exists is replaced. Otherwise Keras asks on the terminal.
            **kwargs: as for `keras.Model.save`.
        """
        path = os.fspath(filepath)
        is_one_file = (
            path.endswith((".keras", ".h5", ".hdf5")) and kwargs.get("zipped") is not False
        )
        if "://" in path or not is_one_file or (os.path.exists(path) and not overwrite):
            super().save(filepath, overwrite=overwrite, **kwargs)
            return
        with atomic_path(path) as temporary:
            super().save(temporary, overwrite=True, **kwargs)

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any
    ) -> None:
        """Write the weights: in Matterport's layout to `.h5`, in Keras 3's to `.weights.h5`."""
        if str(filepath).endswith(".h5") and not str(filepath).endswith(".weights.h5"):
            if not overwrite and os.path.exists(filepath):
                raise FileExistsError(
                    f"{printable(os.fspath(filepath))} exists; with overwrite=False it must not"
                )
            save_weights(self, filepath, layer_names=self.file_layer_names)
            return
        super().save_weights(filepath, overwrite=overwrite, **kwargs)
        if self.describe_file is not None and str(filepath).endswith(".weights.h5"):
            with h5py.File(filepath, "a") as file:
                write_metadata(file, self.describe_file())

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        by_name: bool = True,
        exclude: Sequence[str] | None = None,
        skip_mismatch: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a weight file of either layout; see `mrcnn.checkpoints.load_weights`."""
        return load_weights(
            self,
            filepath,
            by_name=by_name,
            exclude=exclude,
            skip_mismatch=skip_mismatch,
            keras_loader=super().load_weights,
            **kwargs,
        )

    def _make_predict_function(self) -> None:
        """Do nothing: servers call this before `predict` of Keras 2 in several threads."""


# Keras's `.h5` files of whole models name the class without its package.
keras.saving.get_custom_objects()["NamedWeightsModel"] = NamedWeightsModel
