"""Planning how an input is read: its files, their columns, and what the log says of them."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.arrow_files import typed_layout
from biolm_ray.data.columns import (
    SEPARATOR_NAMES,
    Format,
    LabelKind,
    Layout,
    kind_of,
    shown,
)
from biolm_ray.data.headers import fasta_layout, json_layout, table_layout
from biolm_ray.data.rows import rows_schema
from biolm_ray.data.sources import FORMAT_NAMES, TEXT_FORMATS, SourceFile, find_files
from biolm_ray.wording import counted

_LAYOUTS: dict[Format, Callable[[SourceFile, DataConfig, LabelKind | None], Layout]] = {
    "table": table_layout,
    "fasta": fasta_layout,
    "jsonl": json_layout,
    "parquet": typed_layout,
    "datasets": typed_layout,
}


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

    def num_skipped(self, file_index: int) -> int:
        """Lines of a file, not counting blank ones, that come before its first row."""
        return self.layouts[file_index].num_above + self.has_header

    @property
    def notes(self) -> tuple[str, ...]:
        """What was understood otherwise than the file says, for the log."""
        notes = []
        for file, layout in zip(self.files, self.layouts, strict=True):
            if len(layout.header) < len(layout.names) and layout.format == "table":
                places = enumerate(layout.header, 2)
                listed = ", ".join(f"{shown(name)} is column {place}" for place, name in places)
                notes.append(
                    f"{file.name}: the header has a name less than the rows have columns, as R "
                    f"writes row names: column 1 holds the row names, {listed}"
                )
        return tuple(notes)

    def where(self, file_index: int, line: int) -> str:
        """A line as messages name it."""
        file = self.files[file_index]
        unit = "line" if file.format in TEXT_FORMATS else "row"
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
        num_files = counted(len(self.files), "file")
        columns = ", ".join(_describe_column(first, role) for role in first.used)
        differ = any(layout.used != first.used for layout in self.layouts)
        where = " (in the first file; they differ)" if differ else ""
        unused = f"; {' and '.join(self.unused_settings)} not used" if self.unused_settings else ""
        return f"{num_files}, {self._describe_format()}; {columns}{where}{unused}"

    def _describe_format(self) -> str:
        separators = {layout.separator for layout in self.layouts}
        text = FORMAT_NAMES[self.files[0].format]
        if self.files[0].format == "table":
            names = sorted(SEPARATOR_NAMES.get(mark, f"'{mark}'") for mark in separators)
            header = "a header" if self.has_header else "no header"
            text = f"{' or '.join(names)}-separated text with {header}"
        encodings = {file.encoding or "UTF-8" for file in self.files}
        if encodings != {"UTF-8"}:
            text = f"{' or '.join(sorted(encodings))} {text}"
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
    # has_header may be implied by a column's name, so it may not have been meant.
    settings = ["column_separator", "skip_lines"]
    settings += ["decimal"] if files[0].format != "fasta" else []
    unused = [
        f"data.{name}"
        for name in settings
        if getattr(config, name) != DataConfig.model_fields[name].default
    ]
    return Input(files, layouts, label_kind, False, config.max_rows, tuple(unused))


def block_schema(plan: Input) -> pa.Schema:
    """The columns of the blocks that `read_piece` gives."""
    return rows_schema(plan.label_kind, plan.layouts[0].used)


def _describe_column(layout: Layout, role: str) -> str:
    if layout.format == "fasta" and layout.used[role] < 2:
        return f"{role} from the {'header' if layout.used[role] == 0 else 'sequence'} lines"
    return f"{kind_of(role)} in {layout.place(role)}"
