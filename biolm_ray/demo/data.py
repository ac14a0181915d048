"""The demo's data file, and the truth behind it."""

import csv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from biolm_ray.demo.transcripts import ELEMENT, NOISE_DEVIATION, draw_transcript
from biolm_ray.files import atomic_path
from biolm_ray.results.lock import held_in_turn

NUM_FOLDS = 3
WAIT_MINUTES = 30
"""Longest wait for another process that writes the same files."""
DATA_COLUMNS = ("id", "fold", "half_life_hours", "sequence")
DATA_SETTINGS = """
task: regression
data:
  path: demo.tsv
  has_header: true
  token_separator: ","
  id_column: id
  sequence_column: sequence
  label_column: half_life_hours
"""
"""The beginning of a configuration file that reads the data file beside it, `demo.tsv`."""

TRUTH_COLUMNS = (
    "id",
    "log_half_life",
    "log_half_life_without_noise",
    "num_elements",
    "junction_density",
    "codon_optimality",
)
ELEMENT_COLUMNS = ("id", "start", "end", "element")


@dataclass(frozen=True)
class DemoTruth:
    """The files of a synthetic data set.

    Attributes:
        data: A header and a row per transcript: id, fold (0 to 2), half-life in hours, and the
            tokens of the sequence, separated by commas.
        truth: What the label of each transcript is made of.
        elements: A line per planted element: id, start, end (tokens; 0-based, half-open).
    """

    data: Path
    truth: Path
    elements: Path


def write_demo_data(path: Path, num_rows: int = 600, seed: int = 1) -> DemoTruth:
    """Write synthetic transcripts to `path`, their truth and their elements beside it.

    Row by row, so that memory does not grow with their number. The first rows are the same
    however many follow. The three files are of one call, also where several write them at once.

    Raises:
        ResourceError: They cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    with held_in_turn(lock, "demo-data", str(path), WAIT_MINUTES):
        return _write(path, num_rows, seed)


def _write(path: Path, num_rows: int, seed: int) -> DemoTruth:
    files = DemoTruth(
        data=path,
        truth=path.with_name(f"{path.stem}.truth.tsv"),
        elements=path.with_name(f"{path.stem}.elements.tsv"),
    )
    random = np.random.default_rng(seed)
    with _tables(files) as (data, truth, elements):
        for row in range(num_rows):
            name = f"transcript_{row + 1:06d}"
            transcript = draw_transcript(random)
            expected = transcript.log_half_life
            measured = expected + random.normal(scale=NOISE_DEVIATION)
            tokens = ",".join(transcript.tokens)
            data.write(_line(name, row % NUM_FOLDS, f"{np.exp(measured):.6g}", tokens))
            truth.write(
                _line(
                    name,
                    f"{measured:.6f}",
                    f"{expected:.6f}",
                    len(transcript.element_starts),
                    f"{transcript.junction_density:.6f}",
                    f"{transcript.codon_optimality:.6f}",
                )
            )
            for start in transcript.element_starts:
                elements.write(_line(name, start, start + len(ELEMENT), ELEMENT))
    return files


def attainable_correlation(truth: Path) -> float:
    """Pearson correlation of the log half-lives with and without noise.

    A model that knew the function behind the data would reach it; none can do better but by luck.
    """
    rows = list(read_rows(truth, "\t"))
    measured = [float(row["log_half_life"]) for row in rows]
    expected = [float(row["log_half_life_without_noise"]) for row in rows]
    return float(np.corrcoef(measured, expected)[0, 1])


def read_rows(path: Path, separator: str) -> Iterator[dict[str, str]]:
    """The rows of a table with a header line."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=separator)


@contextmanager
def _tables(files: DemoTruth) -> Iterator[list[TextIO]]:
    """Open the three files with their headers; none of them appears before all are whole."""
    headers = {
        files.data: DATA_COLUMNS,
        files.truth: TRUTH_COLUMNS,
        files.elements: ELEMENT_COLUMNS,
    }
    with ExitStack() as stack:
        tables = []
        for path, columns in headers.items():
            temporary = stack.enter_context(atomic_path(path))
            tables.append(stack.enter_context(temporary.open("w", encoding="utf-8")))
            tables[-1].write(_line(*columns))
        yield tables


def _line(*values: object) -> str:
    return "\t".join(map(str, values)) + "\n"
