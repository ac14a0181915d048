"""The manifest of an output folder: which folds and tables belong to it, and of which run each is.

It is the only thing that reading trusts: a fold or a table that lies in the folder and not in the
manifest is of another run. A prepared data set has a file of the same name, of another kind.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeInt

from biolm_ray.errors import DataError
from biolm_ray.files import read_json
from biolm_ray.records import Record, RecordFile, as_record, write_record

MANIFEST = "manifest.json"
KIND = "biolm_ray results"
REPLACED = "replaced"
"""The folder, in the output folder, of results that others have replaced."""
REMEDY = (
    "it says which results belong to this folder: put back a copy of it, or remove it to have all "
    "that lies there read as it is"
)
READ_BYTES = 1 << 20
# From a table of an experiment up to the experiment: its fold, the mode, the output folder.
MOST_PARENTS = 3


def _plain(path: str) -> str:
    """Refuse a path that is not relative to the output folder and below it.

    Raises:
        ValueError: It is.
    """
    parts = PurePosixPath(path).parts
    if not parts or "/".join(parts) != path or {"/", "..", "."} & set(parts):
        raise ValueError(f"{path[:80]!r} is no plain path below the folder of the manifest")
    if re.search(r"[\x00-\x1f\x7f\\]", path):
        raise ValueError(f"{path[:80]!r} has a backslash or a control character")
    return path


def _plain_table(paths: Mapping[str, "Digest"]) -> Mapping[str, "Digest"]:
    for path in paths:
        _plain(path)
    return paths


PlainPath = Annotated[str, AfterValidator(_plain)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Digest(Record):
    """What a file held when it was written: its size in bytes and the SHA-256 of its content."""

    size: NonNegativeInt
    sha256: Sha256


Files = Annotated[dict[str, Digest], AfterValidator(_plain_table)]
"""Digests of files, by their plain paths below a folder."""


class Run(Record):
    """A run that has written results.

    Attributes:
        id: Unlike that of any other run.
        started: When, in UTC.
        version: Of this program.
        settings: SHA-256 of its resolved configuration, as written.
    """

    id: str
    started: str
    version: str
    settings: str = ""


class FoldRecord(Record):
    """A model that a run is to train.

    Attributes:
        name: Of the fold; empty for a model without folds.
        folder: Relative to the output folder.
        files: Its weights, tables and other files once it is finished, by their names.
    """

    name: str
    folder: PlainPath
    files: Files = Field(default_factory=dict)


class TableRecord(Record):
    """A table that a run has written.

    Attributes:
        path: Relative to the output folder.
        digest: Of its content.
        run: That has written it.
        models: SHA-256 of the weights of the models it was made by.
    """

    path: PlainPath
    digest: Digest
    run: Run
    models: tuple[Sha256, ...] = ()


def _each_once(folds: tuple[FoldRecord, ...]) -> tuple[FoldRecord, ...]:
    counts = Counter(fold.folder for fold in folds)
    if folds and (most := counts.most_common(1)[0])[1] > 1:
        raise ValueError(f"{most[0]} is named twice")
    return folds


class ModeRecord(Record):
    """What a mode has left.

    Attributes:
        run: The latest that wrote results.
        folds: The models that it was to train, finished or not, in order.
        tables: Those that are valid.
        replaced: Where the results lie that it has replaced, relative to the output folder.
    """

    run: Run
    folds: Annotated[tuple[FoldRecord, ...], AfterValidator(_each_once)] = ()
    tables: tuple[TableRecord, ...] = ()
    replaced: PlainPath | None = None


class Moving(Record):
    """Results that are being moved aside; whoever finds this goes on with it.

    Attributes:
        to: The folder they are moved to, relative to the output folder.
        paths: Files and folders that are moved, relative to the output folder.
        modes: What the manifest said of them.
        remove: Whether they are then removed.
    """

    to: Annotated[PlainPath, Field(pattern=rf"^{REPLACED}/[^/]+$")]
    paths: tuple[PlainPath, ...]
    modes: dict[str, ModeRecord] = Field(default_factory=dict)
    remove: bool = False


class Manifest(RecordFile):
    """All results of an output folder, by mode."""

    MOST_BYTES: ClassVar[int] = 256 << 20

    kind: Literal["biolm_ray results"] = KIND
    modes: dict[str, ModeRecord] = Field(default_factory=dict)
    moving: Moving | None = None

    @classmethod
    def as_today(cls, values: Any) -> Any:
        """The first manifests tell their version, which was always 1, under another name."""
        if isinstance(values, dict) and values.get("format") == 1:
            return {name: value for name, value in values.items() if name != "format"}
        return values


def new_run(version: str, settings: str = "", now: datetime | None = None) -> Run:
    """Name a run that begins now.

    Args:
        version: Of this program.
        settings: The resolved configuration, as written.
        now: Only for tests.
    """
    started = (now or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    digest = hashlib.sha256(settings.encode()).hexdigest()
    return Run(id=secrets.token_hex(8), started=started, version=version, settings=digest)


def read_manifest(output: Path) -> Manifest | None:
    """Read the manifest of an output folder; None where there is none, or a file of another kind.

    Raises:
        DataError: It is damaged, of a later version, or names places outside of the folder.
    """
    path = output / MANIFEST
    try:
        values = read_json(path, Manifest.MOST_BYTES)
    except FileNotFoundError:
        return None
    except DataError as error:
        raise DataError(f"{error}; {REMEDY}") from None
    if not _is_ours(values):
        return None
    return as_record(values, str(path), Manifest, REMEDY)


def _is_ours(values: Any) -> bool:
    """Whether a file is a manifest of results, if a damaged one: other programs have such files."""
    return isinstance(values, dict) and (values.get("kind") == KIND or "modes" in values)


def write_manifest(output: Path, manifest: Manifest) -> None:
    write_record(output / MANIFEST, manifest)


def update_manifest(output: Path, change: Callable[[Manifest], Manifest]) -> Manifest:
    """Read, change and write the manifest, beginning with an empty one; gives what was written.

    Raises:
        DataError: It cannot be used, or a file of another kind is in its place.
    """
    output.mkdir(parents=True, exist_ok=True)
    with _locked(output):
        before = read_manifest(output)
        if before is None and (output / MANIFEST).exists():
            raise DataError(
                f"{output / MANIFEST} is not the record of results that belongs there, but "
                "something else; move it away, or choose another outputpath"
            )
        manifest = change(before or Manifest())
        write_manifest(output, manifest)
    return manifest


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs from changing the manifest meanwhile, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network file system that locks no folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def with_mode(manifest: Manifest, mode: str, record: ModeRecord | None) -> Manifest:
    """Put the record of a mode in the place of the one before; None takes it out."""
    modes = {name: found for name, found in manifest.modes.items() if name != mode}
    return manifest.model_copy(
        update={"modes": modes if record is None else modes | {mode: record}}
    )


def with_tables(manifest: Manifest, mode: str, run: Run, tables: Iterable[TableRecord]) -> Manifest:
    """Add tables of a run to a mode, in place of those at the same paths."""
    added = {table.path: table for table in tables}
    before = manifest.modes.get(mode) or ModeRecord(run=run)
    kept = [table for table in before.tables if table.path not in added]
    record = before.model_copy(update={"run": run, "tables": (*kept, *added.values())})
    return with_mode(manifest, mode, record)


def record_tables(
    output: Path, mode: str, run: Run, paths: Iterable[Path], models: Iterable[Path] = ()
) -> None:
    """Write down that a run has written tables.

    Args:
        output: The output folder.
        mode: The run's.
        run: See `new_run`.
        paths: Of the tables, below the output folder.
        models: The files of weights that they were made by; they may lie anywhere.
    """
    weights = tuple(file_digest(path).sha256 for path in models)
    tables = [
        TableRecord(path=relative(path, output), digest=file_digest(path), run=run, models=weights)
        for path in paths
    ]
    update_manifest(output, lambda manifest: with_tables(manifest, mode, run, tables))


def relative(path: Path, output: Path) -> str:
    """Give a path as the manifest of an output folder names it."""
    return path.relative_to(output).as_posix()


def file_digest(path: Path) -> Digest:
    """Identify a file by its content; one that has not changed is not read twice."""
    found = path.stat()
    return Digest(size=found.st_size, sha256=_sha256(path, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=1024)
def _sha256(path: Path, _size: int, _written: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def first_misfit(folder: Path, files: Mapping[str, Digest]) -> str | None:
    """Name the first file that is missing or not as it was written, and say how; None if all fit.

    Args:
        folder: Where the files lie.
        files: What they held, by their paths below the folder.
    """
    for name, written in files.items():
        problem = _misfit(folder / name, written)
        if problem is not None:
            return problem
    return None


def _misfit(path: Path, written: Digest) -> str | None:
    try:
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != written.size:
            return f"{path} has {path.stat().st_size:,} bytes in place of {written.size:,}"
        if file_digest(path) != written:
            return f"{path} has another content than when it was written"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    return None


def results_of(path: Path) -> tuple[Path, Manifest] | None:
    """Find the output folder that a folder or table of results belongs to, and its manifest.

    Raises:
        DataError: The manifest cannot be used.
    """
    path = path.absolute()
    for output in (path, *path.parents[:MOST_PARENTS]):
        manifest = read_manifest(output)
        if manifest is not None:
            return output, manifest
    return None
