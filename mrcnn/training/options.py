"""The options of a whole training, which a resumed training takes over, and their file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.files.names import printable, shown
from mrcnn.value_types import has_type, is_number

if TYPE_CHECKING:
    from mrcnn.config import Config

# In the log folder: the options of the training.
OPTIONS_FILE = "training.json"


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    """Return the rule of a whole number: a function that tests a value, and its text."""
    text = f"a whole number of at least {least}"
    return lambda value: is_number(value) and value == int(value) and value >= least, text


# Rules of the options that are numbers.
_NUMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": _whole(1),
    "steps": _whole(1),
    "ap_images": _whole(1),
    "seed": (lambda v: _whole(0)[0](v) and v < 2**32, "a whole number from 0 to 2**32 - 1"),
    "val_fraction": (lambda v: is_number(v) and 0 <= v <= 0.9, "a number from 0 to 0.9"),
    "learning_rate": (lambda v: is_number(v) and v > 0, "a number above 0"),
    "warmup": (lambda v: is_number(v) and v >= 0, "a number of epochs of at least 0"),
}
_OPTIONAL = ("steps", "seed", "learning_rate")


@dataclass
class TrainOptions:
    """Options that are the same when a training is resumed; see `mrcnn.train`."""

    val: str | None
    val_fraction: float
    layers: str | None
    epochs: int
    steps: int | None
    learning_rate: float | None
    schedule: str
    warmup: float
    optimizer: str
    augment: str
    seed: int | None
    ap: bool
    ap_images: int
    early_stopping: bool
    keep: str
    loss: str = "cross_entropy"
    class_weights: str | None = None
    average: bool = True

    @classmethod
    def choose(cls, given: Mapping[str, Any]) -> TrainOptions:
        """Take the options from all parameters of a command or function."""
        names = [field.name for field in dataclasses.fields(cls) if field.name in given]
        return cls(**{name: given[name] for name in names})

    def check(self) -> None:
        """Raise ValueError for a value that an option does not allow."""
        from mrcnn.loading import find_augmentation

        for name, (allows, rule) in _NUMBERS.items():
            value = getattr(self, name)
            if not (value is None and name in _OPTIONAL) and not allows(value):
                raise ValueError(f"{name} is {shown(value)}; it must be {rule}")

        for name, words in (
            ("schedule", ("constant", "step", "cosine")),
            ("optimizer", ("sgd", "adam", "adamw")),
            ("loss", ("cross_entropy", "dice", "cross_entropy+dice")),
        ):
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} is {printable(getattr(self, name))!r}; it must be "
                    f"{', '.join(words[:-1])} or {words[-1]}"
                )
        if self.keep != "all" and not (self.keep.isdecimal() and int(self.keep) >= 1):
            raise ValueError(
                f"keep is {printable(self.keep)!r}; it must be a number of at least 1, or all"
            )
        if self.class_weights not in (None, "none", "median"):
            raise ValueError(
                f"class_weights is {printable(self.class_weights)!r}; it must be none or median"
            )
        if self.warmup > self.epochs:
            raise ValueError(f"warmup is {self.warmup:g}; it must be at most epochs, {self.epochs}")
        if not isinstance(self.augment, str):
            raise ValueError(
                f"augment is {shown(self.augment)}; it must be a word or the path of a Python file"
            )
        find_augmentation(self.augment)

    @property
    def num_kept(self) -> int | None:
        """Number of weight files to keep; None for all."""
        return None if self.keep == "all" else int(self.keep)

    def with_saved(self, folder: Path, given: Collection[str]) -> TrainOptions:
        """Return the options that an earlier training has saved in its log folder.

        Args:
            folder: the log folder; without the file of options these options stay.
            given: names of those given on the command line, which stay in any case.

        Raises:
            ValueError: the file holds no options, or one of another type.
        """
        from mrcnn.files.reading import read_json_object

        path = folder / OPTIONS_FILE
        if not path.is_file():
            return self
        saved = read_json_object(path, "file of options")
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.name not in saved or field.name in given:
                continue
            value = saved[field.name]
            if field.name == "augment" and str(value).endswith(".py"):
                # A file names no program that is run because of it.
                raise ValueError(
                    f"--augment is not given; it must be given again: the training to resume had "
                    f"{printable(value)}"
                )
            if not has_type(value, str(field.type)):
                raise ValueError(
                    f"{field.name} in {printable(path)} is {shown(value)}; it must be {field.type}"
                )
            changes[field.name] = value
        if "optimizer" in given and self.optimizer != saved.get("optimizer", self.optimizer):
            changes.pop("learning_rate", None)  # that of another optimizer
        return dataclasses.replace(self, **changes)

    def save(self, folder: str | Path) -> None:
        """Write the options to a log folder."""
        from mrcnn.files.atomic import write_json

        saved = dataclasses.asdict(self)
        if self.augment.endswith(".py"):
            saved["augment"] = str(Path(self.augment).resolve())
        write_json(Path(folder) / OPTIONS_FILE, saved)

    def describe(self, is_rate_chosen: bool = True) -> str:
        """Return a line about what is trained and how, after `learning_rate_of`.

        Args:
            is_rate_chosen: whether the learning rate will stay as it is.
        """
        changes = [] if self.schedule == "constant" else [self.schedule]
        if self.warmup:
            changes.append(f"warm-up of {self.warmup:g} epoch{'s' * (self.warmup != 1)}")
        rate = f"learning rate {f'{self.learning_rate:g}' if is_rate_chosen else 'to be chosen'}"
        if changes:
            rate += f" ({', '.join(changes)})"
        parts = [self.optimizer, rate, f"augmentation {self.augment}"]
        if self.layers is not None:
            parts.insert(0, f"layers {self.layers}")
        return ", ".join(parts)

    def learning_rate_of(self, config: Config) -> Any:
        """Return the learning rate: a number, or a schedule over all epochs of `STEPS_PER_EPOCH`.

        One that was not given is chosen for the optimizer, and noted for `save`.
        """
        from mrcnn.training.schedules import NamedSchedule, default_learning_rate

        if self.learning_rate is None:
            self.learning_rate = default_learning_rate(self.optimizer, config)
        self.learning_rate = float(self.learning_rate)  # NumPy's are not saved
        if self.schedule == "constant" and not self.warmup:
            return self.learning_rate
        return NamedSchedule(
            self.schedule,
            self.learning_rate,
            total_steps=self.epochs * config.STEPS_PER_EPOCH,
            warmup_steps=round(self.warmup * config.STEPS_PER_EPOCH),
        )


def has_kept_last(folder: Path) -> bool:
    """Return whether an earlier training kept only its last weights in its log folder."""
    from mrcnn.files.reading import read_json_object

    path = folder / OPTIONS_FILE
    return path.is_file() and read_json_object(path, "file of options").get("keep", "all") != "all"
