"""Text in UTF-16 and UTF-32 is read as if it were UTF-8."""

import gzip
import io
import random

import pytest
from divided import plan_of, read_all

from biolm_ray.data.encodings import Utf8Stream, recognise_encoding
from biolm_ray.errors import DataError

TABLE = "id\tseq\tplace\n" + "".join(f"g{row}\tacgu\tK\u00f6rper\U0001f9ec\n" for row in range(300))
FASTA = "".join(f">g{row}\nac\ngu\n" for row in range(300))
BY_NAME = {"id_column": "id", "sequence_column": "seq", "has_header": True}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_table_reads_as_in_utf8(tmp_path, encoding, pack):
    plain, other = tmp_path / "plain.tsv", tmp_path / "other.tsv"
    plain.write_text(TABLE, encoding="utf-8")
    other.write_bytes(pack(TABLE.encode(encoding)))
    settings = {**BY_NAME, "label_column": "place", "label_kind": "class"}
    assert read_all(other, **settings) == read_all(plain, **settings)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_not_needed_where_letters_are_ascii(tmp_path, encoding):
    path = tmp_path / "rows.fa"
    path.write_bytes(FASTA.encode(encoding))
    assert plan_of(path, sequence_column=2).description.startswith("1 file, UTF-16")
    rows = read_all(path, sequence_column=2)
    assert [row["sequence"] for row in rows] == ["acgu"] * 300
    assert rows[299]["line"] == 898


def test_what_only_has_zero_bytes_is_no_utf16():
    assert recognise_encoding(b"\x01\x00\x02\x00" * 99) is None
    assert recognise_encoding(b"g1\tacgu\n" * 9) is None


def test_any_size_of_read_gives_the_same_bytes():
    draw = random.Random(0)
    source = io.BufferedReader(io.BytesIO(TABLE.encode("utf-16-le")))
    stream = Utf8Stream(source, "UTF-16LE", 7)
    found = b""
    while chunk := stream.read(draw.randrange(1, 50)):
        found += chunk
    assert found.decode() == TABLE


@pytest.mark.parametrize(
    ("rest", "at"), [(b"x", 41), ("\ud800".encode("utf-16-le", "surrogatepass") + b"a\x00", 41)]
)
def test_damage_is_the_last_row_and_names_its_byte(tmp_path, rest, at):
    path = tmp_path / "rows.tsv"
    path.write_bytes("g1\tacgu\ng2\tacgu\ngu\t".encode("utf-16")[:40] + rest)
    last = read_all(path, sequence_column=2)[-1]
    assert last["problem"] == (
        f"the file cannot be read further: byte {at} is not UTF-16LE; save it as UTF-8"
    )


def test_latin_1_is_named_with_its_line_and_a_command(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes("g1\tac\ng\u00e9\tac\n".encode("latin-1"))
    assert read_all(path, sequence_column=2)[1]["problem"] == (
        "byte 0xe9 at position 2 of the line is not UTF-8 ('\u00e9' in Windows-1252): save the "
        "file as UTF-8, as with 'iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE'"
    )
    path.write_bytes("g\u00e9\tac\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.tsv, line 1: byte 0xe9 at position 2 .*iconv"):
        read_all(path, sequence_column=2)
