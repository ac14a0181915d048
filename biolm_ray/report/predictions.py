"""The predictions of a file, and how good they are where it has labels."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from biolm_ray.data.targets import Targets
from biolm_ray.files import swapped_files
from biolm_ray.inference.predict import MeanPredictions
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.evaluate import Predictions
from biolm_ray.training.fold_tables import (
    CLASS_REPORT,
    PREDICTIONS,
    RANKS,
    labels_of,
    prediction_table,
    rows_of_known_classes,
    write_prediction_tables,
    write_results,
)
from biolm_ray.training.metrics import classification_metrics, regression_metrics

SAME_NUMBERS = 1e-6
"""Predictions that differ by no more, as shares of them, differ by rounding alone."""

log = logging.getLogger("biolm_ray")

FILES = (PREDICTIONS, f"{RANKS}*.csv", CLASS_REPORT, "*_results.json")


def labelled_table(
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    predictions: MeanPredictions,
    targets: Targets,
) -> pd.DataFrame:
    """Lay out predictions of several models, beside the labels where there are any."""
    return prediction_table(
        prepared.ids_of(rows),
        labels_of(prepared, rows, targets),
        predictions.mean,
        targets,
        deviations=predictions.deviation,
        num_models=predictions.num_models,
    )


def report_predictions(
    folder: Path,
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    predictions: MeanPredictions,
    targets: Targets,
) -> tuple[Path, pd.DataFrame, dict[str, float]]:
    """Write the predictions and, with labels, ranks or class scores and the metrics.

    They take the place of all files of an earlier prediction, once they are whole.

    Returns:
        The path, the table, and the metrics (empty without labels).
    """
    with swapped_files(folder, FILES) as fresh:
        table = write_prediction_tables(
            fresh,
            prepared,
            rows,
            predictions.mean,
            targets,
            deviations=predictions.deviation,
            num_models=None if predictions.deviation is None else predictions.num_models,
        )
        metrics = _metrics(prepared, rows, predictions.mean, targets)
        if metrics:
            write_results(fresh, {f"test_{name}": value for name, value in metrics.items()})
    return folder / PREDICTIONS, table, metrics


def _metrics(
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    predictions: Predictions,
    targets: Targets,
) -> dict[str, float]:
    """Judge the rows that have a label, of the classes that the model knows."""
    labels = labels_of(prepared, rows, targets)
    if labels is None:
        return {}
    if targets.classes is None:
        return regression_metrics(labels, predictions, targets.suffixes)
    known = rows_of_known_classes(labels, targets)
    _tell_unknown_classes(prepared, rows, labels, targets)
    if not len(known):
        return {}
    numbers = np.array([targets.classes.index(labels[row]) for row in known])
    return classification_metrics(numbers, predictions[known])


def _tell_unknown_classes(
    prepared: PreparedData, rows: Int[np.ndarray, " rows"], labels: list[str], targets: Targets
) -> None:
    assert targets.classes is not None
    unknown = np.setdiff1d(np.arange(len(rows)), rows_of_known_classes(labels, targets))
    if len(unknown):
        file, line = prepared.place(int(rows[unknown[0]]))
        log.warning(
            "%s, line %d: the model knows no class '%s', only %s; rows of such classes (%d of %d) "
            "are predicted, but left out of the metrics",
            prepared.manifest["files"][file],
            line,
            labels[unknown[0]][:40],
            ", ".join(targets.classes),
            len(unknown),
            len(rows),
        )


def about_equal_predictions(tables: Sequence[pd.DataFrame]) -> str:
    """Say which tables of predictions hold the same one in every row; empty where none does.

    Of a table with several folds each is looked at, too, since each has a model of its own.
    """
    lines = []
    for table in tables:
        whole = _about_equal(table)
        if not whole and "fold" in table.columns:
            for fold, part in table.groupby("fold"):
                lines += [f"fold {fold}: {line}" for line in _about_equal(part)]
        lines += whole
    return "".join(f"{line}\n" for line in lines)


def _about_equal(table: pd.DataFrame) -> list[str]:
    """A line for each target that one and the same is predicted for, unless it is so labelled."""
    lines = []
    for name in table.columns:
        target = name.removeprefix("prediction")
        if target == name or target.startswith("_std") or len(table) < 2:
            continue
        values, label = table[name], f"label{target}"
        is_labelled_so = label in table.columns and _is_constant(table[label])
        if _is_constant(values) and not is_labelled_so:
            first = values.iloc[0]
            shown = f"'{first}'" if isinstance(first, str) else f"{first:.6g}"
            of = f" of {target.removeprefix('_')}" if target else ""
            though = ", though the labels differ" if label in table.columns else ""
            lines.append(f"all {len(table):,} predictions{of} are {shown}{though}")
    return lines


def _is_constant(values: pd.Series) -> bool:
    if pd.api.types.is_float_dtype(values):
        return bool(np.allclose(values, values.iloc[0], rtol=SAME_NUMBERS, atol=0.0))
    return values.nunique() == 1
