"""Opening an input file, local or remote, plain or compressed."""

import difflib
import hashlib
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from biolm_ray.data.lines import LineRange, Scan, scan_lines
from biolm_ray.errors import DataError

RANGE_BYTES = 32 << 20
BUFFER_BYTES = 1 << 20
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Source:
    """One input file; pickles, so that any node that reaches it can read it.

    Attributes:
        path: Local path or URI, as the user gave it.
        compression: Found from the first bytes, whatever the name; None for plain text.
    """

    path: str
    compression: str | None = None

    @property
    def name(self) -> str:
        """The file's name, as messages show it."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    def open(self) -> BinaryIO:
        """Open the text as bytes; only plain files can seek."""
        filesystem, inner = _locate(self.path)
        if self.compression is None:
            raw = filesystem.open_input_file(inner)
        else:
            raw = filesystem.open_input_stream(inner, compression=self.compression)
        return io.BufferedReader(cast(io.RawIOBase, raw), BUFFER_BYTES)

    def scan(self, *, has_header: bool, max_rows: int | None) -> Scan:
        """Plan how the file is read, in one pass over its bytes.

        A compressed file is one range, is hashed as it lies, and its rows are not counted
        (`num_rows` is -1).
        """
        if self.compression is None:
            with self.open() as file:
                return scan_lines(
                    file, has_header=has_header, range_bytes=RANGE_BYTES, max_rows=max_rows
                )
        digest = hashlib.sha256()
        filesystem, inner = _locate(self.path)
        with filesystem.open_input_stream(inner, compression=None) as raw:
            for chunk in iter(partial(raw.read, BUFFER_BYTES), b""):
                digest.update(chunk)
        whole = LineRange(0, None, first_line=1, first_row=-1 if has_header else 0)
        return Scan((whole,), -1, digest.hexdigest())


def find_source(path: str) -> Source:
    """Find a file and how it is compressed.

    Raises:
        DataError: It does not exist, is a folder, is empty, or cannot be read.
    """
    try:
        filesystem, inner = _locate(path)
        kind = filesystem.get_file_info(inner).type
        if kind == fs.FileType.Directory:
            raise DataError(f"{path} is a folder; data.path must be one file")
        if kind == fs.FileType.NotFound:
            raise DataError(f"{path} does not exist{_nearest(path)}")
        with filesystem.open_input_file(inner) as raw:
            first = raw.read(8)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not first:
        raise DataError(f"{path} is empty")
    found = (name for magic, name in COMPRESSIONS.items() if first.startswith(magic))
    return Source(path, next(found, None))


def _locate(path: str) -> tuple[fs.FileSystem, str]:
    if "://" in path:
        return fs.FileSystem.from_uri(path)
    return fs.LocalFileSystem(), str(Path(path).expanduser())


def _nearest(path: str) -> str:
    """A hint at a file of a similar name in the same folder."""
    if "://" in path:
        return ""
    folder = Path(path).expanduser().parent
    if not folder.is_dir():
        return f" (nor does the folder {folder})"
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    near = difflib.get_close_matches(Path(path).name, names, n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near else ""
