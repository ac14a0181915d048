"""Tables of scores, read again."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.scores_file import (
    ENDINGS,
    check_values,
    class_columns,
    first_rows,
    read_columns,
    read_metadata,
    reading_scores,
    table_stem,
    typed_path,
)
from biolm_ray.results.manifest import MANIFEST, Digest, first_misfit, results_of

log = logging.getLogger("biolm_ray")

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
    first, but for the largest difference of all. Only tables that the manifest of the experiment
    names are read; where there is none, those that are there, with a warning.

    Raises:
        ConfigError: There is no table, or a folder has several that are not of folds, or the table
            is of an earlier run.
        DataError: The file holds no scores, or has changed since it was written.
    """
    path = Path(path)
    vouched = _Vouched.of(path)
    if not path.is_dir():
        return vouched.load([path])[0]
    parts = vouched.load(_tables_in(path, vouched))
    metadata = dict(parts[0].metadata)
    if len(parts) > 1 and all(part.metadata for part in parts):
        differences = [part.metadata["largest_difference"] for part in parts]
        metadata |= {"largest_difference": max(differences), "noise_floor": None}
    return LooScores(pd.concat([part.table for part in parts], ignore_index=True), metadata)


@dataclass(frozen=True)
class _Vouched:
    """Which tables an experiment vouches for.

    Attributes:
        output: The output folder; None where no manifest is found.
        tables: What they held, by their paths.
        folds: The folders of its models.
    """

    output: Path | None = None
    tables: Mapping[Path, Digest] = field(default_factory=dict)
    folds: tuple[Path, ...] = ()

    @classmethod
    def of(cls, path: Path) -> "_Vouched":
        found = results_of(path)
        if found is None:
            log.warning("%s: no %s says which run it is of", path, MANIFEST)
            return cls()
        output, manifest = found
        records = manifest.modes.values()
        tables = [table for record in records for table in record.tables]
        folds = [fold for record in records for fold in record.folds]
        return cls(
            output,
            {output / table.path: table.digest for table in tables},
            tuple(output / fold.folder for fold in folds),
        )

    def names(self, path: Path) -> bool:
        """Tell whether a table, or the parquet file that is read in its place, may be read."""
        return self.output is None or _file_to_read(path).absolute() in self.tables

    def checked(self, path: Path) -> Path:
        """Give a path back if what lies there is as it was written."""
        file = _file_to_read(path).absolute()
        if self.output is None or not file.is_file():
            return path
        if file not in self.tables:
            raise ConfigError(
                f"{path}: of an earlier run, or of one that was broken off, since "
                f"{self.output / MANIFEST} does not name it; run interpret again, or copy it "
                "elsewhere to read it as it is"
            )
        misfit = first_misfit(file.parent, {file.name: self.tables[file]})
        if misfit:
            raise DataError(f"{misfit}; run interpret again, or put the file back")
        return path

    def load(self, paths: Sequence[Path]) -> list[LooScores]:
        """Read tables of one run: once all are read, they are still what they were to be."""
        files = [_file_to_read(path).absolute() for path in paths]
        loaded = [_load_file(self.checked(path)) for path in paths]
        vouched = [file for file in files if file in self.tables]
        for file in vouched:
            misfit = first_misfit(file.parent, {file.name: self.tables[file]})
            if misfit:
                raise DataError(f"{misfit}: a run has replaced it while it was read; read it again")
        return loaded

    def tell_missing(self, folder: Path, places: Collection[Path]) -> None:
        """Say which folds of an experiment have no table where others have one."""
        there = {place.absolute() for place in places}
        own = [fold for fold in self.folds if fold.parent == folder.absolute()]
        missing = [fold.name for fold in own if fold not in there]
        if missing and len(missing) < len(own):
            log.warning("%s: no table of fold %s", folder, ", ".join(missing))


def _file_to_read(path: Path) -> Path:
    typed = typed_path(path)
    return typed if typed.is_file() else path


def _load_file(path: Path) -> LooScores:
    typed = typed_path(path)
    if not path.is_file() and not typed.is_file():
        raise ConfigError(f"{path}: no table of scores there")
    if not typed.is_file():
        has_classes = bool(class_columns(read_columns(path)[0]))
        types = dict.fromkeys((*TEXTS, *(("label", "pred") if has_classes else ())), str)
        with reading_scores(path):
            table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
        return LooScores(_checked(table, path), {})
    with reading_scores(typed), pq.ParquetFile(typed) as file:
        metadata = read_metadata(file.schema_arrow, typed)
        table = file.read().to_pandas()
    return LooScores(_checked(table, typed), metadata)


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    place = "position" if "position" in table else "start_offset"
    missing = [name for name in ("sequence", "token", "pred", "loo", place) if name not in table]
    if missing:
        raise DataError(f"{path}: no table of scores; it has no column '{missing[0]}'")
    check_values(table, path, scores="loo", offsets=[place])
    return table if "position" in table else table.assign(position=table[place])


def _tables_in(folder: Path, vouched: _Vouched) -> list[Path]:
    """Find the table in a folder, or those of the same name in the folders of its folds."""
    others: list[Path] = []
    for folders in ([folder], sorted(filter(Path.is_dir, folder.iterdir()), key=_fold_number)):
        found: dict[str, dict[Path, Path]] = {}
        for place in folders:
            for path in sorted(place.glob("loo_scores_*")):
                if path.name.endswith(ENDINGS) and vouched.names(path):
                    found.setdefault(table_stem(path), {})[place] = path
                elif path.name.endswith(ENDINGS):
                    others.append(path)
        if len(found) > 1:
            raise ConfigError(f"{folder} holds several tables: {', '.join(found)}; name one")
        if found:
            tables = next(iter(found.values()))
            vouched.tell_missing(folder, tables)
            return list(tables.values())
    if others:
        vouched.checked(others[0])
    raise ConfigError(f"{folder}: no table of scores there (loo_scores_<edit>.parquet or .csv)")


def _fold_number(folder: Path) -> tuple[int, str]:
    return (int(folder.name) if folder.name.isdecimal() else -1, folder.name)


def _ragged(parts: list[np.ndarray]) -> np.ndarray:
    ragged = np.empty(len(parts), dtype=object)
    ragged[:] = parts
    return ragged
