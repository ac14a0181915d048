"""Whether places hold higher or lower scores than chance would put there.

The places (occurrences of a motif) are compared with the same places shifted along the sequence,
all by the same amount and round its end: a circular shift, as in Cabrera et al. 2012 (G3 2,
1067-1075). It keeps what makes neighbours alike, on both sides: scores change slowly along a
sequence, and occurrences of a simple motif overlap. Each region of each sequence is shifted by
itself, so that a motif of the 3'UTR is not taken for one because the 3'UTR matters as a whole.

Over all shifts the sum of the scores at the places has a mean and a variance that need no
sampling: with the circular autocovariance C of the scores, the variance is the sum of C(p - q)
over all pairs of places. Sequences are shifted independently, so means and variances add up, and
the sum over all of them is compared with the normal distribution, on both sides. Scores enter as
their ranks in the sequence: units, outliers and differences between sequences do not matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from biolm_ray.report.regions import MarkedTrack
from biolm_ray.training.metrics import ranks as ranks_of

MANY_PLACES = 48
_SUMMED = ("num_occurrences", "num_sequences", "total", "expected", "excess", "variance")


@dataclass(frozen=True)
class Windows:
    """The windows of one length inside one region of one sequence.

    Attributes:
        region: Its name.
        starts: First letter of each window in the track; windows with a gap are left out.
        means: Mean score of each window.
        ranks: Mean rank of its letters in the sequence, as shares from 0 to 1.
    """

    region: str
    starts: Int[np.ndarray, " windows"]
    means: Float[np.ndarray, " windows"]
    ranks: Float[np.ndarray, " windows"]


def windows_of(marked: MarkedTrack, size: int) -> Iterator[Windows]:
    """Yield the windows of `size` letters, for each region that has any."""
    scores = marked.track.scores
    known = np.isfinite(scores)
    ranks = np.full(len(scores), np.nan)
    ranks[known] = (ranks_of(scores[known]) - 0.5) / max(1, known.sum())
    for part in marked.parts:
        if part.stop - part.start < size:
            continue
        means = _window_means(scores[part.start : part.stop], size)
        whole = np.isfinite(means)
        if whole.any():
            yield Windows(
                region=part.name,
                starts=part.start + np.flatnonzero(whole),
                means=means[whole],
                ranks=_window_means(ranks[part.start : part.stop], size)[whole],
            )


def sums_at(windows: Windows, chosen: Bool[np.ndarray, " windows"]) -> dict[str, float]:
    """Compare the chosen windows with their shifts: what `score_tallies` adds up."""
    places = np.flatnonzero(chosen)
    return {
        "num_occurrences": len(places),
        "num_sequences": 1,
        "total": float(windows.means[places].sum()),
        "expected": len(places) * float(windows.means.mean()),
        "excess": float((windows.ranks[places] - windows.ranks.mean()).sum()),
        "variance": float(shift_variances(autocovariance(windows.ranks), places[None])[0]),
    }


def sums_of_groups(windows: Windows, groups: Int[np.ndarray, " windows"]) -> pd.DataFrame:
    """Do what `sums_at` does for the windows of each group; a row per group, its number first."""
    order = np.argsort(groups, kind="stable")
    numbers, firsts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    covariance = autocovariance(windows.ranks)
    variances = np.empty(len(numbers))
    for count in np.unique(counts).tolist():
        alike = np.flatnonzero(counts == count)
        places = order[firsts[alike, None] + np.arange(count)]
        variances[alike] = shift_variances(covariance, places)
    return pd.DataFrame(
        {
            "group": numbers,
            "num_occurrences": counts,
            "num_sequences": 1,
            "total": np.add.reduceat(windows.means[order], firsts),
            "expected": counts * windows.means.mean(),
            "excess": np.add.reduceat((windows.ranks - windows.ranks.mean())[order], firsts),
            "variance": variances,
        }
    )


def shift_variances(
    covariance: Float[np.ndarray, " places"], chosen: Int[np.ndarray, "groups chosen"]
) -> Float[np.ndarray, " groups"]:
    """The variance, over all circular shifts, of the sum of the values at each group of places."""
    length, count = len(covariance), chosen.shape[1]
    if count <= MANY_PLACES:
        apart = chosen[:, :, None] - chosen[:, None]
        return np.maximum(0.0, covariance[apart].sum(axis=(1, 2)))
    marks = np.zeros((len(chosen), length))
    np.put_along_axis(marks, chosen, 1.0, axis=1)
    pairs = np.fft.irfft(np.abs(np.fft.rfft(marks)) ** 2, n=length)
    return np.maximum(0.0, pairs @ covariance)


def score_tallies(tallies: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Add up what was found in each sequence, and test the sums.

    Returns:
        The columns `by`, then num_occurrences, num_sequences, mean (of the scores of all letters
        inside), expected (their mean over all shifts), z, p_value (two-sided) and q_value
        (Benjamini and Hochberg 1995, over all rows); the smallest p first.
    """
    from scipy.special import ndtr
    from scipy.stats import false_discovery_control  # takes a second to import

    sums = added_up(pd.DataFrame(tallies, columns=[*by, *_SUMMED]), by)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = sums["excess"].to_numpy() / np.sqrt(sums["variance"].to_numpy())
    z = np.where(sums["variance"] > 1e-12, z, 0.0)
    p_values = 2 * ndtr(-np.abs(z))
    table = sums[[*by, "num_occurrences", "num_sequences"]].copy()
    table["mean"] = sums["total"] / sums["num_occurrences"]
    table["expected"] = sums["expected"] / sums["num_occurrences"]
    table["z"] = z
    table["p_value"] = p_values
    table["q_value"] = false_discovery_control(p_values) if len(table) else p_values
    order = np.lexsort([-np.abs(z), p_values])
    return table.iloc[order].reset_index(drop=True)


def added_up(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The sums of all other columns over the rows that are alike in these."""
    return pd.DataFrame(table.groupby(by, sort=False, as_index=False).sum())


def _window_means(values: Float[np.ndarray, " length"], size: int) -> Float[np.ndarray, " windows"]:
    return np.lib.stride_tricks.sliding_window_view(values, size).mean(axis=1)


def autocovariance(values: Float[np.ndarray, " places"]) -> Float[np.ndarray, " places"]:
    """C(d): the mean over all places of the product of deviations at the place and d further."""
    spectrum = np.fft.rfft(values - values.mean())
    return np.fft.irfft(np.abs(spectrum) ** 2, n=len(values)) / len(values)
