"""Files that are no input are named for what they are, with what to do."""

import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import pytest
from divided import read_all

from biolm_ray.config.paths import COMPRESSIONS
from biolm_ray.data.sources import find_files
from biolm_ray.errors import DataError

TABLE = "id\tseq\ng1\tac\ng2\tgu\n"


def zipped(name: str, content: str = TABLE) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, content)
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        entry = tarfile.TarInfo("t.tsv")
        entry.size = len(TABLE)
        archive.addfile(entry, io.BytesIO(TABLE.encode()))
    return sink.getvalue()


SAM_ROW = b"r0\t0\tchr1\t100\t60\t4M\t*\t0\t0\tACGU\tIIII\n"
GTF_ROW = b'chr1\thavana\texon\t11\t22\t.\t+\t.\tgene_id "g1";\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped("t.tsv"), "rows.tsv is a zip archive: unpack it (unzip rows.tsv) and use the file"),
        (zipped("xl/workbook.xml"), "is an Excel workbook (.xlsx): save the sheet as CSV"),
        (zipped("word/document.xml"), "is a Word or PowerPoint document: save the table itself"),
        (
            zipped("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
            "spreadsheet (.ods)",
        ),
        (zipped("labels.npy"), "is numpy arrays (.npz): write its table as CSV or parquet"),
        (tarred(), "is a tar archive: unpack it (tar -xf rows.tsv)"),
        (gzip.compress(tarred()), "is a tar archive: unpack it"),
        (lzma.compress(tarred()), "is a tar archive: unpack it"),
        (gzip.compress(gzip.compress(b"a\tb\n")), "is compressed twice: decompress it (gzip -d"),
        (b"\x00" * 10_000, "rows.tsv is nothing but zero bytes, as a download or copy leaves it"),
        (b"7z\xbc\xaf\x27\x1c\x00", "is a 7z archive: unpack it (7z x rows.tsv)"),
        (b"Rar!\x1a\x07\x00", "is a rar archive: unpack it (unrar x rows.tsv)"),
        (
            b"\x04\x22\x4d\x18\x64",
            "is compressed with lz4: decompress it (lz4 -d rows.tsv); gzip, bz2",
        ),
        (b"\x1f\x9d\x90a", "is compressed with compress: decompress it (gzip -d rows.tsv)"),
        (gzip.compress(b"X\n\x00\x00\x00\x03"), "is an R object (.rds): write it as text in R"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook (.xls), or an old Word document"),
        (pickle.dumps(["ac"], 2), "is a Python pickle: write its table as CSV or parquet"),
        (pickle.dumps(["ac"], 5), "is a Python pickle"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5 (as .h5, .h5ad): write its table"),
        (b"SQLite format 3\x00", "is an SQLite database: write its table as CSV or parquet"),
        (b"%PDF-1.7\n", "is a PDF document: save the table itself as text"),
        (b"\x89PNG\r\n\x1a\n", "is an image: save the table itself as text"),
        (
            gzip.compress(b"BAM\x01\x00"),
            "is BAM, aligned reads: convert it to FASTA: samtools fasta",
        ),
        (b"CRAM\x03\x00", "is CRAM, aligned reads: convert it to FASTA: samtools fasta rows.tsv"),
        (b"@HD\tVN:1.6\n", "is SAM, aligned reads: convert it to FASTA: samtools fasta rows.tsv"),
        (SAM_ROW, "is SAM, aligned reads"),
        (b"##gff-version 3\n", "is GFF, which holds no sequences"),
        (b"#!genome-build GRCh38\n" + GTF_ROW, "is GFF or GTF, which holds no sequences"),
        (b"##fileformat=VCFv4.2\n", "is VCF, variants without sequences"),
        (b"track name=peaks\nchr1\t1\t9\n", "is a track of a genome browser, without sequences"),
        (b"LOCUS       AB000001  450 bp\n", "is GenBank: convert it to FASTA or to a table"),
        (b"ID   X56734; SV 1; linear; mRNA;\n", "is EMBL or UniProt: convert it to FASTA"),
        (
            b'[\n {"id": "g1"}\n]',
            "is JSON: write it as JSON lines, an object on each line, as with",
        ),
        (b'{\n "id": "g1"\n}', "for row in json.load(open('rows.tsv'))]\" > rows.jsonl"),
        (b'{"id": {"0": "g1"}, "seq": {"0": "ac"}}', "is JSON: write it as JSON lines"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page (HTML), perhaps saved in place of the file"),
        (b"<!-- login -->\n<HTML>", "is a web page (HTML)"),
        (b'<?xml version="1.0"?>\n', "is XML: convert it"),
        (b"@r0 1:N\nACGU\n+\nIIII\n@r1\nAC\n+\n@I\n", "is FASTQ, reads with qualities: convert it"),
        (gzip.compress(b"@r0\r\nACGU\r\n+r0\r\nIIII\r\n"), "'seqkit fq2fa rows.tsv > reads.fa'"),
        (b"@r0\n" + b"ACGU" * 20_000 + b"\n+\n", "is FASTQ"),
        (TABLE.replace("\n", "\r").encode(), "line ends of old Macs (CR alone): convert them"),
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
        "PAR1\tac\n",
        "ORC1\tac\n",
        "ID   5\tac\n",
        "g1\tac\t12\t34\n",
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "rows.tsv.br",
            b"\x0b\x05\x80ac\x03",
            "is compressed with brotli: decompress it (brotli -d",
        ),
        (
            "peaks.bed",
            b"chr1\t1\t9\tpeak1\n",
            "is BED, which holds no sequences: write those of its",
        ),
        (
            "peaks.bed.gz",
            gzip.compress(b"chr1\t1\t9\n"),
            "bedtools getfasta -fi genome.fa -bed peaks",
        ),
    ],
)
def test_some_are_named_by_their_ending_too(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        find_files([str(path)])
    assert message in str(caught.value)
