"""The prepared data set: every row's token ids in one parquet file, in the order of the source."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from biolm_ray.tokenization.tokenizer import Encoded

SUMMARY_KEY = b"biolm_ray"


def prepared_schema(
    *,
    vocabulary_size: int,
    num_specifiers: int,
    label_kind: str | None,
    has_weights: bool,
    has_splits: bool,
) -> pa.Schema:
    """The columns of a prepared file; ids take the narrowest type the vocabulary allows."""
    fields = [
        pa.field("row", pa.int64()),
        pa.field("line", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("center", pa.int32()),
        pa.field("token_ids", pa.large_list(_id_type(vocabulary_size))),
    ]
    if num_specifiers:
        fields.append(pa.field("specifiers", pa.large_list(pa.float32())))
    if label_kind:
        fields.append(pa.field("label", pa.float64() if label_kind == "number" else pa.string()))
    if has_weights:
        fields.append(pa.field("weight", pa.float64()))
    if has_splits:
        fields.append(pa.field("split", pa.string()))
    return pa.schema(fields)


def _id_type(vocabulary_size: int) -> pa.DataType:
    if vocabulary_size <= 1 << 8:
        return pa.uint8()
    return pa.uint16() if vocabulary_size <= 1 << 16 else pa.int32()


class PreparedData:
    """Random access to the rows of a prepared file.

    Rows are numbered 0, 1, ... in the order of the source. Token ids stay in their narrow type
    in memory and are widened row by row. Pickles as its path: every process reads the file anew.
    """

    def __init__(self, path: Path, table: pa.Table, summary: dict[str, Any]) -> None:
        self.path = path
        self.summary = summary
        self._table = table
        self._offsets, self._values = _flatten(table, "token_ids")
        if self.num_specifiers:
            self._specifier_values = _flatten(table, "specifiers")[1]

    @classmethod
    def open(cls, path: Path | str) -> "PreparedData":
        """Read a prepared file; its size bounds the memory this takes."""
        path = Path(path)
        with pq.ParquetFile(path, memory_map=True) as file:
            summary = (file.metadata.metadata or {}).get(SUMMARY_KEY)
            assert summary is not None, f"{path} is not a prepared data set"
            return cls(path, file.read(), json.loads(summary))

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return PreparedData.open, (self.path,)

    def __len__(self) -> int:
        return self.num_rows

    @property
    def num_rows(self) -> int:
        return self._table.num_rows

    @property
    def num_specifiers(self) -> int:
        """How many floats each token carries beside its id."""
        return self.summary["num_specifiers"]

    @cached_property
    def row_numbers(self) -> Int[np.ndarray, " rows"]:
        """0-based data rows of the source file (header and blank lines not counted)."""
        return self._table["row"].to_numpy()

    @cached_property
    def line_numbers(self) -> Int[np.ndarray, " rows"]:
        """1-based lines of the source file, for messages."""
        return self._table["line"].to_numpy()

    @cached_property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Number of tokens of each row, special tokens not counted."""
        return np.diff(self._offsets)

    @cached_property
    def ids(self) -> list[str]:
        return self._table["id"].to_pylist()

    @cached_property
    def labels(self) -> Float[np.ndarray, " rows"] | list[str] | None:
        """Numbers, class names, or None where the file was prepared without labels."""
        if "label" not in self._table.column_names:
            return None
        column = self._table["label"]
        return column.to_numpy() if pa.types.is_floating(column.type) else column.to_pylist()

    @cached_property
    def weights(self) -> Float[np.ndarray, " rows"] | None:
        return self._table["weight"].to_numpy() if "weight" in self._table.column_names else None

    @cached_property
    def splits(self) -> list[str] | None:
        return self._table["split"].to_pylist() if "split" in self._table.column_names else None

    def token_ids(self, row: int) -> Int[np.ndarray, " length"]:
        return self._values[self._offsets[row] : self._offsets[row + 1]].astype(np.int32)

    def specifiers(self, row: int) -> Float[np.ndarray, "length channels"] | None:
        if not self.num_specifiers:
            return None
        start, stop = self._offsets[row : row + 2] * self.num_specifiers
        return self._specifier_values[start:stop].reshape(-1, self.num_specifiers)

    def center(self, row: int) -> int:
        """0-based index of the centre token; -1 when none is set or the row has none."""
        return int(self._centers[row])

    @cached_property
    def _centers(self) -> Int[np.ndarray, " rows"]:
        return self._table["center"].to_numpy()

    def encoded(self, row: int) -> Encoded:
        """The whole sequence of a row, as the tokenizer gave it."""
        return Encoded(self.token_ids(row), self.specifiers(row), self.center(row))

    def rows_within(self, room: int) -> Int[np.ndarray, " rows"]:
        """The rows of at most `room` tokens, for settings that drop the longer ones."""
        return np.flatnonzero(self.lengths <= room)

    def num_longer(self, room: int) -> int:
        """How many rows have more than `room` tokens and will be cut."""
        return int((self.lengths > room).sum())


def _flatten(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The row boundaries (rows + 1) and the joined values of a list column."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    offsets = column.offsets.to_numpy()
    return offsets, column.values.to_numpy()
