"""How good predictions are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

HIGHER_IS_BETTER = {
    "loss": False,
    "mse": False,
    "mae": False,
    "perplexity": False,
    "pearson": True,
    "spearman": True,
    "r2": True,
    "accuracy": True,
    "f1": True,
    "auroc": True,
}


def regression_metrics(
    labels: Float[np.ndarray, "rows targets"],
    predictions: Float[np.ndarray, "rows targets"],
    suffixes: Sequence[str] = ("",),
) -> dict[str, float]:
    """Give the metrics of `target_metrics`; of several targets their means, then those of each.

    Args:
        labels: In the same units as the predictions.
        predictions: Of the same rows.
        suffixes: What the names of each target's metrics end with.
    """
    each = [target_metrics(*pair) for pair in zip(labels.T, predictions.T, strict=True)]
    means = {name: float(np.mean([scores[name] for scores in each])) for name in each[0]}
    own = [
        {f"{name}{suffix}": value for name, value in scores.items()}
        for suffix, scores in zip(suffixes, each, strict=True)
    ]
    return {name: value for scores in [means, *own] for name, value in scores.items()}


def target_metrics(
    labels: Float[np.ndarray, " rows"], predictions: Float[np.ndarray, " rows"]
) -> dict[str, float]:
    """Give mse, mae, r2, pearson and spearman; the last two are 0 where either side is constant."""
    labels, predictions = (np.asarray(side, dtype=np.float64) for side in (labels, predictions))
    errors, spread = predictions - labels, float(np.sum((labels - labels.mean()) ** 2))
    varies = len(labels) > 1 and np.ptp(labels) > 0 and np.ptp(predictions) > 0
    return {
        "mse": float(np.mean(errors**2)),
        "mae": float(np.mean(np.abs(errors))),
        "r2": _r2(float(np.sum(errors**2)), spread) if len(labels) > 1 else 0.0,
        "pearson": _pearson(labels, predictions) if varies else 0.0,
        "spearman": _pearson(ranks(labels), ranks(predictions)) if varies else 0.0,
    }


def ranks(values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """Count from 1 at the smallest value; equal values share the mean of their ranks."""
    return pd.Series(values).rank().to_numpy()


def _r2(unexplained: float, spread: float) -> float:
    """Of labels without spread: 1 where all are met, else 0, as in scikit-learn."""
    return 1 - unexplained / spread if spread else float(unexplained == 0)


def _pearson(first: Float[np.ndarray, " rows"], second: Float[np.ndarray, " rows"]) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def classification_metrics(
    labels: Int[np.ndarray, " rows"], probabilities: Float[np.ndarray, "rows classes"]
) -> dict[str, float]:
    """Give accuracy, macro f1 and auroc (one class against the rest, macro mean).

    Classes without rows, or that all rows have, have no auroc and are left out of its mean.
    """
    from sklearn import metrics as scores  # takes a second to import

    chosen = probabilities.argmax(axis=1)
    areas = [
        scores.roc_auc_score(labels == index, probabilities[:, index])
        for index in range(probabilities.shape[1])
        if 0 < np.count_nonzero(labels == index) < len(labels)
    ]
    return {
        "accuracy": float(scores.accuracy_score(labels, chosen)),
        "f1": float(scores.f1_score(labels, chosen, average="macro")),
        "auroc": float(np.mean(areas)) if areas else 0.5,
    }


def is_better(metric: str, value: float, than: float | None) -> bool:
    """Tell whether a value of a metric improves on the best one so far."""
    if than is None:
        return True
    return value > than if HIGHER_IS_BETTER[metric] else value < than
