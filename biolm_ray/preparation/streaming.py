"""Rows of a prepared data set as they stream in through Ray Data, from wherever they lie.

Nothing is copied to a disk of this node or indexed: tasks read the files and send on the rows
that are asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, repeat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from biolm_ray.data.columns import kind_of
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError, in_short
from biolm_ray.preparation.manifest import ROWS, remedy
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_files import COLUMN_TYPES, SPECIFIER_TYPE, checked_ids
from biolm_ray.preparation.spread import run_tasks
from biolm_ray.tokenization.tokenizer import Encoded

FEWEST_PARTS = 4
"""Fewer files than this are read in this process: Ray Data takes a while to start."""
READING_TASKS = 2
"""Files that are read at the same time for one stream."""
READ_AHEAD_BYTES = 256 << 20
"""Most bytes of rows that wait to be taken from one stream, in Ray's object store."""


@dataclass(frozen=True)
class PartRows:
    """Some rows of one file.

    Attributes:
        file: Its name.
        first_row: The number in the data set of its first row.
        offsets: The rows, counted from the first one of the file; ascending.
    """

    file: str
    first_row: int
    offsets: Int[np.ndarray, " rows_of_part"]


def stream_rows(
    prepared: PreparedData, rows: Int[np.ndarray, " rows"]
) -> Iterator[tuple[int, Encoded]]:
    """Yield rows with their numbers, file by file, in the order in which `rows` name the files.

    Rows of a file come in its order. Memory holds a few files at a time. What is yielded are views
    of them, to be copied where they are kept. Ray must be connected unless there are few files; the
    reading takes none of the CPUs that Ray counts, since those who train may hold all of them.

    Raises:
        DataError: A file cannot be read.
    """
    parts = list(parts_of(prepared, rows))
    columns = ["token_ids", "center"] + (["specifiers"] if prepared.num_specifiers else [])
    for block in _blocks(Folder(prepared.location), parts, columns):
        yield from _rows_of(block, prepared)


def parts_of(prepared: PreparedData, rows: Int[np.ndarray, " rows"]) -> Iterator[PartRows]:
    """The files that hold some rows, in the order in which `rows` name them first."""
    for part, places in prepared.by_part(rows):
        yield PartRows(
            file=prepared.manifest["parts"][part]["file"],
            first_row=int(prepared.part_starts[part]),
            offsets=np.sort(rows[places]) - prepared.part_starts[part],
        )


def read_part(folder: Folder, part: PartRows, columns: list[str]) -> Iterator[pa.Table]:
    """Read some rows of a file, a row group at a time, with a column `number` beside the others.

    Raises:
        DataError: The file cannot be read.
    """
    name = f"{ROWS}/{part.file}"
    try:
        with folder.open(name) as stream, pq.ParquetFile(stream, pre_buffer=True) as file:
            _check_columns(file.schema_arrow, columns)
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                first, last = np.searchsorted(part.offsets, [start, stop])
                if first < last:
                    chosen = part.offsets[first:last]
                    table = file.read_row_group(group, columns=columns)
                    if len(chosen) < len(table):
                        table = table.take(chosen - start)
                    yield table.append_column("number", pa.array(chosen + part.first_row))
                start = stop
            if part.offsets[-1] >= start:
                raise ValueError(f"it has {start} rows")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{folder.address(name)} cannot be read: {in_short(error)}; set "
            "forcenewdata, and the data are prepared again"
        ) from error


def _check_columns(schema: pa.Schema, columns: list[str]) -> None:
    """Make sure that a file has the columns of a data set.

    Raises:
        ValueError: It does not.
    """
    for name in columns:
        if (
            schema.names.count(name) != 1
            or schema.field(name).type not in COLUMN_TYPES[kind_of(name)]
        ):
            raise ValueError(f"its column '{name}' is missing, or holds something else")


def _blocks(folder: Folder, parts: Sequence[PartRows], columns: list[str]) -> Iterator[pa.Table]:
    read = partial(_read, folder=folder, columns=columns)
    if len(parts) >= FEWEST_PARTS:
        yield from run_tasks(
            read,
            parts,
            num_cpus=0,
            concurrency=READING_TASKS,
            read_ahead_bytes=READ_AHEAD_BYTES,
        )
        return
    for part in parts:
        yield from read(part)


def _read(part: PartRows, *, folder: Folder, columns: list[str]) -> Iterator[pa.Table]:
    return read_part(folder, part, columns)


def _rows_of(block: pa.Table, prepared: PreparedData) -> Iterator[tuple[int, Encoded]]:
    numbers, centers = block["number"].to_pylist(), block["center"].to_pylist()
    stored = _binary_views(block["token_ids"])
    channels = prepared.num_specifiers
    specifiers = _binary_views(block["specifiers"]) if channels else repeat(None)
    for number, center, ids, values in zip(numbers, centers, stored, specifiers, strict=False):
        length, size = int(prepared.lengths[number]), prepared.id_type.itemsize
        bytes_per_token = channels * SPECIFIER_TYPE.itemsize
        if len(ids) != length * size or not -1 <= center < length:
            raise _misfit(prepared)
        floats = None
        if values is not None:
            if len(values) != length * bytes_per_token:
                raise _misfit(prepared)
            floats = values.view(SPECIFIER_TYPE).reshape(-1, channels)
        token_ids = checked_ids(
            ids.view(prepared.id_type), prepared.manifest["vocabulary_size"], prepared.location
        )
        yield number, Encoded(token_ids, floats, center)


def _misfit(prepared: PreparedData) -> DataError:
    return DataError(
        f"{prepared.location} is damaged (a row is of another length than its record says); "
        f"{remedy(prepared.location)}"
    )


def _binary_views(column: pa.ChunkedArray) -> Iterator[np.ndarray]:
    """The bytes of each value, without copying them."""
    for chunk in column.chunks:
        _, offsets, values = chunk.buffers()
        bounds = np.frombuffer(offsets, np.int64)[chunk.offset :][: len(chunk) + 1].tolist()
        content = np.frombuffer(values, np.uint8)
        for start, stop in pairwise(bounds):
            yield content[start:stop]
