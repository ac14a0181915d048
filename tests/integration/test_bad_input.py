"""Every kind of bad input gets one clear message and leaves no file."""

import pickle
from pathlib import Path

import pytest

from biolm_ray.config.schema import Config
from biolm_ray.errors import BiolmError, ConfigError, DataError
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.quarantine import rows_without_logarithm
from biolm_ray.preparation.vocabulary import fit_tokenizer
from biolm_ray.tokenization.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("ray_cluster")

GOOD = "g1\ta,c,g,u\t1.5\ng2\tc,a,u,g\t2.5\ng3\tg,u,a,c\t3.5\n"
LONG = ",".join("acgu" * 20)


def make_config(path: Path, **settings) -> Config:
    data = {
        "id_column": 1,
        "sequence_column": 2,
        "label_column": 3,
        "token_separator": ",",
        **settings.pop("data", {}),
    }
    return Config.model_validate(
        {
            "mode": "fine-tune",
            "task": "regression",
            "output_path": "out",
            **settings,
            "data": {**data, "path": str(path)},
        }
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("good") / "good.tsv"
    path.write_text(GOOD)
    return fit_tokenizer(make_config(path))


def refuse(tmp_path: Path, tokenizer: Tokenizer, content: bytes | None, **settings) -> BiolmError:
    """Prepare a file that must be refused; nothing may be left."""
    path = tmp_path / "rows.tsv"
    if content is not None:
        path.write_bytes(content)
    folder = tmp_path / "prepared"
    kind = settings.pop("label_kind", "number")
    with pytest.raises(BiolmError) as caught:
        prepare(make_config(path, **settings), tokenizer, folder, label_kind=kind)
    assert not folder.exists() or not list(folder.iterdir())
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


CASES = {
    "missing file": (None, {}, ["rows.tsv does not exist"]),
    "empty file": (b"", {}, ["rows.tsv is empty"]),
    "blank lines only": (b"\n\r\n  \n", {}, ["rows.tsv is empty: it has blank lines only"]),
    "header and no rows": (
        b"id\tseq\ty\n",
        {"data": {"has_header": True}},
        ["rows.tsv has a header and no rows"],
    ),
    "wrong column number": (
        GOOD.encode(),
        {"data": {"label_column": 5}},
        ["rows.tsv, line 1: has 3 columns, column 5 asked for as label"],
    ),
    "wrong column name": (
        b"id\tseq\thalf_life\n" + GOOD.encode(),
        {"data": {"has_header": True, "label_column": "halflife"}},
        ["line 1: no column is named 'halflife'", "id, seq, half_life", "mean 'half_life'?"],
    ),
    "too few columns": (
        GOOD.encode() + b"g4\ta,c\ng5\ta,c\n",
        {},
        ["rows.tsv, line 4: has 2 columns, column 3 asked for", "(1 more row has the same"],
    ),
    "label that is no number": (
        GOOD.encode() + b"g4\ta,c\tn/a\n",
        {},
        ["rows.tsv, line 4: label 'n/a' in column 3 stands for a missing value"],
    ),
    "label that is NaN": (
        b"g0\ta,c\tnan\n" + GOOD.encode(),
        {},
        ["rows.tsv, line 1: label 'nan' in column 3 stands for a missing value"],
    ),
    "infinite label": (
        GOOD.encode() + b"g4\ta,c\t-inf\n",
        {},
        ["rows.tsv, line 4: label '-inf' in column 3 is not a finite number"],
    ),
    "gap in one of several targets": (
        b"g1\ta,c\t1\t2\ng2\ta,c\t1\tNA\n",
        {"data": {"label_column": [3, 4]}},
        ["rows.tsv, line 2: the label in column 4 is missing where the row has others", "labelpos"],
    ),
    "empty label": (
        GOOD.encode() + b"g4\ta,c\t\n",
        {},
        ["rows.tsv, line 4: the label in column 3 is empty"],
    ),
    "empty sequence": (
        b"g0\t \t1\n" + GOOD.encode(),
        {},
        ["rows.tsv, line 1: the sequence in column 2 is empty"],
    ),
    "separators only": (
        GOOD.encode() + b"g4\t,,\t1\n",
        {},
        ["rows.tsv, line 4: "],
    ),
    "unknown weight": (
        b"g1\ta,c\t1\tGOOD\ng2\ta,c\t1\tFINE\n",
        {"data": {"weight_column": 4}},
        ["line 2: weight 'FINE' in column 4 is no number from 0 up", "STRONG, GOOD, WEAK, POOR"],
    ),
    "empty split": (
        b"g1\ta,c\t1\t1\ng2\ta,c\t1\t\n",
        {"data": {"split_column": 4}},
        ["line 2: the split in column 4 is empty"],
    ),
    "repeated id": (
        GOOD.encode() + b"\ng2\ta,c\t1\ng1\ta,c\t1\n",
        {},
        ["line 5: id 'g2' stands on line 2 already; make the ids unique", "(1 more row has"],
    ),
    "header that was not announced": (
        b"id\tseq\ty\n" + GOOD.encode(),
        {},
        ["rows.tsv, line 1: looks like a header", "set data.has_header: true (stripheader)"],
    ),
    "header above classes": (
        b"id\tseq\ty\ng1\ta,c\tnuc\ng2\tc,a\tcyt\n",
        {"label_kind": "class"},
        ["rows.tsv, line 1: looks like a header (columns called 'seq' and 'id')", "stripheader"],
    ),
    "missing class": (
        b"g1\ta,c\tnuc\ng2\tc,a\tNA\ng3\tc,a\tcyt\ng4\tc,a\tnan\n",
        {"label_kind": "class"},
        ["line 2: label 'NA' in column 3 stands for a missing value", "(1 more row has"],
    ),
    "control character in an id": (
        GOOD.encode() + b"g\r4\ta,c\t1\n",
        {},
        ["rows.tsv, line 4: id 'g\\r4' in column 1 holds a control character"],
    ),
    "label beyond float32": (
        GOOD.encode() + b"g4\ta,c\t1e40\n",
        {},
        ["rows.tsv, line 4: label '1e40' in column 3 is not a finite number"],
    ),
    "not UTF-8": (
        GOOD.encode() + "g4\tä,c\t1\n".encode("latin-1"),
        {},
        ["rows.tsv, line 4: byte 0xe4 at position 4 of the line is not UTF-8"],
    ),
    "unclosed quote": (
        GOOD.encode() + b'g4\t"a,c\t1\n',
        {},
        ["rows.tsv, line 4: a double quote opens a field and is not closed"],
    ),
    "unknown tokens": (
        GOOD.encode() + b"g4\tN,N,N,X,a,c,g,u\t1\n",
        {},
        ["rows.tsv: 4 of 20 tokens (20 %)", "'N' (3), 'X' (1)", "data.max_unknown_share"],
    ),
    "row of unknown tokens": (
        ("".join(f"h{row}\ta,c,g,u\t1\n" for row in range(99)) + "g4\tN,X,a\t1\n").encode(),
        {},
        ["rows.tsv, line 100: 2 of its 3 tokens (66.7 %) are not in the vocabulary"],
    ),
    "capitals where small letters are known": (
        b"g1\tA,C,G,U\t1\ng2\tC,C\t1\n",
        {},
        ["rows.tsv, line 1: 4 of its 4 tokens", "known with data.letter_case: lower (1 more row"],
    ),
    "wrong token separator": (
        GOOD.encode(),
        {"data": {"token_separator": "|"}},
        [
            "line 1: 1 of its 1 tokens (100 %) are not in the vocabulary",
            "set data.token_separator: ','",
        ],
    ),
    "truncated gzip": (
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        {},
        ["rows.tsv, line 1: the file cannot be read further"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_by_file_line_and_column(tmp_path, tokenizer, case):
    content, settings, fragments = CASES[case]
    if case == "wrong token separator":
        tokenizer = tokenizer.adapted(make_config(tmp_path, **settings).data)
    error = refuse(tmp_path, tokenizer, content, **settings)
    assert isinstance(error, DataError)
    assert error.exit_code == 3
    for fragment in fragments:
        assert fragment in str(error)


def test_a_column_name_without_header_is_a_config_error(tmp_path, tokenizer):
    error = refuse(tmp_path, tokenizer, GOOD.encode(), data={"label_column": "y"})
    assert isinstance(error, ConfigError)


def test_messages_show_little_of_a_sequence(tmp_path, tokenizer):
    content = GOOD + f"g4\t{LONG}\t{LONG}\n{LONG}\ta,c\t1\n{LONG}\ta,c\t1\n"
    message = str(refuse(tmp_path, tokenizer, content.encode()))
    assert message.startswith(f"rows.tsv, line 4: label '{LONG[:40]}'... in column 3")
    rows = content.splitlines(keepends=True)
    message = str(refuse(tmp_path, tokenizer, "".join(rows[4:]).encode()))
    assert message.startswith(f"rows.tsv, line 2: id '{LONG[:40]}'... stands on line 1 already")


def test_repeated_ids_can_be_allowed(tmp_path, tokenizer):
    path = tmp_path / "rows.tsv"
    path.write_text(GOOD + "g1\ta,c\t1\n")
    config = make_config(path, data={"allow_duplicate_ids": True})
    assert prepare(config, tokenizer, tmp_path, label_kind="number").ids[3] == "g1"


def test_sequences_that_are_their_own_ids_may_repeat(tmp_path, tokenizer):
    path = tmp_path / "rows.tsv"
    path.write_text("a,c\na,c\n")
    config = make_config(path, data={"sequence_column": 1, "label_column": None})
    assert prepare(config, tokenizer, tmp_path, label_kind=None).ids == ["a,c", "a,c"]


def test_few_unknown_tokens_are_counted_and_kept(tmp_path, tokenizer):
    path = tmp_path / "rows.tsv"
    path.write_text(GOOD + "g4\ta,N,c,N,X,a\t1\n")
    config = make_config(path, data={"max_unknown_share": 0.2})
    summary = prepare(config, tokenizer, tmp_path, label_kind="number").summary
    assert (summary["unknown_tokens"], summary["tokens"]) == (3, 18)
    assert summary["unknown_examples"] == [["N", 2], ["X", 1]]


def test_labels_may_be_negative_without_log_scaling_and_in_other_modes(tmp_path, tokenizer):
    path = tmp_path / "rows.tsv"
    path.write_text(GOOD + "g4\ta,c\t-1\n")
    for settings in ({}, {"mode": "predict", "training": {"scaling": "log"}}):
        prepared = prepare(make_config(path, **settings), tokenizer, tmp_path, label_kind="number")
        assert prepared.labels[3, 0] == -1


def test_log_scaling_refuses_labels_without_a_logarithm_also_in_data_prepared_before(
    tmp_path, tokenizer
):
    path = tmp_path / "rows.tsv"
    path.write_text(GOOD + "g4\ta,c\t0\ng5\ta,c\t-2\ng6\ta,c\t-3\n")
    prepare(make_config(path), tokenizer, tmp_path, label_kind="number")
    config = make_config(path, training={"scaling": "log"})
    expected = r"line 4: label 0 is not above 0, as scaling log needs.*\(2 more rows have"
    with pytest.raises(DataError, match=expected):
        prepare(config, tokenizer, tmp_path, label_kind="number")


def test_log_scaling_looks_at_every_target(tmp_path, tokenizer):
    path = tmp_path / "rows.tsv"
    path.write_text("g1\ta,c\t1\t2\ng2\ta,c\t0\t3\ng3\ta,c\t4\t-1\n")
    asked = {"label_column": [4, 3], "max_rejected_share": 0.9}
    config = make_config(path, data=asked, training={"scaling": "log"})
    with pytest.raises(
        DataError, match=r"line 2: label 0 of 'column_3' is not above 0.*\(1 more row"
    ):
        prepare(config, tokenizer, tmp_path, label_kind="number")
    asked["on_bad_rows"] = "quarantine"
    config = make_config(path, data=asked, training={"scaling": "log"})
    prepared = prepare(config, tokenizer, tmp_path, label_kind="number")
    assert rows_without_logarithm(config, prepared).tolist() == [1, 2]


def test_class_labels_are_words(tmp_path, tokenizer):
    path = tmp_path / "rows.tsv"
    path.write_text("g1\ta,c\tnucleus\ng2\ta,c\t cytoplasm \n")
    config = make_config(path, task="classification")
    prepared = prepare(config, tokenizer, tmp_path, label_kind="class")
    assert prepared.labels == ["nucleus", "cytoplasm"]


@pytest.mark.parametrize("encoding", ["atomic", "bpe"])
def test_fitting_a_tokenizer_names_the_line_of_a_bad_row(tmp_path, encoding):
    path = tmp_path / "rows.tsv"
    path.write_text(GOOD + "\ng4\t\t1\n")
    config = make_config(path, tokenization={"encoding": encoding})
    with pytest.raises(DataError, match=r"rows\.tsv, line 5: the sequence in column 2 is empty"):
        fit_tokenizer(config)


def test_specifiers_that_are_no_numbers_are_told_by_line(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("g1\ta#1,c\ng2\ta#x,c\n")
    config = make_config(path, data={"specifier_separator": "#", "label_column": None})
    with pytest.raises(DataError, match=r"rows\.tsv, line 2: .*x"):
        fit_tokenizer(config)
