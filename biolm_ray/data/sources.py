"""The input files: where they lie, how they are written and compressed, and opening them."""

import hashlib
import io
import lzma
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast, get_args

import pyarrow as pa
from pyarrow import fs

from biolm_ray.config.paths import COMPRESSIONS, is_uri
from biolm_ray.data.columns import Format
from biolm_ray.data.encodings import Utf8Stream, as_utf8, recognise_encoding
from biolm_ray.data.filesystems import access_errors, fsspec_filesystem, locate
from biolm_ray.data.folders import FoundFile, expand
from biolm_ray.data.json_lines import looks_like_json_lines
from biolm_ray.data.lines import BYTE_ORDER_MARK
from biolm_ray.data.other_kinds import PARQUET_START, name_binary, name_text
from biolm_ray.errors import DataError

BUFFER_BYTES = 1 << 16
REQUEST_BYTES = 8 << 20
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
FORMAT_NAMES: dict[Format, str] = {
    "table": "delimited text",
    "fasta": "FASTA",
    "jsonl": "JSON lines",
    "parquet": "parquet",
    "datasets": "Arrow data of the library datasets",
}
TEXT_FORMATS: tuple[Format, ...] = ("table", "fasta", "jsonl")


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
        encoding: Of text; None for UTF-8.
    """

    path: str
    format: Format
    compression: str | None
    size: int
    stamp: str
    split: str | None = None
    encoding: str | None = None

    @property
    def can_seek(self) -> bool:
        """Whether the content can be read from any byte on, as that of plain files."""
        return self.compression is None and self.encoding is None

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
        """Open the content, decompressed and as UTF-8, for reading on; see `can_seek`.

        Args:
            request_bytes: How much to ask of a remote server at a time.
        """
        with self._opening():
            stream = _open_content(self.path, self.compression, request_bytes)
        if self.encoding is None:
            return stream
        return io.BufferedReader(Utf8Stream(stream, self.encoding, BUFFER_BYTES), BUFFER_BYTES)

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
    if isinstance(found.filesystem, fs.LocalFileSystem) and found.info.size == 0:
        raise DataError(f"{found.path} is empty")
    with found.filesystem.open_input_file(found.info.path) as raw:
        first, size, stamp = raw.read(BUFFER_BYTES), raw.size(), _stamp(found, raw)
    if not first:
        raise DataError(f"{found.path} is empty")
    names = (known.name for known in COMPRESSIONS if first.startswith(known.magic))
    compression = next(names, None)
    encoding = None
    if found.in_dataset or first.startswith(ARROW_STREAM_MAGIC):
        seen: Format = "datasets"
    elif re.match(PARQUET_START, first) or _is_called_parquet(found.path, first):
        seen = "parquet"
    else:
        head = first if compression is None else _decompressed_head(found.path, compression)
        encoding = recognise_encoding(head)
        head = head if encoding is None else as_utf8(head, encoding)
        seen = _text_format(found.path, head, is_format_given=format != "auto")
    if format not in ("auto", seen):
        if seen not in TEXT_FORMATS or format not in TEXT_FORMATS:
            raise DataError(
                f"{found.path} is {'text' if seen in TEXT_FORMATS else FORMAT_NAMES[seen]}, not "
                f"{format} as data.format says: set data.format: auto"
            )
        seen = next(name for name in get_args(Format) if name == format)
    return SourceFile(found.path, seen, compression, size, stamp, found.split, encoding)


def _is_called_parquet(path: str, first: bytes) -> bool:
    """Whether a file is parquet by its name and its first letters, though it may be damaged."""
    return path.lower().endswith(".parquet") and first.startswith(b"PAR1")


def _text_format(path: str, head: bytes, *, is_format_given: bool) -> Format:
    """Recognise how a text is written by its first bytes; refuse what is no table and no FASTA.

    Raises:
        DataError: The file is of another kind.
    """
    name = path.rpartition("/")[2]
    if not is_format_given and looks_like_json_lines(head, name):
        return "jsonl"
    found = name_binary(head, name) or (None if is_format_given else name_text(head, name))
    if found is not None:
        raise DataError(f"{path} {found}")
    return "fasta" if _begins_like_fasta(head) else "table"


def _decompressed_head(path: str, compression: str) -> bytes:
    """The first bytes of the content, up to damaged ones; they are named when lines are read."""
    head = b""
    with suppress(*access_errors(path)), _open_content(path, compression, BUFFER_BYTES) as file:
        while len(head) < BUFFER_BYTES and (chunk := file.read1(BUFFER_BYTES)):
            head += chunk
    return head


def _begins_like_fasta(head: bytes) -> bool:
    """Whether the first line that is neither blank nor a comment begins a FASTA record."""
    lines = head.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    first = next((line for line in lines if line.strip() and not line.startswith(b";")), b"")
    return first.startswith(b">")


def _open_content(path: str, compression: str | None, request_bytes: int) -> io.BufferedReader:
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
