"""Gaps, stops and digits inside sequences: counted and told, or taken out by a setting."""

import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from divided import read_all

from biolm_ray.config.schema import Config
from biolm_ray.errors import DataError
from biolm_ray.preparation.checks import count_gaps
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.vocabulary import fit_tokenizer
from biolm_ray.tokenization.settings import TokenizerSettings

ALIGNED = ">m0\nAC--\nGU.A\n>m1\n  1 ACGU 11 AC\n>m2\nMKV*\n"


def make_config(folder, text: str, mode: str = "fine-tune", **data) -> Config:
    path = folder / "rows.fa"
    path.write_text(text)
    settings = {"path": str(path), "sequence_column": 2, **data}
    values = {"mode": mode, "output_path": str(folder / "out"), "data": settings}
    return Config.model_validate(values | {"tokenization": {"min_frequency": 1}})


def told(caplog) -> list[str]:
    return [r.message for r in caplog.records if r.levelno == logging.WARNING]


WARNING = (
    "rows.fa: the sequences hold 2 '-', 1 '.', 1 '*', 3 '1', which become tokens: if they are "
    "gaps, stops or numbers of positions, set data.remove_gaps: true"
)


def test_gaps_are_counted_and_told_whenever_the_data_are_used(tmp_path, caplog):
    config = make_config(tmp_path, ALIGNED)
    caplog.set_level(logging.WARNING)
    tokenizer = fit_tokenizer(config)
    assert told(caplog) == []
    for _ in range(2):  # prepared, and found prepared before
        caplog.clear()
        prepared = prepare(config, tokenizer, tmp_path / "prepared", label_kind=None)
        assert told(caplog) == [WARNING]
    assert prepared.summary["gaps"] == {"-": 2, ".": 1, "*": 1, "1": 3}


def test_who_only_tokenizes_is_told_as_well(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    fit_tokenizer(make_config(tmp_path, ALIGNED, mode="tokenize"))
    assert told(caplog) == [WARNING]


def test_what_the_input_is_can_be_said_once_where_it_is_read_twice(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config = make_config(tmp_path, ALIGNED)
    tokenizer = fit_tokenizer(config)
    prepare(config, tokenizer, tmp_path / "prepared", label_kind=None, describe=False)
    assert sum("1 file, FASTA" in message for message in caplog.messages) == 1


def test_gaps_are_taken_out_on_wish(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    config = make_config(tmp_path, ALIGNED, remove_gaps=True)
    tokenizer = fit_tokenizer(config)
    prepared = prepare(config, tokenizer, tmp_path / "prepared", label_kind=None)
    assert told(caplog) == []
    assert ["".join(tokenizer.tokens(prepared.token_ids(row))) for row in range(3)] == [
        "ACGUA",
        "ACGUAC",
        "MKV",
    ]
    kept = config.model_copy(
        update={
            "data": config.data.model_copy(update={"remove_gaps": False, "max_unknown_share": 1.0})
        }
    )
    assert prepare(kept, tokenizer, tmp_path / "prepared", label_kind=None).name != prepared.name


def test_a_sequence_of_gaps_alone_is_a_row_that_cannot_be_used(tmp_path):
    config = make_config(tmp_path, ">m0\n--.*1\n>m1\nac\n", remove_gaps=True)
    with pytest.raises(DataError, match=r"rows\.fa, line 1: the sequence .* is empty"):
        fit_tokenizer(config)


def test_gaps_are_taken_out_of_tables_and_parquet(tmp_path):
    (tmp_path / "a.tsv").write_text('g-1\tA-C.\ng2\t" *GU10"\n')
    pq.write_table(pa.table({"id": ["g-1", "g2"], "s": ["A-C.", " *GU10"]}), tmp_path / "a.parquet")
    for name in ("a.tsv", "a.parquet"):
        rows = read_all(tmp_path / name, sequence_column=2, remove_gaps=True)
        assert [(row["id"], row["sequence"]) for row in rows] == [("g-1", "AC"), ("g2", "GU")]


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, {"-": 2, "*": 1, "7": 1}),
        ({"token_separator": ","}, {}),
        ({"center_token": "*", "replacements": {"7": "x"}}, {"-": 2}),
    ],
)
def test_signs_that_are_meant_are_not_told(settings, counts):
    texts = pa.array(["9", "a-c", "", "*7-", "5"], pa.large_string()).slice(1, 3)
    assert count_gaps(texts, TokenizerSettings(encoding="atomic", **settings)) == counts
