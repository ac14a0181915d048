"""Planning and reading an input, without Ray."""

import gzip
import lzma
import pickle
import subprocess
import sys

import pytest
from divided import plan_of, read_all, read_pieces

from biolm_ray.data import pieces
from biolm_ray.data.reading import divide, number_pieces, read_piece, scan_piece, source_digest
from biolm_ray.errors import ConfigError, DataError


def read(*paths, sequence_column=2, **settings) -> list[dict]:
    return read_all(*paths, sequence_column=sequence_column, **settings)


def write(folder, content: bytes | str, name: str = "rows.tsv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_and_lines_are_numbered_past_header_and_blank_lines(tmp_path):
    path = write(tmp_path, "\nid\tseq\n\ng1\tac\n\n\ng2\tgu")
    records = read(path, has_header=True)
    assert [(r["row"], r["line"], r["id"], r["sequence"]) for r in records] == [
        (0, 4, "g1", "ac"),
        (1, 7, "g2", "gu"),
    ]


def test_rows_are_numbered_over_all_files_and_lines_in_each(tmp_path):
    first = write(tmp_path, "id\tseq\ng1\tac\n", "b.tsv")
    second = write(tmp_path, gzip.compress(b"seq\tid\n\ngu\tg2\nca\tg3\n"), "a.tsv.gz")
    plan = plan_of(first, second, has_header=True, id_column="id", sequence_column="seq")
    records = [row for block in read_pieces(plan, divide(plan)) for row in block.to_pylist()]
    assert [(r["row"], r["line"], r["id"], r["sequence"]) for r in records] == [
        (0, 2, "g1", "ac"),
        (1, 3, "g2", "gu"),
        (2, 4, "g3", "ca"),
    ]
    assert plan.where(1, 3) == "a.tsv.gz, line 3"


def test_bad_rows_are_kept_with_their_problem_and_text(tmp_path):
    path = write(tmp_path, b"g1\tac\t1\ng2\t\xe9c\t1\ng3\tac\tx\n")
    records = read(path, label_kind="number", label_column=3)
    assert [r["rule"] for r in records] == [None, "utf-8", "label"]
    assert records[1]["problem"] == (
        "byte 0xe9 at position 4 of the line is not UTF-8 ('é' in Windows-1252): save the file as "
        "UTF-8, as with 'iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE'"
    )
    assert [r["line"] for r in records] == [1, 2, 3]
    assert [r["raw"] for r in records] == [None, "g2\t\ufffdc\t1", "g3\tac\tx"]


def test_a_first_row_that_cannot_be_used_does_not_hide_the_others(tmp_path):
    path = write(tmp_path, b'"g1\tac\t1\ng2\tac\t1\n')
    assert [r["rule"] for r in read(path, label_kind="number", label_column=3)] == ["quotes", None]


@pytest.mark.parametrize("template", ["g{}\t{}a\n", ">g{}\n{}a\n"])
@pytest.mark.parametrize(
    ("num_rows", "compress"),
    [(20_000, gzip.compress), (60_000, gzip.compress), (20_000, lzma.compress)],
)
def test_a_truncated_compressed_file_is_a_problem_of_its_last_line(
    tmp_path, template, num_rows, compress
):
    text = "".join(template.format(row, "acgu" * (row % 50)) for row in range(num_rows))
    path = write(tmp_path, compress(text.encode())[:-50], "rows.gz")
    records = read(path)
    assert records[-1]["rule"] == "read"
    assert records[-1]["problem"].startswith("the file cannot be read further")
    plan = plan_of(path, sequence_column=2)
    (piece,) = divide(plan)
    assert scan_piece(plan, piece).num_records == len(records)


@pytest.mark.parametrize("packed", [False, True])
def test_rows_after_the_last_one_wanted_are_not_read(tmp_path, packed):
    text = b"id\tseq\n" + b"".join(b"g%d\tac\n" % row for row in range(9))
    path = write(tmp_path, gzip.compress(text) if packed else text)
    assert [r["id"] for r in read(path, has_header=True, max_rows=3)] == ["g0", "g1", "g2"]


def test_pieces_after_the_last_row_wanted_need_no_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 64)
    path = write(tmp_path, "".join(f"g{row}\tac\n" for row in range(90)))
    plan = plan_of(path, sequence_column=2, max_rows=12)
    first_two = [scan_piece(plan, piece) for piece in divide(plan)[:2]]
    assert sum(scan.num_records for scan in first_two) >= 12
    numbered = number_pieces(plan, divide(plan), first_two)
    rows = [row for piece in numbered for block in read_piece(plan, piece) for row in block["row"]]
    assert [row.as_py() for row in rows] == list(range(12))


@pytest.mark.parametrize("packed", [False, True])
def test_counts_are_of_all_rows_and_lines(tmp_path, packed):
    text = b"id\tseq\n\ng1\tac\ng2\tac\n\n"
    path = write(tmp_path, gzip.compress(text) if packed else text)
    plan = plan_of(path, has_header=True, sequence_column="seq")
    (scan,) = [scan_piece(plan, piece) for piece in divide(plan)]
    assert (scan.num_lines, scan.num_records, scan.num_bytes) == (5, 3, len(text))


def test_the_digest_is_that_of_the_content_whether_compressed_or_not(tmp_path):
    text = b"g1\tac\n"
    digests = set()
    for name, content in {"a": text, "b": gzip.compress(text), "c": b"g1\tau\n"}.items():
        plan = plan_of(write(tmp_path, content, name), sequence_column=2)
        digests.add(source_digest([scan_piece(plan, piece) for piece in divide(plan)]))
    assert len(digests) == 2


def test_the_separator_is_found_by_the_first_line_and_the_name(tmp_path):
    cases = {"a.csv": "g1,ac\n", "a.csv.gz": "g1,ac\n", "b.csv": "g1\tac\n", "c.txt": "g1\tac\n"}
    for name, text in cases.items():
        content = gzip.compress(text.encode()) if name.endswith("gz") else text
        assert read(write(tmp_path, content, name))[0]["sequence"] == "ac", name
    assert read(write(tmp_path, "g1;ac\n"), column_separator=";")[0]["id"] == "g1"


def test_a_fasta_file_is_recognised_and_needs_no_sequence_column(tmp_path):
    path = write(tmp_path, '>g1 gene=TFC3 y=1.5\nac\ngu\n>g2 y=x gene="a b"\nac\n>g3\nac\n')
    records = read_all(path, label_kind="number", label_column="y")
    assert [(r["line"], r["id"], r["sequence"], r["label"]) for r in records[:1]] == [
        (1, "g1", "acgu", 1.5)
    ]
    assert [r["problem"] for r in records[1:]] == [
        "label 'x' in attribute 'y' is not a finite number",
        "record 'g3' has no attribute 'y', asked for as label; its header line has no attributes "
        "(name=value or name:value)",
    ]
    assert [r["line"] for r in records] == [1, 4, 6]
    assert read_all(path, label_kind="class", label_column=3)[0]["label"] == "TFC3"


def test_a_missing_attribute_is_answered_with_those_there_are(tmp_path):
    path = write(tmp_path, ">g1 gene=TFC3 half_life=1.5\nac\n")
    (record,) = read_all(path, label_kind="number", label_column="halflife")
    assert record["problem"] == (
        "record 'g1' has no attribute 'halflife', asked for as label; "
        "its attributes are gene, half_life; did you mean 'half_life'?"
    )


def test_text_before_the_first_fasta_record_is_refused(tmp_path):
    path = write(tmp_path, "acgu\n>g1\nac\n")
    with pytest.raises(DataError, match=r"line 1: 'acgu' stands before the first record"):
        read_all(path, format="fasta")


def test_plans_are_described_and_pickle(tmp_path):
    path = write(tmp_path, gzip.compress(b"id\tseq\ty\ng1\tac\t1\n"), "a.tsv.gz")
    plan = plan_of(
        path, label_kind="number", has_header=True, sequence_column="seq", label_column=3
    )
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert plan.description == (
        "1 file, gzip-compressed tab-separated text with a header; id in column 1 ('id'), "
        "sequence in column 2 ('seq'), label in column 3 ('y')"
    )
    fasta = write(tmp_path, ">g1 y=1\nac\n", "a.fasta")
    plan = plan_of(fasta, label_kind="number", column_separator=",", label_column="y")
    assert plan.description == (
        "1 file, FASTA; id from the header lines, sequence from the sequence lines, "
        "label in attribute 'y'; data.column_separator not used"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \r\n", "has blank lines only"),
        (b"g\xff\tac\n", "line 1: byte 0xff .* not UTF-8"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "line 1: the file cannot be read further"),
        (b'"g1\tac\n', "line 1: a double quote opens a field"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=rf"rows\.tsv.*{message}"):
        read(write(tmp_path, content))


def test_a_file_that_is_gone_since_it_was_planned_is_told(tmp_path):
    path = write(tmp_path, "g1\tac\n")
    plan = plan_of(path, sequence_column=2)
    (piece,) = divide(plan)
    path.unlink()
    with pytest.raises(DataError, match=r"rows\.tsv cannot be opened"):
        scan_piece(plan, piece)


def test_a_header_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"rows\.tsv has a header and no rows"):
        read(write(tmp_path, "id\tseq\n"), has_header=True)


def test_a_header_that_was_not_announced_is_recognised(tmp_path):
    path = write(tmp_path, "id\tseq\thalf_life\ng1\tac\t1.5\n")
    with pytest.raises(DataError, match=r"line 1: looks like a header \('half_life' in column 3"):
        read(path, label_kind="number", label_column=3)


def test_a_header_above_any_of_the_labels_is_recognised(tmp_path):
    path = write(tmp_path, "g0\tac\t1\thalf_life\ng1\tac\t2\t3\n")
    with pytest.raises(DataError, match=r"looks like a header \('half_life' in column 4"):
        read(path, label_kind="number", label_column=[3, 4])


def test_a_name_without_a_header_is_a_setting_to_mend(tmp_path):
    with pytest.raises(ConfigError, match="has_header"):
        read(write(tmp_path, "id\tseq\ng1\tac\n"), sequence_column="seq")


def test_tables_need_a_sequence_column(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.sequence_column is not set"):
        read(write(tmp_path, "g1\tac\n"), sequence_column=None)


def test_measured_transcripts_are_the_same_as_table_and_as_fasta(shared):
    data = shared / "data"
    table = read_all(
        data / "mrna_halflife_yeast_cheng2017.tsv.gz",
        has_header=True,
        sequence_column="sequence",
        label_kind="number",
        label_column="half_life_min",
    )
    fasta = read_all(
        data / "transcripts_yeast.fasta.gz", label_kind="number", label_column="half_life_min"
    )
    assert len(table) == len(fasta) == 3838
    assert {r["rule"] for r in table + fasta} == {None}
    by_id = {r["id"]: r["sequence"] for r in fasta}
    assert all(by_id[r["id"]] == r["sequence"] for r in table)


def test_reading_imports_neither_ray_nor_torch_nor_transformers():
    code = (
        "import sys, biolm_ray.data.reading;"
        "sys.exit(' '.join({'ray', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stderr.strip() == ""
