"""The input files: where they lie, how they are written and compressed, and opening them."""

import hashlib
import io
import lzma
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast, get_args

import pyarrow as pa
from pyarrow import fs

from biolm_ray.config.paths import COMPRESSIONS, is_uri
from biolm_ray.data.columns import Format
from biolm_ray.data.filesystems import access_errors, fsspec_filesystem, locate
from biolm_ray.data.folders import FoundFile, expand
from biolm_ray.data.lines import BYTE_ORDER_MARK
from biolm_ray.data.other_kinds import name_binary, name_text
from biolm_ray.errors import DataError

BUFFER_BYTES = 1 << 16
REQUEST_BYTES = 8 << 20
PARQUET_MAGIC = b"PAR1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
FORMAT_NAMES: dict[Format, str] = {
    "table": "delimited text",
    "fasta": "FASTA",
    "parquet": "parquet",
    "datasets": "Arrow data of the library datasets",
}


@dataclass(frozen=True)
class SourceFile:
    """One input file; pickles, so that any node that reaches it can read it.

    Attributes:
        path: Local path or URI.
        format: How its rows are written.
        compression: Found from the first bytes, whatever the name; None for plain content.
        size: Bytes as stored.
        stamp: Changes when the file does; found without reading it.
        split: The split of a dataset dictionary that the file belongs to.
    """

    path: str
    format: Format
    compression: str | None
    size: int
    stamp: str
    split: str | None = None

    @property
    def name(self) -> str:
        """The file's name, as messages show it."""
        path = self.path.partition("?")[0]
        path = path.partition("#")[0] if is_uri(path) else path  # what follows may be a secret
        return path.rstrip("/").rsplit("/", 1)[-1]

    def open(self) -> pa.NativeFile:
        """Open the bytes as stored, for reading here and there."""
        with self._opening():
            filesystem, inner = locate(self.path)
            return filesystem.open_input_file(inner)

    def open_text(self, request_bytes: int = BUFFER_BYTES) -> BinaryIO:
        """Open the content, decompressed, for reading on; only plain files can seek.

        Args:
            request_bytes: How much to ask of a remote server at a time.
        """
        with self._opening():
            return _open_text(self.path, self.compression, request_bytes)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except access_errors(self.path) as error:
            raise DataError(f"{self.path} cannot be opened: {error}") from error


def find_files(paths: Iterable[str], format: str = "auto") -> tuple[SourceFile, ...]:
    """Find the files of an input in the order given; those of a folder or pattern by name.

    Args:
        paths: Files, folders, patterns with `*`, `?` or `[...]`, folders saved by `datasets`.
        format: How the files are written; `auto` looks at their first bytes.

    Raises:
        ConfigError: The scheme of a URI is unknown.
        DataError: A file does not exist, is empty, cannot be read or is given twice, a folder
            or pattern has no files, or the files are of different formats.
    """
    files: dict[str, SourceFile] = {}
    for path in paths:
        try:
            found = [_look_at(file, format) for file in expand(path)]
        except access_errors(path) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        for file in found:
            if file.path in files:
                raise DataError(f"{file.path} is given twice in data.path")
            files[file.path] = file
    first, *others = files.values()
    for file in others:
        if file.format != first.format:
            raise DataError(
                f"{file.name} is {FORMAT_NAMES[file.format]}, but {first.name} is "
                f"{FORMAT_NAMES[first.format]}: the files of one input must be of one format"
            )
    return tuple(files.values())


def _look_at(found: FoundFile, format: str) -> SourceFile:
    """Tell compression and format by the first bytes."""
    with found.filesystem.open_input_file(found.info.path) as raw:
        first, size, stamp = raw.read(BUFFER_BYTES), raw.size(), _stamp(found, raw)
    if not first:
        raise DataError(f"{found.path} is empty")
    names = (known.name for known in COMPRESSIONS if first.startswith(known.magic))
    compression = next(names, None)
    if found.in_dataset or first.startswith(ARROW_STREAM_MAGIC):
        seen: Format = "datasets"
    elif first.startswith(PARQUET_MAGIC):
        seen = "parquet"
    else:
        head = first if compression is None else _decompressed_head(found.path, compression)
        _refuse_other_kinds(found.path, head, is_format_given=format != "auto")
        seen = "fasta" if _begins_like_fasta(found.path, compression) else "table"
    is_text = seen in ("table", "fasta")
    if format != "auto" and format != seen:
        if not is_text or format not in ("table", "fasta"):
            raise DataError(
                f"{found.path} is {FORMAT_NAMES[seen] if not is_text else 'text'}, not "
                f"{format} as data.format says: set data.format: auto"
            )
        seen = next(name for name in get_args(Format) if name == format)
    return SourceFile(found.path, seen, compression, size, stamp, found.split)


def _refuse_other_kinds(path: str, head: bytes, *, is_format_given: bool) -> None:
    name = path.rpartition("/")[2]
    found = name_binary(head, name) or (None if is_format_given else name_text(head, name))
    if found is not None:
        raise DataError(f"{path} {found}")


def _decompressed_head(path: str, compression: str) -> bytes:
    """The first bytes of the content; what is damaged is told when the first lines are read."""
    try:
        with _open_text(path, compression, BUFFER_BYTES) as file:
            return file.read(BUFFER_BYTES)
    except access_errors(path):
        return b""


def _begins_like_fasta(path: str, compression: str | None) -> bool:
    """Whether the first line that is neither blank nor a comment begins a FASTA record."""
    try:
        with _open_text(path, compression, BUFFER_BYTES) as file:
            first = file.readline().removeprefix(BYTE_ORDER_MARK)
            while first and (not first.strip() or first.startswith(b";")):
                first = file.readline()
    except access_errors(path):
        return False
    return first.startswith(b">")


def _open_text(path: str, compression: str | None, request_bytes: int) -> BinaryIO:
    filesystem, inner = locate(path)
    size = BUFFER_BYTES if isinstance(filesystem, fs.LocalFileSystem) else request_bytes
    if compression == "xz":  # Arrow does not know it
        packed = filesystem.open_input_stream(inner, compression=None, buffer_size=size)
        return io.BufferedReader(cast(io.RawIOBase, lzma.open(packed)), size)
    if compression is None:
        raw = filesystem.open_input_file(inner)
    else:
        raw = filesystem.open_input_stream(inner, compression=compression, buffer_size=size)
    return io.BufferedReader(cast(io.RawIOBase, raw), size)


def _stamp(found: FoundFile, raw: pa.NativeFile) -> str:
    """What tells one version of a file from another: size, time, inode, ETag, as they are known."""
    remote = fsspec_filesystem(found.filesystem)
    if remote is not None:
        facts = sorted(remote.info(found.info.path).items())
        return hashlib.sha256(repr(facts).encode()).hexdigest()
    if isinstance(found.filesystem, fs.LocalFileSystem):
        status = Path(found.info.path).stat()
        return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
    etag = (raw.metadata() or {}).get("ETag", b"")
    return f"{found.info.size}-{found.info.mtime_ns}-{etag.decode()}"
