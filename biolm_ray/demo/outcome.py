"""What the demo's model found of what was planted, and where its results lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from biolm_ray.demo.data import read_rows
from biolm_ray.demo.transcripts import ELEMENT
from biolm_ray.errors import DataError
from biolm_ray.report.motifs import ALL_REGIONS
from biolm_ray.report.text import text_facts

TOP_SHARE = 0.02
CLEARLY_ABOVE_CHANCE = 3


@dataclass(frozen=True)
class ElementRecovery:
    """How far the highest scores of single tokens point at the planted elements.

    Attributes:
        num_positions: Scored positions, of all sequences together.
        num_top: The highest-scoring ones that were looked at.
        share_in_elements: Share of these that lie inside an element.
        share_by_chance: Share of all scored positions that do.
    """

    num_positions: int
    num_top: int
    share_in_elements: float
    share_by_chance: float

    @property
    def found(self) -> bool:
        return self.share_in_elements >= CLEARLY_ABOVE_CHANCE * self.share_by_chance


def element_recovery(scores: Path, elements: Path, top_share: float = TOP_SHARE) -> ElementRecovery:
    """Compare the positions whose edit raises the predicted half-life most with the elements.

    Edits are ranked by the rise relative to the prediction (loo / pred): an element shortens any
    half-life by the same factor, so in hours the long-lived transcripts would stand above all.

    Args:
        scores: A table of leave-one-out scores of atomic tokens, in hours.
        elements: The file of planted elements that belongs to the data.
        top_share: Share of all scored positions to look at, in (0, 1]; at least one position.

    Raises:
        DataError: The table of scores has no rows.
    """
    rises, inside = _scored_positions(scores, _planted_positions(elements))
    if not rises.size:
        raise DataError(f"{scores}: no scores below the header; expected a row per token")
    num_top = max(1, round(top_share * rises.size))
    top = np.argsort(-rises, kind="stable")[:num_top]
    return ElementRecovery(
        num_positions=rises.size,
        num_top=num_top,
        share_in_elements=float(inside[top].mean()),
        share_by_chance=float(inside.mean()),
    )


def log_correlation(predictions: Path) -> float:
    """Pearson correlation of the logarithms of the columns `label` and `prediction`.

    Both are half-lives above 0, as a model trained with log scaling predicts them.
    """
    rows = list(read_rows(predictions, ","))
    columns = [[float(row[name]) for row in rows] for name in ("label", "prediction")]
    return float(np.corrcoef(np.log(columns))[0, 1])


@dataclass(frozen=True)
class MotifEnrichment:
    """How the scores inside a motif compare with the same places shifted along the sequences.

    Attributes:
        mean, expected: Mean score inside, and over all shifts, in hours.
        z: Their distance in standard deviations, of the scores' ranks.
        q_value: Corrected for the number of tests.
    """

    num_occurrences: int
    mean: float
    expected: float
    z: float
    q_value: float


def motif_enrichment(table: Path, motif: str) -> MotifEnrichment:
    """Read what a table of motifs says of one motif in all regions together.

    Raises:
        DataError: The motif is not in the table, or occurs nowhere.
    """
    for row in read_rows(table, ","):
        if row["motif"] == motif and row["region"] == ALL_REGIONS and row["q_value"]:
            numbers = {name: float(row[name]) for name in ("mean", "expected", "z", "q_value")}
            return MotifEnrichment(num_occurrences=int(row["num_occurrences"]), **numbers)
    raise DataError(f"{table}: no occurrence of motif '{motif}' was tested")


def describe_results(
    correlation: float,
    attainable: float,
    recovery: ElementRecovery,
    enrichment: MotifEnrichment,
    results: Mapping[str, Path],
) -> str:
    """The demo's closing statement.

    Args:
        correlation: Of predicted and measured log half-lives, over all folds.
        attainable: The same for a model that knows the function behind the data.
        recovery: What the scores of one fold's test rows point at.
        enrichment: The same scores inside the planted elements.
        results: What each file or folder holds, and where it lies, in the order to be shown.
    """
    least = 1e-300
    found = "LOO found the planted elements" if recovery.found else "LOO missed the elements"
    return "\n".join(
        [
            f"Correlation with the measured log half-life: {correlation:.2f}"
            f" (attainable with this noise: {attainable:.2f}).",
            f"{found}: of the {recovery.num_top} highest-scoring of {recovery.num_positions}"
            f" positions, {recovery.share_in_elements:.0%} lie inside one"
            f" (by chance: {recovery.share_by_chance:.1%}).",
            f"Masking a letter of {ELEMENT.upper()} changes the predicted half-life by"
            f" {enrichment.mean:+.2f} h, elsewhere in the region by {enrichment.expected:+.2f} h"
            f" ({enrichment.num_occurrences} places, q {'<' if enrichment.q_value < least else ''}"
            f"{max(enrichment.q_value, least):.0e}).",
            "Where the results lie:",
            text_facts(results),
        ]
    )


def _planted_positions(elements: Path) -> dict[str, set[int]]:
    planted: dict[str, set[int]] = {}
    for row in read_rows(elements, "\t"):
        positions = range(int(row["start"]), int(row["end"]))
        planted.setdefault(row["id"], set()).update(positions)
    return planted


def _scored_positions(
    scores: Path, planted: Mapping[str, set[int]]
) -> tuple[Float[np.ndarray, " positions"], Bool[np.ndarray, " positions"]]:
    """The relative rise of each edit, and whether its position lies inside an element."""
    rises, inside = [], []
    for row in read_rows(scores, ","):
        rises.append(float(row["loo"]) / float(row["pred"]))
        inside.append(int(row["start_offset"]) in planted.get(row["sequence"], ()))
    return np.array(rises, dtype=float), np.array(inside, dtype=bool)
