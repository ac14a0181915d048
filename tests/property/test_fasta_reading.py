"""Records of FASTA, against reading them one after the other, for any division of the bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from divided import read_divided
from hypothesis import given
from hypothesis import strategies as st

from biolm_ray.data.columns import Layout
from biolm_ray.data.inputs import Input
from biolm_ray.data.reading import block_schema
from biolm_ray.data.sources import find_files
from biolm_ray.errors import DataError

MARK = b"\xef\xbb\xbf"
HEADERS = st.sampled_from(
    [
        *("g1", "g2 y=1.5", "g3  y=x gene=TFC3", 'g4 gene="a b" y="2"', "g5 y=", "", "gä y=1"),
        *(" g6\ty=-1 y=3", "g7 text without attributes", "g8 xy=1", "g9 y=nan", "g10=5 y=7"),
        *(
            "g11 cdna y:4 gene:E.1",
            "g12 OS=Bacillus sp. (168) y=1",
            "g13 y=1 kinase",
            "g14 y:1 y=2",
        ),
    ]
).map(str.encode) | st.just(b"g\xff y=1")
SEQUENCE_LINES = st.sampled_from(
    [b"acgu", b"AC GU", b"", b" ", b"a>c", b";a>c", b"a;c", "ä".encode()]
)
SEQUENCE = st.lists(SEQUENCE_LINES, max_size=4)
RECORDS = st.lists(st.tuples(HEADERS, SEQUENCE), max_size=5)
LABELLED = Layout(
    format="fasta",
    names=("id", "sequence", "gene", "y"),
    id=0,
    sequence=1,
    label=3,
    label_kind="number",
)
SEVERAL = Layout(
    format="fasta",
    names=("id", "sequence", "y", "z"),
    id=0,
    sequence=1,
    label=(3, 2),
    label_kind="number",
)
PLAIN = Layout(format="fasta", names=("id", "sequence"), id=0, sequence=1)


def attributes_of(header: str) -> dict[str, str]:
    """The attributes of a header, word by word; blanks in quotes hold no words apart."""
    quoted = "".join(
        part.replace(" ", "\0") + "\0" if index % 2 else part
        for index, part in enumerate(header.split('"'))
    )
    pairs: list[list[str]] = []
    for word in quoted.split():
        name, sign, value = word.partition("=" if "=" in word else ":")
        if sign:
            pairs.append([sign, name, value])
        elif pairs and not pairs[-1][2].endswith("\0") and not pairs[-1][2].isdigit():
            pairs[-1][2] += f" {word}"
    ordered = sorted(pairs, key=lambda pair: pair[0] == ":")
    return {name: value.strip("\0").replace("\0", " ") for _, name, value in reversed(ordered)}


def read_one_by_one(content: bytes, layout: Layout) -> list[tuple]:
    """Row, line, id, sequence, label and rule of each record, the slow way."""
    rows: list[tuple] = []
    headers: list[tuple[int, bytes, bytes]] = []
    for number, line in enumerate(content.removeprefix(MARK).split(b"\n"), 1):
        if line.startswith(b">"):
            headers.append((number, line[1:], b""))
        elif headers and not line.startswith(b";"):
            number, header, sequence = headers[-1]
            headers[-1] = (number, header, sequence + b"".join(line.split()))
    for number, header, sequence in headers:
        place = (len(rows), number)
        try:
            words = header.decode().split(None, 1)
        except UnicodeDecodeError:
            rows.append((*place, "", "", None, "utf-8"))
            continue
        attributes = attributes_of(words[1]) if len(words) == 2 else {}
        rule, label = None, None
        if layout.label is not None:
            try:
                label = float(attributes.get("y", "missing"))
                rule = "label" if label != label else None
            except ValueError:
                rule = "label" if "y" in attributes else "columns"
        rule = "record" if b">" in sequence else rule
        rule = "id" if not words else "sequence" if not sequence else rule
        if rule:
            rows.append((*place, "", "", None, rule))
        else:
            rows.append((*place, words[0], sequence.decode(), label, None))
    return rows


def check(content: bytes, layout: Layout, cuts: list[int]) -> None:
    expected = read_one_by_one(content, layout)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.fasta"
        path.write_bytes(content or b"\n")
        plan = Input(find_files([str(path)], "fasta"), (layout,), layout.label_kind, False, None)
        if not expected:
            with pytest.raises(DataError, match=r"rows\.fasta: there are no rows"):
                read_divided(plan, cuts)
            return
        found = pa.concat_tables(read_divided(plan, cuts))
    assert found.schema == block_schema(plan)
    names = ("row", "line", "id", "sequence", "label", "rule")
    rows = found.to_pylist()
    assert [tuple(row.get(name) for name in names) for row in rows] == expected
    assert all((row["raw"] is None) == (row["rule"] is None) for row in rows)


@given(
    RECORDS,
    st.sampled_from([b"", MARK, b"\n \n"]),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\n", b"\n\n"]),
    st.sampled_from([PLAIN, LABELLED]),
    st.lists(st.integers(4, 120), max_size=4),
)
def test_pieces_hold_every_record_once(records, first, end, last, layout, cuts):
    lines = [line for header, sequence in records for line in (b">" + header, *sequence)]
    check(first + end.join(lines) + last, layout, cuts)


@pytest.mark.parametrize("layout", [PLAIN, LABELLED])
def test_every_cut_gives_the_same_records(layout):
    content = b'\n>g1 y=1\r\nac\r\ngu\r\n\n>g2 gene="a b" y=2\n\n>g3\nac\n>g4 y=4\nAC GU\ng>u'
    for cut in range(1, len(content)):
        check(content, layout, [cut])
        check(content, layout, [cut, cut + 1, cut + 5])


def test_several_targets_are_several_attributes(tmp_path):
    path = tmp_path / "rows.fasta"
    path.write_text(">g1 y=1 z=2\nac\n>g2 y=3 z=x\nac\n>g3 z=4\nac\n")
    plan = Input(find_files([str(path)], "fasta"), (SEVERAL,), "number", False, None)
    rows = pa.concat_tables(read_divided(plan, [])).to_pylist()
    found = [(row["label"], row["label_2"]) for row in rows]
    assert found == [(2.0, 1.0), (None, None), (None, None)]
    assert [row["problem"] for row in rows[1:]] == [
        "label 'x' in attribute 'z' is not a finite number",
        "record 'g3' has no attribute 'y', asked for as label; its attributes are z",
    ]
