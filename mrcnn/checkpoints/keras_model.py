"""A Keras model whose weight files have Matterport's layout."""

from __future__ import annotations

import keras

from mrcnn.checkpoints.load import load_weights
from mrcnn.checkpoints.save import save_weights


class NamedWeightsModel(keras.Model):
    """A Keras model whose `.h5` weight files have Matterport's layout.

    `save_weights("x.h5")`, which Keras 3 itself refuses, writes that layout; a name that ends in
    `.weights.h5` means Keras 3's own. `load_weights` reads both.
    """

    # The order of layers in the file; None means the order of the model.
    file_layer_names = None

    def save_weights(self, filepath, overwrite=True, **kwargs):
        if str(filepath).endswith(".h5") and not str(filepath).endswith(".weights.h5"):
            save_weights(self, filepath, layer_names=self.file_layer_names)
        else:
            super().save_weights(filepath, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath, by_name=True, exclude=None, skip_mismatch=False, **kwargs):
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
