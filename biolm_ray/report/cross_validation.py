"""What a cross-validation found: every test row once, every fold's metrics, their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from biolm_ray.data.splits import Fold
from biolm_ray.report.tables import (
    SUMMARY,
    out_of_fold_table,
    summary_table,
    write_out_of_fold,
    write_summary,
)
from biolm_ray.training.fold_tables import write_table
from biolm_ray.training.metrics import classification_metrics, regression_metrics

OUT_OF_FOLD = "out_of_fold.csv"
KEPT_ASIDE = "kept_aside_predictions.csv"


@dataclass(frozen=True)
class CrossValidationReport:
    """The tables of a cross-validation.

    Attributes:
        folds: Metrics by fold, their mean and standard deviation, and pooled over all test rows.
        out_of_fold: Every test row with its fold, label and prediction; None without test rows.
        text: The first table, to print.
        kept_aside: The rows that no fold has seen, with the mean prediction of all models; None
            without such rows.
    """

    folds: pd.DataFrame
    out_of_fold: pd.DataFrame | None
    text: str
    kept_aside: pd.DataFrame | None = None


def report_folds(
    folder: Path,
    folds: Sequence[Fold],
    metrics: Mapping[int, Mapping[str, float]],
    kept_aside: pd.DataFrame | None = None,
) -> CrossValidationReport:
    """Write `out_of_fold.csv` and `cross_validation.{csv,json,txt}` for the folds that finished.

    Predictions of rows kept aside go to `kept_aside_predictions.csv`; without any, those of an
    earlier run are removed.
    """
    finished = [fold for fold in folds if fold.index in metrics]
    tested = [fold for fold in finished if len(fold.test)]
    table = None
    if tested:
        table = out_of_fold_table(
            {fold.index: folder / fold.name for fold in tested},
            {fold.index: fold.test for fold in tested},
        )
        write_out_of_fold(folder / OUT_OF_FOLD, table)
    pooled = pooled_metrics(table) if table is not None else None
    aside = None
    if kept_aside is None:
        (folder / KEPT_ASIDE).unlink(missing_ok=True)
    else:
        write_table(folder / KEPT_ASIDE, kept_aside)
        aside = pooled_metrics(kept_aside)
    scores = {fold.index: _scores(metrics[fold.index]) for fold in finished}
    summary = summary_table(scores, pooled, aside)
    return CrossValidationReport(summary, table, write_summary(folder, summary), kept_aside)


def tables_over_folds(folder: Path) -> list[Path]:
    """List the tables over all folds that are there."""
    names = (OUT_OF_FOLD, KEPT_ASIDE, *(f"{SUMMARY}.{ending}" for ending in ("csv", "json", "txt")))
    return [folder / name for name in names if (folder / name).exists()]


def _scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures worth a column: those of the test rows, else of the validation rows."""
    part = "test_" if any(key.startswith("test_") for key in metrics) else "eval_"
    chosen = {
        key: value
        for key, value in metrics.items()
        if key.startswith(part) and key != f"{part}samples"
    }
    return {"epoch": metrics["epoch"], **chosen, "rows": metrics[f"{part}samples"]}


def pooled_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Judge predictions of rows not trained on, with the names the folds' metrics have."""
    probabilities = [name for name in table.columns if name.startswith("probability_")]
    if probabilities:
        classes = [name.removeprefix("probability_") for name in probabilities]
        labels = np.array([classes.index(str(label)) for label in table["label"]])
        scores = classification_metrics(labels, table[probabilities].to_numpy())
    else:
        found = [name for name in table.columns if name.startswith("label")]
        suffixes = [name.removeprefix("label") for name in found]
        predictions = table[[f"prediction{suffix}" for suffix in suffixes]]
        scores = regression_metrics(table[found].to_numpy(), predictions.to_numpy(), suffixes)
    return {f"test_{name}": value for name, value in scores.items()} | {"rows": len(table)}
