"""What a task leaves of a piece: files of rows, and a record that says they are whole."""

import json
import logging
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, UInt8

from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError, ResourceError, in_short
from biolm_ray.files import is_plain_name
from biolm_ray.preparation.alphabets import kinds_of_rows
from biolm_ray.preparation.checks import hash_ids
from biolm_ray.preparation.manifest import ROWS, StoredPiece, check_size
from biolm_ray.preparation.rejects import REJECT_SCHEMA
from biolm_ray.preparation.row_files import read_columns, write_rows
from biolm_ray.records import LaterVersion, parse_record, record_values
from biolm_ray.tokenization.blocks.encoded import EncodedBlock

log = logging.getLogger("biolm_ray")

AGAIN = "run the same command again"
"""What to do where files of a preparation are damaged while it goes on: they are made anew."""
RULES = 3
"""Grows when rows are read or refused otherwise under the same settings."""
STATE = f"state-{RULES}"
PART_BYTES = 8 << 20
"""Bytes of token ids from which on a file of rows is written."""


@dataclass(frozen=True)
class PieceState:
    """What is known of a stored piece.

    Attributes:
        piece: Its number.
        file: The number of its file.
        parts: For each file of rows its name, number of rows, and row groups.
        lengths: How many rows have how many tokens.
        num_unknown: Tokens that the vocabulary does not hold.
        unknown_texts: Their texts and counts.
        num_rejected: Rows that could not be used.
        gaps: Signs in sequences that are no letters, with their counts.
        letters: How many rows have letters of which kinds; see `alphabets.letter_kinds`.
    """

    piece: int
    file: int
    parts: list[dict[str, Any]] = field(default_factory=list)
    lengths: Counter[int] = field(default_factory=Counter)
    num_unknown: int = 0
    unknown_texts: Counter[str] = field(default_factory=Counter)
    num_rejected: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    letters: Counter[int] = field(default_factory=Counter)

    @property
    def num_rows(self) -> int:
        return sum(part["rows"] for part in self.parts)


def store_part(target: Folder, name: str, rows: pa.Table) -> dict[str, Any]:
    """Write a file of rows; give its entry in the list of parts."""
    groups: list[list[Any]] = []

    def write(file: Any) -> None:
        groups.extend(list(asdict(group).values()) for group in write_rows(file, rows))

    size = target.write(f"{ROWS}/{name}", write)
    return {"file": name, "rows": len(rows), "groups": groups, "bytes": size}


class PieceWriter:
    """Stores the rows of a piece in files of about PART_BYTES, and last what is known of it.

    Args:
        target: Folder of the data set.
        state: Empty as yet.
        hashed: Whether identifiers are hashed, to be compared.
        kinds: The kinds of letters in each token of the vocabulary, if rows may mix them.
    """

    def __init__(
        self,
        target: Folder,
        state: PieceState,
        *,
        hashed: bool,
        kinds: UInt8[np.ndarray, " vocabulary"] | None = None,
    ) -> None:
        self._target = target
        self._state = state
        self._hashed = hashed
        self._kinds = kinds
        self._pending: list[pa.Table] = []
        self._num_bytes = 0
        self._places: list[pa.Table] = []
        self._rejected = [REJECT_SCHEMA.empty_table()]

    def add(
        self, rows: pa.Table, encoded: EncodedBlock, rejects: pa.Table, gaps: Counter[str]
    ) -> None:
        """Take in a block: `line` and the columns of the data set, the rows left out, the gaps."""
        self._rejected.append(rejects)
        self._state = replace(self._state, gaps=self._state.gaps + gaps)
        if not len(rows):
            return
        state, lengths = self._state, np.diff(encoded.offsets)
        self._state = replace(
            state,
            lengths=state.lengths + Counter(lengths[lengths > 0].tolist()),
            num_unknown=state.num_unknown + int(encoded.num_unknown.sum()),
            unknown_texts=state.unknown_texts + encoded.unknown_texts,
            letters=state.letters + kinds_of_rows(encoded, self._kinds),
        )
        places = rows.select(["row", "line"])
        if self._hashed:
            places = places.append_column("id_hash", pa.array(hash_ids(rows["id"])))
        self._places.append(places)
        self._pending.append(rows.drop_columns(["line"]))
        self._num_bytes += rows["token_ids"].nbytes
        if self._num_bytes >= PART_BYTES:
            self._store_part()

    def close(self) -> None:
        """Write what is left, then the record that says that the piece is whole."""
        if self._pending:
            self._store_part()
        folder, stem = self._target / STATE, f"{self._state.piece:06d}"
        if self._places:
            places = pa.concat_tables(self._places)
            folder.write(f"{stem}.places.parquet", lambda file: pq.write_table(places, file))
        rejects = pa.concat_tables(self._rejected)
        if len(rejects):
            folder.write(f"{stem}.rejected.parquet", lambda file: pq.write_table(rejects, file))
        record = dict(vars(self._state), num_rejected=len(rejects))
        record["lengths"] = list(self._state.lengths.items())
        record["letters"] = list(self._state.letters.items())
        values = record_values(StoredPiece.model_validate(record))
        folder.write(f"{stem}.json", lambda file: file.write(json.dumps(values).encode()))

    def _store_part(self) -> None:
        state = self._state
        name = f"part-{state.piece:06d}-{len(state.parts):04d}.parquet"
        part = store_part(self._target, name, pa.concat_tables(self._pending))
        self._state = replace(state, parts=[*state.parts, part])
        self._pending, self._num_bytes = [], 0


def stored_pieces(target: Folder, num_pieces: int) -> dict[int, PieceState]:
    """What is known of the pieces that are whole, by their numbers; damaged ones are told of.

    Raises:
        LaterVersion: A later version of the program has stored them.
    """
    names = (target / STATE).names()
    found: dict[int, PieceState] = {}
    for piece in range(num_pieces):
        if f"{piece:06d}.json" not in names:
            continue
        try:
            state = read_state(target, piece)
            _check_files(target, state)
        except LaterVersion:
            raise
        except DataError as error:
            log.warning("%s; what it tells of is read and stored again", error)
            continue
        found[piece] = state
    return found


def _check_files(target: Folder, state: PieceState) -> None:
    """Make sure that the files of a stored piece are there as they were written, if local."""
    if target.is_local:
        for part in state.parts:
            address = (target / ROWS).address(part["file"])
            check_size(Path(address).expanduser(), part["bytes"], address, AGAIN)
    read_rejected(target, state)
    if state.num_rows and len(read_places(target, state, ["row", "line"])) != state.num_rows:
        raise DataError(f"{target / STATE}: the places of piece {state.piece} are damaged; {AGAIN}")


def read_state(target: Folder, piece: int) -> PieceState:
    """What is known of a stored piece.

    Raises:
        DataError: What a task has stored of it is damaged.
        ResourceError: A task has stored it, but where this node cannot see it.
    """
    folder, name = target / STATE, f"{piece:06d}.json"
    written = folder.read(name)
    if written is None:
        raise ResourceError(
            f"{target} does not show what another node has stored there; prepared data need a "
            "folder that all nodes share or a URI (data.prepared_path: s3://bucket/prepared)"
        )
    record = parse_record(written, folder.address(name), StoredPiece, AGAIN)
    if record.piece != piece or not all(is_plain_name(part.file) for part in record.parts):
        raise DataError(f"{folder.address(name)}: damaged (it tells of other files); {AGAIN}")
    return PieceState(
        piece=record.piece,
        file=record.file,
        parts=[part.model_dump() for part in record.parts],
        lengths=Counter(dict(record.lengths)),
        num_unknown=record.num_unknown,
        unknown_texts=Counter(record.unknown_texts),
        num_rejected=record.num_rejected,
        gaps=Counter(record.gaps),
        letters=Counter(dict(record.letters)),
    )


def _read_table(folder: Folder, name: str, columns: list[str] | None = None) -> pa.Table:
    """Read a file of a preparation that goes on.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        with folder.open(name) as file:
            return pq.read_table(file) if columns is None else read_columns(file, columns)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        where = folder.address(name)
        raise DataError(f"{where} is damaged ({in_short(error)}); {AGAIN}") from error


def read_places(target: Folder, state: PieceState, columns: list[str]) -> pa.Table:
    """Some of row, line and (if identifiers were hashed) id_hash of each row of a piece.

    Those are all rows that its task has stored, also where some of them are left out since.
    """
    return _read_table(target / STATE, f"{state.piece:06d}.places.parquet", columns)


def read_rejected(target: Folder, state: PieceState) -> pa.Table:
    """The bad rows of a piece."""
    if not state.num_rejected:
        return REJECT_SCHEMA.empty_table()
    rejected = _read_table(target / STATE, f"{state.piece:06d}.rejected.parquet")
    if rejected.schema != REJECT_SCHEMA or len(rejected) != state.num_rejected:
        raise DataError(f"{target / STATE}: rejects of piece {state.piece} are damaged; {AGAIN}")
    return rejected


def read_column(target: Folder, state: PieceState, name: str) -> pa.ChunkedArray:
    """A column of the stored rows of a piece."""
    tables = [_read_table(target / ROWS, part["file"], [name]) for part in state.parts]
    return pa.concat_tables(tables)[name]


def without_rows(
    target: Folder, state: PieceState, dropped: Int[np.ndarray, " dropped"], unknown_id: int
) -> PieceState:
    """Store the rows of a piece once more, without some of them.

    The new files have names of their own, and the record of the piece stays as it is, so that
    this can be done again if it is broken off.

    Args:
        target: Folder of the data set.
        state: Of the piece.
        dropped: Numbers of rows in the source.
        unknown_id: The id of unknown tokens.

    Returns:
        What is to be known of the piece from now on.
    """
    parts = []
    for part in state.parts:
        numbers = _read_table(target / ROWS, part["file"], ["row"])["row"].to_numpy()
        is_dropped = np.isin(numbers, dropped)
        if not is_dropped.any():
            parts.append(part)
            continue
        rows = _read_table(target / ROWS, part["file"])
        gone = rows.filter(pa.array(is_dropped))
        lengths = gone["length"].to_pylist()
        state = replace(
            state,
            lengths=state.lengths - Counter(lengths),
            num_unknown=state.num_unknown - _count_unknown(gone, unknown_id),
        )
        if not is_dropped.all():
            kept = rows.filter(pa.array(~is_dropped))
            name = part["file"].replace(".parquet", "-unique.parquet")
            parts.append(store_part(target, name, kept))
    return replace(state, parts=parts)


def _count_unknown(rows: pa.Table, unknown_id: int) -> int:
    total = 0
    for ids, length in zip(rows["token_ids"], rows["length"].to_pylist(), strict=True):
        stored = ids.as_py()
        values = np.frombuffer(stored, dtype=f"<u{len(stored) // length}")
        total += int(np.count_nonzero(values == unknown_id))
    return total
