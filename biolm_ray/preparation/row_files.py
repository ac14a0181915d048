"""The parquet files of a prepared data set, laid out so that a row's tokens can be memory-mapped.

Token ids (and specifiers) are binary columns: the little-endian integers (floats) of a row, one
after the other. Within a row group such a column is stored uncompressed, plainly encoded and as
one page, which is then `length as four bytes, bytes` row after row. So where a row's tokens begin
in the file follows from the lengths of the rows before it in its group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from biolm_ray.data.columns import label_roles
from biolm_ray.errors import DataError

GROUP_ROWS = 16_384
"""Most rows of a row group; from 20,000 on the writer of arrow would begin a second page."""

PREFIX_BYTES = 4
COLUMN_TYPES = {
    "row": (pa.int64(),),
    "id": (pa.string(),),
    "length": (pa.int32(),),
    "center": (pa.int32(),),
    "token": (pa.large_binary(),),
    "specifiers": (pa.large_binary(),),
    "label": (pa.float64(), pa.string()),
    "weight": (pa.float64(),),
    "split": (pa.string(),),
}
"""The types of columns by what they hold, see `kind_of`."""
PLACES_SCHEMA = pa.schema([pa.field("file", pa.int32()), pa.field("line", pa.int64())])
SPECIFIER_TYPE = np.dtype(np.float32)


@dataclass(frozen=True)
class Group:
    """A row group: its rows, and where the pages of its binary columns begin in the file."""

    num_rows: int
    tokens_start: int
    specifiers_start: int | None = None


def prepared_schema(
    *,
    num_specifiers: int,
    label_kind: str | None,
    num_labels: int = 1,
    has_weights: bool,
    has_splits: bool,
) -> pa.Schema:
    """The columns of a prepared data set.

    `row` counts the rows of the source from 0, those included that were rejected; `length` counts
    tokens; `center` is the 0-based index of the centre token, -1 where there is none. Several
    targets stand in `label`, `label_2`, `label_3` and so on.
    """
    fields = [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("center", pa.int32(), nullable=False),
        pa.field("token_ids", pa.large_binary(), nullable=False),
    ]
    if num_specifiers:
        fields.append(pa.field("specifiers", pa.large_binary(), nullable=False))
    if label_kind:
        kind = pa.float64() if label_kind == "number" else pa.string()
        fields += [pa.field(role, kind, nullable=False) for role in label_roles(num_labels)]
    if has_weights:
        fields.append(pa.field("weight", pa.float64(), nullable=False))
    if has_splits:
        fields.append(pa.field("split", pa.string(), nullable=False))
    return pa.schema(fields)


def binary_rows(values: np.ndarray, offsets: Int[np.ndarray, " rows+1"]) -> pa.LargeBinaryArray:
    """Make a binary column of joined values without copying them.

    Args:
        values: The values of all rows; several to a token in one row of the array.
        offsets: Tokens before each row, and in all.
    """
    values = np.ascontiguousarray(values)
    bytes_per_token = values.itemsize * int(np.prod(values.shape[1:], dtype=np.int64))
    bounds = np.ascontiguousarray(offsets, dtype=np.int64) * bytes_per_token
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(values)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def write_rows(file: BinaryIO, table: pa.Table) -> list[Group]:
    """Write a part of a prepared data set and tell where its tokens lie.

    Args:
        file: Opened for writing and reading.
        table: At least one row, in the schema of the data set.
    """
    compression = {
        field.name: "none" if field.type == pa.large_binary() else "zstd" for field in table.schema
    }
    repeating = [name for name in ("split",) if name in table.schema.names]
    with pq.ParquetWriter(
        file,
        table.schema,
        compression=compression,  # pyright: ignore[reportArgumentType]
        use_dictionary=repeating or False,  # pyright: ignore[reportArgumentType]
        write_statistics=False,
        data_page_size=(1 << 31) - 1,
    ) as writer:
        writer.write_table(table, row_group_size=GROUP_ROWS)
    file.seek(0)
    return _groups(pq.read_metadata(file), table)


def _groups(footer: Any, table: pa.Table) -> list[Group]:
    groups: list[Group] = []
    start = 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        rows = table.slice(start, group.num_rows)
        starts = {
            name: _page_start(group.column(table.schema.get_field_index(name)), rows[name])
            for name in ("token_ids", "specifiers")
            if name in table.schema.names
        }
        groups.append(Group(group.num_rows, starts["token_ids"], starts.get("specifiers")))
        start += group.num_rows
    return groups


def _page_start(chunk: Any, values: pa.ChunkedArray) -> int:
    """Where the values of a column chunk begin: its one page ends with them."""
    num_bytes = sum(_num_bytes(part) for part in values.chunks) + PREFIX_BYTES * len(values)
    return chunk.data_page_offset + chunk.total_compressed_size - num_bytes


def _num_bytes(values: pa.LargeBinaryArray) -> int:
    bounds = np.frombuffer(values.buffers()[1], np.int64)
    return int(bounds[values.offset + len(values)] - bounds[values.offset])


def row_starts(
    groups: Sequence[Group], lengths: Int[np.ndarray, " rows"], bytes_per_token: int, column: str
) -> Int[np.ndarray, " rows"]:
    """Where the values of each row begin in its file.

    Args:
        groups: All row groups of one or more files, in order.
        lengths: Tokens of each row of these groups.
        bytes_per_token: Of one token in the column.
        column: "tokens" or "specifiers".
    """
    sizes = lengths.astype(np.int64) * bytes_per_token + PREFIX_BYTES
    before = np.cumsum(sizes) - sizes
    firsts = np.cumsum([0, *(group.num_rows for group in groups)])
    pages = np.array([getattr(group, f"{column}_start") for group in groups], dtype=np.int64)
    shifts = pages + PREFIX_BYTES - before[firsts[:-1]]
    return before + np.repeat(shifts, np.diff(firsts))


def check_mapped(file: np.ndarray, start: int, num_bytes: int, name: str) -> None:
    """Make sure that a row lies where it should.

    Raises:
        DataError: The file was changed or cut short after it had been written.
    """
    prefix = file[max(start, PREFIX_BYTES) - PREFIX_BYTES : start].tobytes()
    fits = start >= PREFIX_BYTES and start + num_bytes <= len(file)
    if not fits or int.from_bytes(prefix, "little") != num_bytes:
        raise DataError(
            f"{name} is damaged; delete its folder or set forcenewdata, and it is prepared again"
        )


def read_columns(file: Any, columns: Sequence[str]) -> pa.Table:
    """Read columns of a parquet file.

    Raises:
        ValueError: One is missing, or is there twice.
    """
    with pq.ParquetFile(file) as stored:
        check_names(stored.schema_arrow.names, columns)
        return stored.read(columns=list(columns))


def check_names(found: Sequence[str], columns: Sequence[str]) -> None:
    """Make sure that a file has columns, each of them once.

    Raises:
        ValueError: One is missing, or is there twice.
    """
    for name in columns:
        if found.count(name) != 1:
            problem = "is there twice" if name in found else "is missing"
            raise ValueError(f"its column '{name}' {problem}")


def checked_ids(
    token_ids: Int[np.ndarray, " length"], vocabulary_size: int | None, location: str
) -> Int[np.ndarray, " length"]:
    """Return the ids of a row, none of which is beyond the vocabulary.

    Raises:
        DataError: One is.
    """
    if vocabulary_size is None or not len(token_ids):
        return token_ids
    highest = int(token_ids.max())
    if highest >= vocabulary_size or int(token_ids.min()) < 0:
        raise DataError(
            f"{location} is damaged (a row has the token id {highest}, and the vocabulary has "
            f"{vocabulary_size} tokens); remove the folder, and it is made again"
        )
    return token_ids
