"""`mrcnn.train`: a whole training in one call, from data to weights; `mrcnn train` uses it too.

A training is planned first, which finds what is wrong with data, settings and options before
anything is built, and then run.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.training.options import TrainOptions, has_kept_last
from mrcnn.training.parts import is_path, open_parts

if TYPE_CHECKING:
    from mrcnn.checkpoints import HeldOut, LoadReport
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset
    from mrcnn.family.models import Model
    from mrcnn.training.starting import StartingPoint

# The model of every training that names none.
MODEL = "mask_rcnn"
# What the value of the best epoch is called, by its name in the logs.
_MONITOR_LABELS = {"val_mean_iou": "mean IoU"}
BEST_FILE, CURVES_FILE = "best.h5", "curves.png"


def train(
    dataset: Any,
    weights: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    epochs: int = 10,
    layers: str | None = None,
    val: Any = None,
    val_fraction: float = 0.2,
    output: str | os.PathLike[str] = "logs",
    name: str | None = None,
    format: str | None = None,
    classes: Sequence[str] | None = None,
    reader_options: Mapping[str, Any] | None = None,
    config: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    rename: Mapping[str, str] | None = None,
    image_size: int | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    augment: str = "flips",
    seed: int | None = None,
    learning_rate: float | None = None,
    schedule: str = "constant",
    warmup: float = 0.0,
    optimizer: str = "sgd",
    accumulate: int | None = None,
    precision: str | None = None,
    proposals: str | os.PathLike[str] | None = None,
    ap: bool = True,
    ap_images: int = 50,
    average: bool = True,
    early_stopping: bool = False,
    keep: int | str = 1,
    loss: str = "cross_entropy",
    class_weights: str | None = None,
    verbose: int = 1,
    hosts: int | None = None,
) -> Any:
    """Train on a dataset and return the model, ready to detect: `mrcnn train` as a function.

    The settings of the weights are taken over as far as they are not about the data. The log folder
    gets what that of `MaskRCNN.train` gets.

    Args:
        dataset: path of the dataset, a prepared `Dataset`, or with format "shapes" the number of
            images.
        weights: `small`, `coco`, `imagenet`, `none` (random values), or the path of a weight file.
            Of other classes than those of the dataset, known ones are continued. None takes `small`
            for Mask R-CNN and Faster R-CNN, `coco` for Fast R-CNN, `imagenet` for R-CNN, FCN and
            SegNet, else `none`.
        model: a name of `mrcnn.family.MODELS`; None takes that of the weights, else `mask_rcnn`.
            What is said below of heads and masks concerns Mask R-CNN.
        epochs: number of epochs.
        layers: `heads` (all but the backbone); `roi_heads` (all that follows the proposals); `5+`,
            `4+`, `3+` (also the backbone from that stage on); `all`; or a pattern of layer names.
            None takes `heads` for Mask R-CNN, but `roi_heads` with `small` where its proposals
            find the objects already; else `all`.
        val: dataset to validate on, a path or a prepared `Dataset`; None for the part of `dataset`
            of such a name, or a share of its images.
        val_fraction: that share, 0..0.9; 0 for no validation.
        output: folder that gets a log folder.
        name: name of the training; that of the dataset if None.
        format: format of the dataset, as for `mrcnn.open_dataset`.
        classes: names of the classes to load, as for `mrcnn.open_dataset`.
        reader_options: further arguments of `mrcnn.open_dataset`.
        config: JSON file with settings that override those of the weights.
        backbone: name of the backbone, for weights `none` and `imagenet`; the latter is the default
            then.
        rename: class of the dataset -> class of the weights that it continues.
        image_size: side of the input in pixels, a multiple of 64.
        batch_size: images per step.
        steps: steps per epoch; None for as many as it takes to see each image once.
        augment: `none`, `flips`, `light`, `strong`, or a Python file that defines `augmentation`.
        seed: makes the training repeatable, see `MaskRCNN.train`, and with it the weights that no
            file gives: it is set as the seed of Keras, NumPy and Python.
        learning_rate: None for that of the settings, a tenth of it for adam and adamw.
        schedule: `constant`, `step` or `cosine`.
        warmup: number of epochs in which the learning rate rises.
        optimizer: `sgd`, `adam` or `adamw`.
        accumulate: number of steps whose gradients are averaged.
        precision: `float32`, `bfloat16` or `float16`.
        proposals: of Fast R-CNN: `.npz` file of proposals, see `mrcnn.family.find_proposals`, which
            fills it where it lacks images; None keeps them in memory.
        ap: measure AP, or mean IoU for semantic networks, after each epoch and keep the best
            weights.
        ap_images: largest number of images that AP is measured on.
        average: of weights that know all classes before the first step, such as `small` after its
            look at the images: at the end, measure means of the weights before and after as well
            (`mrcnn.training.start_average`), and keep one that is the best.
        early_stopping: stop after 10 epochs without a better AP.
        keep: number of epochs whose weights are kept beside `best.h5`; or "all".
        loss: of semantic networks: `cross_entropy`, `dice` or `cross_entropy+dice`.
        class_weights: of semantic networks: `median` for weights by frequency, as in SegNet's
            paper; None for none.
        verbose: 0 silent, 1 a progress line, 2 only a line for each epoch.
        hosts: number of processes that train together, on several hosts or one; see
            `mrcnn.training.hosts`. None for as many as a launcher has started; 1 for this alone.

    Returns:
        The model with the best weights where AP was measured, else with the last. `log_dir` is the
        folder of its files; to train further, start from the weights there.

    Raises:
        TimeoutError: the other processes did not come.
        FileNotFoundError: there is no such dataset or weight file.
        ValueError: an argument, the dataset or a setting cannot work; nothing is written then.

    Example:
        >>> model = train("6", format="shapes", epochs=1, verbose=0)  # doctest: +SKIP
        >>> model.class_names  # doctest: +SKIP
        ['BG', 'square', 'circle', 'triangle']
    """
    given = locals()
    from mrcnn.family.starting import choose_model, default_weights
    from mrcnn.files.names import shown
    from mrcnn.training.hosts import is_first, joined

    for key, value in (("weights", weights), ("config", config)):
        if value is not None and not is_path(value):
            raise ValueError(f"{key} is {shown(value)}; it must be the path of a file")
    entry = choose_model(model, None if weights is None else os.fspath(weights))
    if rename is not None and not isinstance(rename, Mapping):
        raise ValueError(
            f"rename is {shown(rename)}; it must be a dict of classes of the weights by those of "
            "the dataset"
        )
    if weights is None:
        weights = default_weights(entry, backbone)
    dataset, val = (str(data) if isinstance(data, int) else data for data in (dataset, val))
    options = TrainOptions.choose(
        {**given, "keep": str(keep), "val": os.fspath(val) if is_path(val) else None}
    )
    with joined(hosts):
        plan = plan_training(
            dataset,
            os.fspath(weights),
            options,
            model=entry.name,
            val=val,
            name=name,
            format=format,
            classes=None if classes is None else list(classes),
            reader_options=dict(reader_options or {}),
            config_path=None if config is None else Path(config),
            backbone=backbone,
            rename=rename or {},
            image_size=image_size,
            batch_size=batch_size,
            accumulate=accumulate,
            precision=precision,
            proposals=proposals,
        )
        agree_on(plan)
        add_proposals(plan, proposals, None)
        verbose = verbose if is_first() else 0
        if verbose:
            print(describe_training(plan))
        trained = run_training(plan, Path(output), verbose)
        load_best(trained)
    if verbose:
        print(describe_results(trained.log_dir))
    return trained


@dataclass
class TrainingPlan:
    """What is trained on what, after everything has been checked.

    Attributes:
        start: weights, and the settings of the training.
        train: the dataset to train on.
        val: the dataset to validate on, or None.
        held_out: the record of their split.
        rename: names of classes in the weights by those in the dataset.
        options: further options.
        rate: the learning rate, a number or a schedule.
        rate_is_given: whether the user chose it.
        knows_classes: whether the weights can detect all classes before the first step.
        notes: sentences for the user.
    """

    start: StartingPoint
    train: Dataset
    val: Dataset | None
    held_out: HeldOut | None
    rename: Mapping[str, str]
    options: TrainOptions
    rate: Any = None
    rate_is_given: bool = False
    notes: list[str] = field(default_factory=list)
    knows_classes: bool = False

    @property
    def entry(self) -> Model:
        """The model that is trained."""
        from mrcnn.family.models import find_model

        return find_model(self.start.model)


def plan_training(
    dataset: Any,
    weights: str,
    options: TrainOptions,
    *,
    model: str = MODEL,
    val: Any = None,
    name: str | None = None,
    format: str | None = None,
    classes: list[str] | None = None,
    reader_options: Any = None,
    open_part: Any = None,
    config_path: Path | None = None,
    backbone: str | None = None,
    rename: Mapping[str, str],
    image_size: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    precision: str | None = None,
    proposals: str | os.PathLike[str] | None = None,
    resumed: bool = False,
    best: bool = False,
) -> TrainingPlan:
    """Open the data, find the weights, choose the settings, and check that they fit.

    The arguments are those of `train`. `options` are those that a resumed training takes over, and
    `best` says whether the best weights are required; for `reader_options`, `open_part` and
    `resumed` see `mrcnn.training.parts.open_parts`.

    Raises:
        FileNotFoundError: there is no such dataset or weight file.
        ValueError: something does not fit.
    """
    from mrcnn.family.models import find_model
    from mrcnn.training.starting import recorded_split

    entry = find_model(model)
    options.check()
    if backbone is not None and entry.family not in (MODEL, "rcnn"):
        raise ValueError(
            f"backbone is {backbone}; it must not be given with the model {entry.name}, which has "
            "no other"
        )
    train_data, val_data, held_out = open_parts(
        *(dataset, format, val, options.val_fraction, classes, reader_options),
        earlier=recorded_split(weights),
        resumed=resumed,
        open_part=open_part,
    )
    notes = check_validation(options, best, val_data, entry)
    settings = {"config_path": config_path, "resumed": resumed}
    if entry.family == MODEL:
        start = _start_mask_rcnn(entry, weights, backbone, train_data, rename, settings)
        if resumed or not start.repeats_a_detector:  # otherwise after a look at the images
            options.layers = options.layers or "heads"
    else:
        start = _start_family(entry, weights, train_data, val_data, settings)
        if backbone is not None:
            start.config.BACKBONE = backbone
        if entry.family == "yolo":
            options.layers = options.layers or "all"
    start.config.NAME = experiment_name(name, dataset, format, entry.name)
    change_settings(start.config, batch_size, image_size, accumulate, precision)
    if entry.family == MODEL:
        from mrcnn.training.starting import configure_for_datasets, learn_masks_where_there_are

        configure_for_datasets(start.config, train_data, val_data, options.steps)
        notes += learn_masks_where_there_are(start.config, train_data)
        notes += _check_proposals(start.config, proposals, train_data, val_data)
    else:
        from mrcnn.family.starting import finish_settings

        finish_settings(start.config, entry, train_data, options.steps)
    is_given = options.learning_rate is not None
    rate = options.learning_rate_of(start.config)
    return TrainingPlan(
        start, train_data, val_data, held_out, rename, options, rate, is_given, notes
    )


def _check_proposals(
    config: Config, path: str | os.PathLike[str] | None, train: Dataset, val: Dataset | None
) -> list[str]:
    """Check the proposals of a network without RPN; return a note on a file that lacks images."""
    if config.USE_RPN:
        return []
    from mrcnn.family.proposals import check_known
    from mrcnn.files.names import printable

    num_known, count = check_known([train] if val is None else [train, val], path)
    if path is None or num_known == count or not os.path.exists(path):
        return []
    return [f"{printable(os.fspath(path))} has the proposals of {num_known} of {count} images; "
            "selective search finds the others, and they are added"]  # fmt: skip


def _start_mask_rcnn(
    entry: Model,
    weights: str,
    backbone: str | None,
    train_data: Dataset,
    rename: Mapping[str, str],
    settings: Mapping[str, Any],
) -> StartingPoint:
    from mrcnn.training.starting import find_starting_point, match_classes

    start = find_starting_point(weights, backbone=backbone, **settings)
    entry.change(start.config)
    start.model = entry.name
    match_classes(start, train_data.class_names, rename)
    return start


def _start_family(
    entry: Model, weights: str, train: Dataset, val: Dataset | None, settings: Mapping[str, Any]
) -> StartingPoint:
    from mrcnn.datasets.report import require_learnable
    from mrcnn.family.starting import find_start

    if entry.finds != "labels":
        require_learnable(train)
    return find_start(entry, weights, train, val, **settings)


def agree_on(plan: TrainingPlan) -> None:
    """Check, on several hosts, that all processes have the same plan; see `training.agreement`."""
    from mrcnn.training.agreement import agree

    start = plan.start
    agree(start.config, plan.options, start.weights, (plan.train, plan.val), start.model)


def add_proposals(
    plan: TrainingPlan,
    path: str | os.PathLike[str] | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Find the proposals of a network without RPN by selective search, or read them from a file.

    Images that have proposals already keep them.

    Args:
        plan: the plan, whose datasets get them.
        path: an `.npz` file that keeps them, or None.
        progress: called with the number of images done and of all, for each dataset.
    """
    if plan.start.config.USE_RPN or plan.entry.family != MODEL:
        return
    from mrcnn.datasets.proposals import proposal_key
    from mrcnn.family.proposals import find_proposals

    for data in (plan.train, plan.val):
        if data is None:
            continue
        own = {i: data.load_proposals(i) for i in data.image_ids}
        missing = [i for i, boxes in own.items() if boxes is None]
        if missing:
            found = find_proposals(data.subset(missing), path, progress=progress)
            kept = {proposal_key(data.image_info[i]): own[i] for i in own if own[i] is not None}
            data.proposals = {**kept, **found}


def run_training(plan: TrainingPlan, output: Path, verbose: int = 1) -> Any:
    """Build the model and train it.

    Args:
        plan: from `plan_training`.
        output: the folder of log folders.
        verbose: 0 silent, 1 a progress line, 2 only a line for each epoch.

    Returns:
        The model with its last weights.
    """
    from mrcnn.loading import find_augmentation
    from mrcnn.training import hosts

    options = plan.options
    if options.seed is not None or hosts.count() > 1:
        import keras

        # For the weights that no file gives, which must be the same on every host.
        keras.utils.set_random_seed(options.seed or 0)
    if plan.entry.family == "rcnn":
        from mrcnn.family.rcnn_training import train_rcnn

        return train_rcnn(plan, output, verbose)
    model, lines = build_model(plan, output)
    if verbose:
        print("\n".join(lines))
    model.train(
        plan.train,
        plan.val,
        learning_rate=plan.rate,
        epochs=options.epochs,
        augmentation=find_augmentation(options.augment),
        optimizer=_own_optimizer(plan),
        keep=options.num_kept,
        seed=options.seed,
        held_out=plan.held_out,
        verbose=verbose,
        **_arguments(model, plan),
    )
    return model


def _own_optimizer(plan: TrainingPlan) -> Any:
    """Return the optimizer, or None for the SGD of `train`."""
    if plan.options.optimizer == "sgd":
        return None
    from mrcnn.training import make_optimizer

    return make_optimizer(plan.options.optimizer, plan.start.config, plan.rate)


def _arguments(model: Any, plan: TrainingPlan) -> dict[str, Any]:
    """Return the arguments of `train` that the model has of its own."""
    options, callbacks = plan.options, make_callbacks(model, plan)
    if plan.entry.family == MODEL:
        return {"layers": options.layers, "custom_callbacks": callbacks, "heading": False}
    arguments = {"callbacks": callbacks, "steps": options.steps}
    if plan.entry.family == "yolo":
        return {**arguments, "layers": options.layers}
    weights = None if options.class_weights == "none" else options.class_weights
    return {**arguments, "loss": options.loss, "class_weights": weights}


def build_model(plan: TrainingPlan, output: Path) -> tuple[Any, list[str]]:
    """Build the model, load what it starts from, and return it with lines about what was loaded."""
    if plan.entry.family != MODEL:
        from mrcnn.family.models import build
        from mrcnn.family.starting import load_start

        names = list(plan.train.class_names)
        built = build(plan.entry.name, plan.start.config, names, str(output))
        return built, [f"Weights  {load_start(built, plan.start)}"]
    from mrcnn.checkpoints.class_rows import describe_class_match
    from mrcnn.model import MaskRCNN
    from mrcnn.training.starting import load_starting_weights

    names = plan.train.class_names
    model = MaskRCNN(mode="training", config=plan.start.config, model_dir=str(output))
    report, known = load_starting_weights(model, plan.start, names, plan.rename)
    lines = []
    if plan.start.weights is None:
        lines.append("Weights  none: random values")
    elif report is not None:
        lines.append(f"Weights  {describe_loaded(report)}")
    if known is not None:
        lines += [f"Classes  {line}" for line in describe_class_match(names, known)]
    return model, lines + _look_first(model, plan, known)


def _look_first(model: Any, plan: TrainingPlan, known: Mapping[str, str] | None) -> list[str]:
    """Start new classes, and choose layers and learning rate, by what the weights find.

    Returns:
        A line about the layers if they were chosen.
    """
    from mrcnn.training import first_look

    start, options, names = plan.start, plan.options, plan.train.class_names
    new = [k for k, name in enumerate(names) if k and known is not None and name not in known]
    plan.knows_classes = known is not None and not new
    if start.resumed or not start.trains_on_proposals or not (new or options.layers is None):
        return []
    started = _start_in_detector(model, plan, new) if start.repeats_a_detector else []
    look = first_look.look_at(model.keras_model, plan.train, start.config)
    rest = [k for k in new if k not in started]
    plan.knows_classes = first_look.start_classes(model.keras_model, look, rest) == rest
    if options.layers is not None:
        return []
    options.layers, factor = first_look.choose_layers(look, _measures_means(plan))
    if options.learning_rate is not None and not plan.rate_is_given:
        options.learning_rate *= factor
        plan.rate = options.learning_rate_of(start.config)
    return [
        f"Layers   {options.layers}, learning rate {options.learning_rate:g}: "
        f"{100 * look.found:.0f} % of the objects are proposed already"
    ]


def _start_in_detector(model: Any, plan: TrainingPlan, new: Sequence[int]) -> list[int]:
    """Start new classes in the detector that the backbone is; return those that were started."""
    from mrcnn.training import detector_classes

    if not new:
        return []
    config, graph = plan.start.config, model.keras_model
    locations = detector_classes.look_at_locations(graph, plan.train, config)
    known = [k for k in range(1, len(plan.train.class_names)) if k not in new]
    return detector_classes.start_in_detector(graph, locations, new, known)


def make_callbacks(model: Any, plan: TrainingPlan) -> list[Any]:
    """Return the callbacks of `MaskRCNN.train`: AP, the best weights, and the saved options."""
    from keras.callbacks import LambdaCallback

    from mrcnn.training import hosts
    from mrcnn.training.log_folders import remove_older_checkpoints

    options, start = plan.options, plan.start
    # The log folder is known when the training begins.
    callbacks: list[Any] = []
    if not hosts.is_first():
        return callbacks
    callbacks.append(LambdaCallback(on_train_begin=lambda logs: options.save(model.log_dir)))
    keep = options.num_kept
    if start.resumed and keep is not None and has_kept_last(Path(model.log_dir)):
        # The training itself removes only weights that it has written since it was resumed.
        callbacks.append(
            LambdaCallback(
                on_epoch_end=lambda epoch, logs: remove_older_checkpoints(model.log_dir, keep)
            )
        )
    if plan.val is not None and options.ap:
        callbacks.append(_make_validation(model, plan))
        callbacks += ["best", *(["early_stopping"] if options.early_stopping else [])]
        callbacks += ["start_average"] if _measures_means(plan) else []
    return callbacks


def _measures_means(plan: TrainingPlan) -> bool:
    """Return whether means of the weights before and after the training are measured."""
    from mrcnn.training import hosts

    options = plan.options
    # Distributed weights could only be set by all processes together.
    wanted = options.average and options.ap and plan.val is not None and hosts.count() == 1
    knows = plan.start.resumed or _starts_with_classes(plan)
    return wanted and knows and plan.entry.family == MODEL


def _starts_with_classes(plan: TrainingPlan) -> bool:
    """Return whether the weights detect all classes of the dataset before the first step."""
    has_classes = plan.start.class_names == list(plan.train.class_names) and not plan.rename
    return has_classes or plan.knows_classes


def _make_validation(model: Any, plan: TrainingPlan) -> Any:
    """Return the callback that measures what the model finds after each epoch."""
    entry, start = plan.entry, plan.start
    common: dict[str, Any] = {
        "max_images": plan.options.ap_images,
        "verbose": 0,
        "measure_first": _starts_with_classes(plan) and not start.resumed,
    }
    if entry.finds == "labels":
        from mrcnn.training.label_validation import ValidationLabels

        return ValidationLabels(model, plan.val, **common)
    from mrcnn.training import ValidationAP

    # As `mrcnn evaluate` measures.
    return ValidationAP(model, plan.val, min_confidence=entry.measured_confidence, **common)


def load_best(model: Any) -> None:
    """Load the best weights of a training that has ended, if it has written them."""
    from mrcnn.training.hosts import of_first

    path = Path(model.log_dir) / BEST_FILE
    if getattr(model, "name", "") == "rcnn":
        return  # its only weights
    if of_first(path.is_file()):
        model.keras_model.load_weights(str(path))


def check_validation(
    options: TrainOptions, best: bool, val_data: Dataset | None, entry: Model
) -> list[str]:
    """Check that AP can be measured where options need it; return a note where it cannot.

    Raises:
        ValueError: an option needs AP, and it cannot be measured.
    """
    wanted = [name for name, on in (("--best", best), ("early stopping", options.early_stopping))
              if on]  # fmt: skip
    if wanted and val_data is None:
        raise ValueError(f"{wanted[0]} needs images to validate on; there are none")
    if wanted and not options.ap:
        raise ValueError(f"{wanted[0]} needs AP; it must not be switched off (--no-ap)")
    if val_data is None or not options.ap:
        return []
    figure = "mean IoU" if entry.finds == "labels" else "AP"
    reason = _why_unmeasured(val_data, entry)
    if reason is None:
        return []
    if wanted:
        raise ValueError(f"{wanted[0]} needs {figure}; it cannot be measured: {reason}")
    if entry.finds == "labels":  # the mean would be that of the background alone
        options.ap = False
    return [f"{figure} cannot be measured: {reason}"]


def _why_unmeasured(val_data: Dataset, entry: Model) -> str | None:
    """Return why validation images show nothing to measure on; None where they do."""
    from mrcnn.datasets.report import require_learnable
    from mrcnn.datasets.semantic import require_masks
    from mrcnn.files.names import counted

    images = counted(val_data.num_images, "validation image")
    is_semantic = entry.finds == "labels"
    try:
        (require_masks if is_semantic else require_learnable)(val_data)
    except ValueError:
        return f"boxes and no masks in {images}" if is_semantic else f"no object in {images}"
    return None


def change_settings(
    settings: Config,
    batch_size: int | None,
    image_size: int | None,
    accumulate: int | None,
    precision: str | None,
) -> None:
    """Set the settings that have an option of their own, as far as it is given."""
    if batch_size is not None:
        settings.IMAGES_PER_GPU = batch_size
    if image_size is not None:
        settings.IMAGE_MIN_DIM = settings.IMAGE_MAX_DIM = image_size
    if accumulate is not None:
        settings.ACCUMULATE_STEPS = accumulate
    if precision is not None:
        settings.PRECISION = precision


def experiment_name(
    name: str | None, dataset: Any, format: str | None = None, model: str = MODEL
) -> str:
    """Return a name for the training that log folders and checkpoints can have.

    Args:
        name: the name that the user gave, or None.
        dataset: path of the dataset, or a `Dataset`.
        format: name of its format.
        model: name of the model, which other names than that of Mask R-CNN begin with.
    """
    raw = name
    if not raw and is_path(dataset) and Path(dataset).exists():
        raw = Path(dataset).resolve().stem
    # "shapes" has no folder to be named after, only a number of images.
    raw = raw or format or ""
    if not name and model != MODEL:
        raw = f"{model}_{raw or 'training'}"
    # Matterport's checkpoint names allow only these; find_last and --resume rely on it.
    return re.sub(r"[^\w-]+", "_", raw, flags=re.ASCII).strip("_").lower() or "training"


def describe_training(plan: TrainingPlan) -> str:
    """Return the lines about datasets, model and options that open a training."""
    from mrcnn.files.names import counted, printable

    settings = plan.start.config
    num_val = 0 if plan.val is None else plan.val.num_images
    names = plan.train.class_names
    has_background = plan.entry.finds != "labels" or names[0].lower() in ("bg", "background")
    classes = printable(", ".join(names[1:] if has_background else names))
    once = plan.entry.family == "rcnn"
    steps = "" if once else (
        f", batches of {settings.BATCH_SIZE}, {counted(settings.STEPS_PER_EPOCH, 'step')} per epoch"
    )  # fmt: skip
    # `_look_first` chooses layers and, unless it is given, the rate.
    is_rate_chosen = (
        plan.rate_is_given or plan.options.layers is not None or not plan.start.repeats_a_detector
    )
    how = plan.options.describe(is_rate_chosen)
    training = "two passes over the images" if once else printable(how)
    lines = [
        f"Dataset  {counted(plan.train.num_images, 'image')} to train on, {num_val} to validate "
        f"on, classes: {classes}",
        f"Model    {_network_text(plan)}{steps}",
        f"Training {training}",
        *(f"Note     {printable(note)}" for note in plan.notes),
    ]
    return "\n".join(lines)


def _network_text(plan: TrainingPlan) -> str:
    """Return the network and the size of its input."""
    config, entry = plan.start.config, plan.entry
    if entry.family == MODEL:
        kind = "" if entry.name == MODEL else f"{entry.title} on "
        return f"{kind}{config.BACKBONE}, {'x'.join(map(str, config.IMAGE_SHAPE[:2]))}"
    side = f"{config.IMAGE_MAX_DIM}x{config.IMAGE_MAX_DIM}"
    if entry.family == "rcnn":
        return f"{entry.title} on {config.BACKBONE}, regions of {side}"
    return f"{entry.title}, {side if entry.finds == 'boxes' else f'images up to {side}'}"


def describe_results(log_dir: str) -> str:
    """Return the lines about the files of a training that close it."""
    from mrcnn.files.names import printable
    from mrcnn.files.reading import read_json

    folder = Path(log_dir)
    lines = [f"Weights and logs are in {printable(log_dir)}"]
    best, curves = folder / BEST_FILE, folder / CURVES_FILE
    # A damaged note of an earlier training is no reason to fail after this one.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        content = read_json(Path(f"{best}.json"))
        when = f"epoch {content['epoch']}" if content["epoch"] else "before training"
        share = content.get("trained_share")
        if share is not None:
            when = f"mean of the start and {when} ({share:.0%})"
        lines.append(
            f"Best     {printable(best)}, {when}: "
            f"{_MONITOR_LABELS.get(content.get('monitor'), 'AP')} {content['value']:.3f}"
        )
    if curves.is_file():
        lines.append(f"Curves   {printable(curves)}")
    return "\n".join(lines)


def describe_loaded(report: LoadReport) -> str:
    """Return what was loaded: file, number of layers, and what the others start from.

    Layers that depend on the classes count as loaded: they are taken over class by class.
    """
    from mrcnn.files.names import counted, printable

    num_loaded = len(report.loaded) + len(report.excluded)
    text = f"{printable(report.path)}: "
    if not report.missing_in_file:
        return f"{text}all {counted(num_loaded, 'layer')}"
    rest = "start from random values"
    return f"{text}{counted(num_loaded, 'layer')}; the other {len(report.missing_in_file)} {rest}"
