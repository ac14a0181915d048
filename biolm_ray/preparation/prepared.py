"""The prepared data set: a folder of parquet files with the token ids of every row."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from jaxtyping import Float, Int

from biolm_ray.data.columns import kind_of
from biolm_ray.data.filesystems import locate
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError, in_short
from biolm_ray.preparation.local_copy import local_copy
from biolm_ray.preparation.manifest import (
    PLACES,
    REJECTED,
    ROWS,
    find_manifest,
    remedy,
)
from biolm_ray.preparation.rejects import REJECT_SCHEMA
from biolm_ray.preparation.row_files import (
    COLUMN_TYPES,
    PLACES_SCHEMA,
    SPECIFIER_TYPE,
    Group,
    check_mapped,
    check_names,
    checked_ids,
    read_columns,
    row_starts,
)
from biolm_ray.tokenization.tokenizer import Encoded


class PreparedData:
    """Random access to the rows of a prepared data set.

    Rows are numbered 0, 1, ... in the order of the source. Token ids are memory-mapped, so that
    the processes of a node share them and a data set may be larger than its memory; a remote one
    is copied to this node when its tokens are first asked for. The other columns are read from
    where they lie when first asked for. Pickles as its location.

    Attributes:
        location: Path or URI of the folder.
        manifest: What the preparation wrote down last: `parts`, `summary` and more.
    """

    def __init__(self, folder: Folder, manifest: dict[str, Any]) -> None:
        self.location = folder.location
        self.manifest = manifest
        self._folder = folder
        self._maps: dict[int, np.ndarray] = {}

    @classmethod
    def open(cls, location: Path | str) -> "PreparedData":
        """Open a prepared data set, reading nothing but its manifest.

        Raises:
            DataError: There is none, it is not whole, or names files that lie elsewhere.
        """
        found = cls.find(Folder(location))
        if found is None:
            raise DataError(f"{location} is no prepared data set, or one that was broken off")
        return found

    @classmethod
    def find(cls, folder: Folder) -> "PreparedData | None":
        """Open the prepared data set of a folder, if there is one.

        Raises:
            DataError: It is damaged, or of a later version of the program.
        """
        manifest = find_manifest(folder)
        return None if manifest is None else cls(folder, manifest.model_dump(mode="json"))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return PreparedData.open, (self.location,)

    def __len__(self) -> int:
        return self.num_rows

    @property
    def name(self) -> str:
        """Identifies the content: a hash of the input and of all settings that change the rows."""
        return self.manifest["name"]

    @property
    def summary(self) -> dict[str, Any]:
        """Rows, tokens, quantiles of the lengths, unknown tokens and more."""
        return self.manifest["summary"]

    @property
    def num_rows(self) -> int:
        return self.summary["rows"]

    @property
    def num_specifiers(self) -> int:
        """How many floats each token carries beside its id."""
        return self.manifest["num_specifiers"]

    @cached_property
    def row_numbers(self) -> Int[np.ndarray, " rows"]:
        """0-based data rows of the source (headers and blank lines not counted)."""
        numbers = self._column("row").to_numpy()
        if len(numbers) and (numbers[0] < 0 or (np.diff(numbers) <= 0).any()):
            raise self._damaged("its rows are not in the order of the source")
        return numbers

    @cached_property
    def line_numbers(self) -> Int[np.ndarray, " rows"]:
        """1-based lines in the source file of each row, for messages."""
        return self._places["line"].to_numpy()

    def place(self, row: int) -> tuple[int, int]:
        """The number of the source file that a row comes from, and the line in it."""
        file = self._places["file"][row].as_py()
        if not 0 <= file < max(1, len(self.manifest["files"])):
            raise self._damaged(f"a row comes from file {file}", PLACES)
        return file, int(self.line_numbers[row])

    @cached_property
    def _places(self) -> pa.Table:
        places = self._table(PLACES, PLACES_SCHEMA.names)
        if places.schema != PLACES_SCHEMA or len(places) != self.num_rows:
            raise self._damaged("it has other columns, or another number of rows", PLACES)
        return places

    @cached_property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Number of tokens of each row, special tokens not counted."""
        lengths, told = self._column("length").to_numpy(), self.summary["tokens"]
        if len(lengths) and lengths.min() < 1:
            raise self._damaged("a row has no tokens")
        if told is not None and int(lengths.sum(dtype=np.int64)) != told:
            raise self._damaged(f"its rows do not have {told} tokens")
        return lengths

    @cached_property
    def ids(self) -> list[str]:
        return self._column("id").to_pylist()

    @cached_property
    def labels(self) -> Float[np.ndarray, "rows targets"] | list[str] | None:
        """Numbers, class names, or None where the file was prepared without labels."""
        names = [name for name in self.manifest["columns"] if kind_of(name) == "label"]
        columns = [self._column(name) for name in names]
        if not columns:
            return None
        if len({column.type for column in columns}) > 1:
            raise self._damaged("its labels are of several kinds")
        if pa.types.is_floating(columns[0].type):
            return np.stack([column.to_numpy() for column in columns], axis=1)
        return columns[0].to_pylist()

    @property
    def target_names(self) -> tuple[str, ...]:
        """What several targets are called; empty where there is just one, or none."""
        return tuple(self.manifest.get("target_names", ()))

    @property
    def label_name(self) -> str:
        """What a single label is called in headings; empty where it is not known."""
        return self.manifest.get("label_name", "")

    @cached_property
    def weights(self) -> Float[np.ndarray, " rows"] | None:
        return self._column("weight").to_numpy() if "weight" in self.manifest["columns"] else None

    @cached_property
    def splits(self) -> list[str] | None:
        return self._column("split").to_pylist() if "split" in self.manifest["columns"] else None

    def token_ids(self, row: int) -> Int[np.ndarray, " length"]:
        return self._stored_ids(row).astype(np.int32)

    def specifiers(self, row: int) -> Float[np.ndarray, "length channels"] | None:
        if not self.num_specifiers:
            return None
        size = int(self.lengths[row]) * self.num_specifiers * SPECIFIER_TYPE.itemsize
        values = self._bytes(row, int(self._specifier_starts[row]), size)
        return values.view(SPECIFIER_TYPE).reshape(-1, self.num_specifiers)

    def center(self, row: int) -> int:
        """0-based index of the centre token; -1 when none is set or the row has none."""
        return int(self._centers[row])

    @property
    def num_centered(self) -> int:
        """How many rows have the centre token; 0 when none is set."""
        return int((self._centers >= 0).sum())

    @cached_property
    def _centers(self) -> Int[np.ndarray, " rows"]:
        centers = self._column("center").to_numpy()
        if ((centers < -1) | (centers >= self.lengths)).any():
            raise self._damaged("the centre of a row lies outside of it")
        return centers

    def encoded(self, row: int) -> Encoded:
        """The whole sequence of a row, as the tokenizer gave it."""
        return Encoded(self.token_ids(row), self.specifiers(row), self.center(row))

    def rows_within(self, room: int) -> Int[np.ndarray, " rows"]:
        """The rows of at most `room` tokens, for settings that drop the longer ones."""
        return np.flatnonzero(self.lengths <= room)

    def num_longer(self, room: int) -> int:
        """How many rows have more than `room` tokens and will be cut."""
        return int((self.lengths > room).sum())

    def rejected(self) -> pa.Table:
        """The rows that could not be used, in REJECT_SCHEMA."""
        if not self.manifest["rejected"]:
            return REJECT_SCHEMA.empty_table()
        rows = self._table(REJECTED, REJECT_SCHEMA.names)
        if rows.schema != REJECT_SCHEMA or len(rows) != sum(self.manifest["rejected"].values()):
            raise self._damaged("it has other columns, or another number of rows", REJECTED)
        return rows

    def part_paths(self) -> list[str]:
        """The parquet files in order, as paths on this node."""
        return [str(self._local / ROWS / part["file"]) for part in self.manifest["parts"]]

    @cached_property
    def part_starts(self) -> Int[np.ndarray, " parts"]:
        """The first row of each part."""
        sizes = [part["rows"] for part in self.manifest["parts"]]
        return np.cumsum([0, *sizes])[:-1]

    def by_part(
        self, rows: Int[np.ndarray, " rows"]
    ) -> Iterator[tuple[int, Int[np.ndarray, " rows_of_part"]]]:
        """For each part that holds some of the rows, its number and where in `rows` they stand.

        Parts come in the order in which `rows` name them first.
        """
        parts = np.searchsorted(self.part_starts, rows, side="right") - 1
        numbers, firsts, counts = np.unique(parts, return_index=True, return_counts=True)
        places = np.split(np.argsort(parts, kind="stable"), np.cumsum(counts)[:-1])
        for index in np.argsort(firsts):
            yield int(numbers[index]), places[index]

    def ids_of(self, rows: Int[np.ndarray, " rows"]) -> list[str]:
        """Identifiers of some rows, reading only the parts that hold them."""
        ids = np.empty(len(rows), dtype=object)
        for part, places in self.by_part(rows):
            told = self.manifest["parts"][part]
            name = f"{ROWS}/{told['file']}"
            column = self._table(name, ["id"])["id"]
            if column.type != pa.string() or len(column) != told["rows"]:
                raise self._damaged("it has other columns, or another number of rows", name)
            ids[places] = column.take(rows[places] - self.part_starts[part]).to_pylist()
        return ids.tolist()

    def _table(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Read columns of a file beside the manifest."""
        try:
            with self._folder.open(name) as file:
                return read_columns(file, columns)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise self._damaged(in_short(error), name) from error

    def _damaged(self, problem: str, name: str = ROWS) -> DataError:
        where = self._folder.address(name)
        return DataError(f"{where} is damaged ({problem}); {remedy(self.location)}")

    def _column(self, name: str) -> pa.ChunkedArray:
        filesystem, inner = locate(self.location)
        paths = [f"{inner.rstrip('/')}/{ROWS}/{part['file']}" for part in self.manifest["parts"]]
        try:
            files = ds.dataset(paths, format="parquet", filesystem=filesystem)
            check_names(files.schema.names, [name])
            column = files.to_table(columns=[name])[name]
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise self._damaged(in_short(error)) from error
        if column.type not in COLUMN_TYPES[kind_of(name)] or column.null_count:
            raise self._damaged(f"its column '{name}' holds something else")
        if len(column) != self.num_rows:
            raise self._damaged(f"it has {len(column)} rows, not {self.num_rows}")
        return column

    @cached_property
    def _local(self) -> Path:
        """The folder itself or its copy on this node."""
        if self._folder.is_local:
            return Path(self.location)
        return local_copy(self._folder, self.manifest)

    @cached_property
    def id_type(self) -> np.dtype:
        """How token ids are stored."""
        return np.dtype(self.manifest["id_type"])

    @cached_property
    def _first_rows(self) -> list[int]:
        return self.part_starts.tolist()

    def _starts(self, column: str, bytes_per_token: int) -> Int[np.ndarray, " rows"]:
        groups = [Group(*group) for part in self.manifest["parts"] for group in part["groups"]]
        return row_starts(groups, self.lengths, bytes_per_token, column)

    @cached_property
    def _token_starts(self) -> Int[np.ndarray, " rows"]:
        return self._starts("tokens", self.id_type.itemsize)

    @cached_property
    def _specifier_starts(self) -> Int[np.ndarray, " rows"]:
        return self._starts("specifiers", self.num_specifiers * SPECIFIER_TYPE.itemsize)

    def _stored_ids(self, row: int) -> np.ndarray:
        size = int(self.lengths[row]) * self.id_type.itemsize
        token_ids = self._bytes(row, int(self._token_starts[row]), size).view(self.id_type)
        return checked_ids(token_ids, self.manifest["vocabulary_size"], self.location)

    def _bytes(self, row: int, start: int, size: int) -> np.ndarray:
        part = bisect_right(self._first_rows, row) - 1
        mapped = self._maps.get(part)
        if mapped is None:
            name = self.manifest["parts"][part]["file"]
            path = self._local / ROWS / name
            try:
                mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
            except (OSError, ValueError) as error:
                raise self._damaged(in_short(error), f"{ROWS}/{name}") from error
            check_mapped(mapped, start, size, str(path))
            self._maps[part] = mapped
        return mapped[start : start + size]
