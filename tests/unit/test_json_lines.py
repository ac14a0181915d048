"""JSON lines: keys are columns, and every bad line is named by its number."""

import gzip
import json

import pyarrow as pa
import pytest
from divided import plan_of, read_all, read_divided

from biolm_ray.data.fields import LEAVE_OUT
from biolm_ray.data.json_lines import looks_like_json_lines, read_json_line
from biolm_ray.errors import DataError

LINES = [
    {"id": "g1", "sequence": "acgu", "half_life": 1.50},
    {"id": 2, "sequence": " ac ", "half_life": "2.5", "more": [1]},
    {"sequence": "ac", "id": "g3", "half_life": -3e2},
]
BY_NAME = {"id_column": "id", "sequence_column": "sequence"}
LABELLED = {**BY_NAME, "label_column": "half_life", "label_kind": "number"}


def write(path, *lines: object) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def test_keys_are_columns_and_numbers_and_texts_are_alike(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, *LINES)
    assert plan_of(path, **LABELLED).description == (
        "1 file, JSON lines; id in key 'id', sequence in key 'sequence', label in key 'half_life'"
    )
    rows = read_all(path, **LABELLED)
    assert [row["id"] for row in rows] == ["g1", "2", "g3"]
    assert [row["sequence"] for row in rows] == ["acgu", "ac", "ac"]
    assert [row["label"] for row in rows] == [1.5, 2.5, -300.0]


@pytest.mark.parametrize("name", ["rows.ndjson", "rows.txt", "rows.jsonl.gz"])
def test_they_are_recognised_by_content_and_may_be_packed(tmp_path, name):
    path = tmp_path / name
    write(path, *LINES)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert [row["sequence"] for row in read_all(path, **BY_NAME)] == ["acgu", "ac", "ac"]


def test_a_column_is_found_by_the_place_of_its_key_in_the_first_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, *LINES)
    rows = read_all(path, id_column=1, sequence_column=2, label_column=3, label_kind="number")
    assert [row["id"] for row in rows] == ["g1", "2", "g3"]


def test_a_key_that_is_missing_or_null_is_a_missing_value(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, LINES[0], {"id": "g2", "sequence": "ac"}, {**LINES[0], "half_life": None})
    problems = [row["problem"] for row in read_all(path, **LABELLED)]
    assert problems == [None, *[f"the label in key 'half_life' is empty; {LEAVE_OUT}"] * 2]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "g2", "sequence"', "is damaged JSON at position 24: Expecting ':' delimiter"),
        ('["g2", "ac"]', "is a list, not an object such as"),
        ("17", "is a text or a number, not an object"),
        (
            {"id": "g2", "sequence": ["a", "c"]},
            "key 'sequence' holds a list, asked for as sequence",
        ),
        ({"id": {"a": 1}, "sequence": "ac"}, "key 'id' holds an object, asked for as id"),
        ('{"id": "g2", "id": "g3", "sequence": "ac"}', "holds the key 'id' twice"),
        ('{"id": "g\\ud800", "sequence": "ac"}', "key 'id' holds half of a character"),
        ('{"a": ' * 9999, "is JSON that is nested too deeply"),
        ('{"id": "g\\t2", "sequence": "ac"}', r"id 'g\t2' in key 'id' holds a control character"),
    ],
)
def test_a_bad_line_is_a_row_that_cannot_be_used(tmp_path, line, problem):
    path = tmp_path / "rows.jsonl"
    write(path, LINES[0], "", line, LINES[2])
    rows = read_all(path, **BY_NAME)
    assert [row["line"] for row in rows] == [1, 3, 4]
    assert problem in rows[1]["problem"]
    assert rows[0]["problem"] is rows[2]["problem"] is None


def test_a_key_that_no_line_has_is_named_with_the_nearest(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, *LINES)
    with pytest.raises(
        DataError, match=r"no column is named 'Half_Life'.*did you mean 'half_life'"
    ):
        read_all(path, **{**LABELLED, "label_column": "Half_Life"})


def test_a_file_without_a_good_line_says_what_is_wrong_with_the_first(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, "[1]", "[2]")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1: is a list, not an object"):
        read_all(path, **BY_NAME)


def test_any_division_gives_the_same_rows_and_blocks_read_as_single_lines_do(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"id": f"g{row}", "sequence": "acgu" * (row % 5), "half_life": row} for row in range(40)
    ]
    write(path, *lines[:20], "{", *lines[20:])
    plan = plan_of(path, **LABELLED)
    whole = read_all(path, **LABELLED)
    for cuts in ([7], [100, 101, 900], range(0, 3000, 11)):
        assert pa.concat_tables(read_divided(plan, cuts)).to_pylist() == whole
    for row, line in zip(whole, path.read_bytes().splitlines(), strict=True):
        read = read_json_line(line, plan.layouts[0])
        assert (row["problem"] is None) == (read.problem is None)
        assert row["problem"] or (row["id"], row["label"]) == (read.id, read.label)


@pytest.mark.parametrize(
    ("head", "name", "is_json_lines"),
    [
        (b'{"id": "g1", "seq": "' + b"a" * 99, "rows.txt", True),
        (b'\xef\xbb\xbf{"id": "g1"}\n', "rows.txt", True),
        (b'{"id": {"0": "g1"}, "seq": {"0": "ac"}}', "rows.json", False),
        (b'{\n"id": "g1"\n}\n', "rows.jsonl", False),
        (b'{damaged}\n{"id": "g1"}\n', "rows.jsonl.gz", True),
        (b"{damaged}\tac\n", "rows.tsv", False),
        (b'[{"id": "g1"}]\n', "rows.json", False),
    ],
)
def test_a_first_line_that_is_an_object_tells_the_format(head, name, is_json_lines):
    assert looks_like_json_lines(head, name) == is_json_lines
