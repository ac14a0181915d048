"""Files that are either whole or absent."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from biolm_ray.errors import ResourceError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there once the block has ended well.

    The name keeps the suffix of `path`, so that writers that choose a format by it work.

    Raises:
        ResourceError: The disk is full.
    """
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Turn whatever a full disk makes of writing a file into an error that says so.

    Raises:
        ResourceError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        if not _comes_of_a_full_disk(error):
            raise
        raise ResourceError(
            f"{path}: cannot be written, the disk is full; make room and run the same command "
            "again (--resume keeps what a training has finished)"
        ) from error


def _comes_of_a_full_disk(error: BaseException | None) -> bool:
    """Look through an error and what led to it; libraries hide the system's own error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if f"os error {errno.ENOSPC}" in str(error):  # as safetensors writes it
            return True
        error = error.__cause__ or error.__context__
    return False


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
