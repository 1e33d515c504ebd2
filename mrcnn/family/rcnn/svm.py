"""One linear support vector machine, trained on the hardest negatives (R-CNN, section 2.3).

There are about 2,000 negatives in each image, nearly all of them easy. Those on the wrong side of
the margin are collected, and from time to time the machine is trained on them and the positives.
The constants are those of the paper's software.
"""

from __future__ import annotations

import numpy as np

# A negative is hard above the first margin, and is dropped again below the second.
_HARD, _EASY = -1.0001, -1.2
# New negatives after which the machine is trained.
_RETRAIN = 2000
_POSITIVE_WEIGHT = 2.0
_INTERCEPT_SCALING = 10.0
HINT = "R-CNN is trained with scikit-learn: pip install 'mrcnn-keras3[family]'"


def require_sklearn() -> None:
    """Raise an ImportError with a hint if scikit-learn is missing."""
    try:
        import sklearn.svm  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{HINT} ({error})") from error


class HardNegativeSvm:
    """A support vector machine of one class.

    Args:
        positives: [P, D] features of the objects of the class, P at least 1.
        penalty: C, the weight of the errors.
        seed: of the solver.

    Attributes:
        weights: [D] float32; None before there was a negative.
        bias: float; the margin is `features @ weights + bias`.
        negatives: [N, D] those that the machine is trained on.
    """

    def __init__(self, positives: np.ndarray, penalty: float = 0.001, seed: int = 0) -> None:
        self.positives = np.asarray(positives, np.float32)
        self.penalty = penalty
        self.seed = seed
        self.weights: np.ndarray | None = None
        self.bias = 0.0
        self.negatives = np.zeros((0, self.positives.shape[1]), np.float32)
        self._num_new = 0

    def offer(self, features: np.ndarray) -> None:
        """Take the hard ones of some negatives `[N, D]`, and train if there are enough."""
        if self.weights is not None:
            features = features[features @ self.weights + self.bias > _HARD]
        self.negatives = np.concatenate([self.negatives, features])
        self._num_new += len(features)
        if self._num_new >= _RETRAIN:
            self.train()

    def train(self) -> None:
        """Train on the positives and the collected negatives, and drop the easy ones."""
        if not self._num_new:
            return
        from sklearn.svm import LinearSVC

        features = np.concatenate([self.positives, self.negatives])
        is_positive = np.arange(len(features)) < len(self.positives)
        machine = LinearSVC(
            C=self.penalty,
            loss="hinge",
            class_weight={True: _POSITIVE_WEIGHT},
            intercept_scaling=_INTERCEPT_SCALING,
            random_state=self.seed,
            max_iter=20_000,
        ).fit(features, is_positive)
        self.weights = machine.coef_[0].astype(np.float32)
        self.bias = float(machine.intercept_[0])
        self.negatives = self.negatives[self.negatives @ self.weights + self.bias >= _EASY]
        self._num_new = 0
