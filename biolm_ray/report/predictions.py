"""The predictions of a file, and how good they are where it has labels."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from biolm_ray.data.targets import Targets
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.evaluate import Predictions
from biolm_ray.training.fold_tables import (
    PREDICTIONS,
    prediction_table,
    write_results,
    write_table,
)
from biolm_ray.training.metrics import classification_metrics, regression_metrics


def labelled_table(
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    predictions: Predictions,
    deviations: Predictions | None,
    targets: Targets,
) -> pd.DataFrame:
    """Lay out predictions of prepared rows, beside their labels where they have any."""
    labels = None if prepared.labels is None else np.asarray(prepared.labels)[rows].tolist()
    ids = [prepared.ids[row] for row in rows]
    return prediction_table(ids, labels, predictions, targets, deviations=deviations)


def report_predictions(
    folder: Path,
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    predictions: Predictions,
    deviations: Predictions | None,
    targets: Targets,
) -> tuple[Path, pd.DataFrame, dict[str, float]]:
    """Write `test_predictions.csv` and, with labels, `test_results.json`.

    Returns:
        The path, the table, and the metrics (empty without labels).
    """
    labels = None if prepared.labels is None else np.asarray(prepared.labels)[rows].tolist()
    table = labelled_table(prepared, rows, predictions, deviations, targets)
    path = folder / PREDICTIONS
    write_table(path, table)
    if labels is None:
        return path, table, {}
    if targets.classes is None:
        metrics = regression_metrics(
            np.asarray(labels, dtype=np.float64), predictions, targets.suffixes
        )
    else:
        metrics = classification_metrics(
            np.array([targets.classes.index(str(label)) for label in labels]), predictions
        )
    write_results(folder, {f"test_{name}": value for name, value in metrics.items()})
    return path, table, metrics
