"""What the test of scores against chance promises, against slower ways and planted truths."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from scored import score_rows, track_of

from biolm_ray.report.elements import element_table, find_elements, maximal_segments
from biolm_ray.report.enrichment import (
    autocovariance,
    shift_variances,
    sums_at,
    sums_of_groups,
    windows_of,
)
from biolm_ray.report.motifs import kmer_table, motif_table
from biolm_ray.report.regions import mark_regions
from biolm_ray.report.tracks import make_tracks


def segments_plainly(numbers: list[int], first: int = 0) -> list[tuple[int, int]]:
    """The definition: the best subsequence (shortest, then leftmost), then those at its sides."""
    sums = np.concatenate([[0], np.cumsum(numbers)])
    pairs = [(i, j) for i in range(len(numbers)) for j in range(i + 1, len(numbers) + 1)]
    best = max(pairs, key=lambda pair: (sums[pair[1]] - sums[pair[0]], pair[0] - pair[1], -pair[0]),
               default=(0, 0))  # fmt: skip
    start, stop = best
    if sums[stop] - sums[start] <= 0:
        return []
    return [
        *segments_plainly(numbers[:start], first),
        (first + start, first + stop),
        *segments_plainly(numbers[stop:], first + stop),
    ]


@given(st.lists(st.floats(-1, 1, width=16).filter(bool), max_size=24, unique=True))
def test_segments_are_those_of_the_definition(numbers: list[float]) -> None:
    found = maximal_segments(np.array(numbers))
    assert [segment[:2] for segment in found] == segments_plainly(numbers)
    for start, stop, total in found:
        assert total == pytest.approx(sum(numbers[start:stop]))


@given(st.data(), st.integers(2, 150))
def test_the_variance_is_that_of_all_shifts(data: st.DataObject, length: int) -> None:
    draw = np.random.default_rng(length)
    numbers = draw.normal(size=length)
    size = data.draw(st.integers(1, length))
    chosen = np.sort(draw.choice(length, size, replace=False))
    sums = [numbers[(chosen + shift) % length].sum() for shift in range(length)]
    found = shift_variances(autocovariance(numbers), np.array([chosen]))
    assert found == pytest.approx(np.var(sums), abs=1e-9)


def test_groups_are_tested_as_each_alone() -> None:
    draw = np.random.default_rng(1)
    (marked,) = mark_regions([track_of("acgt" * 20, draw.normal(size=80))])
    (windows,) = windows_of(marked, 3)
    groups = draw.integers(0, 5, len(windows.starts))
    table = sums_of_groups(windows, groups).set_index("group")
    for group in range(5):
        alone = sums_at(windows, groups == group)
        assert table.loc[group].to_dict() == pytest.approx(alone)


def random_table(seed: int, *, planted: float = 0.0, num_sequences: int = 40) -> pd.DataFrame:
    """Letters and scores drawn apart; neighbours alike, and heavy tails; a motif may be planted."""
    draw = np.random.default_rng(seed)
    parts = []
    for number in range(num_sequences):
        letters = "".join(draw.choice(list("acgt"), 300))
        scores = np.convolve(draw.standard_t(3, 300), np.ones(4) / 4, "same")
        for start in range(60 + number % 7, 290, 75) if planted else ():
            letters = f"{letters[:start]}tgtaaata{letters[start + 8 :]}"
            scores[start : start + 8] += planted
        parts.append(score_rows(f"g{number}", letters, scores * draw.lognormal()))
    return pd.concat(parts)


def test_scores_without_a_cause_give_uniform_p_values() -> None:
    marked = mark_regions(make_tracks(random_table(3)))
    table = kmer_table(marked, 3)
    assert len(table) == 64
    assert kstest(table["p_value"], "uniform").pvalue > 0.01
    assert (table["q_value"] > 0.05).all()
    assert table["z"].std() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("planted", [0.7, -0.7])
def test_a_planted_motif_is_found_with_its_sign(planted: float) -> None:
    marked = mark_regions(make_tracks(random_table(5, planted=planted)))
    table = motif_table(marked, {"pumilio": "UGUANAUA", "other": "GCGCK"}).set_index("motif")
    assert table.loc["pumilio", "q_value"] < 1e-6
    assert np.sign(table.loc["pumilio", "z"]) == np.sign(planted)
    assert abs(table.loc["pumilio", "mean"]) > 3 * abs(table.loc["pumilio", "expected"])
    assert table.loc["other", "p_value"] > 0.001
    best = kmer_table(marked, 6)["kmer"].head(3)
    assert all(kmer in "TGTAAATA" for kmer in best)


def test_an_element_of_a_region_that_matters_as_a_whole_is_none() -> None:
    draw = np.random.default_rng(2)
    parts, spans = [], {}
    for number in range(30):
        letters = "".join(draw.choice(list("ac"), 150)) + "".join(draw.choice(list("agt"), 150))
        scores = draw.normal(size=300) + np.repeat([0, 3], 150)
        parts.append(score_rows(f"g{number}", letters, scores))
        spans[f"g{number}"] = (0, 150)
    tracks = make_tracks(pd.concat(parts))
    without = motif_table(mark_regions(tracks), {"m": "GT"})
    within = motif_table(mark_regions(tracks, spans), {"m": "GT"})
    assert without.loc[0, "p_value"] < 1e-12
    assert within.loc[0, "p_value"] > 0.01


def test_the_strongest_element_is_the_planted_one() -> None:
    draw = np.random.default_rng(4)
    scores = draw.normal(scale=0.1, size=200)
    scores[50:57] -= 2
    scores[120:125] += 1
    marked = mark_regions([track_of("acgu" * 50, scores)])
    low, high, *_ = found = find_elements(marked)
    assert (low.start, low.stop) == (50, 57)
    assert element_table(marked, found)["sum"][0] < 0 < low.strength
    assert (high.start, high.stop) == (120, 125)
