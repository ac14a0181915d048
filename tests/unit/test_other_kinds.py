"""Files that are no input are named for what they are, with what to do."""

import gzip
import io
import tarfile
import zipfile

import pytest
from divided import read_all

from biolm_ray.config.paths import COMPRESSIONS
from biolm_ray.data.sources import find_files
from biolm_ray.errors import DataError

TABLE = "id\tseq\ng1\tac\ng2\tgu\n"


def zipped(name: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, TABLE)
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        entry = tarfile.TarInfo("t.tsv")
        entry.size = len(TABLE)
        archive.addfile(entry, io.BytesIO(TABLE.encode()))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped("t.tsv"), "rows.tsv is a zip archive: unpack it and give the file inside"),
        (zipped("xl/workbook.xml"), "is an Excel workbook: save the sheet as CSV"),
        (tarred(), "is a tar archive: unpack it"),
        (gzip.compress(tarred()), "is a tar archive: unpack it"),
        (gzip.compress(b"X\n\x00\x00\x00\x03"), "is an R object (.rds): write it as text in R"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook (.xls): save the sheet"),
        (TABLE.encode("utf-16"), "is UTF-16 (Excel calls it Unicode text): save it as UTF-8, as "),
        (TABLE.encode("utf-16-le"), "'iconv -f UTF-16LE -t UTF-8 rows.tsv > utf8_rows.tsv'"),
        (TABLE.encode("utf-16-be"), "'iconv -f UTF-16BE -t UTF-8 rows.tsv > utf8_rows.tsv'"),
        (b'{"id": "g1", "seq": "ac"}\n{"id": "g2"}\n', "is JSON lines: write it as a table, as "),
        (b'[\n {"id": "g1"}\n]', "is JSON: write it as a table"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page (HTML), perhaps saved in place of the file"),
        (b"@r0 1:N\nACGU\n+\nIIII\n@r1\nAC\n+\n@I\n", "is FASTQ, reads with qualities: convert it"),
        (gzip.compress(b"@r0\r\nACGU\r\n+r0\r\nIIII\r\n"), "'seqkit fq2fa rows.tsv > reads.fa'"),
        (b"@r0\n" + b"ACGU" * 20_000 + b"\n+\n", "is FASTQ"),
        (b"@HD\tVN:1.6\n", "is SAM, aligned reads: convert it to FASTA: samtools fasta rows.tsv"),
        (TABLE.replace("\n", "\r").encode(), "has line ends of old Macs (CR alone): convert them"),
        (b"\x00\xff\x01" * 99 + b"\n", "is no text but bytes of a format that is not known here"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not the file"),
    ],
)
def test_each_is_named_for_what_it_is(tmp_path, content, message):
    path = tmp_path / "rows.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        find_files([str(path)])
    assert str(caught.value).startswith(f"{path} ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "@g1\tac\n@g2\tgu\n+g3\tac\n",
        "{g1}\tac\n{g2}\tgu\n",
        "<g1>\tac\n",
        "g1\tac\r",
        "g1\tac\t\x00\n",
        "CLUSTER\tac\n",
        "LOCUS\tac\n",
    ],
)
def test_tables_that_begin_somewhat_alike_are_read(tmp_path, content):
    path = tmp_path / "rows.tsv"
    path.write_bytes(content.encode())
    assert read_all(path, sequence_column=2)[0]["sequence"] == "ac"


def test_who_sets_the_format_means_it(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"@a\nAC\n+\nII\n")
    (file,) = find_files([str(path)], "table")
    assert file.format == "table"


@pytest.mark.parametrize("known", COMPRESSIONS)
def test_what_is_damaged_from_the_start_cannot_be_read(tmp_path, known):
    path = tmp_path / "rows.tsv"
    path.write_bytes(known.magic + b"\x00" * 9)
    with pytest.raises(DataError, match=r"rows\.tsv, line 1: the file cannot be read further"):
        read_all(path, sequence_column=2)
