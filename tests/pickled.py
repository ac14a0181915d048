"""Finds what would have to be unpickled to be read."""

import pickletools
import zipfile
from pathlib import Path


def pickles_below(folder: Path) -> list[Path]:
    """The files below a folder that are pickles, or archives that hold one.

    Checkpoints of torch are left out: they hold tensors, and are read as such only.
    """
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in paths if path.suffix != ".pt" and _is_pickled(path)]


def _is_pickled(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(_holds_objects(archive.read(name)) for name in archive.namelist())
    return path.suffix in (".pkl", ".pickle") or _is_pickle(path.read_bytes())


def _holds_objects(content: bytes) -> bool:
    """Whether a member of an archive is a pickle, or an array of NumPy that holds one."""
    return _is_pickle(content) or (content[:6] == b"\x93NUMPY" and b"'|O'" in content[:200])


def _is_pickle(content: bytes) -> bool:
    """Whether bytes begin with the mark of a pickle and can be taken apart as one."""
    if content[:1] != b"\x80":
        return False
    try:
        return any(code.name == "STOP" for code, _, _ in pickletools.genops(content))
    except ValueError:
        return False
