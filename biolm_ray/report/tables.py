"""Tables over all folds of a cross-validation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from biolm_ray.errors import DataError
from biolm_ray.files import write_json, write_text
from biolm_ray.report.text import text_table
from biolm_ray.training.fold_tables import PREDICTIONS, write_table
from biolm_ray.wording import counted

SUMMARY = "cross_validation"
MEAN, DEVIATION, POOLED, ASIDE = "mean", "standard deviation", "pooled", "kept aside"


def out_of_fold_table(
    fold_folders: Mapping[int, Path], test_rows: Mapping[int, Int[np.ndarray, " rows"]]
) -> pd.DataFrame:
    """Bring the test predictions of all folds together, in the order of the data file.

    With disjoint folds every row appears once. With repeated hold-out a row appears once for
    each repeat that tested it, in the order of the repeats.

    Args:
        fold_folders: The folder of each fold, with its test_predictions.csv.
        test_rows: The rows of the data that each fold tested, in the order of that file.

    Returns:
        The columns sequence, fold, label, prediction (or those of each target), then those of the
        classes.

    Raises:
        DataError: A fold's file is missing or has another number of rows.
    """
    parts = []
    for fold, folder in fold_folders.items():
        part = _read_predictions(folder / PREDICTIONS, len(test_rows[fold]))
        part.insert(1, "fold", fold)
        part["row"] = np.asarray(test_rows[fold])
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["sequence", "fold", "label", "prediction"])
    whole = pd.concat(parts, ignore_index=True)
    whole = whole.sort_values(["row", "fold"], kind="stable", ignore_index=True)
    return whole.drop(columns="row")


def summary_table(
    metrics: Mapping[int, Mapping[str, float]],
    pooled: Mapping[str, float] | None = None,
    kept_aside: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Lay out a metric per column: a row for each fold, then mean and standard deviation.

    The deviation is that of a sample (divided by folds - 1), so a single fold has none. A fold
    without a metric has an empty cell and does not count.

    Args:
        metrics: The metrics of each fold.
        pooled: Metrics of the out-of-fold predictions taken together, for one more row.
        kept_aside: Metrics of the mean prediction of all models for rows that no fold has seen,
            for one more.
    """
    folds = pd.DataFrame.from_dict(
        {fold: dict(values) for fold, values in sorted(metrics.items())}, orient="index"
    )
    means, deviations = folds.mean(), folds.std(ddof=1)
    table = folds.rename(index=str)
    table.loc[MEAN] = means
    table.loc[DEVIATION] = deviations
    for name, values in ((POOLED, pooled), (ASIDE, kept_aside)):
        if values is not None:
            table.loc[name] = pd.Series(dict(values), dtype=float)
    return table.rename_axis("fold").reset_index()


def write_out_of_fold(path: Path, table: pd.DataFrame) -> None:
    write_table(path, table)


def write_summary(folder: Path, table: pd.DataFrame, *, stem: str = SUMMARY) -> str:
    """Write a summary as CSV, JSON and plain text; give the text.

    The JSON has the keys folds, mean, standard_deviation and, where there are such rows, pooled
    and kept_aside; a missing value is null.
    """
    rows = {
        str(row.pop("fold")): {str(key): _or_none(value) for key, value in row.items()}
        for row in table.to_dict(orient="records")
    }
    overall = {
        name.replace(" ", "_"): rows.pop(name)
        for name in (MEAN, DEVIATION, POOLED, ASIDE)
        if name in rows
    }
    text = summary_text(table)
    write_table(folder / f"{stem}.csv", table)
    write_json(folder / f"{stem}.json", {"folds": rows, **overall})
    write_text(folder / f"{stem}.txt", text + "\n")
    return text


def summary_text(table: pd.DataFrame) -> str:
    """Lay a summary out in text; each of several targets has a table below that of the means.

    Of a single fold there is neither a deviation, nor a mean or a pooled figure beside its own.
    """
    is_fold = ~table["fold"].isin([MEAN, DEVIATION, POOLED, ASIDE])
    if is_fold.sum() == 1:
        table = table.loc[is_fold | (table["fold"] == ASIDE)]
    error = next((name for name in table.columns if name in ("test_mse", "eval_mse")), "")
    suffixes = [name.removeprefix(error) for name in table.columns if name.startswith(f"{error}_")]
    if not error or not suffixes:
        return text_table(table)
    shared = [
        name for name in table.columns if all(f"{name}{end}" in table.columns for end in suffixes)
    ]
    texts = [table.drop(columns=[f"{name}{end}" for name in shared for end in suffixes])]
    texts += [
        pd.DataFrame({"fold": table["fold"], **{name: table[f"{name}{end}"] for name in shared}})
        for end in suffixes
    ]
    titles = ["mean of the targets", *(end.removeprefix("_") for end in suffixes)]
    return "\n\n".join(
        f"{title}\n{text_table(text)}" for title, text in zip(titles, texts, strict=True)
    )


def _read_predictions(path: Path, num_rows: int) -> pd.DataFrame:
    """Read a fold's file; ids and classes stay texts, whatever they look like."""
    if not path.is_file():
        raise DataError(f"{path} is missing; train this fold again")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    probabilities = [name for name in table.columns if name.startswith("probability_")]
    numbers = [name for name in table.columns if name.startswith(("label", "prediction"))]
    for name in probabilities or numbers:
        table[name] = table[name].replace("", "nan").astype(float)
    if len(table) != num_rows:
        raise DataError(
            f"{path} has {counted(len(table), 'row')}, but its fold tests {num_rows}; "
            "the data or the splits have changed since: train this fold again"
        )
    return table


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
