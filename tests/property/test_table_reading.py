"""Blocks of delimited text, against reading line by line, for any division of the bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from divided import read_divided
from hypothesis import example, given
from hypothesis import strategies as st

from biolm_ray.data.columns import TO_UTF8, Layout
from biolm_ray.data.fields import Row, RowProblem, read_line
from biolm_ray.data.inputs import Input
from biolm_ray.data.reading import block_schema
from biolm_ray.data.sources import find_files
from biolm_ray.errors import DataError

MARK = b"\xef\xbb\xbf"
FIELD = st.sampled_from(
    [
        *("", "ac", "ACGU" * 4, " a ", "  " * 9 + "c", "\x1c", "\x0b", "ä", "\u3000", "\r", "\x00"),
        *(
            '"',
            '"a"',
            '"a""b"',
            '" "',
            '"ä"',
            "aäa",
            '"a',
            '"a\tb" ',
            'a"b',
            "n/a",
            "NA",
            "none",
            "GOOD",
            " weak",
            ".",
            "1 2",
            "1_0",
            "0x1",
        ),
        *(
            "1",
            "id",
            "seq",
            "1,5",
            "-2.5e-3",
            "+.5",
            "7.",
            "1e999",
            "nan",
            "inf",
            "-1",
            "٣",
            "00",
            "1e-400",
        ),
        *("\x1b[2Jg", "g\x7f", "g\u202e1", "g\xa01", "a\u200b", "1e39", "-3.5e38", "3.4e38"),
    ]
).map(str.encode) | st.just(b"\xff")
GOOD_FIELDS = st.tuples(
    st.sampled_from([b"g1", b" g2", b'"g\t3"', "gä4".encode()]),
    st.sampled_from([b"ac", b"a-c", b"*", b". 1", b"acgu ", b'"ac"', b'" a"']),
    st.sampled_from([b"1", b"2.5", b'"3\t"']),
)
HEADERS = st.sampled_from(
    [b"id\tseq\ty", b' id\t"seq"\ty', MARK + b"id\tseq\ty", b"id\tseq", b"id\tseq\tz"]
)
LINES = st.lists(
    st.lists(FIELD, max_size=6).map(b"\t".join) | GOOD_FIELDS.map(b"\t".join) | HEADERS, max_size=8
)
CONTENTS = st.builds(
    lambda mark, lines, end, last: mark + end.join(lines) + last,
    st.sampled_from([b"", MARK]),
    LINES,
    st.sampled_from([b"\n", b"\r\n", b"\n \n"]),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)
LAYOUTS = st.sampled_from(
    [
        Layout(separator="\t", id=0, sequence=1),
        Layout(separator="\t", id=0, sequence=1, label=2, label_kind="number"),
        Layout(separator="\t", id=2, sequence=0, label=1, label_kind="class", split=2),
        Layout(separator="\t", id=0, sequence=1, label=(3, 2), label_kind="number"),
        Layout(separator="\t", id=0, sequence=1, label=(2, 4, 0), weight=3, label_kind="number"),
        Layout(separator="\t", id=0, sequence=0, label=2, weight=3, label_kind="number"),
        Layout(
            separator="\t",
            id=0,
            sequence=1,
            label=2,
            weight=3,
            label_kind="number",
            missing_values=("1", "-2.5e-3", "GOOD"),
        ),
        Layout(separator=" ", id=0, sequence=1, weight=0),
        Layout(separator="\t", id=0, sequence=1, num_columns=3, names=("id", "seq", "y")),
        Layout(separator="\t", id=1, sequence=2, num_columns=3, names=("row names", "id", "seq")),
        Layout(separator="\t", id=0, sequence=1, label=2, label_kind="number", decimal=","),
        Layout(separator="\t", id=0, sequence=1, remove_gaps=True),
        Layout(separator="\t", id=0, sequence=1, weight=2, decimal=",", num_columns=4, num_above=2),
        Layout(separator="\t\t", id=0, sequence=1),
    ]
)


def read_line_by_line(content: bytes, layout: Layout, has_header: bool) -> list[dict]:
    """The same rows the slow way: one line after the other."""
    records = []
    num_to_skip = layout.num_above + has_header
    for number, raw in enumerate(content.removeprefix(MARK).split(b"\n"), 1):
        raw = raw.removesuffix(b"\r")
        if not raw.strip():
            continue
        if num_to_skip:
            num_to_skip -= 1
            continue
        try:
            row = read_line(raw.decode(), layout)
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line"
            message = f"{found} is not UTF-8 ('ÿ' in Windows-1252): {TO_UTF8}"
            row = Row(problem=RowProblem("utf-8", message))
        rule, problem = row.problem or (None, None)
        raw_text = raw.decode(errors="replace") if rule else None
        places = {"row": len(records), "line": number, "rule": rule, "problem": problem}
        labels = {f"label_{place}": label for place, label in enumerate(row.more_labels, 2)}
        records.append({**row._asdict(), **labels, **places, "raw": raw_text})
    return records


@given(CONTENTS, LAYOUTS, st.lists(st.integers(4, 120), max_size=4), st.booleans())
@example(b"a\tc\n", Layout(separator="\t", id=0, sequence=1), [4], False)
@example(MARK + b"a\tc\nb\td", Layout(separator="\t", id=0, sequence=1), [4, 7, 8, 9], True)
def test_blocks_hold_what_reading_line_by_line_gives(content, layout, cuts, has_header):
    check(content, layout, cuts, has_header)


@pytest.mark.parametrize("has_header", [False, True])
def test_every_cut_gives_the_same_rows(has_header):
    content = b'id\tseq\ty\r\n\n \ng1\tac\t1\r\n"g2"\tgu\t2\ng3\t\tx\n\n\xc3\xa4\tc\t1\nlast\ta\t5'
    layout = Layout(separator="\t", id=0, sequence=1, label=2, label_kind="number")
    for cut in range(1, len(content)):
        check(content, layout, [cut], has_header)
        check(content, layout, [cut, cut + 1, cut + 5], has_header)


NAMED = Layout(separator="\t", id=0, sequence=1, num_columns=3, names=("id", "seq", "y"))
ROW_NAMED = Layout(
    separator="\t", id=1, sequence=2, num_columns=4, names=("row names", "id", "seq", "y")
)
BELOW_TITLES = Layout(separator="\t", id=0, sequence=1, num_above=2)
JOINED = MARK + b"id\tseq\ty\ng1\tac\t1\t \n" + MARK + b"id\tseq\t y\ng2\tseq\t1\ng3\tac\t1\t2\n"
JOINED_IN_R = b'id\tseq\ty\n1\tg1\tac\t1\nid\t"seq"\ty\n1\tg2\tseq\t1\n'
TITLES = b"Table S1\n\nfrom\t1999\n\nid\tseq\ng1\tac\ng2\tgu\n"


@pytest.mark.parametrize(
    ("content", "layout", "rules"),
    [
        (JOINED, NAMED, [None, "header", None, "columns"]),
        (JOINED_IN_R, ROW_NAMED, [None, "header", None]),
        (TITLES, BELOW_TITLES, [None, None]),
    ],
)
def test_every_cut_finds_headers_titles_and_columns_too_many(content, layout, rules):
    found = read_line_by_line(content, layout, has_header=True)
    assert [record["rule"] for record in found] == rules
    for cut in range(4, len(content)):
        check(content, layout, [cut, cut + 1, cut + 9], has_header=True)


def check(content: bytes, layout: Layout, cuts: list[int], has_header: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.tsv"
        path.write_bytes(content or b"\n")
        files = find_files([str(path)], "table")
        plan = Input(files, (layout,), layout.label_kind, has_header, None)
        expected = read_line_by_line(content, layout, has_header)
        if not expected:
            with pytest.raises(DataError, match=r"rows\.tsv: there are no rows"):
                read_divided(plan, cuts)
            return
        found = pa.concat_tables(read_divided(plan, cuts))
    schema = block_schema(plan)
    assert found.schema == schema
    assert found.to_pylist() == pa.Table.from_pylist(expected, schema=schema).to_pylist()
