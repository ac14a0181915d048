"""The stretches of a sequence that matter most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from biolm_ray.report.regions import MarkedTrack
from biolm_ray.report.tracks import scored_stretches

MOST_ELEMENTS = 1000
COLUMNS = ("sequence", "start", "end", "region", "letters", "mean", "sum", "strength")


@dataclass(frozen=True)
class Element:
    """A stretch of letters that raise, or lower, the prediction more than is usual in its sequence.

    Attributes:
        number: Which of the tracks.
        start, stop: Letters of the track, half-open.
        strength: How far its scores lie beyond the usual effect, away from 0, summed up.
    """

    number: int
    start: int
    stop: int
    strength: float


def find_elements(marked: Sequence[MarkedTrack], most: int = MOST_ELEMENTS) -> list[Element]:
    """Find the strongest stretches of all sequences, the strongest first.

    They are the maximal scoring subsequences (Ruzzo and Tompa 1999, ISMB, 234-241) of the scores'
    distance from 0, no effect, less the usual effect, once for scores above 0 and once for those
    below. The usual effect is the root mean square of the scores of the sequence. So a letter that
    matters less than is usual counts against a stretch, wherever most scores lie, and no stretch
    can be made stronger by shortening or lengthening it.
    """
    found: list[Element] = []
    for number, item in enumerate(marked):
        scores = item.track.scores
        known = scores[np.isfinite(scores)]
        if not known.size or known.std() == 0:
            continue
        usual = np.sqrt(np.mean(known**2))
        for sign in (1, -1):
            beyond = sign * scores - usual
            for first, last in scored_stretches(item.track):
                found += [
                    Element(number, first + start, first + stop, strength)
                    for start, stop, strength in maximal_segments(beyond[first:last])
                ]
        if len(found) > 100 * most:
            found = _strongest(found, most)
    return _strongest(found, most)


def maximal_segments(values: Float[np.ndarray, " length"]) -> list[tuple[int, int, float]]:
    """All maximal scoring subsequences, in order: start, stop and sum; linear in the length.

    Runs of values of one sign are summed up first, which changes nothing: a maximal one begins
    and ends where the sign changes.
    """
    if not len(values):
        return []
    positive = values > 0
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(positive)) + 1])
    stops = [*bounds[1:].tolist(), len(values)]
    sums = np.add.reduceat(values, bounds).tolist()
    # Each candidate: start, stop, sum before it, sum at its end, the nearest one to the left that
    # begins lower (the algorithm's step 1 follows these links instead of searching all).
    found: list[tuple[int, int, float, float, int]] = []
    total = 0.0
    for start, stop, value in zip(bounds.tolist(), stops, sums, strict=True):
        before, total = total, total + value
        if value <= 0:
            continue
        place = len(found) - 1
        while True:
            while place >= 0 and found[place][2] >= before:
                place = found[place][4]
            if place < 0 or found[place][3] >= total:
                found.append((start, stop, before, total, place))
                break
            start, _, before, _, link = found[place]
            del found[place:]
            place = link
    return [(start, stop, after - before) for start, stop, before, after, _ in found]


def element_table(marked: Sequence[MarkedTrack], elements: Sequence[Element]) -> pd.DataFrame:
    """A row for each element; start and end count tokens and letters as the scores' offsets do."""
    rows = []
    for element in elements:
        item = marked[element.number]
        track = item.track
        scores = track.scores[element.start : element.stop]
        rows.append(
            (
                track.sequence,
                int(track.offsets[element.start]),
                int(track.offsets[element.stop - 1]) + 1,
                item.region_at((element.start + element.stop) // 2),
                track.letters[element.start : element.stop],
                float(scores.mean()),
                float(scores.sum()),
                element.strength,
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _strongest(found: list[Element], most: int) -> list[Element]:
    return sorted(found, key=lambda element: (-element.strength, element.number, element.start))[
        :most
    ]
