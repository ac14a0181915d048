from pathlib import Path

import pytest
from scored import track_of

from biolm_ray.errors import DataError
from biolm_ray.report.genome_track import genome_track, read_bed, write_bedgraph

EXONS = "chr2\t100\t120\tg\t0\t{}\t100\t120\t0\t2\t3,2,\t0,18,\n"


def bed(folder: Path, text: str):
    (folder / "genes.bed").write_text(text)
    return read_bed(str(folder / "genes.bed"))


def lines_of(transcripts, *tracks) -> list[tuple]:
    table, _ = genome_track(tracks, transcripts)
    return list(table.itertuples(index=False, name=None))


def test_a_forward_sequence_runs_through_its_exons(tmp_path: Path) -> None:
    found = lines_of(bed(tmp_path, EXONS.format("+")), track_of("acgtt", [1, 2, 3, 4, 5]))
    assert found == [
        ("chr2", 100, 101, 1),
        ("chr2", 101, 102, 2),
        ("chr2", 102, 103, 3),
        ("chr2", 118, 119, 4),
        ("chr2", 119, 120, 5),
    ]


def test_a_reverse_sequence_begins_at_the_last_base_of_its_last_exon(tmp_path: Path) -> None:
    found = lines_of(bed(tmp_path, EXONS.format("-")), track_of("acgtt", [1, 2, 3, 4, 5]))
    assert found == [
        ("chr2", 100, 101, 5),
        ("chr2", 101, 102, 4),
        ("chr2", 102, 103, 3),
        ("chr2", 118, 119, 2),
        ("chr2", 119, 120, 1),
    ]


def test_markers_take_no_base_and_a_crop_keeps_its_place(tmp_path: Path) -> None:
    transcripts = bed(tmp_path, "chr1 7 20 g 0 +\n")
    assert lines_of(transcripts, track_of(["a", "x", "c"], [1, 9, 2])) == [
        ("chr1", 7, 8, 1),
        ("chr1", 8, 9, 2),
    ]
    assert lines_of(transcripts, track_of("a", [1], first=4)) == [("chr1", 11, 12, 1)]


def test_a_base_of_two_sequences_has_their_mean(tmp_path: Path) -> None:
    transcripts = bed(tmp_path, "chr1\t7\t9\tg\t0\t+\n")
    assert lines_of(transcripts, track_of("ac", [1, 2]), track_of("ac", [3, 2])) == [
        ("chr1", 7, 8, 2),
        ("chr1", 8, 9, 2),
    ]


def test_sequences_without_coordinates_are_counted(tmp_path: Path) -> None:
    transcripts = bed(tmp_path, "chr1\t7\t9\tother\t0\t+\n")
    table, missing = genome_track([track_of("ac", [1, 2])], transcripts)
    assert (len(table), missing) == (0, 1)


def test_the_file_has_a_head_and_four_columns(tmp_path: Path) -> None:
    transcripts = bed(tmp_path, "# comment\ntrack name=genes\nchr1\t7\t9\tg\t0\t-\n")
    table, _ = genome_track([track_of("ac", [0.5, -1 / 3])], transcripts)
    write_bedgraph(tmp_path / "scores.bedgraph", table, "loo")
    assert (tmp_path / "scores.bedgraph").read_text() == (
        'track type=bedGraph name="loo" visibility=full\nchr1\t7\t8\t-0.333333\nchr1\t8\t9\t0.5\n'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chr1\t7\t9\tg\n", "genes.bed, line 1: found 4 columns; expected BED"),
        ("chr1\t7\t9\tg\t0\t.\n", "found strand '.'"),
        ("chr1\tx\t9\tg\t0\t+\n", "its places are not whole numbers"),
        ("chr1\t1\t9\tg\t0\t+\nchr1\t1\t9\tg\t0\t+\n", "line 2: 'g' stands in genes.bed, line 1"),
        ("chr1\t1\t9\tg\t0\t+\t1\t9\t0\t2\t5,5\t0,3\n", "its blocks overlap or leave 1-9"),
        ("chr1\t1\t9\tg\t0\t+\t1\t9\t0\t3\t5,5\t0,3\n", "its places are not whole numbers"),
    ],
)
def test_a_file_that_is_no_bed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        bed(tmp_path, text)


def test_a_sequence_longer_than_its_exons_is_refused(tmp_path: Path) -> None:
    transcripts = bed(tmp_path, "chr1\t7\t9\tg\t0\t+\n")
    with pytest.raises(DataError, match="exons of 'g' have 2 bases, but its scores reach base 3"):
        genome_track([track_of("acg", [1, 2, 3])], transcripts)
