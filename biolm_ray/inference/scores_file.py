"""The typed table of scores: a parquet file beside each CSV table."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int
from pyarrow.csv import WriteOptions, write_csv

from biolm_ray.data.naming import given_name, kept_apart
from biolm_ray.data.targets import Targets
from biolm_ray.errors import BiolmError, DataError, in_short
from biolm_ray.files import atomic_path
from biolm_ray.records import RecordFile, parse_record, record_values

KEY = b"biolm_ray"
ENDINGS = (".parquet", ".csv.gz", ".csv")
RECURRING: Any = ["sequence", "token", "replacement", "label", "pred"]
"""Columns in which a value stands many times, worth a dictionary."""
OF_CLASS = "loo_"
REMEDY = "put back a copy of the table, or run interpret again"
LARGEST_OFFSET = 1 << 28
"""No sequence is longer."""
NUMBERS = ("floating", "integer", "mixed-integer-float")
TEXTS = ("string", "empty")
VALUES = (*NUMBERS, *TEXTS)
OURS = ("std", "model")
"""What follows `loo_` in columns that belong to no class."""


class ScoresMetadata(RecordFile):
    """What a table of scores was made by; stored within it as JSON.

    Attributes:
        edit: What was done to each token.
        window: How many adjacent tokens at once.
        task: regression or classification.
        target: Name of the target, or of the column of the labels; empty where it is not known.
        classes: All classes of a classification, else none.
        class_name: The class of column loo; None: that of column pred, the predicted one.
        num_models: Over how many models the scores are averaged.
        largest_difference: Largest deviation of a score from its independent recomputation.
        noise_floor: The standard error of a score over the models, as root of its mean square over
            the table; None for a single model.
    """

    edit: str
    window: int
    task: str
    target: str = ""
    classes: tuple[str, ...] = ()
    class_name: str | None = None
    num_models: int = 1
    largest_difference: float = 0.0
    noise_floor: float | None = None


def class_column(name: str) -> str:
    """The column that holds the scores of a class."""
    return f"{OF_CLASS}{kept_apart(name, OURS)}"


def class_columns(columns: Iterable[str]) -> dict[str, str]:
    """The classes that a table has scores of, each with its column."""
    ours = [f"{OF_CLASS}{name}" for name in OURS]
    return {
        given_name(column.removeprefix(OF_CLASS), OURS): column
        for column in columns
        if column.startswith(OF_CLASS) and column not in ours
    }


def table_stem(path: Path) -> str:
    """The name of a table without its endings; that of a target may hold dots."""
    ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), "")
    return path.name.removesuffix(ending)


def typed_path(path: Path) -> Path:
    """Where the typed table lies that belongs to a table."""
    return path.with_name(f"{table_stem(path)}.parquet")


def table_files(paths: Iterable[Path]) -> list[Path]:
    """List tables and the parquet files beside them."""
    return [file for path in paths for file in (path, typed_path(path))]


def first_rows(
    sequences: Sequence[Any] | pd.Series, places: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, " sequences"]:
    """The first row of each sequence of a table.

    One begins where the name changes, or where places start anew: names may occur twice.
    """
    names = np.asarray(sequences, dtype=str)
    begins = (names[1:] != names[:-1]) | (places[1:] < places[:-1])
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(names)), bool), begins]))


def scores_schema(targets: Targets, *, averaged: bool) -> pa.Schema:
    """Name the columns of a table and their types; those over several models have `loo_std`."""
    read = pa.string() if targets.classes else pa.float64()
    fields = {
        "sequence": pa.dictionary(pa.int32(), pa.string()),
        "position": pa.int32(),
        "token": pa.string(),
        "replacement": pa.string(),
        "label": read,
        "pred": read,
        "start_offset": pa.int32(),
        "end_offset": pa.int32(),
        "loo": pa.float64(),
        "loo_model": pa.float64(),
    }
    fields |= {class_column(name): pa.float64() for name in targets.classes or ()}
    fields |= {"loo_std": pa.float64()} if averaged else {}
    return pa.schema(list(fields.items()))


@contextmanager
def reading_scores(path: Path) -> Iterator[None]:
    """Turn whatever a damaged table makes of being read into an error that says so.

    Raises:
        DataError: It is damaged, or not to be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise DataError(f"{path}: is no file; {REMEDY}")
        yield
    except BiolmError:
        raise
    # What the system, pandas and Arrow raise for tables that are cut, or hold what is no table.
    except (
        *(OSError, ValueError, TypeError, EOFError, NotImplementedError, OverflowError),
        *(zlib.error, pa.ArrowException),
    ) as error:
        raise DataError(
            f"{path}: damaged, or no table of scores ({in_short(error)}); {REMEDY}"
        ) from None


def check_values(table: pd.DataFrame, path: Path, *, scores: str, offsets: Iterable[str]) -> None:
    """Make sure that the columns of a table hold what they should.

    Args:
        table: Read from a file.
        path: Of the file.
        scores: The column of the scores.
        offsets: Columns of places in sequences.

    Raises:
        DataError: They do not.
    """
    if not table.columns.is_unique:
        doubled = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{path}: column '{doubled[:40]}' stands there twice; {REMEDY}")
    if not len(table):
        return
    for name in ("sequence", "token", "pred", "label"):
        if name in table and not _holds(table[name], TEXTS if name in RECURRING[:2] else VALUES):
            raise DataError(f"{path}: column '{name}' does not hold what it should; {REMEDY}")
    if not _holds(table[scores], NUMBERS):
        raise DataError(f"{path}: column '{scores}' does not hold numbers alone; {REMEDY}")
    if pd.isna(table[scores].iloc[-1]):
        raise DataError(f"{path}: ends in the middle of a row; {REMEDY}")
    for name in offsets:
        column = table[name]
        if not _holds(column, ("integer",)) or column.min() < 0 or column.max() > LARGEST_OFFSET:
            raise DataError(f"{path}: column '{name}' does not hold places alone; {REMEDY}")


def _holds(column: pd.Series, kinds: Iterable[str]) -> bool:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return pd.api.types.infer_dtype(values, skipna=True) in kinds


def read_columns(path: Path) -> tuple[list[str], Mapping[str, Any]]:
    """The columns of a table, Parquet or CSV, and what it was made by; empty where not stored.

    Raises:
        DataError: It is damaged.
    """
    with reading_scores(path):
        if path.suffix != ".parquet":
            return pd.read_csv(path, nrows=0).columns.tolist(), {}
        schema = pq.read_schema(path)
        return schema.names, read_metadata(schema, path)


def read_metadata(schema: pa.Schema, path: Path) -> Mapping[str, Any]:
    """What a table was made by, by the names of `ScoresMetadata`; empty where not stored.

    Raises:
        DataError: It is damaged, or of a later version.
    """
    stored = (schema.metadata or {}).get(KEY)
    if stored is None:
        return {}
    metadata = parse_record(stored, f"{path}: what it was made by", ScoresMetadata, REMEDY)
    return metadata.model_dump(mode="json", exclude={"format_version"})


def write_part(csv: Path, parquet: Path, table: pa.Table, columns: Sequence[str]) -> None:
    """Write the scores of some sequences as a part of both tables, each whole or absent.

    The part in CSV has no header. A text is in quotes only where the part holds one that must be.
    """
    with atomic_path(parquet) as temporary:
        pq.write_table(table, temporary, use_dictionary=RECURRING)
    texts = pa.table(
        {
            name: table[name].cast(pa.string())
            if isinstance(table[name].type, pa.DictionaryType)
            else table[name]
            for name in columns
        }
    )
    with atomic_path(csv) as temporary:
        try:
            write_csv(texts, temporary, WriteOptions(include_header=False, quoting_style="none"))
        except pa.ArrowInvalid:
            write_csv(texts, temporary, WriteOptions(include_header=False, quoting_style="needed"))


def merge_parts(
    parts: Iterable[Path], path: Path, schema: pa.Schema, metadata: ScoresMetadata
) -> None:
    """Write the parts one after another, each a row group, with what they were made by."""
    described = schema.with_metadata({KEY: json.dumps(record_values(metadata)).encode()})
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, described, use_dictionary=RECURRING) as writer,
    ):
        for part in parts:
            writer.write_table(_read_part(part, schema))


def _read_part(part: Path, schema: pa.Schema) -> pa.Table:
    """Read a part that was whole when it was written or found.

    Raises:
        DataError: It is not any more.
    """
    try:
        with pq.ParquetFile(part) as file:
            return file.read().cast(schema)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{part}: damaged since it was written ({in_short(error)}); run interpret again: its "
            "sequences are then scored again"
        ) from None
