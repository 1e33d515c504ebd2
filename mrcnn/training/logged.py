"""The log folder of a model that is trained: which one, and what its files say of the model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mrcnn.files.atomic import write_json
from mrcnn.training import hosts, log_folders

if TYPE_CHECKING:
    import keras

    from mrcnn.checkpoints.held_out import HeldOut
    from mrcnn.config import Config


class LoggedTraining:
    """A model whose trainings write to log folders; the base of `MaskRCNN` and of the family.

    Attributes:
        keras_model: the network.
        config: its settings.
        model_dir: folder that receives a log folder for each training.
        class_names: names by class id; None until they are known.
        held_out: the images that the training of the weights held out; None if that is not known.
        epoch: number of the last finished epoch.
        log_dir: folder of this training's weights and logs.
        checkpoint_path: its weight files, with `{epoch:04d}` in the name.
    """

    # What the names of weight files begin with.
    file_prefix = ""
    # True if `log_dir` belongs to this training already, or was chosen by the user.
    _goes_on = True

    keras_model: keras.Model
    config: Config
    model_dir: str | os.PathLike[str] | None
    class_names: list[str] | None = None
    held_out: HeldOut | None = None
    epoch: int = 0
    log_dir: str
    checkpoint_path: str

    def _describe_files(self) -> None:
        """Let the weight files of `keras_model` hold settings and class names."""
        # Not through Keras, which would track it.
        vars(self.keras_model)["describe_file"] = self._description

    def find_last(self) -> str:
        """Return the path of the newest complete checkpoint of this `NAME` in `model_dir`.

        Trainings without one are passed over; see `log_folders.newest_checkpoint`.

        Raises:
            FileNotFoundError: there is none.
        """
        return log_folders.newest_checkpoint(os.fspath(self.model_dir or "logs"), self._name())

    def _name(self) -> str:
        """Return `NAME` as it is written in the names of folders and files."""
        return (self.config.NAME or "mrcnn").lower()

    def set_log_dir(self, model_path: str | os.PathLike[str] | None = None) -> None:
        """Choose the log folder and the epoch to continue from.

        Args:
            model_path: a checkpoint of an earlier training. Its time and epoch are continued, and
                its folder too if it is of this `NAME`. Otherwise the folder is a new one, named
                after `NAME` and the time.
        """
        name = self._name()
        self.log_dir, self.epoch, self._goes_on = log_folders.choose_folder(
            os.fspath(self.model_dir or "logs"), name, model_path
        )
        self.checkpoint_path = os.path.join(
            self.log_dir, f"{self.file_prefix}{name}_{{epoch:04d}}.h5"
        )

    def _open_log_dir(self, class_names: Sequence[str]) -> None:
        """Make a folder that no other training has, with `config.json` in it, for a new training.

        A training that is continued keeps its folder. On several hosts, process 0 makes it.
        """
        if self._goes_on:
            return
        description = json.dumps(self._description(class_names), indent=1) + "\n"
        if hosts.is_first():
            self.log_dir = log_folders.claim_folder(self.log_dir, description)
        name = hosts.of_first(os.path.basename(self.log_dir))
        if not hosts.is_first():
            self.log_dir = os.path.join(os.path.dirname(self.log_dir), name)
            hosts.wait_for_folder(self.log_dir, log_folders.DESCRIPTION_FILE)
        self.checkpoint_path = os.path.join(self.log_dir, os.path.basename(self.checkpoint_path))
        self._goes_on = True

    def write_description(
        self, weights_path: str | os.PathLike[str], class_names: Sequence[str]
    ) -> None:
        """Write `config.json` beside a weight file: the settings that `from_weights` needs.

        Args:
            weights_path: path of the weight file.
            class_names: names by class id, the background first.
        """
        path = os.path.join(os.path.dirname(weights_path), log_folders.DESCRIPTION_FILE)
        write_json(path, self._description(class_names), durable=True)

    def _settings(self) -> dict[str, Any]:
        """Return the settings that the files of the model hold."""
        return self.config.to_dict()

    def _description(self, class_names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what belongs to the weights; see `mrcnn.checkpoints.description`.

        Args:
            class_names: names by class id; None for those of the model.
        """
        names = self.class_names if class_names is None else class_names
        content: dict[str, Any] = {"config": self._settings()}
        if names is not None and len(names) == self.config.NUM_CLASSES:
            content["class_names"] = [str(name) for name in names]
        if self.epoch:
            content["epoch"] = self.epoch
        if self.held_out is not None:
            content["held_out"] = self.held_out.to_dict()
        return content
