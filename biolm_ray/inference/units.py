"""The pieces that leave-one-out work is dealt in, and the files each piece leaves."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig
from biolm_ray.files import write_json

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


@dataclass(frozen=True)
class UnitResult:
    """What is kept of a scored unit beside its tables.

    Attributes:
        squared_deviations: Sum of the squares of the deviations over models, for each table; empty
            for a single model.
        notes: What the user should be told, in sentences.
    """

    num_tokens: int
    num_scores: int
    largest_difference: float
    num_redone: int = 0
    squared_deviations: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


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


def save_result(folder: Path, unit: Unit, result: UnitResult) -> None:
    """Write the small file that says that all tables of a unit are written."""
    write_json(_mark_path(folder, unit), asdict(result))


def finished_unit(folder: Path, unit: Unit, suffixes: Sequence[str] = ("",)) -> UnitResult | None:
    """Give the result of a unit if an earlier run has completed it."""
    mark = _mark_path(folder, unit)
    tables = [table_path(folder, unit, suffix, ending) for suffix in suffixes for ending in ENDINGS]
    if not all(path.is_file() for path in [mark, *tables]):
        return None
    found = json.loads(mark.read_text(encoding="utf-8"))
    lists = {key: tuple(value) for key, value in found.items() if isinstance(value, list)}
    return UnitResult(**found | lists)


def _mark_path(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.index:06d}.json"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            yield piece
