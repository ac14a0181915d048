"""Planning how an input is read: its files, their columns, and what the log says of them."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.arrow_files import typed_layout
from biolm_ray.data.columns import Format, LabelKind, Layout, kind_of
from biolm_ray.data.headers import fasta_layout, table_layout
from biolm_ray.data.rows import rows_schema
from biolm_ray.data.sources import FORMAT_NAMES, SourceFile, find_files

_LAYOUTS: dict[Format, Callable[[SourceFile, DataConfig, LabelKind | None], Layout]] = {
    "table": table_layout,
    "fasta": fasta_layout,
    "parquet": typed_layout,
    "datasets": typed_layout,
}
_SEPARATOR_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", " ": "blank", "|": "bar"}


@dataclass(frozen=True)
class Input:
    """Files whose columns are known; small, and pickles.

    Attributes:
        layouts: One per file: columns found by name may stand at different places.
        has_header: Whether the first line of each file that is not blank names the columns.
        max_rows: Rows of the input after these are not read.
        unused_settings: Settings of the configuration that say nothing about such files.
    """

    files: tuple[SourceFile, ...]
    layouts: tuple[Layout, ...]
    label_kind: LabelKind | None
    has_header: bool
    max_rows: int | None
    unused_settings: tuple[str, ...] = ()

    def where(self, file_index: int, line: int) -> str:
        """A line as messages name it."""
        file = self.files[file_index]
        unit = "line" if file.format in ("table", "fasta") else "row"
        return f"{file.name}, {unit} {line}"

    @property
    def name(self) -> str:
        """The input as messages name it."""
        more = len(self.files) - 1
        return self.files[0].name + (f" and {more} more" if more else "")

    @property
    def description(self) -> str:
        """One sentence for the log: what was detected."""
        first = self.layouts[0]
        num_files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        columns = ", ".join(_describe_column(first, role) for role in first.used)
        differ = any(layout.used != first.used for layout in self.layouts)
        where = " (in the first file; they differ)" if differ else ""
        unused = f"; {' and '.join(self.unused_settings)} not used" if self.unused_settings else ""
        return f"{num_files}, {self._describe_format()}; {columns}{where}{unused}"

    def _describe_format(self) -> str:
        separators = {layout.separator for layout in self.layouts}
        text = FORMAT_NAMES[self.files[0].format]
        if self.files[0].format == "table":
            names = sorted(_SEPARATOR_NAMES.get(mark, f"'{mark}'") for mark in separators)
            header = "a header" if self.has_header else "no header"
            text = f"{' or '.join(names)}-separated text with {header}"
        compressions = sorted({file.compression or "not" for file in self.files})
        return text if compressions == ["not"] else f"{' or '.join(compressions)}-compressed {text}"


def plan_input(config: DataConfig, label_kind: LabelKind | None) -> Input:
    """Find the files and their columns; reads only the first lines of each file.

    Raises:
        ConfigError: A column is named though the files have no header, or none is set.
        DataError: A file is missing, empty, no text, lacks a column, or its first line is a
            header that `has_header` does not tell of.
    """
    files = find_files(config.paths, config.format)
    layouts = tuple(_LAYOUTS[file.format](file, config, label_kind) for file in files)
    if files[0].format == "table":
        return Input(files, layouts, label_kind, config.has_header, config.max_rows)
    # has_header may be implied by a column's name, so only the separator was surely meant.
    unused = ("data.column_separator",) if config.column_separator else ()
    return Input(files, layouts, label_kind, False, config.max_rows, unused)


def block_schema(plan: Input) -> pa.Schema:
    """The columns of the blocks that `read_piece` gives."""
    return rows_schema(plan.label_kind, plan.layouts[0].used)


def _describe_column(layout: Layout, role: str) -> str:
    if layout.format == "fasta" and layout.used[role] < 2:
        return f"{role} from the {'header' if layout.used[role] == 0 else 'sequence'} lines"
    name = f" '{layout.names[layout.used[role]]}'" if layout.names else ""
    return f"{kind_of(role)} in {layout.place(role)}{name if layout.format == 'table' else ''}"
