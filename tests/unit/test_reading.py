"""Planning and reading a file, without Ray."""

import gzip
import subprocess
import sys

import pytest

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.reading import plan_input, read_range
from biolm_ray.data.sources import find_source
from biolm_ray.errors import ConfigError, DataError


def read_all(path, label_kind=None, **settings) -> list[dict]:
    columns = {"id_column": 1, "sequence_column": 2}
    plan = plan_input(DataConfig(path=str(path), **{**columns, **settings}), label_kind)
    records = []
    for lines in plan.scan.ranges:
        for block in read_range(plan.source, plan.layout, lines, plan.max_rows):
            records += block.to_pylist()
    return records


def test_rows_and_lines_are_numbered_past_header_and_blank_lines(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("\nid\tseq\n\ng1\tac\n\n\ng2\tgu")
    records = read_all(path, has_header=True)
    assert [(r["row"], r["line"], r["id"], r["sequence"]) for r in records] == [
        (0, 4, "g1", "ac"),
        (1, 7, "g2", "gu"),
    ]


def test_bad_rows_are_kept_with_their_problem(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"g1\tac\t1\ng2\t\xe9c\t1\ng3\tac\tx\n")
    records = read_all(path, "number", label_column=3)
    assert [r["rule"] for r in records] == [None, "utf-8", "label"]
    assert records[1]["problem"].startswith("byte 0xe9 at position 4 of the line is not UTF-8")
    assert [r["line"] for r in records] == [1, 2, 3]


def test_compression_is_told_by_content_not_by_name(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes(gzip.compress(b"g1\tac\n") + gzip.compress(b"g2\tgu\n"))
    assert find_source(str(path)).compression == "gzip"
    assert [r["id"] for r in read_all(path)] == ["g1", "g2"]


def test_a_truncated_compressed_file_is_a_problem_of_its_last_line(tmp_path):
    path = tmp_path / "rows.gz"
    text = "".join(f"g{row}\t{'acgu' * (row % 50)}a\n" for row in range(20_000))
    path.write_bytes(gzip.compress(text.encode())[:-500])
    last = read_all(path)[-1]
    assert last["rule"] == "read"
    assert last["problem"].startswith("the file cannot be read further")


@pytest.mark.parametrize("packed", [False, True])
def test_rows_after_the_last_one_wanted_are_not_read(tmp_path, packed):
    path = tmp_path / "rows.tsv"
    text = b"id\tseq\n" + b"".join(b"g%d\tac\n" % row for row in range(9))
    path.write_bytes(gzip.compress(text) if packed else text)
    assert [r["id"] for r in read_all(path, has_header=True, max_rows=3)] == ["g0", "g1", "g2"]


@pytest.mark.parametrize("packed", [False, True])
def test_rows_can_be_counted_before_reading(tmp_path, packed):
    path = tmp_path / "rows.tsv"
    text = b"id\tseq\n\ng1\tac\ng2\tac\n\n"
    path.write_bytes(gzip.compress(text) if packed else text)
    config = DataConfig(path=str(path), has_header=True, sequence_column="seq")
    assert plan_input(config, None).count_rows() == 2


def test_files_are_found_by_uri(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("g1\tac\n")
    assert read_all(path.as_uri())[0]["id"] == "g1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("half_lives.tsv", None, r"half_lives\.tsv does not exist; did you mean half_life\.tsv"),
        ("half_life.tsv", b"", "is empty"),
        ("half_life.tsv", b"\n \r\n", "has blank lines only"),
        ("half_life.tsv", b"\xff\xfeg\x001\x00", "line 1: byte 0xff .* not UTF-8"),
        (".", None, "is a folder"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, name, content, message):
    (tmp_path / "half_life.tsv").write_bytes(b"g1\tac\n" if content is None else content)
    with pytest.raises(DataError, match=message):
        read_all(tmp_path / name)


def test_a_header_without_rows_is_refused(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("id\tseq\n")
    with pytest.raises(DataError, match=r"rows\.tsv has a header and no rows"):
        read_all(path, has_header=True)


def test_a_header_that_was_not_announced_is_recognised(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("id\tseq\thalf_life\ng1\tac\t1.5\n")
    with pytest.raises(DataError, match=r"line 1: looks like a header \('half_life' in column 3"):
        read_all(path, "number", label_column=3)


def test_a_name_without_a_header_is_a_setting_to_mend(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("id\tseq\ng1\tac\n")
    with pytest.raises(ConfigError, match="has_header"):
        read_all(path, sequence_column="seq")


def test_data_tasks_import_neither_torch_nor_transformers():
    code = (
        "import sys, biolm_ray.tokenization.blocks;"
        "sys.exit(' '.join({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
