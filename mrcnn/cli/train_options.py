"""The options of `mrcnn train` that a resumed training takes over, and their file."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrcnn.files.names import printable, shown

if TYPE_CHECKING:
    from mrcnn.config import Config

# In the log folder: the options of the training.
OPTIONS_FILE = "training.json"
# Titles of groups of options. Those of the dataset, which other commands share, have none.
MODEL = "Model"
STEPS = "Training"
RATE = "Learning rate and optimizer"
VALIDATION = "Validation"
OUTPUT = "Output"


def _option(panel: str | None, text: str, **settings: Any) -> Any:
    """Return an option whose name is that of the parameter."""
    return typer.Option(help=text, rich_help_panel=panel, **settings)


Val = Annotated[
    str | None, _option(None, "Dataset to validate on, if it is not a part of the first.")
]
ValFraction = Annotated[
    float, _option(None, "Share of the images used for validation.", min=0.0, max=0.9)
]
Weights = Annotated[
    str, _option(MODEL, "Start from: small, coco, imagenet, none, or a weight file.")
]
Rename = Annotated[
    list[str] | None,
    _option(
        MODEL,
        "Let a class of the dataset continue one of the weights that has another name; may be "
        "repeated. Example: pedestrian=person.",
        metavar="NEW=OLD",
    ),
]
Backbone = Annotated[
    str | None,
    _option(MODEL, "Name of the backbone, such as resnet50, squeezenet or mobilenet_v2."),
]
ImageSize = Annotated[
    int | None, _option(MODEL, "Side of the input in pixels, a multiple of 64.", min=64)
]
ConfigFile = Annotated[Path | None, _option(MODEL, "JSON file with further settings.")]
Layers = Annotated[str, _option(STEPS, "heads, 5+, 4+, 3+, all, or a pattern of layer names.")]
Epochs = Annotated[int, _option(STEPS, "Number of the last epoch.", min=1)]
Steps = Annotated[
    int | None, _option(STEPS, "Steps per epoch; by default, each image is seen once.", min=1)
]
BatchSize = Annotated[int | None, _option(STEPS, "Images per step.", min=1)]
Augment = Annotated[
    str,
    _option(
        STEPS,
        "none; flips (left to right); light (also size, shift, brightness); strong (also rotation, "
        "shape and color); or a Python file that defines `augmentation`.",
    ),
]
Seed = Annotated[
    int | None, _option(STEPS, "Seed of order and augmentation, to repeat a training.")
]
LearningRate = Annotated[
    float | None,
    _option(
        RATE,
        "Learning rate, after the warm-up; by default that of the settings (0.001), a tenth of it "
        "for adam and adamw.",
        min=0.0,
    ),
]
Schedule = Annotated[
    str,
    _option(
        RATE,
        "How the learning rate changes: constant; step (a tenth after 2/3 and again after 8/9 of "
        "all steps); cosine (falls to zero).",
    ),
]
Warmup = Annotated[
    float,
    _option(RATE, "Epochs in which the learning rate rises, such as 1 or 0.5.", min=0.0),
]
Optimizer = Annotated[str, _option(RATE, "sgd, adam or adamw.")]
Accumulate = Annotated[
    int | None,
    _option(RATE, "Steps whose gradients are averaged, for larger batches than fit.", min=1),
]
Precision = Annotated[
    str | None, _option(RATE, "Numbers the network computes in: float32, bfloat16 or float16.")
]
MeasureAP = Annotated[
    bool,
    _option(
        VALIDATION,
        "Measure AP after each epoch, keep the best weights and draw predictions. Done where there "
        "are validation images.",
    ),
]
ApImages = Annotated[
    int, _option(VALIDATION, "Largest number of images that AP is measured on.", min=1)
]
EarlyStopping = Annotated[
    bool,
    typer.Option(
        "--early-stopping",
        help="Stop after 10 epochs without a better AP.",
        rich_help_panel=VALIDATION,
    ),
]
# What AP and `best.h5` had to be asked for with in earlier versions.
Best = Annotated[bool, typer.Option("--best", hidden=True)]
Output = Annotated[Path, _option(OUTPUT, "Folder for weights and logs.")]
Name = Annotated[
    str | None, _option(OUTPUT, "Name of the training; by default, that of the dataset.")
]
Keep = Annotated[
    str,
    _option(
        OUTPUT,
        "Number of epochs whose weights are kept, the last ones, beside best.h5; or all.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue after the last epoch of this name, with the same options.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=OUTPUT)]


@dataclass
class TrainOptions:
    """Options that are the same when a training is resumed; see `mrcnn train --help`."""

    val: str | None
    val_fraction: float
    layers: str
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

    @classmethod
    def choose(cls, given: dict[str, Any]) -> TrainOptions:
        """Take the options from all parameters of the command."""
        return cls(**{field.name: given[field.name] for field in dataclasses.fields(cls)})

    def check(self) -> None:
        """Raise ValueError for a word that is none of those that an option allows."""
        from mrcnn.loading import find_augmentation

        for name, words in (
            ("schedule", ("constant", "step", "cosine")),
            ("optimizer", ("sgd", "adam", "adamw")),
        ):
            if getattr(self, name) not in words:
                raise ValueError(
                    f"--{name} is {printable(getattr(self, name))!r}; it must be "
                    f"{', '.join(words[:-1])} or {words[-1]}"
                )
        if self.keep != "all" and not (self.keep.isdecimal() and int(self.keep) >= 1):
            raise ValueError(
                f"--keep is {printable(self.keep)!r}; it must be a number of at least 1, or all"
            )
        if self.warmup > self.epochs:
            raise ValueError(
                f"--warmup is {self.warmup:g}; it must be at most --epochs, {self.epochs}"
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
            if not _has_type(value, str(field.type)):
                raise ValueError(
                    f"{field.name} in {printable(path)} is {shown(value)}; it must be {field.type}"
                )
            changes[field.name] = value
        return dataclasses.replace(self, **changes)

    def save(self, folder: str | Path) -> None:
        """Write the options to a log folder."""
        from mrcnn.files.atomic import write_json

        saved = dataclasses.asdict(self)
        if self.augment.endswith(".py"):
            saved["augment"] = str(Path(self.augment).resolve())
        write_json(Path(folder) / OPTIONS_FILE, saved)

    def learning_rate_of(self, config: Config) -> Any:
        """Return the learning rate: a number, or a schedule over all epochs of `STEPS_PER_EPOCH`.

        One that was not given is chosen for the optimizer, and noted for `save`.
        """
        from mrcnn.training.schedules import NamedSchedule, default_learning_rate

        if self.learning_rate is None:
            self.learning_rate = default_learning_rate(self.optimizer, config)
        if self.schedule == "constant" and not self.warmup:
            return self.learning_rate
        return NamedSchedule(
            self.schedule,
            self.learning_rate,
            total_steps=self.epochs * config.STEPS_PER_EPOCH,
            warmup_steps=round(self.warmup * config.STEPS_PER_EPOCH),
        )


def _has_type(value: Any, type_name: str) -> bool:
    """Return whether a value of a JSON file has a type such as "int" or "float | None"."""
    if value is None:
        return "None" in type_name
    if isinstance(value, bool):
        return type_name == "bool"
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    return isinstance(value, kinds.get(type_name.partition(" ")[0], ()))
