"""The typed table of scores: a parquet file beside each CSV table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from biolm_ray.files import atomic_path

KEY = b"biolm_ray"
ENDINGS = (".parquet", ".csv.gz", ".csv")
RECURRING: Any = ["sequence", "token", "replacement", "label", "pred"]
"""Columns in which a value stands many times, worth a dictionary."""
OF_CLASS = "loo_"
OURS = ("std", "model")
"""What follows `loo_` in columns that belong to no class."""


@dataclass(frozen=True, kw_only=True)
class ScoresMetadata:
    """What a table of scores was made by; stored with it as JSON.

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


def read_columns(path: Path) -> tuple[list[str], Mapping[str, Any]]:
    """The columns of a table, Parquet or CSV, and what it was made by; empty where not stored."""
    if path.suffix != ".parquet":
        return pd.read_csv(path, nrows=0).columns.tolist(), {}
    schema = pq.read_schema(path)
    return schema.names, json.loads((schema.metadata or {}).get(KEY, b"{}"))


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
    described = schema.with_metadata({KEY: json.dumps(asdict(metadata)).encode()})
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, described, use_dictionary=RECURRING) as writer,
    ):
        for part in parts:
            with pq.ParquetFile(part) as file:
                writer.write_table(file.read().cast(schema))
