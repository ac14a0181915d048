"""Tables of scores, read again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.scores_file import (
    ENDINGS,
    KEY,
    class_columns,
    first_rows,
    read_columns,
    table_stem,
    typed_path,
)

TEXTS = ("sequence", "token", "replacement")


@dataclass(frozen=True)
class LooScores:
    """A table of scores and what it was made by.

    Attributes:
        table: One row per edit, by sequence in the order of the input, then by position.
        metadata: See `ScoresMetadata`; empty for a CSV table without a parquet file beside it.
    """

    table: pd.DataFrame
    metadata: Mapping[str, Any]

    def to_shap(self) -> Any:
        """Give a `shap.Explanation`: a row per sequence, with as many values as it has positions.

        `values` are the scores of column loo, `data` the tokens, and `base_values` the predictions
        of the unedited sequences, so that base value plus value is the prediction after an edit.
        For classes the base values are 0. Several edits at a position are averaged.

        Raises:
            ConfigError: The package shap is not installed.
        """
        try:
            import shap  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ConfigError(
                "shap.Explanation needs the package shap: pip install 'biolm-ray[shap]'"
            ) from None
        values, tokens, base_values = explained(self.table)
        return shap.Explanation(values=values, base_values=base_values, data=tokens)


def explained(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the values and the tokens of each sequence (arrays of arrays) and its base value."""
    first = first_rows(table["sequence"], table["position"].to_numpy())
    sequences = np.repeat(np.arange(len(first)), np.diff([*first, len(table)]))
    keys = [pd.Series(sequences, name="number"), pd.Series(table["position"].to_numpy())]
    rows = pd.DataFrame({"loo": table["loo"].to_numpy(), "token": table["token"].to_numpy()})
    places = rows.groupby(keys, sort=False).agg({"loo": "mean", "token": "first"})
    ends = np.cumsum(np.bincount(places.index.get_level_values(0), minlength=len(first)))[:-1]
    base_values = np.zeros(len(first))
    if pd.api.types.is_numeric_dtype(table["pred"]):
        base_values = table["pred"].to_numpy()[first]
    values = np.split(places["loo"].to_numpy(), ends) if len(first) else []
    texts = np.split(places["token"].fillna("").to_numpy(dtype=str), ends) if len(first) else []
    return _ragged(values), _ragged(texts), base_values


def load_scores(path: str | Path) -> LooScores:
    """Read a table of scores from its parquet or CSV file, or from the folder it is in.

    Beside a CSV file the parquet file of the same name is read, which knows types and metadata. In
    a folder of folds the tables of all folds are put together; the metadata are then those of the
    first, but for the largest difference of all.

    Raises:
        ConfigError: There is no table, or a folder has several that are not of folds.
        DataError: The file holds no scores.
    """
    path = Path(path)
    if not path.is_dir():
        return _load_file(path)
    parts = [_load_file(found) for found in _tables_in(path)]
    metadata = dict(parts[0].metadata)
    if len(parts) > 1 and metadata:
        differences = [part.metadata["largest_difference"] for part in parts]
        metadata |= {"largest_difference": max(differences), "noise_floor": None}
    return LooScores(pd.concat([part.table for part in parts], ignore_index=True), metadata)


def _load_file(path: Path) -> LooScores:
    typed = typed_path(path)
    if not path.is_file() and not typed.is_file():
        raise ConfigError(f"{path}: no table of scores there")
    if not typed.is_file():
        has_classes = bool(class_columns(read_columns(path)[0]))
        types = dict.fromkeys((*TEXTS, *(("label", "pred") if has_classes else ())), str)
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
        return LooScores(_checked(table, path), {})
    read = pq.read_table(typed)
    metadata = json.loads((read.schema.metadata or {}).get(KEY, b"{}"))
    return LooScores(_checked(read.to_pandas(), typed), metadata)


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    missing = [name for name in ("sequence", "token", "pred", "loo") if name not in table]
    if missing:
        raise DataError(f"{path}: no table of scores; it has no column '{missing[0]}'")
    if "position" not in table:
        table = table.assign(position=table["start_offset"])
    return table


def _tables_in(folder: Path) -> list[Path]:
    """Find the table in a folder, or those of the same name in the folders of its folds."""
    for folders in ([folder], sorted(filter(Path.is_dir, folder.iterdir()), key=_fold_number)):
        found: dict[str, dict[Path, Path]] = {}
        for place in folders:
            for path in sorted(place.glob("loo_scores_*")):
                if path.name.endswith(ENDINGS):
                    found.setdefault(table_stem(path), {})[place] = path
        if len(found) > 1:
            raise ConfigError(f"{folder} holds several tables: {', '.join(found)}; name one")
        if found:
            return list(next(iter(found.values())).values())
    raise ConfigError(f"{folder}: no table of scores there (loo_scores_<edit>.parquet or .csv)")


def _fold_number(folder: Path) -> tuple[int, str]:
    return (int(folder.name) if folder.name.isdecimal() else -1, folder.name)


def _ragged(parts: list[np.ndarray]) -> np.ndarray:
    ragged = np.empty(len(parts), dtype=object)
    ragged[:] = parts
    return ragged
