"""That the processes of a training on several hosts are about to do the same."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import secrets
import sys
from typing import TYPE_CHECKING, Any

from mrcnn.files.fetch import content_digest
from mrcnn.files.names import printable
from mrcnn.training import hosts

if TYPE_CHECKING:
    from mrcnn.config import Config
    from mrcnn.datasets import Dataset
    from mrcnn.training.options import TrainOptions


def agree(
    config: Config,
    options: TrainOptions,
    weights: str | None,
    datasets: tuple[Dataset, Dataset | None],
    model: str,
) -> None:
    """Compare what the processes are to do, and give all of them the seed of process 0.

    Args:
        config: the settings.
        options: the options; `seed` is set if it is None.
        weights: the file that the training starts from, or None.
        datasets: to train and to validate on.
        model: name of the model.

    Raises:
        ValueError: something differs, or the model cannot be trained on several hosts.
    """
    if hosts.count() == 1:
        return
    if not getattr(config, "USE_RPN", False):
        raise ValueError(
            f"model is {printable(model)}; it must be mask_rcnn or faster_rcnn to be trained on "
            "several hosts"
        )
    chosen = dataclasses.asdict(options)
    # Paths differ between hosts; the datasets themselves are compared.
    for name in ("seed", "val"):
        chosen.pop(name)
    hosts.require_agreement(
        {
            **{f"the version of {name}": _version(name) for name in ("mrcnn", "keras", "jax")},
            **chosen,
            **config.to_dict(),
            "the content of the weight file": None if weights is None else content_digest(weights),
            "the training dataset": hosts.dataset_digest(datasets[0]),
            "the validation dataset": hosts.dataset_digest(datasets[1]),
        }
    )
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    options.seed = hosts.of_first(seed)


def _version(package: str) -> Any:
    if package == "mrcnn":  # not always installed as a distribution
        return sys.modules["mrcnn"].__version__
    return importlib.metadata.version(package)
