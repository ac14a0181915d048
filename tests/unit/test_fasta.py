"""Records of FASTA as people have them: joined files, comments, headers of the databases."""

import pytest
from divided import read_all

from biolm_ray.data.fasta import read_attributes
from biolm_ray.errors import DataError


def records_of(folder, text: str, **settings) -> list[dict]:
    path = folder / "rows.fa"
    path.write_text(text)
    return read_all(path, **settings)


def test_a_record_that_begins_inside_a_sequence_line_is_a_problem_of_the_one_before(tmp_path):
    found = records_of(tmp_path, ">z\nau\n\n>a y=1\nGCUU\nAUGG>b y=2\nUUAA\n>c y=3\nac\n")
    assert [(row["id"], row["line"], row["rule"]) for row in found] == [
        ("z", 1, None),
        ("", 4, "record"),
        ("c", 8, None),
    ]
    assert found[1]["problem"] == (
        "record 'a' has '>b y=2' inside its sequence, on line 6: were two files joined without a "
        "line end? A record must begin on a line of its own"
    )


def test_the_mark_of_a_record_may_stand_in_header_lines_and_comments(tmp_path):
    (found,) = records_of(tmp_path, ">a c.76A>T y=1\nac\n;>b was here\ngu\n")
    assert (found["id"], found["sequence"], found["rule"]) == ("a", "acgu", None)


@pytest.mark.parametrize("before", ["", "; of 2020\n", "\n;\n\n; >old\n"])
def test_lines_that_begin_with_a_semicolon_are_comments(tmp_path, before):
    found = records_of(tmp_path, f"{before}>a\n; a comment line\nac\n;\ngu\n>b\na;c\n")
    assert [(row["id"], row["sequence"]) for row in found] == [("a", "acgu"), ("b", "a;c")]
    assert found[0]["line"] == 1 + before.count("\n")


def test_a_file_of_comments_is_no_fasta(tmp_path):
    with pytest.raises(DataError, match="blank lines and comments only"):
        records_of(tmp_path, ";a\n;b\n", format="fasta")


@pytest.mark.parametrize(
    ("header", "attributes"),
    [
        (
            "Kinase 0 OS=Bacillus subtilis (strain 168) OX=224308 GN=abc0 PE=1 SV=1",
            {
                "OS": "Bacillus subtilis (strain 168)",
                "OX": "224308",
                "GN": "abc0",
                "PE": "1",
                "SV": "1",
            },
        ),
        (
            "cdna chromosome:GRCh38:1:1:9:1 gene:ENSG1.2 description:T cell receptor "
            "[Source:HGNC Symbol;Acc:HGNC:1] tpm:4.5",
            {
                "chromosome": "GRCh38:1:1:9:1",
                "gene": "ENSG1.2",
                "description": "T cell receptor [Source:HGNC Symbol;Acc:HGNC:1]",
                "tpm": "4.5",
            },
        ),
        (
            "[gene=dnaA] [protein=[NiFe] hydrogenase, type sequence:x] [location=join(1..5,7..9)]",
            {
                "gene": "dnaA",
                "protein": "[NiFe] hydrogenase, type sequence:x",
                "location": "join(1..5,7..9)",
            },
        ),
        (
            "type=mRNA; loc=X:complement(1..9); parent=FBgn1,FBgn2;",
            {"type": "mRNA", "loc": "X:complement(1..9)", "parent": "FBgn1,FBgn2"},
        ),
        (
            "| organism=Plasmodium falciparum 3D7 | product=kinase, putative | length=9 | SO=gene",
            {
                "organism": "Plasmodium falciparum 3D7",
                "product": "kinase, putative",
                "length": "9",
                "SO": "gene",
            },
        ),
        ('y=1.5 Homo sapiens gene="a b=c" d', {"y": "1.5", "gene": "a b=c"}),
        (
            "cds=12-300 of a gene y=-1e-3 loc=2..9, in part",
            {"cds": "12-300", "y": "-1e-3", "loc": "2..9,"},
        ),
        ("name=5S ribosomal RNA", {"name": "5S ribosomal RNA"}),
        ("y=3,1 of two y=7 see http://x.org", {"y": "3,1"}),
        ("chr:2 y:3 y=4", {"y": "4", "chr": "2"}),
        ("y= z=5; seen once x:", {"y": "", "z": "5"}),
        ("tpm:liver=4 a note: none", {"tpm:liver": "4"}),
    ],
)
def test_attributes_are_read_as_the_databases_write_them(header, attributes):
    found = read_attributes(header)
    assert found == attributes
    assert list(found) == list(attributes)


def test_labels_are_found_among_attributes_of_every_kind(tmp_path):
    uniprot = ">sp|P0|X_ORG Kinase OS=Bacillus subtilis (strain 168) OX=224308\nAC\n"
    (found,) = records_of(tmp_path, uniprot, label_kind="class", label_column="OS")
    assert found["label"] == "Bacillus subtilis (strain 168)"
    ensembl = ">E1.1 cdna gene:ENSG1.2 tpm:4.5\nAC\n>E2.1 cdna tpm:3.5\nAC\n"
    found = records_of(tmp_path, ensembl, label_kind="number", label_column="tpm")
    assert [row["label"] for row in found] == [4.5, 3.5]
    (found,) = records_of(tmp_path, ">a Half_life=1\nAC\n", label_kind="number", label_column="y")
    assert found["problem"].endswith("its attributes are Half_life")
    (found,) = records_of(
        tmp_path, ">a Half_life=1\nAC\n", label_kind="number", label_column="half life"
    )
    assert found["problem"].endswith("did you mean 'Half_life'?")
