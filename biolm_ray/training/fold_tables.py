"""The tables a fold leaves beside its model: predictions, ranks, class scores, metrics."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import AfterValidator

from biolm_ray.data.naming import kept_apart
from biolm_ray.data.targets import Targets
from biolm_ray.files import atomic_path, write_json
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.records import RecordFile, read_record
from biolm_ray.training.evaluate import Predictions
from biolm_ray.training.metrics import ranks

Labels = Float[np.ndarray, "rows targets"] | Sequence[str] | None

PREDICTIONS = "test_predictions.csv"
RANKS = "rank_deltas"
CLASS_REPORT = "classification_report.csv"
ALL_RESULTS = "all_results.json"
PARTS = ("train", "eval", "test")
AVERAGES = ("accuracy", "macro avg", "weighted avg")
"""Rows of the report on classes that belong to no class."""
REFERENCE_NAMES = {"spearman": "spearman rho"}


def prediction_table(
    ids: Sequence[str],
    labels: Labels,
    predictions: Predictions,
    targets: Targets,
    *,
    deviations: Predictions | None = None,
    num_models: Int[np.ndarray, " rows"] | None = None,
) -> pd.DataFrame:
    """Lay out predictions, one row per sequence.

    The columns are sequence, label (if there are any), prediction, prediction_std (if several
    models predicted). Of several targets each has its own, as label_<name>, prediction_<name>,
    prediction_std_<name>. For classes, `prediction` is the most probable class, `prediction_std`
    the deviation of its probability, and a column probability_<class> for each class follows. The
    last column, where several models predicted, is num_models: how many of them each row.
    """
    table: dict[str, object] = {"sequence": list(ids)}
    if targets.classes is None:
        for target, suffix in enumerate(targets.suffixes):
            for name, values in (
                ("label", labels),
                ("prediction", predictions),
                ("prediction_std", deviations),
            ):
                if values is not None:
                    table[f"{name}{suffix}"] = np.asarray(values)[:, target]
    else:
        table |= _class_columns(labels, predictions, targets, deviations)
    return pd.DataFrame(table | ({} if num_models is None else {"num_models": num_models}))


def _class_columns(
    labels: Labels, predictions: Predictions, targets: Targets, deviations: Predictions | None
) -> dict[str, object]:
    table: dict[str, object] = {} if labels is None else {"label": labels}
    chosen = predictions.argmax(axis=1)
    table["prediction"] = targets.class_names(predictions)
    if deviations is not None:
        table["prediction_std"] = deviations[np.arange(len(chosen)), chosen]
    for index, name in enumerate(targets.classes or ()):
        table[f"probability_{name}"] = predictions[:, index]
    return table


def rank_table(
    ids: Sequence[str],
    labels: Float[np.ndarray, " rows"],
    predictions: Float[np.ndarray, " rows"],
) -> pd.DataFrame:
    """Compare the order of the labels with the order of the predictions.

    Ranks count from 1 at the smallest value; equal values share the mean of their ranks. A
    positive `rank_delta` = pred_rank - label_rank is a sequence predicted too high.
    """
    label_ranks, prediction_ranks = ranks(labels), ranks(predictions)
    return pd.DataFrame(
        {
            "seqs": list(ids),
            "label": labels,
            "label_rank": label_ranks,
            "pred": predictions,
            "pred_rank": prediction_ranks,
            "rank_delta": prediction_ranks - label_ranks,
        }
    )


def class_report(labels: Sequence[str], predictions: Sequence[str]) -> pd.DataFrame:
    """Give precision, recall, f1-score and support of every class and their averages."""
    from sklearn.metrics import classification_report  # takes a second to import

    without_rows: Any = 0.0
    # Numbers stand for the classes, since the report puts its averages beside them by name.
    names = sorted({*map(str, labels), *predictions})
    numbers = {name: number for number, name in enumerate(names)}
    report = classification_report(
        [numbers[str(label)] for label in labels],
        [numbers[name] for name in predictions],
        output_dict=True,
        zero_division=without_rows,
    )
    assert isinstance(report, dict)
    accuracy, support = report.pop("accuracy", None), len(labels)
    frame = pd.DataFrame(report).T
    if accuracy is not None:
        frame.loc["accuracy"] = [math.nan, math.nan, accuracy, support]
    frame["support"] = frame["support"].astype(int)
    classes = [kept_apart(name, AVERAGES) for name in names]
    frame.index = pd.Index([*classes, *frame.index[len(classes) :]], name="class")
    return frame.reset_index()


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with full precision, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_prediction_tables(
    folder: Path,
    prepared: PreparedData,
    rows: Int[np.ndarray, " rows"],
    predictions: Predictions,
    targets: Targets,
    *,
    deviations: Predictions | None = None,
    num_models: Int[np.ndarray, " rows"] | None = None,
) -> pd.DataFrame:
    """Write the predictions of some rows and, where they have labels, ranks or class scores.

    Returns:
        The table of the predictions.
    """
    ids, labels = prepared.ids_of(rows), labels_of(prepared, rows, targets)
    if labels is not None and targets.classes is not None:
        known = rows_of_known_classes(labels, targets)
        if len(known):
            found = targets.class_names(predictions[known])
            report = class_report([labels[row] for row in known], found)
            write_table(folder / CLASS_REPORT, report)
    elif labels is not None:
        for target, suffix in enumerate(targets.suffixes):
            ranks = rank_table(ids, labels[:, target], predictions[:, target])
            write_table(folder / f"{RANKS}{suffix}.csv", ranks)
    table = prediction_table(
        ids, labels, predictions, targets, deviations=deviations, num_models=num_models
    )
    write_table(folder / PREDICTIONS, table)
    return table


def labels_of(prepared: PreparedData, rows: Int[np.ndarray, " rows"], targets: Targets) -> Any:
    """Give the labels of some rows: numbers (rows, targets), a list of classes, or None."""
    if prepared.labels is None:
        return None
    if targets.classes is not None:
        return [str(prepared.labels[row]) for row in rows]
    return np.asarray(prepared.labels, dtype=np.float64)[rows]


def rows_of_known_classes(labels: Sequence[str], targets: Targets) -> Int[np.ndarray, " known"]:
    """The places of the labels that a model has learnt; others can be judged by no metric."""
    assert targets.classes is not None
    return np.flatnonzero(np.isin(np.asarray(labels, dtype=str), targets.classes))


def write_results(folder: Path, metrics: dict[str, float]) -> None:
    """Write train_, eval_, test_ and all_results.json.

    Keys begin with the part they belong to; those that begin with none, such as "epoch", go into
    every file. "spearman" is written as "spearman rho", which readers of these files look for.
    Values that are no finite number become null.
    """
    named = as_written(metrics)
    shared = {key: value for key, value in named.items() if _part(key) is None}
    for part in PARTS:
        own = {key: value for key, value in named.items() if _part(key) == part}
        if own:
            write_json(folder / f"{part}_results.json", dict(sorted((shared | own).items())))
    write_json(folder / ALL_RESULTS, named)


def _of_an_epoch(metrics: dict[str, float | None]) -> dict[str, float | None]:
    if not math.isfinite(metrics.get("epoch") or 0.0):
        raise ValueError("'epoch' is no number")
    return metrics


class AllResults(RecordFile):
    """The metrics of a training by their names, in the form that readers of the reference expect.

    It has no `format_version`, since a reader would take it for a metric.
    """

    metrics: Annotated[dict[str, float | None], AfterValidator(_of_an_epoch)]

    @classmethod
    def as_today(cls, values: Any) -> Any:
        return {"metrics": values}


def read_results(folder: Path) -> dict[str, float | None]:
    """Read `all_results.json`: metrics as their files name them.

    Raises:
        DataError: It is missing or damaged.
    """
    remedy = "put back a copy of it, or train the model again"
    return read_record(folder / ALL_RESULTS, AllResults, remedy).metrics


def as_written(metrics: dict[str, float]) -> dict[str, float | None]:
    """Give metrics as their files name them."""
    return {_reference_name(key): _finite(value) for key, value in sorted(metrics.items())}


def _part(key: str) -> str | None:
    return next((part for part in PARTS if key.startswith(f"{part}_")), None)


def _reference_name(key: str) -> str:
    part = _part(key)
    name = key if part is None else key[len(part) + 1 :]
    name = REFERENCE_NAMES.get(name, name)
    return name if part is None else f"{part}_{name}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
