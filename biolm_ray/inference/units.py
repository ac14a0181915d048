"""The pieces that leave-one-out work is dealt in, and the files each piece leaves."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from pydantic import NonNegativeFloat, NonNegativeInt

from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig
from biolm_ray.errors import DataError
from biolm_ray.records import Record, SealedFile, find_record, read_record, write_record
from biolm_ray.results.manifest import Files, file_digest, first_misfit

log = logging.getLogger("biolm_ray")

LARGEST_COST = 20_000_000
FEWEST_UNITS = 64
FORMAT = 3
ENDINGS = (".csv", ".parquet")
WITHOUT_EFFECT = {
    *("num_workers", "distribute", "folds", "compress"),
    *("region_columns", "kmer", "motifs", "plots", "coordinates"),
}
"""Settings that change no score."""

Cost = Callable[[Int[np.ndarray, " rows"]], Int[np.ndarray, " rows"]]
"""What it costs to score sequences of some lengths, in tokens that a model computes."""

MODEL_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "config.json",
    "scaler.pkl",
    "tokenizer.json",
    "tokenization.json",
)


@dataclass(frozen=True)
class Unit:
    """Some sequences, scored together by one worker.

    Attributes:
        index: Place in the order of the input.
        rows: Rows of the prepared data set.
        num_tokens: Tokens in view of the model, over all rows.
        cost: Tokens that a model computes for it.
    """

    index: int
    rows: tuple[int, ...]
    num_tokens: int
    cost: int


class UnitResult(Record):
    """What is kept of a scored unit beside its tables.

    Attributes:
        squared_deviations: Sum of the squares of the deviations over models, for each table; empty
            for a single model.
        notes: What the user should be told, in sentences.
    """

    num_tokens: NonNegativeInt
    num_scores: NonNegativeInt
    largest_difference: NonNegativeFloat
    num_redone: NonNegativeInt = 0
    squared_deviations: tuple[NonNegativeFloat, ...] = ()
    notes: tuple[str, ...] = ()


class UnitMark(SealedFile):
    """The small file that says that all tables of a unit are written, and what they hold.

    That of the first version was the result alone.
    """

    result: UnitResult
    files: Files

    @classmethod
    def as_today(cls, values: Any) -> Any:
        if isinstance(values, dict) and not {"result", "files"} & values.keys():
            return {"result": values, "files": {}}
        return values


def batched_cost(lengths: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """A pass over the whole sequence for every token."""
    return lengths**2


def incremental_cost(lengths: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Two passes over the sequence, and for every token the few rows that its edit changes.

    They are about a hundred in the layers and one in 64 of the sequence in the recurrent end.
    """
    return lengths * (102 + lengths // 64)


def make_units(
    rows: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
    room: int,
    cost: Cost = batched_cost,
) -> list[Unit]:
    """Cut rows, in their order, into units of similar cost.

    The cut depends on the rows alone, never on the number of workers, so that a run can be
    continued with another number. A unit holds at least one sequence; no unit but one of a single
    sequence costs more than LARGEST_COST or a small part of everything.
    """
    in_view = np.minimum(lengths, room)
    costs = cost(in_view)
    until = np.concatenate([[0], np.cumsum(costs)])
    largest = min(LARGEST_COST, int(until[-1]) // FEWEST_UNITS)
    units: list[Unit] = []
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or until[end + 1] - until[start] > largest:
            chosen = slice(start, end)
            units.append(
                Unit(
                    index=len(units),
                    rows=tuple(int(row) for row in rows[chosen]),
                    num_tokens=int(in_view[chosen].sum()),
                    cost=int(costs[chosen].sum()),
                )
            )
            start = end
    return units


def work_key(
    model_folders: Sequence[Path],
    prepared: str,
    rows: Int[np.ndarray, " rows"],
    settings: InterpretConfig,
    preprocessing: PreprocessingConfig | None,
) -> str:
    """Name a piece of work by all that its scores depend on.

    `prepared` is the name of the data set.
    What decides only who works, or how tables are written, is left out. The contents of the model
    folders count, not their names.
    """
    digest = hashlib.blake2b(digest_size=12)
    relevant = settings.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    cropping = None if preprocessing is None else preprocessing.model_dump(mode="json")
    description = [FORMAT, relevant, cropping, prepared]
    digest.update(json.dumps(description, sort_keys=True).encode())
    digest.update(np.asarray(rows, dtype=np.int64).tobytes())
    for folder in model_folders:
        for name in MODEL_FILES:
            if (folder / name).is_file():
                digest.update(name.encode())
                for piece in _pieces(folder / name):
                    digest.update(piece)
    return digest.hexdigest()


def table_path(folder: Path, unit: Unit, suffix: str = "", ending: str = ".csv") -> Path:
    """Where a unit's rows lie; those in CSV have no header. `suffix` is that of a target."""
    return folder / f"{unit.index:06d}{suffix}{ending}"


def save_result(
    folder: Path, unit: Unit, result: UnitResult, suffixes: Sequence[str] = ("",)
) -> None:
    """Say that all tables of a unit are written; those of its targets end in `suffixes`."""
    files = {path.name: file_digest(path) for path in _tables(folder, unit, suffixes)}
    write_record(_mark_path(folder, unit), UnitMark(result=result, files=files))


def read_result(folder: Path, unit: Unit) -> UnitResult:
    """Give the result of a unit that this run has completed.

    Raises:
        DataError: Its mark is missing or damaged.
    """
    return read_record(_mark_path(folder, unit), UnitMark, "run interpret again").result


def finished_unit(
    folder: Path, unit: Unit, suffixes: Sequence[str] = ("",), *, averaged: bool = False
) -> UnitResult | None:
    """Give the result of a unit if an earlier run has completed it.

    One whose files are damaged is removed, with a line that says so.

    Args:
        folder: Of the parts.
        unit: Which.
        suffixes: Those of the targets.
        averaged: Whether the scores are those of several models.
    """
    try:
        mark = find_record(_mark_path(folder, unit), UnitMark, "its sequences are scored again")
        if mark is None:
            return None
        problem = _problem(folder, unit, mark, suffixes, averaged=averaged)
        if problem is None:
            return mark.result
        problem += "; its sequences are scored again"
    except DataError as error:
        problem = str(error)
    log.warning("a part of the scores of an earlier run cannot be used: %s", problem)
    for path in (_mark_path(folder, unit), *_tables(folder, unit, suffixes)):
        _remove(path)
    return None


def _problem(
    folder: Path, unit: Unit, mark: UnitMark, suffixes: Sequence[str], *, averaged: bool
) -> str | None:
    """Say why a mark does not count, or None."""
    path, result = _mark_path(folder, unit), mark.result
    if result.num_tokens != unit.num_tokens:
        return f"{path} is about other sequences"
    if len(result.squared_deviations) != (len(suffixes) if averaged else 0):
        return f"{path} is about other models"
    missing = [each.name for each in _tables(folder, unit, suffixes) if each.name not in mark.files]
    if missing:
        return f"{path} does not say what {missing[0]} holds"
    return first_misfit(folder, mark.files)


def _tables(folder: Path, unit: Unit, suffixes: Sequence[str]) -> list[Path]:
    return [table_path(folder, unit, suffix, ending) for suffix in suffixes for ending in ENDINGS]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mark_path(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.index:06d}.json"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            yield piece
