"""Models that another run may replace while they are used: reading them takes no lock."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from biolm_ray.errors import DataError
from biolm_ray.training.outcome import MODEL_FILES
from biolm_ray.training.trained_rows import ROWS

Stamp = tuple[int, int, int, int]


class UsedModels:
    """Some models, and their files as they were when the models were chosen.

    Whole files take the place of others, so that a file is the same one as before or another; who
    finds all of them the same in the end has used no models of two runs.

    Args:
        folders: Of the models.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        files = [folder / name for folder in folders for name in (*MODEL_FILES, ROWS)]
        self._stamps = {file: _stamp(file) for file in files}

    def check(self) -> None:
        """Make sure that they are still the same.

        Raises:
            DataError: One was replaced, changed or removed.
        """
        changed = self._changed()
        if changed is not None:
            raise _replaced(changed)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Make sure of it at the end of the block, also where it fails since a file is missing.

        Raises:
            DataError: One was replaced, changed or removed.
        """
        try:
            yield
        except Exception as error:
            changed = self._changed()
            if changed is not None:
                raise _replaced(changed) from error
            raise
        self.check()

    def _changed(self) -> Path | None:
        return next((file for file, stamp in self._stamps.items() if _stamp(file) != stamp), None)


def _replaced(file: Path) -> DataError:
    return DataError(
        f"{file} was replaced or removed while the models were used, as by a training that runs "
        "there; wait until it has ended and run this again"
    )


def _stamp(file: Path) -> Stamp | None:
    """Tell a file from one that takes its place; None where there is none.

    It is opened for that: a network file system then asks its server, in place of its memory.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
    finally:
        os.close(handle)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
