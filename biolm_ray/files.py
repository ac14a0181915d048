"""Files that are either whole or absent."""

import json
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from biolm_ray.errors import DataError, ResourceError
from biolm_ray.shortages import shortage_as_error
from biolm_ray.signals import held

PRIVATE = 0o600
OF_KERNEL = ("/proc", "/sys")
"""File systems whose files hold nothing: reading one may wait for good, deaf to signals."""
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link that leads nowhere",
}


def kind_of(path: Path) -> str:
    """Say what lies at a path, in a word or two."""
    found = path.stat() if path.exists() else path.lstat()
    return KINDS[stat.S_IFMT(found.st_mode)]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        ResourceError: Something else is in the place of one of them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        for place in (*reversed(folder.parents), folder):
            if os.path.lexists(place) and not place.is_dir():
                raise ResourceError(
                    f"{place} is {kind_of(place)}, but a folder belongs there; move it away and "
                    "run the same command again"
                ) from None
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it there once the block has ended well.

    The name keeps the suffix of `path`, so that writers that choose a format by it work.

    Raises:
        ResourceError: The disk is full, or another shortage.
    """
    with shortage_as_error(path):
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            _open_to_others([temporary])
            os.replace(temporary, path)


@contextmanager
def swapped_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; it takes the place of `path` once the block ends well.

    Nothing of what lay there before stays.
    """
    with shortage_as_error(path):
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as holder:
            new = Path(holder) / "new"
            new.mkdir()
            yield new
            _open_to_others(new.rglob("*"))
            if os.path.lexists(path):
                path.rename(Path(holder) / "old")
            new.rename(path)


@contextmanager
def swapped_files(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Give an empty folder whose files move into `folder` once the block ends well.

    Files of `folder` that match one of the patterns are removed then; all else in it stays. Where
    a file cannot be moved, none is: new files and earlier ones are never there together.
    """
    with shortage_as_error(folder):
        make_folder(folder)
        with tempfile.TemporaryDirectory(prefix=".new.", dir=folder) as holder:
            new, old = Path(holder) / "new", Path(holder) / "old"
            new.mkdir()
            yield new
            _open_to_others(new.iterdir())
            old.mkdir()
            fresh = list(new.iterdir())
            earlier = {path for pattern in patterns for path in folder.glob(pattern)}
            earlier |= {folder / path.name for path in fresh if (folder / path.name).exists()}
            with held():
                _exchange(folder, fresh, earlier, old)


def _exchange(folder: Path, fresh: Iterable[Path], earlier: Iterable[Path], old: Path) -> None:
    """Move earlier files out of a folder and new ones in; where that fails, undo it."""
    gone: list[Path] = []
    come: list[Path] = []
    try:
        for path in earlier:
            os.replace(path, old / path.name)
            gone.append(path)
        for path in fresh:
            come.append(folder / path.name)
            os.replace(path, folder / path.name)
    except BaseException:
        # What cannot be undone either must not hide the error, which says what is wrong.
        for path in come:
            with suppress(OSError):
                path.unlink()
        for path in gone:
            with suppress(OSError):
                os.replace(old / path.name, path)
        raise


def _open_to_others(paths: Iterable[Path]) -> None:
    """Let others read files as far as the umask allows; some writers keep all others out."""
    for path in paths:
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) == PRIVATE:
            # The umask cannot be read without setting it, for all threads; a new file shows it.
            usual = path.with_name(".usual")
            usual.touch()
            path.chmod(stat.S_IMODE(usual.stat().st_mode))
            usual.unlink()


def is_of_kernel(path: Path) -> bool:
    """Whether a file is a view of the running system, such as all below /proc and /sys."""
    where = path.stat().st_dev
    return any(Path(root).is_dir() and Path(root).stat().st_dev == where for root in OF_KERNEL)


def is_plain_name(name: object) -> bool:
    """Whether something is the name of a file in a folder, and leads to no other folder."""
    if not isinstance(name, str) or name in ("", ".", ".."):
        return False
    return name.isprintable() and not any(sign in name for sign in "/\\:")


def read_json(path: Path, most_bytes: int) -> Any:
    """Read a JSON file that may come from anybody.

    Raises:
        DataError: It is no file, is larger than such a file can be, is not readable, or no JSON.
        FileNotFoundError: There is none.
    """
    return parse_json(read_bounded(path, most_bytes), str(path), most_bytes)


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a file, but no more than one byte beyond what it may hold.

    Raises:
        DataError: It is no file, as a folder or a pipe in its place, or it is not readable.
        FileNotFoundError: There is none.
    """
    try:
        # A pipe would be waited for, and some devices never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is no file")
        if is_of_kernel(path):
            raise DataError(f"{path}: is no file, but a view of the running system")
        with path.open("rb") as file:
            return file.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:  # a file is in the place of its folder
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def parse_json(content: bytes, origin: str, most_bytes: int) -> Any:
    """Read JSON text, where no key stands twice in an object.

    Args:
        content: The text.
        origin: Where it comes from, for messages.
        most_bytes: More is refused.

    Raises:
        DataError: It is larger, or no JSON.
    """
    if len(content) > most_bytes:
        size = f"{most_bytes >> 20} MB" if most_bytes >> 20 else f"{most_bytes:,} bytes"
        raise DataError(f"{origin}: is larger than {size}; no such file should be")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_with_distinct_keys)
    except RecursionError:
        raise DataError(f"{origin}: not readable as JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{origin}: not readable as JSON ({error})") from None


def _with_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys and values; Python alone would take the last of equal keys."""
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"{counts.most_common(1)[0][0][:40]!r} stands there twice")
    return made


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
