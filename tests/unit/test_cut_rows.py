"""How many rows are said to be cut, and how many are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import store

from biolm_ray.config.schema import Config, TokenizationConfig
from biolm_ray.experiment.first_lines import say_cut
from biolm_ray.experiment.setup import plan_run, room_for_sequences, tokens_of
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.report.text import describe_data
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

LENGTHS = np.array([1, 27, 28, 29, 30, 31, 40])


def config_of(model: str, **preprocessing: Any) -> Config:
    return Config.model_validate(
        {
            "mode": "fine-tune",
            "task": "regression",
            "output_path": "o",
            "data": {"path": "x", "sequence_column": 2, "label_column": 3},
            "preprocessing": {"block_size": 30, **preprocessing},
            "model": {"name": model},
            "training": {"batch_size": 1},
            "splits": {"ratio": [50, 50]},
        }
    )


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    ids = np.full(LENGTHS.sum(), 7, np.uint8)
    labels = np.arange(len(LENGTHS)) / 1.0
    stored = store(tmp_path / "rows", [len(LENGTHS)], ids, LENGTHS, labels)
    stored.summary.update(
        {
            **{f"length_{name}": 1 for name in ("min", "median", "p95", "max")},
            **{
                "tokens": int(LENGTHS.sum()),
                "unknown_tokens": 0,
                "unknown_share": 0,
                "unknown_examples": [],
            },
        }
    )
    return stored


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    fitted = fit(["acguacgu"], TokenizationConfig(), TokenizerSettings(encoding="atomic"))
    fitted.save(tmp_path)
    return fitted


@pytest.mark.parametrize(
    ("model", "num_cut", "size"),
    [
        ("saluki", 2, "30"),
        ("xlnet", 4, "30 less 2 special tokens"),
    ],
)
def test_rows_that_lose_tokens_to_special_ones_are_counted_as_cut(
    prepared, tokenizer, model, num_cut, size
):
    config = config_of(model)
    room = room_for_sequences(config, tokenizer)
    said = describe_data(prepared, config.preprocessing.block_size, room)
    assert f"{num_cut} rows ({num_cut / 7:.2%}) are longer than the block size {size}\n" in said


def test_a_single_unknown_token_is_one_and_not_none_of_them(prepared):
    prepared.summary.update({"unknown_tokens": 1, "unknown_share": 1e-6})
    assert "unknown  1 token (below 0.01%)" in describe_data(prepared, 30, 30)


def test_the_blank_that_bpe_puts_before_sequences_is_said_to_count(prepared):
    assert "a blank that bpe puts before each sequence" in describe_data(prepared, 30, 30, "bpe")
    assert "blank" not in describe_data(prepared, 30, 30, "atomic")


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("atomic", "4 tokens learnt and 7 special ones"),
        ("bpe", "1 token learnt beside 256 single bytes, and 7 special ones"),
    ],
)
def test_special_tokens_are_not_said_to_be_learnt(encoding, told):
    settings = TokenizationConfig(vocabulary_size=264, min_frequency=1)
    assert tokens_of(fit(["acgu"], settings, TokenizerSettings(encoding=encoding))) == told


def test_a_block_size_that_cuts_every_row_is_warned_of_with_what_is_lost(prepared, caplog):
    say_cut(prepared, 1)
    assert not caplog.records
    say_cut(prepared, 0)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "cut to 0 tokens: 100 % of all tokens are never seen; set preprocessing.block_size" in (
        record.message
    )
    assert "half of the sequences have more than 29 tokens, the longest 40" in record.message


@pytest.mark.parametrize(("model", "kept"), [("saluki", 5), ("xlnet", 3)])
def test_only_rows_that_are_seen_whole_are_kept_where_longer_ones_are_left_out(
    prepared, tokenizer, model, kept
):
    (fold,) = plan_run(config_of(model, drop_longer=True), prepared, tokenizer)
    rows = np.concatenate([fold.train, fold.validation, fold.test])
    assert sorted(rows.tolist()) == list(range(kept))
