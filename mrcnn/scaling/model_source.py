"""How a worker process makes its model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.files.names import printable

if TYPE_CHECKING:
    from mrcnn.checkpoints.description import DescribedWeights

# Those of `mrcnn.engines.selection`, which imports Keras. Whether they can be used here is found
# out by the workers.
_ENGINES = ("auto", "keras", "openvino")
_PRECISIONS = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class ModelSource:
    """Weights and options, from which every worker makes the same model.

    Attributes:
        weights: a known name, or the path of a weight file.
        model: name of the model; None takes that of the weights.
        config: path of a JSON file with settings that override those of the weights.
        names: path of a text file with a class name per line, for weights that name none.
        engine: what runs the network: "auto", "keras" or "openvino".
        precision: "float32", "bfloat16" or "int8"; None takes that of the settings.
        min_confidence: least score of an object, 0..1; None takes that of the settings.
        refiner: sharpens the masks: the name or the path of a refiner. "auto" is the one that
            belongs to the weights, if there is one; None leaves the masks as they are.
        digest: digest of the files that the workers must find; set by `pinned`.
        environment: variables that the workers must have; set by `pinned`.
    """

    weights: str = "small"
    model: str | None = None
    config: str | None = None
    names: str | None = None
    engine: str = "auto"
    precision: str | None = None
    min_confidence: float | None = None
    refiner: str | None = "auto"
    digest: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> DescribedWeights:
        """Find the weights, their settings and their class names.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the weights cannot be used, or find no single objects.
        """
        from mrcnn.exports.formats import format_of
        from mrcnn.family.models import find_model
        from mrcnn.family.weights import choose_precision, describe

        if format_of(self.weights):
            raise ValueError(
                f"weights is {printable(self.weights)}; it must be a weight file, not an exported "
                "model"
            )
        for name, value, choices in (
            ("engine", self.engine, _ENGINES),
            ("precision", self.precision, _PRECISIONS),
        ):
            if value is not None and value not in choices:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
        paths = [None if text is None else Path(text) for text in (self.config, self.names)]
        described = describe(self.weights, self.model, *paths)
        entry = find_model(described.model)
        if entry.finds == "labels":
            raise ValueError(
                f"weights is {printable(self.weights)}, of the model {entry.name}, which gives "
                "every pixel a class; it must be a model that finds objects"
            )
        if self.engine != "auto" and entry.family != "mask_rcnn":
            raise ValueError(
                f"engine is {self.engine}; it must be auto with the model {entry.name}, which runs "
                "in Keras alone"
            )
        choose_precision(described, self.precision)
        if self.min_confidence is not None:
            described.config.DETECTION_MIN_CONFIDENCE = self.min_confidence
        return replace(described, refiner=self._refiner_of(described, entry.finds == "masks"))

    def _refiner_of(self, described: DescribedWeights, has_masks: bool) -> str | None:
        """Return the name or the path of the refiner, None for none.

        Raises:
            FileNotFoundError: there is no such refiner.
            ValueError: the model has no masks to refine.
        """
        if self.refiner is None:
            return None
        has_masks = has_masks and getattr(described.config, "USE_MASK", True)
        if self.refiner == "auto":
            return described.refiner if has_masks else None
        if not has_masks:
            raise ValueError(
                f"refiner is {printable(self.refiner)}; it must be None with the model "
                f"{described.model}, which has no instance masks"
            )
        from mrcnn.checkpoints.known import resolve_weights

        resolve_weights(self.refiner, kind="refiner")
        return self.refiner

    def pinned(self, described: DescribedWeights) -> ModelSource:
        """Return what a process in another folder, or on another machine, can make the model of."""
        from mrcnn.checkpoints.known import weights_manifest

        known = self.weights.lower() in weights_manifest()
        config, names = (None if p is None else os.path.abspath(p) for p in self._files)
        refiner = described.refiner
        if refiner is not None and refiner.lower() not in weights_manifest():
            refiner = os.path.abspath(refiner)
        return replace(
            self,
            weights=self.weights if known else os.path.abspath(described.path),
            config=config,
            names=names,
            refiner=refiner,
            digest=_digest(described),
            environment={
                name: value
                for name, value in os.environ.items()
                if name == "KERAS_BACKEND" or name.startswith("MRCNN_")
            },
        )

    @property
    def _files(self) -> tuple[str | None, str | None]:
        return self.config, self.names

    def identity(self, described: DescribedWeights) -> dict[str, Any]:
        """Return what the results depend on, as JSON holds it."""
        from mrcnn.detection.files import changed_settings

        refiner = described.refiner
        return {
            "weights": weights_digest(described),
            **({} if refiner is None else {"refiner": _refiner_digest(refiner)}),
            "model": described.model,
            "settings": changed_settings(described.config),
            "precision": self.precision,
        }

    def load(self) -> Any:
        """Start the backend and return the model.

        Raises:
            ValueError: the weights are not those of the run; see also `describe`.
        """
        os.environ.update(self.environment)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        described = self.describe()
        if self.digest is not None and _digest(described) != self.digest:
            refiner = "" if described.refiner is None else f" or refiner {described.refiner}"
            raise ValueError(
                f"weights is {printable(described.path)}, which{printable(refiner)} has another "
                "content on this machine; it must be the same file on all machines"
            )
        from mrcnn.family.models import find_model
        from mrcnn.startup.lean_start import start_backend

        start_backend()
        from mrcnn.family import weights as family_weights

        entry = find_model(described.model)
        if entry.family != "mask_rcnn":
            return family_weights.load(described)
        options = {"engine": self.engine, "precision": self.precision}
        model = entry.load_class().from_weights(described, **options)
        return family_weights.with_proposals(model)


def _digest(described: DescribedWeights) -> str:
    """Return a digest of the weights and, if there is one, of the refiner."""
    digest = weights_digest(described)
    refiner = described.refiner
    return digest if refiner is None else f"{digest}-{_refiner_digest(refiner)}"


def _refiner_digest(refiner: str) -> str:
    """Return a digest of the content of a refiner."""
    from mrcnn.checkpoints.known import resolve_weights
    from mrcnn.files.fetch import content_digest

    return content_digest(resolve_weights(refiner, kind="refiner"))


def weights_digest(described: DescribedWeights) -> str:
    """Return a digest of the content of a weight file."""
    from mrcnn.files.fetch import content_digest

    return content_digest(described.path)
