"""First lines that name columns, and first rows that only look like it."""

import random

import pytest

from biolm_ray.data.columns import Layout
from biolm_ray.data.unannounced_header import header_sign

RNA = ["".join(random.Random(row).choices("ACGU", k=60)) for row in range(20)]
SMALL_DNA = [sequence.replace("U", "T").lower() for sequence in RNA]
PROTEINS = ["".join(random.Random(row).choices("ACDEFGHIKLMNPQRSTVWY", k=30)) for row in range(20)]


def sign(first, below, *, token_separator=None, **layout):
    settings = Layout(separator="\t", **{"id": 0, "sequence": 1, **layout})
    return header_sign(settings, first, below, token_separator)


@pytest.mark.parametrize(
    ("first", "sequences"),
    [
        (["id", "sequence", "y"], RNA),
        (["id", "sequence", "y"], SMALL_DNA),
        (["id", "sequence", "y"], PROTEINS),
        (["ID", "SEQ", "CLASS"], PROTEINS[:1]),
        (["Name", "Peptide", "Label"], []),
        (["#id", "rna", "y"], RNA),
        (["gene", "my_utr_seqs", "class"], RNA[:1]),
        (["x1", "utr_of_gene", "x2"], RNA),
        (["x1", "Exon-sequence 1", "x2"], SMALL_DNA),
        (["x1", "SEQUENCE", "x2"], PROTEINS),
        (["x1", "sequence", "x2"], PROTEINS[:1]),
    ],
)
def test_headers_are_told_from_rows_without_any_number(first, sequences):
    below = [[f"g{row}", sequence, "nuc"] for row, sequence in enumerate(sequences)]
    assert sign(first, below, label=2, label_kind="class") is not None
    assert sign(first, below) is not None


@pytest.mark.parametrize("sequences", [RNA, SMALL_DNA, PROTEINS, RNA[:1]])
@pytest.mark.parametrize("name", ["sequence", "seq", "Sequences"])
def test_a_header_of_the_only_column_is_told(name, sequences):
    assert sign([name], [[text] for text in sequences], sequence=0) is not None


@pytest.mark.parametrize(
    ("first", "below"),
    [
        ("SEQ", ["PEP", "TIDE", "CAT"]),
        ("PEPTIDE", PROTEINS),
        ("PEPTIDE", ["GHK", "AC"]),
        ("RNA", ["GHK", "AC"]),
        ("MKWVTFISLLFLFSSAYS", RNA),
        ("NNRYSWKMBD", RNA),
        ("nnryswkmbd", SMALL_DNA),
        ("acgu" * 9, RNA),
        ("ACGU" * 9, SMALL_DNA),
        ("ACGU", []),
        ("wmc", ["ghk", "ac"]),
        ("N" * 30, RNA),
        ("-", RNA),
        ("????", RNA),
        ("A" * 300 + "sequence", RNA),
    ],
)
def test_a_real_first_row_is_never_taken_for_a_header(first, below):
    assert sign([first], [[text] for text in below], sequence=0) is None
    rows = [[f"g{row}", text, "class"] for row, text in enumerate(below, 1)]
    for label in ("class", "nuc", "label"):
        columns = {"label": 2, "label_kind": "class"}
        assert sign(["g0", first, label], [*rows, ["g99", "AC", label]], **columns) is None


def test_tokens_between_separators_are_compared_as_a_whole():
    rows = [["g1", "a,c,gej,A", "x"], ["g2", "a,u", "x"], ["g3", "g,a,c", "y"], ["g4", "a,c", "y"]]
    rows = [[name, ",".join([text] * 20), label] for name, text, label in rows]
    columns = {"token_separator": ",", "label": 2, "label_kind": "class"}
    assert sign(["id", "tokens", "class"], rows, **columns) is not None
    assert sign(["x1", "codons", "x2"], rows, **columns) is not None
    assert sign(["g0", "gej", "x"], rows, **columns) is None
    assert sign(["g0", "stop,gej", "x"], rows, **columns) is None


def test_a_word_above_numbers_is_a_header_of_labels_and_of_weights():
    rows = [["g1", "ACGU", "1.5", "GOOD"], ["g2", "AC", "2", "1"]]
    columns = {"label": 2, "weight": 3, "label_kind": "number"}
    assert "'half_life' in column 3" in (sign(["a", "AC", "half_life", "1"], rows, **columns) or "")
    assert "'quality' in column 4" in (sign(["a", "AC", "1", "quality"], rows, **columns) or "")
    for label, weight in (("NA", "1"), ("nan", "STRONG"), ("", "1"), ("1", "-1"), ("?", "n/a")):
        assert sign(["a", "AC", label, weight], rows, **columns) is None
