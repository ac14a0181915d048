"""The typed table of scores: a parquet file beside each CSV table."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from biolm_ray.data.targets import Targets
from biolm_ray.files import atomic_path

KEY = b"biolm_ray"
ENDINGS = (".parquet", ".csv.gz", ".csv")


@dataclass(frozen=True, kw_only=True)
class ScoresMetadata:
    """What a table of scores was made by; stored with it as JSON.

    Attributes:
        edit: What was done to each token.
        window: How many adjacent tokens at once.
        task: regression or classification.
        target: Name of the target; empty where there is just one.
        classes: All classes of a classification, else none.
        class_name: The class that was asked for; None: the predicted one of each sequence.
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


def table_stem(path: Path) -> str:
    """The name of a table without its endings; that of a target may hold dots."""
    ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), "")
    return path.name.removesuffix(ending)


def typed_path(path: Path) -> Path:
    """Where the typed table lies that belongs to a table."""
    return path.with_name(f"{table_stem(path)}.parquet")


def first_rows(
    sequences: Sequence[Any] | pd.Series, places: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, " sequences"]:
    """The first row of each sequence of a table.

    One begins where the name changes, or where places start anew: names may occur twice.
    """
    names = np.asarray(sequences, dtype=str)
    begins = (names[1:] != names[:-1]) | (places[1:] < places[:-1])
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(names)), bool), begins]))


def scores_schema(targets: Targets, num_models: int) -> pa.Schema:
    """Name the columns of a table and their types."""
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
    fields |= {f"loo_{name}": pa.float64() for name in targets.classes or ()}
    fields |= {"loo_std": pa.float64()} if num_models > 1 else {}
    return pa.schema(list(fields.items()))


def typed_table(table: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Give a table of scores the types and the order of a schema; what it lacks is null.

    A text that is empty is null too.
    """
    columns = []
    for field in schema:
        if field.name not in table:
            columns.append(pa.nulls(len(table), field.type))
            continue
        values = table[field.name]
        if field.name in ("token", "replacement"):
            values = values.where(values != "", None)
        columns.append(pa.array(values, type=field.type, from_pandas=True))
    return pa.Table.from_arrays(columns, schema=schema)


def write_part(path: Path, tables: Iterable[pd.DataFrame], schema: pa.Schema) -> None:
    """Write the tables of some sequences as one part, each whole or absent."""
    parts = [typed_table(table, schema) for table in tables]
    whole = pa.concat_tables(parts) if parts else schema.empty_table()
    with atomic_path(path) as temporary:
        pq.write_table(whole.unify_dictionaries(), temporary)


def merge_parts(
    parts: Iterable[Path], path: Path, schema: pa.Schema, metadata: ScoresMetadata
) -> None:
    """Write the parts one after another, each a row group, with what they were made by."""
    described = schema.with_metadata({KEY: json.dumps(asdict(metadata)).encode()})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, described) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, schema=schema))
