"""What weights already know of a new dataset: a look at its images before the first step.

A class that the weights do not know starts from what separates its objects from everything else in
the features that the class head has, by logistic regression: first the last layer alone, then the
others with it, see Kumar et al. (2022), "Fine-tuning can distort pretrained features and
underperform out-of-distribution".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.geometry.boxes import compute_overlaps
from mrcnn.loading.batches import TrainingBatches

# Images that are looked at.
MAX_IMAGES = 32
# An object counts as found if a proposal overlaps it by this.
FOUND_IOU = 0.5
# Share of the objects that must be found for the proposals to stay as they are.
ENOUGH_FOUND = 0.9
# Factor of the learning rate of what follows such proposals. The evidence for a class has values of
# up to 10, where other features are below 1. On 20 images of kangaroos, with cached proposals, SGD
# at 0.001, 0.0001 and 0.00001: the loss of the classes over the first 40 to 50 steps was 5.5, 0.33
# and 0.22, and box AP went from 0.45 to 0.30, from 0.42 to 0.41, and from 0.42 to 0.44.
RATE_OF_HEADS = 0.01
# The same where means of the weights before and after are measured (`start_average`). 60 to 100
# steps at 0.0001, with a cosine, change box AP by -0.08 to +0.01, but the mean with a quarter of
# the trained weights by +0.003 to +0.034 (kangaroos twice, nuclei twice, balloons); 80 steps at
# 0.00001 change hardly anything.
RATE_WITH_MEANS = 0.1
# Weight of the squares of the regression's coefficients, of features of deviation 1, against the
# mean loss of the examples.
PENALTY = 0.003
NEWTON_STEPS = 12
# A step that is too long is halved, at most this often.
MAX_HALVINGS = 12
# Smallest curvature of an example: far from the border a step would be too long.
LEAST_CURVATURE = 1e-4


@dataclass(frozen=True)
class FirstLook:
    """Proposals in images to be trained on.

    Attributes:
        features: [examples, channels] what the last layer of the class head gets.
        class_ids: [examples] their true classes, 0 for the background.
        found: share of the objects that a proposal overlaps by `FOUND_IOU`, 0..1.
    """

    features: np.ndarray
    class_ids: np.ndarray
    found: float


def look_at(model: keras.Model, dataset: Any, config: Config, seed: int = 0) -> FirstLook:
    """Apply a training graph to images without training it.

    Args:
        model: the training graph, with RPN.
        dataset: a prepared dataset.
        config: the settings of the graph.
        seed: of the choice of images.
    """
    targets = model.get_layer("proposal_targets")
    proposals, class_ids, boxes = targets.input[:3]
    rois, roi_class_ids = targets.output[:2]
    features = model.get_layer("mrcnn_class_logits").input
    part = keras.Model(
        model.inputs, [features, rois, roi_class_ids, proposals, class_ids, boxes], name="look"
    )
    steps = math.ceil(min(dataset.num_images, MAX_IMAGES) / config.BATCH_SIZE)
    batches = TrainingBatches(dataset, config, steps=steps, seed=seed, on_error="skip")
    all_features, all_ids, best = [], [], []
    for number in range(steps):
        (inputs,) = batches[number]
        found = [np.asarray(value) for value in part.predict_on_batch(inputs)]
        for x, roi, roi_ids, proposed, ids, true in zip(*found):
            real = roi.any(axis=-1)
            all_features.append(x.reshape(len(roi), -1)[real])
            all_ids.append(roi_ids[real])
            if (ids > 0).any():
                best.append(compute_overlaps(true[ids > 0], proposed).max(axis=1))
    overlaps = np.concatenate(best) if best else np.zeros(0)
    return FirstLook(
        np.concatenate(all_features).astype(np.float64),
        np.concatenate(all_ids),
        float((overlaps >= FOUND_IOU).mean()) if len(overlaps) else 0.0,
    )


def choose_layers(look: FirstLook, with_means: bool = False) -> tuple[str, float]:
    """Return which layers to train of weights that repeat a detector, and the factor of their rate.

    What the RPN and the pyramid repeat was set, with large factors: the steps that suit other
    layers change their boxes a hundred times as much. They stay as they are if they find the
    objects.

    Args:
        look: from `look_at`.
        with_means: whether means of the weights before and after will be measured.
    """
    if look.found < ENOUGH_FOUND:
        return "heads", 1.0
    return "roi_heads", RATE_WITH_MEANS if with_means else RATE_OF_HEADS


def start_classes(model: keras.Model, look: FirstLook, class_ids: Sequence[int]) -> list[int]:
    """Set what the last layer of the class head has for new classes.

    The logit of a class is that of the background plus the log-odds of the class against all
    others, from a logistic regression.

    Args:
        model: a graph with the class head.
        look: from `look_at`.
        class_ids: the new classes. One without an example keeps what it has.

    Returns:
        The classes that were set.
    """
    layer = model.get_layer("mrcnn_class_logits")
    kernel, bias = (np.array(weight) for weight in layer.get_weights())
    started = []
    for class_id in class_ids:
        is_class = look.class_ids == class_id
        if is_class.any() and not is_class.all():
            slope, offset = fit_log_odds(look.features, is_class)
            kernel[:, class_id], bias[class_id] = kernel[:, 0] + slope, bias[0] + offset
            started.append(class_id)
    layer.set_weights([kernel, bias])
    return started


def fit_log_odds(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    penalty: float | None = None,
) -> tuple[np.ndarray, float]:
    """Fit the log-odds of a class as a linear function, by Newton's method with shortened steps.

    Args:
        features: [examples, channels].
        targets: [examples] bool, or probabilities 0..1, not all 0 or all 1.
        weights: [examples] how many each stands for; None for 1.
        penalty: weight of the squares of the coefficients of features of deviation 1, against the
            mean loss of the examples; None for `PENALTY`.

    Returns:
        [channels] slope and the offset.
    """
    share = (
        np.full(len(features), 1 / len(features)) if weights is None else weights / weights.sum()
    )
    scale = features.std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.inf)  # a constant tells nothing
    mean = features.mean(axis=0)
    x = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    penalties = np.full(x.shape[1], PENALTY if penalty is None else penalty)
    penalties[-1] = 0
    rate = share @ targets
    coefficients = np.zeros(x.shape[1])
    coefficients[-1] = np.log(rate / (1 - rate))

    def loss(values: np.ndarray) -> float:
        odds = x @ values
        mean_loss = share @ (np.logaddexp(0, odds) - targets * odds)
        return float(mean_loss + penalties @ values**2 / 2)

    for _ in range(NEWTON_STEPS):
        odds = np.clip(x @ coefficients, -30, 30)
        probability = 1 / (1 + np.exp(-odds))
        gradient = x.T @ (share * (probability - targets)) + penalties * coefficients
        curvature = share * np.maximum(probability * (1 - probability), LEAST_CURVATURE)
        hessian = (x * curvature[:, None]).T @ x + np.diag(penalties)
        step, before = np.linalg.lstsq(hessian, gradient, rcond=None)[0], loss(coefficients)
        for _ in range(MAX_HALVINGS):
            if loss(coefficients - step) <= before:
                coefficients = coefficients - step
                break
            step = step / 2
    slope = coefficients[:-1] / scale
    return slope, float(coefficients[-1] - slope @ mean)
