"""Files that are no input, told by how they begin: what each is, and what to do with it."""

import json
import re
from typing import NamedTuple

_JSON = re.compile(rb"\s*(\[\s*)?\{\s*[\"}]")
_FASTQ = re.compile(rb"\s*@[^\n]*\n[A-Za-z.*-]+(\r?\n\+|\Z)")
_SAM = re.compile(rb"@(HD|SQ|RG|PG|CO)\t")
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)


class _Kind(NamedTuple):
    """What a file is that has some bytes at a place, and what to do with it."""

    magic: bytes
    what: str
    remedy: str
    offset: int = 0


_SHEET = "save the sheet as CSV or as tab-separated text"
_R_TABLE = "write it as text in R: write.table(x, 'table.tsv', sep='\\t', row.names=FALSE)"
_UNPACK = "unpack it and give the file inside"
_TO_FASTA = "convert it to FASTA or to a table"
_KINDS = (
    _Kind(b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", _SHEET),
    _Kind(b"ustar", "a tar archive", _UNPACK, 257),
    _Kind(b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _Kind(b"Rar!", "a rar archive", _UNPACK),
    _Kind(b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it, or use gzip, xz or zstd"),
    _Kind(b"X\n\x00\x00\x00", "an R object (.rds)", _R_TABLE),
    _Kind(b"RDX2\n", "an R workspace (.RData)", _R_TABLE),
    _Kind(b"RDX3\n", "an R workspace (.RData)", _R_TABLE),
    _Kind(b"\x89HDF\r\n", "HDF5 (as .h5ad)", "write its table as CSV or parquet"),
    _Kind(b"\x93NUMPY", "a numpy array", "write it as CSV or parquet"),
    _Kind(b"\x80\x04\x95", "a Python pickle", "write the table as CSV or parquet"),
    _Kind(b"\x80\x05\x95", "a Python pickle", "write the table as CSV or parquet"),
    _Kind(b"SQLite format 3", "an SQLite database", "write its table as CSV or parquet"),
    _Kind(b"PAR1", "compressed parquet", "decompress it: parquet is compressed inside"),
    _Kind(b"ARROW1", "an Arrow file (Feather)", "write it as parquet"),
    _Kind(b"BAM\x01", "BAM, aligned reads", "convert it to FASTA: samtools fasta {name}"),
    _Kind(b"%PDF", "a PDF document", "give the table itself"),
    _Kind(b"version https://git-lfs", "a pointer of Git LFS, not the file", "run git lfs pull"),
    _Kind(b"LOCUS       ", "GenBank", _TO_FASTA),
    _Kind(b"CLUSTAL", "a Clustal alignment", _TO_FASTA),
    _Kind(b"# STOCKHOLM", "a Stockholm alignment", _TO_FASTA),
    _Kind(b"#NEXUS", "a Nexus alignment", _TO_FASTA),
    _Kind(b"##gff-version", "GFF, which holds no sequences", "give the FASTA file of its genes"),
    _Kind(b"##fileformat=VCF", "VCF, which holds no sequences", "give a FASTA file or a table"),
)


def name_binary(head: bytes, name: str) -> str | None:
    """Say what a file is, and what to do, if its first bytes show that it is no readable input.

    Args:
        head: The first bytes, a few thousand where there are as many.
        name: Of the file, for the commands that convert it.
    """
    if head.startswith(b"PK\x03\x04"):
        is_sheet = b"xl/" in head or b"[Content_Types].xml" in head
        return f"is an Excel workbook: {_SHEET}" if is_sheet else f"is a zip archive: {_UNPACK}"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _utf16("UTF-16", name)
    for kind in _KINDS:
        if head.startswith(kind.magic, kind.offset):
            return f"is {kind.what}: {kind.remedy.format(name=name)}"
    return None


def name_text(head: bytes, name: str) -> str | None:
    """Say what a text is, and what to do, if it looks like neither a table nor FASTA."""
    for encoding, high_bytes in (("UTF-16LE", head[1::2]), ("UTF-16BE", head[::2])):
        if len(head) > 8 and high_bytes.count(0) > 0.9 * len(high_bytes):
            return _utf16(encoding, name)
    if b"\x00" in head and not _is_utf8(head):
        return "is no text but bytes of a format that is not known here: give a table or FASTA"
    if _WEB_PAGE.match(head):
        return "is a web page (HTML), perhaps saved in place of the file: download the file itself"
    if _SAM.match(head):
        return f"is SAM, aligned reads: convert it to FASTA: samtools fasta {name}"
    if _FASTQ.match(head):
        return (
            "is FASTQ, reads with qualities: convert it to FASTA, as with "
            f"'seqkit fq2fa {name} > reads.fa'"
        )
    if _JSON.match(head):
        return _json(head, name)
    if b"\n" not in head and b"\r" in head.rstrip(b"\r"):
        return (
            "has line ends of old Macs (CR alone): convert them, as with "
            f"\"tr '\\r' '\\n' < {name} > unix_{name}\""
        )
    return None


def _utf16(encoding: str, name: str) -> str:
    return (
        "is UTF-16 (Excel calls it Unicode text): save it as UTF-8, as with "
        f"'iconv -f {encoding} -t UTF-8 {name} > utf8_{name}'"
    )


def _json(head: bytes, name: str) -> str:
    try:
        is_lines = isinstance(json.loads(head.lstrip().split(b"\n", 1)[0]), dict)
    except ValueError:
        is_lines = False
    command = (
        'python -c "import pandas; '
        f"pandas.read_json('{name}'{', lines=True' if is_lines else ''})"
        ".to_csv('table.tsv', sep='\\t', index=False)\""
    )
    return f"is JSON{' lines' if is_lines else ''}: write it as a table, as with {command}"


def _is_utf8(head: bytes) -> bool:
    """Whether bytes are UTF-8, but for a letter that is cut off at the end."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
