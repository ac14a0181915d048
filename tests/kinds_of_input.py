"""Inputs of the kinds that people have, and how each is given to a command."""

import io
import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

HEADER = ("id", "sequence", "half_life")
WITH_HEADER = {"stripheader": "True", "idpos": "id", "seqpos": "sequence"}
BY_NUMBER = {"idpos": "1", "seqpos": "2"}


@dataclass(frozen=True)
class Kind:
    """A file, the flags that say how it is read, and those that fine-tune needs beside.

    Attributes:
        file: Its name.
        content: What stands in it.
        reading: Flags of every mode.
        labels: Further flags of fine-tune; None where such a file has no labels.
        trains: Whether fine-tune goes on to train; else it stops when the data is prepared.
    """

    file: str
    content: bytes
    reading: dict[str, str] = field(default_factory=lambda: dict(WITH_HEADER))
    labels: dict[str, str] | None = field(default_factory=lambda: {"labelpos": "half_life"})
    trains: bool = False


def sequences(num: int, letters: str = "ACGU", seed: int = 0) -> list[str]:
    drawn = random.Random(seed)
    return ["".join(drawn.choices(letters, k=30)) for _ in range(num)]


def table(*columns: Sequence[object], header: Sequence[str] = (), separator: str = "\t") -> bytes:
    rows = [header, *zip(*columns, strict=True)] if header else list(zip(*columns, strict=True))
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


def fasta(headers: Sequence[str], texts: Sequence[str]) -> bytes:
    return "".join(f">{name}\n{text}\n" for name, text in zip(headers, texts, strict=True)).encode()


NUM_ROWS = 30
IDS = [f"g{row}" for row in range(NUM_ROWS)]
RNA = sequences(NUM_ROWS)
DNA = sequences(NUM_ROWS, "ACGT")
PROTEIN = sequences(NUM_ROWS, "ACDEFGHIKLMNPQRSTVWY")
HOURS = [f"{random.Random(row).uniform(1, 9):.2f}" for row in range(NUM_ROWS)]
CLASSES = [("nucleus", "cytoplasm")[row % 2] for row in range(NUM_ROWS)]
ORGANISMS = ("Bacillus subtilis (strain 168)", "Bacillus anthracis")
ROLES = ["train", "train", "train", "validation", "test"] * 6
FASTA = {"format": "fasta"}
CLASSIFIED = {"task": "classification", "labelpos": "3"}


def with_hours(**columns: Sequence[object]) -> bytes:
    """A table of ids, sequences and hours, and further columns."""
    return table(IDS, RNA, HOURS, *columns.values(), header=[*HEADER, *columns])


def replaced(values: Sequence[object], row: int, value: object) -> list[object]:
    return [*values[:row], value, *values[row + 1 :]]


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


ATTRIBUTES = [f"{name} half_life={hours}" for name, hours in zip(IDS, HOURS, strict=True)]
PLAIN = with_hours()
LABELLED = {"labelpos": "half_life"}

KINDS: dict[str, Kind] = {
    "as it should be": Kind("rows.tsv", PLAIN),
    # rows in the wrong place
    "roles beside a cross-validation": Kind(
        "rows.tsv",
        with_hours(part=ROLES),
        labels={**LABELLED, "splitpos": "part", "crossvalidation": "2"},
        trains=True,
    ),
    "roles in other spellings": Kind(
        "rows.tsv",
        with_hours(part=[{"train": "trn", "test": "held-out"}.get(role, "dev") for role in ROLES]),
        labels={**LABELLED, "splitpos": "part"},
        trains=True,
    ),
    "a role misspelt": Kind(
        "rows.tsv",
        with_hours(part=[f"{role}s" if role == "test" else role for role in ROLES]),
        labels={**LABELLED, "splitpos": "part"},
    ),
    "more clusters than folds": Kind(
        "rows.tsv",
        with_hours(cluster=[f"c{row % 10}" for row in range(NUM_ROWS)]),
        labels={**LABELLED, "splitpos": "cluster", "crossvalidation": "5"},
    ),
    "every row its own split": Kind(
        "rows.tsv",
        PLAIN,
        labels={**LABELLED, "splitpos": "id", "crossvalidation": "True"},
    ),
    "the same sequence twice": Kind(
        "rows.tsv",
        table(IDS, RNA[:15] * 2, HOURS, header=HEADER),
        labels={**LABELLED, "crossvalidation": "2"},
        trains=True,
    ),
    # a header, or none
    "header read as data, numbers": Kind(
        "rows.tsv", PLAIN, reading=BY_NUMBER, labels={"labelpos": "3"}
    ),
    "header read as data, classes": Kind(
        "rows.tsv",
        table(IDS, RNA, CLASSES, header=["id", "sequence", "place"]),
        reading=BY_NUMBER,
        labels=CLASSIFIED,
    ),
    "two tables joined": Kind("rows.tsv", PLAIN + PLAIN.replace(b"\ng", b"\nh")),
    "other letter case in the header": Kind(
        "rows.tsv", PLAIN.replace(b"half_life", b"Half_Life").replace(b"sequence", b"Sequence")
    ),
    # labels
    "missing labels": Kind("rows.tsv", table(IDS, RNA, replaced(HOURS, 4, "NA"), header=HEADER)),
    "missing classes": Kind(
        "rows.tsv", table(IDS, RNA, replaced(CLASSES, 4, "N/A")), BY_NUMBER, CLASSIFIED
    ),
    "one class": Kind("rows.tsv", table(IDS, RNA, ["nucleus"] * NUM_ROWS), BY_NUMBER, CLASSIFIED),
    "numbers as classes": Kind("rows.tsv", table(IDS, RNA, HOURS), BY_NUMBER, CLASSIFIED),
    "constant labels": Kind("rows.tsv", table(IDS, RNA, ["2.5"] * NUM_ROWS, header=HEADER)),
    "a label beyond float32": Kind(
        "rows.tsv", table(IDS, RNA, replaced(HOURS, 4, "1e40"), header=HEADER)
    ),
    "a label that is infinite": Kind(
        "rows.tsv", table(IDS, RNA, replaced(HOURS, 4, "inf"), header=HEADER)
    ),
    "targets with gaps": Kind(
        "rows.tsv",
        with_hours(brain=replaced(HOURS, 4, "")),
        labels={"labelpos": "half_life,brain"},
    ),
    "several classes at once": Kind(
        "rows.tsv",
        table(IDS, RNA, [0, 1, 1] * 10, [1, 0, 1] * 10, header=["id", "sequence", "nuc", "cyt"]),
        labels={"task": "classification", "labelpos": "nuc,cyt"},
    ),
    "an id that repeats": Kind(
        "rows.tsv", table(replaced(IDS, 4, "g1"), RNA, HOURS, header=HEADER)
    ),
    "an id with a carriage return": Kind(
        "rows.tsv", table(replaced(IDS, 4, "g\r4"), RNA, HOURS, header=HEADER)
    ),
    "an id with an escape sequence": Kind(
        "rows.tsv", table(replaced(IDS, 4, "g\x1b[31m4"), RNA, HOURS, header=HEADER)
    ),
    # tables of other programs
    "row names of R": Kind(
        "rows.tsv",
        table(range(1, NUM_ROWS + 1), IDS, RNA, HOURS).replace(
            b"1\tg0", b"id\tsequence\thalf_life\n1\tg0", 1
        ),
    ),
    "blanks between columns": Kind(
        "rows.txt", table(IDS, RNA, HOURS, header=HEADER, separator=" ")
    ),
    "semicolons and decimal commas": Kind(
        "rows.csv",
        table(IDS, RNA, [hours.replace(".", ",") for hours in HOURS], header=HEADER, separator=";"),
    ),
    "a title above the header": Kind("rows.tsv", b"Table S1. Half lives\n" + PLAIN),
    "a row with a field too many": Kind(
        "rows.tsv", table(IDS, RNA, replaced(HOURS, 4, "1.5\tx"), header=HEADER)
    ),
    "zip": Kind("rows.zip", zipped("rows.tsv", PLAIN)),
    "utf-16": Kind("rows.tsv", PLAIN.decode().encode("utf-16")),
    "json lines": Kind(
        "rows.jsonl",
        b"".join(
            f'{{"id": "{name}", "sequence": "{text}", "half_life": {hours}}}\n'.encode()
            for name, text, hours in zip(IDS, RNA, HOURS, strict=True)
        ),
    ),
    "json": Kind("rows.json", b'[\n{"id": "g0", "sequence": "ACGU"}\n]\n'),
    "latin-1": Kind("rows.tsv", PLAIN.decode().replace("\ng4\t", "\ng\u00e9\t").encode("latin-1")),
    "separated by semicolons, read by tabs": Kind(
        "rows.tsv",
        table(IDS, RNA, HOURS, separator=";"),
        {**BY_NUMBER, "columnsep": "\\t"},
        {"labelpos": "3"},
    ),
    "tokens without their separator": Kind(
        "rows.tsv", PLAIN, {**WITH_HEADER, "tokensep": ";"}, LABELLED
    ),
    "tokens with a separator that is not set": Kind(
        "rows.tsv", table(IDS, [",".join(text) for text in RNA], HOURS, header=HEADER)
    ),
    # fasta and fastq
    "fasta": Kind("rows.fa", fasta(ATTRIBUTES, RNA), FASTA, LABELLED),
    "fasta joined without a line end": Kind(
        "rows.fa", fasta(ATTRIBUTES, RNA).replace(b"\n>g7 ", b">g7 "), FASTA, LABELLED
    ),
    "fasta with a comment": Kind(
        "rows.fa", fasta(ATTRIBUTES, RNA).replace(b"\n>g7 ", b"\n; curated\n>g7 "), FASTA, LABELLED
    ),
    "fasta, aligned": Kind(
        "rows.fa", fasta(ATTRIBUTES, [f"{text[:9]}--{text[9:]}" for text in RNA]), FASTA, LABELLED
    ),
    "fasta with key:value": Kind(
        "rows.fa", fasta([name.replace("=", ":") for name in ATTRIBUTES], RNA), FASTA, LABELLED
    ),
    "fasta of UniProt": Kind(
        "rows.fa",
        fasta(
            [f"{name} Kinase OS={ORGANISMS[row % 2]} OX=1" for row, name in enumerate(IDS)], PROTEIN
        ),
        FASTA,
        {"task": "classification", "labelpos": "OS"},
    ),
    "fastq": Kind(
        "rows.fq",
        "".join(
            f"@{name}\n{text}\n+\n{'I' * 30}\n" for name, text in zip(IDS, RNA, strict=True)
        ).encode(),
        {},
        None,
    ),
    # letters
    "soft-masked": Kind(
        "rows.tsv",
        table(IDS, [text[:20] + text[20:].lower() for text in RNA], HOURS, header=HEADER),
    ),
    "small letters": Kind(
        "rows.tsv", table(IDS, [text.lower() for text in RNA], HOURS, header=HEADER)
    ),
    "T for U": Kind("rows.tsv", table(IDS, DNA, HOURS, header=HEADER)),
    "T beside U": Kind("rows.tsv", table(IDS, RNA[:15] + DNA[15:], HOURS, header=HEADER)),
    "a row of unknown letters": Kind(
        "rows.tsv", table(IDS, replaced(RNA, 4, "Z" * 30), HOURS, header=HEADER)
    ),
}
