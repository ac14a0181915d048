"""Parquet, and the Arrow files of folders that the library `datasets` saved: typed columns."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.columns import LabelKind, Layout, kind_of, make_layout
from biolm_ray.data.fields import Row, read_fields
from biolm_ray.data.filesystems import access_errors
from biolm_ray.data.rows import make_block
from biolm_ray.data.sources import SourceFile
from biolm_ray.errors import DataError

BLOCK_BYTES = 16 << 20
MAX_BLOCK_ROWS = 1 << 16
SPLIT_COLUMN = "split"


def typed_layout(file: SourceFile, config: DataConfig, label_kind: LabelKind | None) -> Layout:
    """Find the columns by the file's schema; its split comes last if it has no such column.

    Raises:
        ConfigError: No sequence column is set.
        DataError: The file cannot be read, lacks a column, or one is neither text nor numbers.
    """
    schema = _read_schema(file)
    names = list(schema.names)
    if file.split is not None and SPLIT_COLUMN not in names:
        names.append(SPLIT_COLUMN)
    layout = make_layout(
        config,
        label_kind=label_kind,
        header=names,
        num_columns=len(names),
        where=file.name,
        format=file.format,
    )
    for role, position in layout.used.items():
        if names.count(names[position]) > 1:
            raise DataError(f"{file.name}: two columns are named '{names[position]}'")
        if position < len(schema) and not _is_readable(schema.field(position).type):
            raise DataError(
                f"{file.name}: column '{names[position]}', asked for as {kind_of(role)}, holds "
                f"{schema.field(position).type}: it must hold text or numbers"
            )
    return layout


def row_group_ranges(file: SourceFile, piece_bytes: int) -> list[tuple[int, int, int, int]]:
    """Divide a parquet file into ranges of about `piece_bytes` that hold whole row groups.

    Returns:
        First byte, byte after the last, first row group and the one after the last; together all
        bytes of the file.
    """
    metadata = _read_metadata(file)
    starts = [_first_byte(metadata.row_group(index)) for index in range(metadata.num_row_groups)]
    if starts != sorted(starts) or not starts:
        return [(0, file.size, 0, len(starts))]
    firsts = [0]
    for index, start in enumerate(starts):
        if start - starts[firsts[-1]] >= piece_bytes:
            firsts.append(index)
    bounds = [0, *[starts[first] for first in firsts[1:]], file.size]
    lasts = [*firsts[1:], len(starts)]
    return list(zip(bounds[:-1], bounds[1:], firsts, lasts, strict=True))


def count_rows(file: SourceFile, row_groups: tuple[int, int] | None) -> int:
    """The rows of a file, or of some row groups of it."""
    if row_groups is not None:
        metadata = _read_metadata(file)
        return sum(metadata.row_group(index).num_rows for index in range(*row_groups))
    with _refused_as_data_error(file), file.open() as stream, pa.ipc.open_stream(stream) as reader:
        return sum(len(batch) for batch in reader)


def read_typed(
    file: SourceFile, layout: Layout, row_groups: tuple[int, int] | None, first_row: int, line: int
) -> Iterator[pa.Table]:
    """Read rows into blocks; nulls, empty texts and numbers that are not finite are problems.

    Args:
        row_groups: Of parquet, the first one and the one after the last.
        first_row: Number of the first row in the whole input.
        line: 1-based number of the first row in its file.
    """
    columns = [layout.names[position] for position in sorted(set(layout.used.values()))]
    for batch in _batches(file, row_groups, columns):
        rows = first_row + np.arange(len(batch))
        yield _read_batch(batch, file, layout, rows, line + np.arange(len(batch)))
        first_row, line = first_row + len(batch), line + len(batch)


def _read_batch(
    batch: pa.RecordBatch, file: SourceFile, layout: Layout, rows: np.ndarray, lines: np.ndarray
) -> pa.Table:
    columns = {
        role: _column(batch, layout.names[position], file) for role, position in layout.used.items()
    }
    fields = {}
    for role, column in columns.items():
        is_label = kind_of(role) == "label"
        number_wanted = role == "weight" or (is_label and layout.label_kind == "number")
        is_number = _is_number(column.type)
        if number_wanted and is_number:
            fields[role] = column.cast(pa.float64(), safe=False)
        else:
            text = column.cast(pa.large_string())
            fields[role] = pc.call_function("utf8_trim_whitespace", [text])

    def read_row(index: int) -> tuple[Row, str]:
        texts = {role: _text(column[index]) for role, column in columns.items()}
        return read_fields(texts, layout), "\t".join(texts.values())

    return make_block(fields, np.ones(len(batch), bool), read_row, layout, rows, lines)


def _column(batch: pa.RecordBatch, name: str, file: SourceFile) -> pa.Array:
    if name not in batch.schema.names:
        assert name == SPLIT_COLUMN
        return pa.array([file.split] * len(batch), pa.large_string())
    column = batch.column(name)
    names = _class_names(batch.schema, name)
    if names and pa.types.is_integer(column.type):
        numbers = column.cast(pa.int64())
        named = pa.array([*names, None], pa.large_string())  # -1 stands for no label
        missing = pa.scalar(len(names), pa.int64())
        is_known = pc.call_function("greater_equal", [numbers, pa.scalar(0)])
        return named.take(pc.call_function("if_else", [is_known, numbers, missing]))
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _class_names(schema: pa.Schema, name: str) -> list[str]:
    """The names behind the numbers of a ClassLabel column, which `datasets` notes in the schema."""
    noted = (schema.metadata or {}).get(b"huggingface")
    info = json.loads(noted).get("info") if noted else None
    feature = ((info or {}).get("features") or {}).get(name)
    return feature.get("names", []) if isinstance(feature, dict) else []


def _text(value: pa.Scalar) -> str:
    return str(value.as_py()) if value.is_valid else ""


def _batches(
    file: SourceFile, row_groups: tuple[int, int] | None, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of bounded size, of whole files or of some row groups."""
    with file.open() as stream:
        if row_groups is None:
            with pa.ipc.open_stream(stream) as reader:
                for batch in reader:
                    yield from _parts(batch.select([n for n in columns if n in batch.schema.names]))
            return
        parquet = pq.ParquetFile(stream, pre_buffer=True)
        groups = list(range(*row_groups))
        sizes = [parquet.metadata.row_group(index) for index in groups]
        num_rows = sum(group.num_rows for group in sizes)
        row_bytes = sum(group.total_byte_size for group in sizes) / max(num_rows, 1)
        batch_rows = max(1, min(MAX_BLOCK_ROWS, int(BLOCK_BYTES / max(row_bytes, 1))))
        batches = parquet.iter_batches(
            batch_rows, row_groups=groups, columns=columns, use_threads=False
        )
        for batch in batches:
            yield from _parts(batch)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in parts of at most about `BLOCK_BYTES`."""
    num_parts = max(batch.nbytes / BLOCK_BYTES, len(batch) / MAX_BLOCK_ROWS, 1)
    size = max(1, int(len(batch) / num_parts))
    for start in range(0, len(batch), size):
        yield batch.slice(start, size)


@contextmanager
def _refused_as_data_error(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except access_errors(file.path) as error:
        raise DataError(f"{file.name} cannot be read: {error}") from error


def _read_schema(file: SourceFile) -> pa.Schema:
    if file.format == "parquet":
        return _read_metadata(file).schema.to_arrow_schema()
    with _refused_as_data_error(file), file.open() as stream, pa.ipc.open_stream(stream) as reader:
        return reader.schema


def _read_metadata(file: SourceFile) -> pq.FileMetaData:
    with _refused_as_data_error(file), file.open() as stream:
        return pq.read_metadata(stream)


def _first_byte(group: pq.RowGroupMetaData) -> int:
    columns = (group.column(index) for index in range(group.num_columns))
    return min(
        column.dictionary_page_offset
        if column.has_dictionary_page and column.dictionary_page_offset
        else column.data_page_offset
        for column in columns
    )


def _is_readable(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        _is_number(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
