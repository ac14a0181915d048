import numpy as np
import pandas as pd
import pytest
from scored import score_rows, track_of

from biolm_ray.errors import ConfigError
from biolm_ray.report.elements import element_table, find_elements
from biolm_ray.report.motifs import compile_motifs, kmer_size, kmer_table, matches, motif_table
from biolm_ray.report.regions import mark_regions
from biolm_ray.report.tracks import make_tracks


def starts(letters: str, motif: str) -> list[int]:
    track = track_of(letters, range(len(letters)))
    pattern = compile_motifs({"m": motif}, nucleic=True)["m"]
    return matches(track.plain, pattern).nonzero()[0].tolist()


def test_u_and_t_are_the_same_and_case_does_not_matter() -> None:
    assert starts("gTATttAuauuuag", "uauuua") == starts("gTATttAuauuuag", "TATTTA") == [1, 7]


def test_iupac_codes_stand_for_several_letters() -> None:
    assert starts("UGUACAUAUGUAAAUA", "UGUANAUA") == [0, 8]
    assert starts("ACGU", "R") == [0, 2]
    assert starts("ACGU", "B") == [1, 2, 3]


def test_occurrences_may_overlap_and_do_not_cross_what_is_not_known() -> None:
    assert starts("auauaua", "AUAUA") == [0, 2]
    assert starts("au?au", "AUNAU") == []


def test_amino_acids_have_codes_of_their_own() -> None:
    pattern = compile_motifs({"m": "NXTB"}, nucleic=False)["m"]
    assert matches(track_of("LNFTD", range(5)).plain, pattern).nonzero()[0].tolist() == [1]


def test_letters_without_a_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"interpret\.motifs, ARE: 'E' in UAE is no IUPAC code"):
        compile_motifs({"ARE": "UAE"}, nucleic=True)


def test_kmers_are_counted_with_the_mean_of_their_letters() -> None:
    marked = mark_regions([track_of("aacaa", [1, 2, 3, 4, 5])])
    table = kmer_table(marked, 2, fewest=1).set_index("kmer")
    assert table["num_occurrences"].to_dict() == {"AA": 2, "AC": 1, "CA": 1}
    assert table["mean"].to_dict() == {"AA": (1.5 + 4.5) / 2, "AC": 2.5, "CA": 3.5}
    assert set(table["expected"]) == {3.0}


def test_kmers_do_not_cross_regions_and_are_written_as_the_sequences_are() -> None:
    track = track_of(["a", "u", "s", "g", "u", "e", "a", "u"], range(8))
    table = kmer_table(mark_regions([track, track]), 2, fewest=1).set_index("kmer")
    assert table["num_occurrences"].to_dict() == {"AU": 4, "GU": 2}
    assert table["num_sequences"].to_dict() == {"AU": 2, "GU": 2}


def test_kmers_that_occur_too_seldom_for_a_test_are_left_out_before_it() -> None:
    marked = mark_regions([track_of("aaaaaac", range(7)), track_of("ac", [1, 2])])
    rare = kmer_table(marked, 2, fewest=1).set_index("kmer")
    assert rare["num_occurrences"].to_dict() == {"AA": 5, "AC": 2}
    (common,) = kmer_table(marked, 2).to_dict(orient="records")
    assert (common["kmer"], common["num_occurrences"]) == ("AA", 5)
    assert common["p_value"] == rare.loc["AA", "p_value"] == common["q_value"]
    assert kmer_table(mark_regions([track_of("aaaaac", range(6))]), 2).empty


def test_kmers_are_as_long_as_their_alphabet_allows() -> None:
    assert [kmer_size(None, nucleic=nucleic) for nucleic in (True, False)] == [6, 3]
    assert [kmer_size(asked, nucleic=False) for asked in (0, 5)] == [0, 5]


def test_sequences_shorter_than_a_kmer_have_none() -> None:
    assert kmer_table(mark_regions([track_of("ac", [1, 2])]), 6).empty


def test_motifs_have_a_row_for_all_regions_and_for_each() -> None:
    rows = score_rows("g", "acguacguacgu", range(12))
    marked = mark_regions(make_tracks(rows), {"g": (4, 8)})
    table = motif_table(marked, {"one": "GU", "none": "GGG"})
    found = table.set_index(["motif", "region"])["num_occurrences"].to_dict()
    assert found == {("one", "all"): 3, ("one", "5'UTR"): 1, ("one", "CDS"): 1,
                     ("one", "3'UTR"): 1, ("none", "all"): 0}  # fmt: skip
    assert table.set_index("motif").loc["none", "p_value"] != table["p_value"].iloc[0]
    assert set(table["pattern"]) == {"GU", "GGG"}


def test_motifs_that_occur_nowhere_are_told_without_a_test() -> None:
    table = motif_table(mark_regions([track_of("acgu", range(4))]), {"none": "GGG"})
    assert table["num_occurrences"].tolist() == [0]
    assert table["q_value"].isna().all()


def test_the_table_of_elements_counts_as_the_scores_do() -> None:
    tokens = ["a", "s", "c", "c", "g", "e", "t", "a"]
    marked = mark_regions([track_of(tokens, [0, 0, 0, 5, 5, 0, 0, 0])])
    table = element_table(marked, find_elements(marked))
    row = table.iloc[0]
    assert (row["start"], row["end"], row["letters"], row["region"]) == (3, 5, "cg", "CDS")
    assert (row["mean"], row["sum"]) == (5, 10)


@pytest.mark.parametrize(("planted", "sign"), [(-4.0, -1), (2.0, 1)])
def test_the_strongest_stretch_is_the_one_that_was_planted(planted: float, sign: int) -> None:
    scores = np.random.default_rng(0).normal(-0.5, 0.1, 400)
    scores[100:110] = planted
    scores[300:310] = 0.0
    marked = mark_regions([track_of("acgt" * 100, scores)])
    table = element_table(marked, find_elements(marked))
    assert (table.loc[0, "start"], table.loc[0, "end"]) == (100, 110)
    assert np.sign(table.loc[0, "mean"]) == sign
    assert not ((table["start"] < 310) & (table["end"] > 300)).any()


def test_a_stretch_without_effect_is_no_element_of_a_sequence_that_matters_all_over() -> None:
    scores = np.full(100, -1.0)
    scores[40:50] = 0.0
    marked = mark_regions([track_of("acgt" * 25, scores)])
    found = [(element.start, element.stop) for element in find_elements(marked)]
    assert found == [(50, 100), (0, 40)]


def test_sequences_of_equal_scores_have_no_elements() -> None:
    table = element_table([], find_elements(mark_regions([track_of("acgt", [2] * 4)])))
    assert isinstance(table, pd.DataFrame)
    assert table.empty
