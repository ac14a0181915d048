"""A folder on this machine or behind a URI, whose files are whole or absent."""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import fs

from biolm_ray.config.paths import is_uri
from biolm_ray.data.filesystems import locate
from biolm_ray.errors import ResourceError
from biolm_ray.files import atomic_path, read_bounded

MOST_READ_BYTES = 256 << 20
"""Of a file that is read at once."""
OBJECT_STORES = ("s3", "gcs")
"""Filesystems of pyarrow in which folders need not be made."""


class Folder:
    """Files by name (with `/` for folders below). Pickles as its location."""

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Folder, (self.location,)

    def __str__(self) -> str:
        return self.location

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.address(name))

    @property
    def name(self) -> str:
        return self.location.rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        return not is_uri(self.location)

    @cached_property
    def _place(self) -> tuple[fs.FileSystem, str]:
        filesystem, inner = locate(self.location)
        return filesystem, inner.rstrip("/")

    def address(self, name: str) -> str:
        """The path or URI of a file."""
        return f"{self.location.rstrip('/')}/{name}"

    def write(self, name: str, write: Callable[[BinaryIO], object]) -> int:
        """Let `write` fill a file, opened for writing and reading; it appears once it is whole.

        Returns:
            Its size in bytes.

        Raises:
            ResourceError: It cannot be written.
        """
        try:
            if self.is_local:
                with atomic_path(Path(self.address(name))) as path, path.open("w+b") as file:
                    write(file)
                    return file.seek(0, os.SEEK_END)
            # A remote stream that is closed after a failure would leave a file cut short.
            filesystem, inner = self._place
            with tempfile.TemporaryFile() as file:
                write(file)
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                if filesystem.type_name not in OBJECT_STORES:
                    filesystem.create_dir(f"{inner}/{name}".rpartition("/")[0], recursive=True)
                with filesystem.open_output_stream(f"{inner}/{name}") as stream:
                    shutil.copyfileobj(file, stream, 1 << 20)
                return size
        except OSError as error:
            raise ResourceError(f"{self.address(name)} cannot be written: {error}") from error

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access."""
        filesystem, inner = self._place
        return filesystem.open_input_file(f"{inner}/{name}")

    def read(self, name: str, most_bytes: int = MOST_READ_BYTES) -> bytes | None:
        """The content of a file, and a byte more than it may hold at most; None without one.

        Raises:
            DataError: A local one is no file, or cannot be read.
            ResourceError: The place of a remote one cannot be reached.
        """
        try:
            if self.is_local:
                return read_bounded(Path(self.address(name)).expanduser(), most_bytes)
            with self.open(name) as file:
                return file.read(most_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ResourceError(f"{self.address(name)} cannot be read: {error}") from error

    def names(self) -> set[str]:
        """The names of the files that lie directly in the folder."""
        filesystem, inner = self._place
        found = filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
        return {info.base_name for info in found if info.type == fs.FileType.File}

    def delete(self) -> None:
        """Remove the folder with all that is in it; it need not exist."""
        filesystem, inner = self._place
        if filesystem.get_file_info(inner).type == fs.FileType.Directory:
            filesystem.delete_dir(inner)
