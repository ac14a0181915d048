"""Files that are no input, recognised by how they begin: what each is, and what to do with it."""

import re
from typing import NamedTuple

from biolm_ray.config.paths import COMPRESSIONS, without_compression_ending


class _Kind(NamedTuple):
    """What a file is that begins as a pattern says, and what to do with it.

    Attributes:
        ending: Of the file's name, but for that of a compression; empty where it tells nothing.
    """

    pattern: bytes
    what: str
    remedy: str
    ending: str = ""


_SHEET = "save the sheet as CSV or as tab-separated text"
_R_TABLE = "write it as text in R: write.table(x, 'table.tsv', sep='\\t', row.names=FALSE)"
_UNPACK = "unpack it ({command}) and use the file inside"
_UNZIP = _UNPACK.format(command="unzip {name}")
_DECOMPRESS = "decompress it ({command}); gzip, bz2, xz and zstd are read as they are"
_TO_FASTA = "convert it to FASTA or to a table"
_AS_CSV = "write its table as CSV or parquet"
_SAMTOOLS = "convert it to FASTA: samtools fasta {name}"
_TABLE_ITSELF = "save the table itself as text"
_NO_SEQUENCES = "use the FASTA file of the sequences, or a table"

PARQUET_START = rb"PAR1[^\t\n\r -~]"
"""How parquet begins; a row of text may begin with a gene of that name."""

_BINARY_KINDS = (
    # Office programs write zip archives, so that these stand before the plain one.
    _Kind(rb"PK\x03\x04(?=.*(\bword/|\bppt/))", "a Word or PowerPoint document", _TABLE_ITSELF),
    _Kind(rb"PK\x03\x04(?=.*(\bxl/|\[Content_Types\]\.xml))", "an Excel workbook (.xlsx)", _SHEET),
    _Kind(
        rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis\.opendocument\.spreadsheet",
        "an OpenDocument spreadsheet (.ods)",
        _SHEET,
    ),
    _Kind(rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument", _TABLE_ITSELF),
    _Kind(rb"PK\x03\x04.{26,90}\.npy", "numpy arrays (.npz)", _AS_CSV),
    _Kind(rb"PK\x03\x04.{26,90}/data\.pkl", "a file of PyTorch", _AS_CSV),
    _Kind(rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive", _UNZIP),
    _Kind(rb"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls), or an old Word document", _SHEET),
    _Kind(rb".{257}ustar[\x00 ]", "a tar archive", _UNPACK.format(command="tar -xf {name}")),
    _Kind(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK.format(command="7z x {name}")),
    _Kind(rb"Rar!\x1a", "a rar archive", _UNPACK.format(command="unrar x {name}")),
    _Kind(rb"\x04\x22\x4d\x18", "compressed with lz4", _DECOMPRESS.format(command="lz4 -d {name}")),
    _Kind(rb"\x1f\x9d", "compressed with compress", _DECOMPRESS.format(command="gzip -d {name}")),
    _Kind(rb"LZIP[\x00\x01]", "compressed with lzip", _DECOMPRESS.format(command="lzip -d {name}")),
    _Kind(rb"\x5d\x00\x00.{2}", "compressed with lzma", _DECOMPRESS.format(command="xz -d {name}")),
    _Kind(
        rb"\xff\x06\x00\x00sNaPpY",
        "compressed with snappy",
        _DECOMPRESS.format(command="snzip -d {name}"),
    ),
    _Kind(
        rb".*[\x00-\x08\x80-\xff]",
        "compressed with brotli",
        _DECOMPRESS.format(command="brotli -d {name}"),
        ".br",
    ),
    _Kind(rb"X\n\x00\x00\x00", "an R object (.rds)", _R_TABLE),
    _Kind(rb"RD[XA][23]\n", "an R workspace (.RData)", _R_TABLE),
    _Kind(rb"\x89HDF\r\n", "HDF5 (as .h5, .h5ad)", _AS_CSV),
    _Kind(rb"\x93NUMPY", "a numpy array (.npy)", _AS_CSV),
    _Kind(rb"\x80[\x02-\x05]", "a Python pickle", _AS_CSV),
    _Kind(rb"SQLite format 3", "an SQLite database", _AS_CSV),
    _Kind(rb".{8}DUCK.\x00{7}", "a DuckDB database", _AS_CSV),
    _Kind(rb"MATLAB 5\.0 MAT-file", "a MATLAB file (.mat)", _AS_CSV),
    _Kind(PARQUET_START, "compressed parquet", "decompress it: parquet is compressed inside"),
    _Kind(rb"ARROW1\x00|FEA1\x00", "an Arrow file (Feather)", "write it as parquet"),
    _Kind(rb"ORC[\x00-\x08]|Obj\x01", "ORC or Avro", "write it as parquet"),
    _Kind(rb"BAM\x01", "BAM, aligned reads", _SAMTOOLS),
    _Kind(rb"CRAM[\x01-\x09]", "CRAM, aligned reads", _SAMTOOLS),
    _Kind(
        rb"\x00+\Z",
        "nothing but zero bytes, as a download or copy leaves it that broke off",
        "fetch it once more",
    ),
    _Kind(rb"BCF[\x02\x04]", "BCF, variants without sequences", _NO_SEQUENCES),
    _Kind(
        rb"\x43\x27\x41\x1a|\x1a\x41\x27\x43",
        "a genome in 2bit",
        "convert it to FASTA: twoBitToFa {name} genome.fa",
    ),
    _Kind(rb"\x26\xfc\x8f\x88|\x88\x8f\xfc\x26", "bigWig, without sequences", _NO_SEQUENCES),
    _Kind(rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\x00|MM\x00\*", "an image", _TABLE_ITSELF),
    _Kind(rb"%PDF", "a PDF document", _TABLE_ITSELF),
    _Kind(rb"%!PS", "a PostScript document", _TABLE_ITSELF),
    _Kind(rb"\{\\rtf", "a rich text document (.rtf)", _TABLE_ITSELF),
    _Kind(rb"version https://git-lfs", "a pointer of Git LFS, not the file", "run git lfs pull"),
    _Kind(rb"LOCUS       ", "GenBank", _TO_FASTA),
    _Kind(rb"ID   \S[^\n]*(; SV|; linear|; circular| BP\.| AA\.)", "EMBL or UniProt", _TO_FASTA),
    _Kind(rb"CLUSTAL", "a Clustal alignment", _TO_FASTA),
    _Kind(rb"# STOCKHOLM", "a Stockholm alignment", _TO_FASTA),
    _Kind(rb"#NEXUS", "a Nexus alignment", _TO_FASTA),
    _Kind(rb"##gff-version", "GFF, which holds no sequences of genes", _NO_SEQUENCES),
    _Kind(rb"##fileformat=VCF", "VCF, variants without sequences", _NO_SEQUENCES),
)
"""What begins as no table or FASTA does, whatever `data.format` says; the first that fits."""

_TEXT_KINDS = (
    _Kind(
        rb"\s*(<!--.*?-->\s*)?(?i:<(!doctype html|html|head|body|script|meta)\b)",
        "a web page (HTML), perhaps saved in place of the file",
        "download the file itself (a login may be needed)",
    ),
    _Kind(rb"\s*<\?xml\b", "XML", _TO_FASTA),
    _Kind(
        rb"@(HD|SQ|RG|PG|CO)\t|[^\s]+\t\d+\t[^\s]+\t\d+\t\d+\t(\*|(\d+[MIDNSHP=X])+)\t",
        "SAM, aligned reads",
        _SAMTOOLS,
    ),
    _Kind(
        rb"\s*@[^\n]*\n[A-Za-z.*-]+(\r?\n\+|\Z)",
        "FASTQ, reads with qualities",
        "convert it to FASTA, as with 'seqkit fq2fa {name} > reads.fa'",
    ),
    _Kind(
        rb"(#[^\n]*\n)*([^\t\n]+\t){3}\d+\t\d+\t[^\t\n]+\t[-+.?]\t[012.]\t",
        "GFF or GTF, which holds no sequences",
        _NO_SEQUENCES,
    ),
    _Kind(
        rb"(track|browser)[ \t]", "a track of a genome browser, without sequences", _NO_SEQUENCES
    ),
    _Kind(
        rb"(#[^\n]*\n)*\S+\t\d+\t\d+[\t\r\n]",
        "BED, which holds no sequences",
        "write those of its regions: bedtools getfasta -fi genome.fa -bed {name}",
        ".bed",
    ),
    _Kind(
        rb"\s*(\[\s*)?\{\s*[\"}]",
        "JSON",
        'write it as JSON lines, an object on each line, as with python -c "import json; '
        "[print(json.dumps(row)) for row in json.load(open('{name}'))]\" > rows.jsonl",
    ),
    _Kind(
        rb"[^\r\n]*\r[^\n]*[^\r\n][\r]*\Z",
        "a text with line ends of old Macs (CR alone)",
        "convert them, as with \"tr '\\r' '\\n' < {name} > unix_{name}\"",
    ),
)
"""What looks like neither a table nor FASTA, but is one where `data.format` says so."""


def name_binary(head: bytes, name: str) -> str | None:
    """Say what a file is, and what to do, if its first bytes show that it is no readable input.

    Args:
        head: The first bytes of the content, a few thousand where there are as many.
        name: Of the file, for the commands that convert it.
    """
    for compression in COMPRESSIONS:
        if head.startswith(compression.magic):
            return f"is compressed twice: decompress it ({compression.command.format(name=name)})"
    return _named(_BINARY_KINDS, head, name)


def name_text(head: bytes, name: str) -> str | None:
    """Say what a text is, and what to do, if it looks like neither a table nor FASTA."""
    found = _named(_TEXT_KINDS, head, name)
    if found is None and b"\x00" in head and not _is_utf8(head):
        return "is no text but bytes of a format that is not known here: use a table or FASTA"
    return found


def _named(kinds: tuple[_Kind, ...], head: bytes, name: str) -> str | None:
    stem = without_compression_ending(name.lower())
    for kind in kinds:
        if stem.endswith(kind.ending) and re.match(kind.pattern, head, re.DOTALL):
            return f"is {kind.what}: {kind.remedy.replace('{name}', name)}"
    return None


def _is_utf8(head: bytes) -> bool:
    """Whether bytes are UTF-8, but for a letter that is cut off at the end."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
