import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scored import score_rows, track_of, write_scores

from biolm_ray.errors import DataError
from biolm_ray.report.composition import token_sums, token_table
from biolm_ray.report.tracks import (
    is_nucleic,
    make_tracks,
    read_score_pieces,
    scored_stretches,
)


def test_each_letter_has_the_score_of_its_token() -> None:
    track = track_of("acgt", [1, 2, 3, 4])
    assert track.letters == "acgt"
    assert track.plain == "ACGU"
    assert track.scores.tolist() == [1, 2, 3, 4]
    assert track.offsets.tolist() == [0, 1, 2, 3]
    assert (track.prediction, track.label) == (1.5, 2.0)


def test_a_token_of_several_letters_shares_its_score_equally() -> None:
    track = track_of(["ac", "gtt"], [1, 6], sizes=[2, 3])
    assert track.letters == "acgtt"
    assert track.scores.tolist() == [0.5, 0.5, 2, 2, 2]


def test_overlapping_windows_give_a_letter_their_mean() -> None:
    rows = score_rows("g", ["ac", "cg"], [2, 4])
    rows["end_offset"] = rows["start_offset"] + 2
    (track,) = make_tracks(rows)
    assert track.letters == "acg"
    assert track.scores.tolist() == [1, 1.5, 2]


def test_several_replacements_of_one_token_give_their_mean() -> None:
    rows = pd.concat([score_rows("g", "a", [score]) for score in (1, 2, 6)])
    (track,) = make_tracks(rows)
    assert track.letters == "a"
    assert track.scores.tolist() == [3]


def test_what_is_inserted_counts_for_the_token_behind_it() -> None:
    rows = score_rows("g", ["a", "a", "ct", ""], [1, 3, 8, 99])
    rows["start_offset"] = rows["end_offset"] = [0, 0, 1, 3]
    (track,) = make_tracks(rows)
    assert track.letters == "act"
    assert track.scores.tolist() == [2, 4, 4]


def test_a_place_without_a_score_is_a_gap() -> None:
    (track,) = make_tracks(score_rows("g", "acgt", [1, 2, 3, 4]).iloc[[0, 2, 3]])
    assert track.letters == "a.gt"
    assert np.isnan(track.scores[1])
    assert list(scored_stretches(track)) == [(0, 1), (2, 4)]


def test_sequences_are_told_apart_by_name_or_by_a_new_beginning() -> None:
    one, two = score_rows("g", "ac", [1, 2]), score_rows("h", "gt", [3, 4])
    tracks = make_tracks(pd.concat([one, one, two]))
    assert [(track.sequence, track.letters) for track in tracks] == [
        ("g", "ac"),
        ("g", "ac"),
        ("h", "gt"),
    ]


def test_markers_are_no_letters_and_x_is_a_junction_before_it() -> None:
    track = track_of(["a", "s", "c", "x", "g", "e", "t"], [1, 2, 3, 4, 5, 6, 7])
    assert track.letters == "acgt"
    assert track.scores.tolist() == [1, 3, 5, 7]
    assert track.offsets.tolist() == [0, 2, 4, 6]
    assert track.junctions.tolist() == [False, True, False, False]
    assert track.marker_texts == ("s", "x", "e")
    assert track.marker_scores.tolist() == [2, 4, 6]


def test_an_atomic_token_with_a_junction_is_one_letter() -> None:
    track = track_of(["G", "cej", "a"], [1, 2, 3])
    assert track.letters == "Gca"
    assert track.junctions.tolist() == [False, True, False]


def test_a_junction_inside_a_kmer_uses_no_letter() -> None:
    track = track_of(["gcxa", "ttt"], [3, 3], sizes=[3, 3])
    assert track.letters == "gcattt"
    assert track.junctions.tolist() == [False, True, False, False, False, False]


def test_special_tokens_are_unknown_letters() -> None:
    assert track_of(["a", "[UNK]"], [1, 2]).letters == "a?"
    assert track_of(["acg", "[UNK]"], [3, 3], sizes=[3, 3]).letters == "acg???"


def test_proteins_are_told_from_rna_and_their_small_letters_are_no_markers() -> None:
    protein = track_of("mfles", [1, 2, 3, 4, 5])
    assert protein.letters == "mfles"
    assert not is_nucleic([protein])
    assert is_nucleic([track_of("acgun?", range(6))])


def test_the_first_base_is_not_known_where_markers_may_have_come_before() -> None:
    assert track_of("acg", [1, 2, 3], first=7).first_base == 7
    assert track_of(["a", "e", "g"], [1, 2, 3]).first_base == 0
    assert track_of(["a", "e", "g"], [1, 2, 3], first=7).first_base is None


@pytest.mark.parametrize("name", ["scores.csv", "scores.csv.gz", "scores.parquet"])
def test_a_table_is_read_the_same_from_every_format(tmp_path, name: str) -> None:
    rows = pd.concat([score_rows("007", ["NA", "a"], [1, 2]), score_rows("h", "c", [3])])
    table = pd.concat(read_score_pieces(write_scores(tmp_path / name, rows)))
    assert table["sequence"].astype(str).tolist() == ["007", "007", "h"]
    assert table["token"].tolist() == ["NA", "a", "c"]
    assert table["loo"].tolist() == [1, 2, 3]


def test_a_sequence_that_two_row_groups_share_is_read_whole(tmp_path) -> None:
    rows = pd.concat([score_rows("g", "acgt", range(4)), score_rows("h", "ac", range(2))])
    whole = pq.read_table(write_scores(tmp_path / "scores.parquet", rows))
    pq.write_table(whole, tmp_path / "cut.parquet", row_group_size=3)
    pieces = list(read_score_pieces(tmp_path / "cut.parquet"))
    assert [piece["token"].tolist() for piece in pieces] == [list("acgt"), list("ac")]


def test_what_stands_behind_the_last_token_has_no_token(tmp_path) -> None:
    rows = score_rows("g", ["a", None], [1, 2])
    for name in ("scores.csv", "scores.parquet"):
        (table,) = read_score_pieces(write_scores(tmp_path / name, rows))
        assert table["token"].tolist() == ["a", ""]
        assert token_table([token_sums(table)])["num_tokens"].tolist() == [1]


def test_other_tables_are_refused(tmp_path) -> None:
    (tmp_path / "other.csv").write_text("sequence,prediction\ng,1\n")
    with pytest.raises(DataError, match="no column 'token'"):
        list(read_score_pieces(tmp_path / "other.csv"))
    empty = write_scores(tmp_path / "empty.csv", score_rows("g", "a", [1]).iloc[:0])
    with pytest.raises(DataError, match="no scores below the header"):
        list(read_score_pieces(empty))
