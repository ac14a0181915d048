import pandas as pd
import pytest
from scored import score_rows, track_of

from biolm_ray.errors import DataError
from biolm_ray.report.composition import (
    AMINO_ACIDS,
    codon_table,
    junction_table,
    token_sums,
    token_table,
)
from biolm_ray.report.regions import Region, mark_regions, read_spans, region_table


def parts_of(track, **more) -> list[tuple[str, int, int]]:
    (marked,) = mark_regions([track], **more)
    return [(part.name, part.start, part.stop) for part in marked.parts]


def test_markers_tell_the_regions() -> None:
    track = track_of(["a", "c", "s", "g", "t", "a", "e", "c"], range(8))
    assert parts_of(track) == [("5'UTR", 0, 2), ("CDS", 2, 5), ("3'UTR", 5, 6)]


def test_one_marker_alone_tells_what_it_can() -> None:
    ended = track_of(["a", "c", "e", "c"], range(4))
    assert parts_of(ended) == [("outside 3'UTR", 0, 2), ("3'UTR", 2, 3)]
    begun = track_of(["a", "c", "s", "c"], range(4))
    assert parts_of(begun) == [("5'UTR", 0, 2), ("after CDS start", 2, 3)]


def test_capitals_tell_the_codons() -> None:
    track = track_of("ccAtgGcaTaagg", range(13))
    assert parts_of(track) == [("5'UTR", 0, 2), ("CDS", 2, 11), ("3'UTR", 11, 13)]


@pytest.mark.parametrize("letters", ["ACGTACG", "acgtacg", "aCgtaCgta", "acgT"])
def test_other_letters_tell_nothing(letters: str) -> None:
    track = track_of(letters, range(len(letters)))
    assert parts_of(track) == [("not known", 0, len(letters))]


def test_the_input_tells_before_markers_do_and_counts_letters_only() -> None:
    track = track_of(["a", "c", "x", "g", "t", "a"], range(6))
    assert parts_of(track, spans={"g": (1, 4)}) == [("5'UTR", 0, 1), ("CDS", 1, 4), ("3'UTR", 4, 5)]
    assert parts_of(track, spans={"other": (1, 4)}) == [("not known", 0, 5)]


def test_regions_keep_their_place_in_a_cropped_sequence() -> None:
    (marked,) = mark_regions([track_of("acgtac", range(6), first=10)], {"g": (8, 14)})
    assert marked.regions[1] == Region("CDS", -2, 4)
    assert [(part.name, part.start, part.stop) for part in marked.parts] == [
        ("CDS", 0, 4),
        ("3'UTR", 4, 6),
    ]


def test_a_model_of_the_3utr_sees_one_region() -> None:
    assert parts_of(track_of("acg", range(3)), only_utr3=True) == [("3'UTR", 0, 3)]


def test_spans_are_read_from_one_column_or_from_three_lengths() -> None:
    assert read_spans({"g": ("96-3917",)}) == {"g": (95, 3917)}
    assert read_spans({"g": ("10", "6.0", "4")}) == {"g": (10, 16)}


@pytest.mark.parametrize("fields", [("0-4",), ("17",), ("a-b",), ("1", "2", "x"), ("1", "-2", "3")])
def test_texts_that_tell_no_span_are_refused(fields: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"interpret.region_columns: found .* for sequence g"):
        read_spans({"g": fields})


def test_the_table_of_regions_sums_the_scores_up() -> None:
    track = track_of(["a", "c", "s", "g", "t", "a", "e", "c"], [1, -3, 9, 2, 2, 2, 9, -10])
    table = region_table(mark_regions([track, track])).set_index("region")
    assert table.index.tolist() == ["5'UTR", "CDS", "3'UTR"]
    assert table["num_letters"].tolist() == [4, 6, 2]
    assert table["num_sequences"].tolist() == [2, 2, 2]
    assert table["mean"].tolist() == [-1, 2, -10]
    assert table["mean_absolute"].tolist() == [2, 2, 10]
    assert table["sum"].tolist() == [-4, 12, -20]
    assert table["share"].tolist() == [0.2, 0.3, 0.5]


def test_the_table_of_tokens_counts_each_kind() -> None:
    parts = [score_rows("g", ["a", "x"], [1, -6]), score_rows("h", "a", [-3])]
    table = token_table([token_sums(part) for part in parts]).set_index("token")
    assert table.index.tolist() == ["x", "a"]
    assert table.loc["a"].tolist() == [2, 2, -1, 2, -2, 0.4]


def test_a_token_replaced_by_several_others_counts_once_beside_its_edits() -> None:
    once = score_rows("g", "aca", [1, 2, 3])
    rows = pd.concat([once.loc[once.index.repeat(3)], score_rows("h", "a", [4])])
    table = token_table([token_sums(rows)]).set_index("token")
    assert table["num_tokens"].to_dict() == {"a": 3, "c": 1}
    assert table["num_edits"].to_dict() == {"a": 7, "c": 3}
    assert table.loc["a", "mean"] == (3 + 9 + 4) / 7


def test_codons_are_read_in_frame_also_where_the_crop_cuts_one() -> None:
    whole = track_of("ccAtgGcaTaagg", range(13))
    table = codon_table(mark_regions([whole])).set_index("codon")
    assert table["mean"].to_dict() == {"AUG": 2 + 3 + 4, "GCA": 5 + 6 + 7, "UAA": 8 + 9 + 10}
    assert table["amino_acid"].to_dict() == {"AUG": "M", "GCA": "A", "UAA": "*"}
    cut = track_of("tggcataagg", range(10), first=3)
    table = codon_table(mark_regions([cut], {"g": (2, 11)})).set_index("codon")
    assert table["mean"].to_dict() == {"GCA": 2 + 3 + 4, "UAA": 5 + 6 + 7}


def test_the_genetic_code_is_the_standard_one() -> None:
    assert len(AMINO_ACIDS) == 64
    known = {"AUG": "M", "UGG": "W", "UAA": "*", "UAG": "*", "UGA": "*", "GAA": "E", "CGA": "R"}
    assert {codon: AMINO_ACIDS[codon] for codon in known} == known
    assert sum(letter == "L" for letter in AMINO_ACIDS.values()) == 6


def test_junctions_are_compared_with_the_same_letter_of_spliced_sequences() -> None:
    spliced = track_of(["g", "gej", "a", "g", "x"], [1, 5, 7, 3, -4])
    plain = track_of("ggg", [100, 100, 100])
    table = junction_table(mark_regions([spliced, plain])).set_index("letter")
    assert table.index.tolist() == ["g", "marker x"]
    row = table.loc["g"]
    assert (row["num_junctions"], row["mean"]) == (2, 4)
    assert (row["num_elsewhere"], row["mean_elsewhere"]) == (1, 1)
    assert table.loc["marker x", "mean"] == -4
    assert junction_table(mark_regions([plain])).empty
