"""Reading the rows of a file through Ray Data, each with its line number and what is wrong."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import ray.data
from ray.data import DataContext

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.columns import (
    UNCLOSED_QUOTE,
    LabelKind,
    Layout,
    Row,
    RowProblem,
    make_layout,
    read_line,
    read_number,
    shown,
    split_fields,
)
from biolm_ray.data.lines import LineRange, Scan, lines_in_range, scan_lines
from biolm_ray.data.sources import Source, find_source
from biolm_ray.errors import DataError

BLOCK_BYTES = 8 << 20
_Fields = tuple[int, list[str]]

PROBLEM_FIELDS = (pa.field("rule", pa.string()), pa.field("problem", pa.string()))


@dataclass(frozen=True)
class Input:
    """A file whose columns are known and whose reading is planned.

    Attributes:
        max_rows: Rows after these are not read.
    """

    source: Source
    layout: Layout
    scan: Scan
    max_rows: int | None

    def where(self, line_number: int) -> str:
        return f"{self.source.name}, line {line_number}"

    def count_rows(self) -> int:
        """Number of data rows; a compressed file is read once more for it."""
        if self.scan.num_rows >= 0:
            return self.scan.num_rows
        with self.source.open() as file:
            has_header = self.scan.ranges[0].first_row < 0
            scan = scan_lines(
                file, has_header=has_header, range_bytes=1 << 60, max_rows=self.max_rows
            )
        return scan.num_rows


def plan_input(config: DataConfig, label_kind: LabelKind | None) -> Input:
    """Find the file, its columns and its ranges; reads plain files once, to count their lines.

    Raises:
        ConfigError: A column is named though the file has no header.
        DataError: The file is missing, empty, no text, lacks a column, or its first line is a
            header that `has_header` does not tell of.
    """
    source = find_source(config.path)
    header, first_lines = _first_lines(source, config)
    number, fields = first_lines[0]
    layout = make_layout(
        config,
        label_kind=label_kind,
        header=header[1] if header else None,
        num_columns=len(header[1] if header else fields),
        where=f"{source.name}, line {header[0] if header else number}",
    )
    if not config.has_header:
        _refuse_header(source, layout, first_lines)
    scan = source.scan(has_header=config.has_header, max_rows=config.max_rows)
    return Input(source, layout, scan, config.max_rows)


def _first_lines(source: Source, config: DataConfig) -> tuple[_Fields | None, list[_Fields]]:
    """The header and up to two rows, each as line number and stripped fields."""
    found: list[_Fields] = []
    needed = 2 if config.has_header else 1
    for number, line in _numbered_lines(source, LineRange(0, None, 1, 0)):
        fields = None
        if isinstance(line, str):
            if not line.strip():
                continue
            fields = split_fields(line, config.column_separator)
        if fields is not None:
            found.append((number, [field.strip() for field in fields]))
        elif len(found) < needed:
            message = line.message if isinstance(line, RowProblem) else UNCLOSED_QUOTE
            raise DataError(f"{source.name}, line {number}: {message}")
        if fields is None or len(found) > needed:
            break
    if not found:
        raise DataError(f"{source.name} is empty: it has blank lines only")
    if not config.has_header:
        return None, found
    if len(found) == 1:
        raise DataError(f"{source.name} has a header and no rows")
    return found[0], found[1:]


def _refuse_header(source: Source, layout: Layout, first_lines: list[_Fields]) -> None:
    if layout.label is None or layout.label_kind != "number" or len(first_lines) < 2:
        return
    (number, first), (_, second) = first_lines
    if len(second) <= layout.label or read_number(second[layout.label]) is None:
        return
    label = first[layout.label]
    if label and read_number(label) is None and label.lower() not in ("nan", "inf", "-inf", "na"):
        raise DataError(
            f"{source.name}, line {number}: looks like a header ({shown(label)} in column "
            f"{layout.label + 1}, where the next line has a number): "
            "set has_header: true (stripheader)"
        )


def _numbered_lines(source: Source, lines: LineRange) -> Iterator[tuple[int, str | RowProblem]]:
    """Every line of a range with its number; a line that is no text comes as its problem."""
    number = lines.first_line
    try:
        with source.open() as file:
            for raw in lines_in_range(file, lines.start, lines.stop):
                yield number, _decode(raw)
                number += 1
    except (OSError, pa.ArrowInvalid) as error:
        yield number, RowProblem("read", f"the file cannot be read further: {error}")


def _decode(raw: bytes) -> str | RowProblem:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line"
        return RowProblem("utf-8", f"{found} is not UTF-8: save the file as UTF-8")


def block_schema(layout: Layout) -> pa.Schema:
    """The columns of the blocks that `read_rows` gives; label, weight, split only if asked for."""
    fields = [
        pa.field("row", pa.int64()),
        pa.field("line", pa.int64()),
        pa.field("id", pa.string()),
    ]
    fields.append(pa.field("sequence", pa.large_string()))
    if layout.label is not None:
        number = layout.label_kind == "number"
        fields.append(pa.field("label", pa.float64() if number else pa.string()))
    if layout.weight is not None:
        fields.append(pa.field("weight", pa.float64()))
    if layout.split is not None:
        fields.append(pa.field("split", pa.string()))
    return pa.schema([*fields, *PROBLEM_FIELDS])


def read_range(
    source: Source, layout: Layout, lines: LineRange, max_rows: int | None = None
) -> Iterator[pa.Table]:
    """Read one range as blocks of about 8 MB; bad rows are kept, with `rule` and `problem`."""
    schema = block_schema(layout)
    rows: list[dict] = []
    num_bytes = 0
    number = lines.first_row
    for line_number, line in _numbered_lines(source, lines):
        if isinstance(line, str) and not line.strip():
            continue
        if number == max_rows:
            break
        if number >= 0:
            row = read_line(line, layout) if isinstance(line, str) else Row(problem=line)
            rows.append(_as_record(row, number, line_number))
            num_bytes += len(row.sequence) + 100
        number += 1
        if num_bytes >= BLOCK_BYTES:
            yield pa.Table.from_pylist(rows, schema=schema)
            rows, num_bytes = [], 0
    if rows:
        yield pa.Table.from_pylist(rows, schema=schema)


def _as_record(row: Row, number: int, line_number: int) -> dict:
    record = row._asdict()
    record["rule"], record["problem"] = row.problem or (None, None)
    return {**record, "row": number, "line": line_number}


def _read_batch(
    batch: pa.Table, *, source: Source, layout: Layout, max_rows: int | None
) -> Iterator[pa.Table]:
    for record in batch.to_pylist():
        yield from read_range(source, layout, LineRange(**record), max_rows)


def read_rows(plan: Input) -> ray.data.Dataset:
    """Blocks of rows in the order of the file: see `block_schema`.

    Nothing is read before the dataset is consumed, which is to happen within `ray_data_settings`.
    """
    ranges = pa.Table.from_pylist(
        [vars(lines) for lines in plan.scan.ranges],
        schema=pa.schema([(name, pa.int64()) for name in LineRange.__dataclass_fields__]),
    )
    tables = [ranges.slice(index, 1) for index in range(len(ranges))]
    read = partial(_read_batch, source=plan.source, layout=plan.layout, max_rows=plan.max_rows)
    return ray.data.from_arrow(tables).map_batches(
        read, batch_size=None, batch_format="pyarrow", zero_copy_batch=True
    )


@contextmanager
def ray_data_settings() -> Iterator[None]:
    """Within it, datasets keep their order, make blocks of bounded size and print nothing."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 4 * BLOCK_BYTES
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with DataContext.current(context):
            yield
    finally:
        logger.setLevel(level)
