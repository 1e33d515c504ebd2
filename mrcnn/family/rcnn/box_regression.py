"""From a proposal's features to the box of its object (R-CNN, appendix C)."""

from __future__ import annotations

import numpy as np


def fit_box_regression(
    features: np.ndarray, targets: np.ndarray, ridge: float = 1000.0
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the deltas of boxes as linear functions of features, by ridge regression.

    Args:
        features: [P, G] of proposals, P at least 1.
        targets: [P, (dy, dx, log dh, log dw)] from the proposal to its object, see
            `mrcnn.geometry.boxes.box_refinement`.
        ridge: weight of the squared coefficients; that of the constant is free.

    Returns:
        coefficients [G, 4] and constants [4], float32: `deltas = features @ coefficients +
        constants`.
    """
    from sklearn.linear_model import Ridge

    # float64: with thousands of features the matrix is close to singular.
    fitted = Ridge(alpha=ridge).fit(features.astype(np.float64), targets)
    return fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)
