"""The prepared data set: a folder of parquet files with the token ids of every row."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from biolm_ray.data.columns import kind_of
from biolm_ray.data.filesystems import locate
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.files import is_plain_name
from biolm_ray.preparation.rejects import REJECT_SCHEMA
from biolm_ray.preparation.row_files import (
    SPECIFIER_TYPE,
    Group,
    check_mapped,
    row_starts,
)
from biolm_ray.tokenization.tokenizer import Encoded

MANIFEST = "manifest.json"
ROWS = "rows"
PLACES = "places.parquet"
REJECTED = "rejected.parquet"


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
        found = Folder(location)
        written = found.read(MANIFEST)
        if written is None:
            raise DataError(f"{location} is no prepared data set, or one that was broken off")
        return cls(found, _read_manifest(written, found.address(MANIFEST)))

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
        return self._column("row").to_numpy()

    @cached_property
    def line_numbers(self) -> Int[np.ndarray, " rows"]:
        """1-based lines in the source file of each row, for messages."""
        return self._places["line"].to_numpy()

    def place(self, row: int) -> tuple[int, int]:
        """The number of the source file that a row comes from, and the line in it."""
        return self._places["file"][row].as_py(), int(self.line_numbers[row])

    @cached_property
    def _places(self) -> pa.Table:
        with self._folder.open(PLACES) as file:
            return pq.read_table(file)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Number of tokens of each row, special tokens not counted."""
        return self._column("length").to_numpy()

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
        return self._column("center").to_numpy()

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
        with self._folder.open(REJECTED) as file:
            return pq.read_table(file).cast(REJECT_SCHEMA)

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
            with self._folder.open(f"{ROWS}/{self.manifest['parts'][part]['file']}") as file:
                column = pq.read_table(file, columns=["id"])["id"]
            ids[places] = column.take(rows[places] - self.part_starts[part]).to_pylist()
        return ids.tolist()

    def _column(self, name: str) -> pa.ChunkedArray:
        filesystem, inner = locate(self.location)
        paths = [f"{inner.rstrip('/')}/{ROWS}/{part['file']}" for part in self.manifest["parts"]]
        files = ds.dataset(paths, format="parquet", filesystem=filesystem)
        return files.to_table(columns=[name])[name]

    @cached_property
    def _local(self) -> Path:
        """The folder itself or its copy on this node."""
        if self._folder.is_local:
            return Path(self.location)
        return _local_copy(self._folder, self.manifest)

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
        return self._bytes(row, int(self._token_starts[row]), size).view(self.id_type)

    def _bytes(self, row: int, start: int, size: int) -> np.ndarray:
        part = bisect_right(self._first_rows, row) - 1
        mapped = self._maps.get(part)
        if mapped is None:
            name = self.manifest["parts"][part]["file"]
            path = self._local / ROWS / name
            mapped = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
            check_mapped(mapped, start, size, str(path))
            self._maps[part] = mapped
        return mapped[start : start + size]


def _read_manifest(written: bytes, origin: str) -> dict[str, Any]:
    """Read a manifest that may come from anybody; what it names lies beside it."""
    try:
        manifest = json.loads(written)
        names = [manifest["name"], *(part["file"] for part in manifest["parts"])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{origin} is damaged ({error!r}); prepare the data again") from None
    for name in names:
        if not is_plain_name(name):
            raise DataError(f"{origin}: {name!r} is no plain name of a file beside it")
    return manifest


def cache_folder() -> Path:
    """The folder of this user for copies of remote data sets, which nobody else can write to.

    Raises:
        ResourceError: Somebody else has made it, and could change what is read from it.
    """
    cache = Path(tempfile.gettempdir()) / f"biolm_ray-{os.getuid()}"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = cache.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ResourceError(
            f"{cache} is not a folder that only you can write to, so others could change the data "
            "that are read from it; remove it, or set TMPDIR to a folder of your own"
        )
    cache.chmod(0o700)
    return cache


def _local_copy(folder: Folder, manifest: dict[str, Any]) -> Path:
    """Copy a remote data set to this node, once; several processes may ask at the same time."""
    cache = cache_folder()
    # The name is as the manifest says; another place may say the same of other data.
    place = json.dumps([folder.location, manifest], sort_keys=True)
    copy = cache / f"{manifest['name']}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    if copy.exists():
        return copy
    names = [MANIFEST, PLACES, *(f"{ROWS}/{part['file']}" for part in manifest["parts"])]
    names += [REJECTED] if manifest["rejected"] else []
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        for name in names:
            target = Path(temporary) / "copy" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with folder.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        try:
            (Path(temporary) / "copy").rename(copy)
        except OSError:
            if not copy.exists():
                raise
    return copy
