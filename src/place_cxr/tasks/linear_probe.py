"""A linear layer on frozen features at its optimum: logistic regression whose penalty is chosen on
validation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from place_cxr.metrics.classification import auroc, why_undefined

_Float64Array = NDArray[np.float64]

# Strong to weak, so that each fit starts near the next.
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3)
_MAX_ITERATIONS = 200


def fit_logistic(
    features: _Float64Array,
    labels: _Float64Array,
    penalties: Sequence[float],
    *,
    multi_class: bool = False,
) -> list[tuple[_Float64Array, _Float64Array]]:
    """Weights [C, M] and intercepts [M] for each penalty: mean log loss over known labels + penalty
    / 2 * |w|^2.

    Features [N, C] are standardised, labels [N, M] are 1, 0 or NaN; with ``multi_class`` a row has
    one 1, and its loss is that of a softmax. All M fits run as one, on axes along which the
    curvature is even (those of the features' covariance), so that few steps suffice; the optimum is
    that of separate fits.
    """
    x = torch.from_numpy(features)
    target, is_known = torch.from_numpy(np.nan_to_num(labels)), torch.from_numpy(~np.isnan(labels))
    label_weight = is_known / is_known.sum(0).clamp(min=1)
    curvature, axes = torch.linalg.eigh(x.T @ x / len(x))
    # The optimum lies in the span of the rows, so directions without variance are dropped.
    is_spanned = curvature > 1e-10 * curvature.max()
    curvature, axes = curvature[is_spanned], axes[:, is_spanned]
    rotated = x @ axes
    weight = torch.zeros(axes.shape[1], labels.shape[1], dtype=torch.float64)
    bias = torch.zeros(labels.shape[1], dtype=torch.float64)
    fits = []

    for penalty in penalties:
        # Preconditioning: the curvature of the log loss is at most a quarter of the features'
        # covariance, to which the penalty adds.
        scale = (curvature / 4 + penalty).rsqrt()[:, None]
        inputs = rotated * scale.T
        scaled_weight = (weight / scale).requires_grad_()
        new_bias = bias.clone().requires_grad_()
        solver = torch.optim.LBFGS(
            [scaled_weight, new_bias],
            max_iter=_MAX_ITERATIONS,
            history_size=10,
            tolerance_grad=1e-6,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def loss() -> torch.Tensor:
            solver.zero_grad()  # noqa: B023
            logits = inputs @ scaled_weight + new_bias  # noqa: B023
            if multi_class:
                value = torch.nn.functional.cross_entropy(logits, target)
            else:
                element_losses = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits, target, reduction="none"
                )
                value = (element_losses * label_weight).sum()

            value = value + penalty / 2 * (scale * scaled_weight).square().sum()  # noqa: B023
            value.backward()

            return value

        solver.step(loss)
        weight, bias = (scale * scaled_weight).detach(), new_bias.detach()
        fits.append(((axes @ weight).numpy(), bias.numpy()))

    return fits


def probe_scores(
    features: NDArray[np.float32],
    labels: _Float64Array,
    val: NDArray[np.float32],
    val_labels: _Float64Array,
    test: NDArray[np.float32],
) -> _Float64Array:
    """Test logits [N, M] of `best_probe`."""
    weight, bias = best_probe(features, labels, val, val_labels)
    return np.asarray(test @ weight + bias)


def best_probe(
    features: NDArray[np.float32],
    labels: _Float64Array,
    val: NDArray[np.float32],
    val_labels: _Float64Array,
    *,
    multi_class: bool = False,
) -> tuple[_Float64Array, _Float64Array]:
    """Weights [C, M] and intercepts [M] on raw features, of the penalty that ranks the validation
    split best.

    One class of several is not ranked but said, so with ``multi_class`` the likelihood decides. The
    strongest penalty wins a tie. Labels [*, M] are 1, 0 or NaN, and each of the M columns of
    ``labels`` has both 1 and 0.
    """
    x = features.astype(np.float64)
    mean, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 1e-8, spread, 1.0)
    fits = fit_logistic((x - mean) / spread, labels, PENALTIES, multi_class=multi_class)
    val_standardized = (val - mean) / spread
    usable = [
        column for column in range(labels.shape[1]) if not why_undefined(val_labels[:, column])
    ]

    def quality(fit: tuple[_Float64Array, _Float64Array]) -> float:
        logits = val_standardized @ fit[0] + fit[1]
        if multi_class:
            return float((val_labels * torch.from_numpy(logits).log_softmax(1).numpy()).sum())
        return float(
            np.mean([auroc(val_labels[:, column], logits[:, column]) for column in usable] or [0.0])
        )

    # `max` keeps the first of equals, which has the strongest penalty.
    weight, bias = max(fits, key=quality)
    # From standardised features back to raw ones.
    weight = weight / spread[:, None]

    return weight, bias - mean @ weight
