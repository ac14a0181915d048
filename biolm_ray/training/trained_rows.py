"""Which rows a model was trained, validated and tested with: `rows.npz` in its folder."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from biolm_ray.data.splits import Fold
from biolm_ray.errors import DataError
from biolm_ray.files import atomic_path
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.records import VERSION_KEY

ROWS = "rows.npz"
LATEST_VERSION = 1
FOLD_PARTS = ("train", "validation", "test", "kept_aside")
EARLIER = "earlier"
"""Further rows: those that the weights were made with before this training."""
SEEN_PARTS = ("train", "validation", EARLIER)
PARTS = (*FOLD_PARTS, EARLIER)
TEXTS = ("prepared", "digest")
NO_ROWS, NO_HASHES = np.zeros(0, np.int64), np.zeros((0, 2), np.uint64)
LONGEST_TEXT = 1000
REMEDY = (
    "it says which rows the model has seen, so copy it again from where it was whole, or train "
    "the model again"
)

EarlierRows = tuple[Int[np.ndarray, " rows"], UInt64[np.ndarray, "hashes 2"]]
"""Row numbers of the data set at hand, and hashes of these and of rows of other data sets."""


@dataclass(frozen=True)
class TrainedRows:
    """The rows that a model was made and tested with.

    Attributes:
        path: Of the file that says so.
        prepared: Name of the prepared data set.
        digest: Of the input's content; "" where a model does not tell.
        rows: Row numbers of each of FOLD_PARTS, and EARLIER ones, each ascending.
        hashes: See `row_hashes`, in the same order; empty where a model does not tell.
    """

    path: Path
    prepared: str
    digest: str
    rows: Mapping[str, Int[np.ndarray, " rows"]]
    hashes: Mapping[str, UInt64[np.ndarray, "rows 2"]]

    @property
    def seen_hashes(self) -> UInt64[np.ndarray, "rows 2"]:
        """Those of the rows that the weights depend on; see SEEN_PARTS."""
        return np.concatenate([NO_HASHES, *(self.hashes[p] for p in SEEN_PARTS if self.hashes)])

    def is_of(self, prepared: PreparedData) -> bool:
        """Whether the row numbers are those of a data set.

        Raises:
            DataError: They should be, and the data set has fewer rows.
        """
        if self.prepared != prepared.name:
            return False
        last = max((int(rows[-1]) for rows in self.rows.values() if len(rows)), default=-1)
        if last >= prepared.num_rows:
            raise _damaged(
                self.path, f"it names row {last} of a data set of {prepared.num_rows} rows"
            )
        return True


def save_rows(
    folder: Path,
    prepared: PreparedData,
    fold: Fold,
    earlier: EarlierRows | None = None,
) -> None:
    """Keep which rows of which data set a model was made and tested with, and what they are.

    The hashes find them again in other data sets: in other files, or made with other columns.

    Args:
        folder: Of the model.
        prepared: The data set.
        fold: Its rows.
        earlier: Those that the weights it started from were made with.
    """
    kept: dict[str, Any] = {
        VERSION_KEY: np.array(LATEST_VERSION),
        "prepared": np.array(prepared.name),
        "digest": np.array(prepared.manifest["digest"]),
    }
    for name in FOLD_PARTS:
        kept[name] = getattr(fold, name)
        kept[_hashes_of(name)] = row_hashes(prepared, kept[name])
    if earlier is not None:
        kept[EARLIER], kept[_hashes_of(EARLIER)] = earlier
    with atomic_path(folder / ROWS) as temporary:
        np.savez(temporary, **kept)


def read_rows(folder: Path) -> TrainedRows | None:
    """Read what `save_rows` has kept; None where there is nothing, as in models of others.

    Raises:
        DataError: The file is damaged, or of a later version.
    """
    path = folder / ROWS
    try:
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            raise _damaged(path, "it is no file")
        kept = _stored_arrays(path)
        version = _as_version(kept.pop(VERSION_KEY, np.array(1)))
        if version > LATEST_VERSION:
            raise DataError(
                f"{path}: written by a later version of biolm_ray (format {version}; this one "
                f"reads up to {LATEST_VERSION}); update biolm_ray"
            )
        return _checked(path, kept)
    # What zipfile and NumPy raise for what is no archive, or no array.
    except (OSError, EOFError, ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, str(error)) from None
    except zipfile.BadZipFile as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: damaged ({problem[:200]}); {REMEDY}")


def _stored_arrays(path: Path) -> dict[str, Any]:
    """Read the arrays of an archive, none of which is packed: they are no larger than the file.

    Raises:
        ValueError: A member is packed, is no array of plain values, or is none of ours.
    """
    known = {VERSION_KEY, *TEXTS, *PARTS, *map(_hashes_of, PARTS)}
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name not in known or name in arrays:
                raise ValueError(f"'{member.filename[:40]}' has no place in it")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"'{name}' is packed")
            arrays[name] = _read_array(name, archive.read(member))
    return arrays


def _read_array(name: str, content: bytes) -> np.ndarray:
    """Read an array whose shape fits its bytes; NumPy would first take memory for any shape."""
    stream = BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"'{name}' is of another format")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "iuU" or dtype.itemsize == 0:
        raise ValueError(f"'{name}' holds {dtype}")
    num_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if num_bytes != len(content) - stream.tell():
        raise ValueError(f"'{name}' is not as long as it says")
    values = np.frombuffer(content, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if by_columns else "C")


def _checked(path: Path, kept: Mapping[str, np.ndarray]) -> TrainedRows:
    """Make sure that arrays are what they should be.

    Raises:
        ValueError: They are not.
    """
    rows = {name: _as_rows(name, kept.get(name, NO_ROWS)) for name in PARTS}
    hashes = {
        name: _as_hashes(name, kept[_hashes_of(name)]) for name in PARTS if _hashes_of(name) in kept
    }
    if hashes:
        hashes.setdefault(EARLIER, NO_HASHES)
        missing = [name for name in FOLD_PARTS if name not in hashes]
        if missing:
            raise ValueError(f"'{_hashes_of(missing[0])}' is missing")
        for name in FOLD_PARTS:
            if len(hashes[name]) != len(rows[name]):
                raise ValueError(f"'{_hashes_of(name)}' has another length than '{name}'")
    return TrainedRows(
        path=path,
        prepared=_as_text("prepared", kept),
        digest=_as_text("digest", kept) if hashes else "",
        rows=rows,
        hashes=hashes,
    )


def _as_version(values: np.ndarray) -> int:
    if values.ndim or values.dtype.kind not in "iu" or values < 1:
        raise ValueError(f"'{VERSION_KEY}' is no version")
    return int(values)


def _hashes_of(part: str) -> str:
    return f"{part}_hashes"


def _as_rows(name: str, values: np.ndarray) -> Int[np.ndarray, " rows"]:
    if values.ndim != 1 or values.dtype.kind != "i":
        raise ValueError(f"'{name}' holds no row numbers")
    if len(values) and (values[0] < 0 or (values[1:] <= values[:-1]).any()):
        raise ValueError(f"'{name}' is not ascending from 0")
    return values.astype(np.int64)


def _as_hashes(name: str, values: np.ndarray) -> UInt64[np.ndarray, "rows 2"]:
    if values.ndim != 2 or values.shape[1] != 2 or values.dtype != np.uint64:
        raise ValueError(f"'{_hashes_of(name)}' holds no hashes")
    return values


def _as_text(name: str, kept: Mapping[str, np.ndarray]) -> str:
    if name not in kept:
        raise ValueError(f"'{name}' is missing")
    values = kept[name]
    if values.ndim or values.dtype.kind != "U" or values.dtype.itemsize > 4 * LONGEST_TEXT:
        raise ValueError(f"'{name}' is no text")
    return str(values)
