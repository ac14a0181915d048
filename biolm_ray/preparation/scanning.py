"""One pass over an input before it is prepared: what it holds, row for row, and its hash."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt

from biolm_ray.config.schema import Config
from biolm_ray.data.columns import LabelKind
from biolm_ray.data.reading import (
    Input,
    NumberedPiece,
    Piece,
    PieceScan,
    divide,
    number_pieces,
    plan_input,
    scan_piece,
    source_digest,
)
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError
from biolm_ray.preparation.spread import spread
from biolm_ray.records import LaterVersion, Record, SealedFile, parse_record, record_values

log = logging.getLogger("biolm_ray")

Progress = Callable[[str, int, int, int], None]
"""Called with what is being done, the bytes done and in all, and the rows met so far."""

SCANS = "scans"
SETTLED_SECONDS = 2.0
"""A file that was changed within so many seconds may change again under the same time stamp."""


class ToldScan(Record):
    """A `PieceScan` as it is remembered."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_lines: NonNegativeInt
    num_records: NonNegativeInt
    num_bytes: NonNegativeInt


class ScanFile(SealedFile):
    """What is remembered of a scan; it was a bare list at first."""

    LATEST_VERSION: ClassVar[int] = 2
    MOST_BYTES: ClassVar[int] = 256 << 20

    scans: tuple[ToldScan, ...]

    @classmethod
    def as_today(cls, values: Any) -> Any:
        return {"scans": values} if isinstance(values, list) else values


@dataclass(frozen=True)
class Scanned:
    """An input whose pieces know their rows and lines.

    Attributes:
        digest: Of the content, up to `max_rows`; not of names or compression.
        num_rows: Data rows, bad ones included.
        num_bytes: Of the text, decompressed.
    """

    plan: Input
    pieces: tuple[NumberedPiece, ...]
    digest: str
    num_rows: int
    num_bytes: int


class RowsDone:
    """Turns rows that are done into bytes of the input, for the progress shown.

    Args:
        action: What is being done.
        scanned: The input.
        progress: What is called.
        num_rows: Rows that were done before.
    """

    def __init__(
        self, action: str, scanned: Scanned, progress: Progress | None, num_rows: int = 0
    ) -> None:
        self._action, self._scanned, self._progress = action, scanned, progress
        self._num_rows = num_rows
        self.add(0)

    def add(self, num_rows: int) -> None:
        self._num_rows += num_rows
        if self._progress is not None:
            total = self._scanned.num_bytes
            share = self._num_rows / max(self._scanned.num_rows, 1)
            self._progress(self._action, int(share * total), total, self._num_rows)


def prepared_folder(config: Config) -> str:
    """Where a run keeps its prepared data: a folder of their own below the results, or a URI."""
    return config.data.prepared_path or str(Path(config.output_path) / "prepared")


def scan_data(
    config: Config,
    label_kind: LabelKind | None,
    folder: Folder,
    progress: Progress | None = None,
    *,
    describe: bool = True,
) -> Scanned:
    """Plan and scan the data of a run; scans are remembered below `folder`.

    Args:
        config: Of the run.
        label_kind: What the labels are.
        folder: Of the prepared data.
        progress: Called as the work goes on.
        describe: Whether the log says what the input was found to be.
    """
    plan = plan_input(config.data, label_kind)
    if describe:
        log.info("%s", plan.description)
        for note in plan.notes:
            log.warning("%s", note)
    return scan_input(plan, folder / SCANS, again=config.run.prepare_again, progress=progress)


def scan_input(
    plan: Input, memory: Folder, *, again: bool = False, progress: Progress | None = None
) -> Scanned:
    """Count and hash the rows of an input, over the tasks of Ray Data where it is large.

    A file that still has the size and the time stamp of an earlier scan is not read again. With
    `max_rows` the pieces are read one by one until there are enough rows, and no further.

    Args:
        plan: Of the input.
        memory: Where scans are remembered.
        again: Read the files even so.
        progress: Called as the work goes on.

    Raises:
        DataError: A file cannot be read.
    """
    pieces = divide(plan)
    name = f"{_stamp(plan, pieces)}.json"
    scans = None if again else _remembered(memory, name, pieces, plan)
    if scans is None:
        started = time.time()
        scans = list(_scan(plan, pieces, progress))
        if _is_settled(plan, started):
            memory.write(name, lambda file: file.write(_to_json(scans)))
    numbered = number_pieces(plan, pieces[: len(scans)], scans)
    num_rows = sum(scan.num_records for scan in scans)
    num_rows -= sum(piece.num_skipped for piece in numbered)
    return Scanned(
        plan=plan,
        pieces=tuple(numbered),
        digest=source_digest(scans),
        num_rows=min(num_rows, plan.max_rows or num_rows),
        num_bytes=sum(scan.num_bytes for scan in scans),
    )


def _remembered(
    memory: Folder, name: str, pieces: Sequence[Piece], plan: Input
) -> list[PieceScan] | None:
    """Recall an earlier scan; None without one, or where it is damaged, which is told.

    Raises:
        LaterVersion: A later version of the program has written it.
    """
    origin = memory.address(name)
    try:
        written = memory.read(name)
        if written is None:
            return None
        scans = parse_record(written, origin, ScanFile, "it is made again").scans
        if len(scans) > len(pieces) or (len(scans) < len(pieces) and plan.max_rows is None):
            raise DataError(f"{origin}: damaged (of {len(scans)} pieces); it is made again")
    except LaterVersion:
        raise
    except DataError as error:
        log.warning("%s", error)
        return None
    return [PieceScan(**scan.model_dump()) for scan in scans]


def _scan(plan: Input, pieces: Sequence[Piece], progress: Progress | None) -> Iterator[PieceScan]:
    work = partial(_scan_piece, plan=plan)
    total = sum(file.size for file in plan.files)
    if plan.max_rows is None:
        results = spread(work, pieces, total)
    else:
        results = (scan for piece in pieces for scan in work(piece))
    # Headers, and lines above them, are counted as records.
    num_skipped = sum(plan.num_skipped(index) for index in range(len(plan.files)))
    enough = None if plan.max_rows is None else plan.max_rows + num_skipped
    num_bytes = num_records = 0
    if progress is not None:
        progress("reading", 0, total, 0)
    for scan, piece in zip(results, pieces, strict=False):
        yield scan
        num_bytes += _stored_bytes(plan, piece)
        num_records += scan.num_records
        if progress is not None:
            progress("reading", num_bytes, total, num_records)
        if enough is not None and num_records >= enough:
            return


def _stored_bytes(plan: Input, piece: Piece) -> int:
    """The size of a piece as it lies in its file, which may be compressed."""
    stop = plan.files[piece.file_index].size if piece.stop is None else piece.stop
    return stop - piece.start


def _scan_piece(piece: Piece, *, plan: Input) -> Iterator[PieceScan]:
    yield scan_piece(plan, piece)


def _stamp(plan: Input, pieces: Sequence[Piece]) -> str:
    """Names a scan by the files' stamps and the pieces they are cut into, without reading them."""
    known = [
        [(file.path, file.format, file.stamp) for file in plan.files],
        [asdict(piece) for piece in pieces],
        plan.max_rows,
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]


def _is_settled(plan: Input, started: float) -> bool:
    """Tell whether a later change of a file is sure to show in its time stamp."""
    local = [Path(file.path) for file in plan.files if Path(file.path).is_file()]
    return all(started - path.stat().st_mtime > SETTLED_SECONDS for path in local)


def _to_json(scans: Sequence[PieceScan]) -> bytes:
    told = tuple(ToldScan.model_validate(asdict(scan)) for scan in scans)
    return json.dumps(record_values(ScanFile(scans=told))).encode()
