import numpy as np
import pytest

from biolm_ray.config.schema import (
    Column,
    Config,
    DataConfig,
    PreprocessingConfig,
    TokenizationConfig,
)
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.tokenization.fitting import (
    build_word_tokenizer,
    count_tokens,
    fit,
    in_sample,
    make_settings,
    merge,
)
from biolm_ray.tokenization.tokenizer import SPECIAL_TOKENS, TokenizerSettings

ATOMIC = TokenizerSettings(encoding="atomic", token_separator=",")


def test_special_tokens_come_first_then_frequency_then_the_alphabet():
    tokenizer = fit(["c,b,a,d,d,b,a,B"], TokenizationConfig(min_frequency=1), ATOMIC)
    assert list(tokenizer.vocabulary) == [*SPECIAL_TOKENS, "a", "b", "d", "B", "c"]
    assert list(tokenizer.vocabulary.values()) == list(range(12))


def test_min_frequency_and_vocabulary_size_hold_for_words():
    texts = ["a,a,a,b,b,c"]
    assert "c" not in fit(texts, TokenizationConfig(), ATOMIC).vocabulary
    small = fit(texts, TokenizationConfig(vocabulary_size=8), ATOMIC)
    assert list(small.vocabulary)[7:] == ["a"]
    kmers = TokenizerSettings(encoding="1mer")
    assert len(fit(["aaabbc"], TokenizationConfig(vocabulary_size=8), kmers).vocabulary) == 8


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(ConfigError, match="vocabsize 7 leaves no room"):
        fit(["a,a"], TokenizationConfig(vocabulary_size=7), ATOMIC)


def test_texts_without_a_frequent_token_are_refused():
    with pytest.raises(DataError, match=r"no token occurs 2 times \(minfreq\).* 2 different"):
        fit(["a,b"], TokenizationConfig(), ATOMIC)


def test_counts_of_blocks_add_up():
    settings = ATOMIC.model_copy(update={"specifier_separator": "#"})
    texts = ["a,b#1#2", "a,a", "b,c"]
    parts = [count_tokens(texts[:1], settings), count_tokens(texts[1:], settings)]
    total = merge(parts)
    assert total == count_tokens(texts, settings)
    assert total.tokens == {"a": 3, "b": 2, "c": 1}
    assert total.num_specifiers == 2


def test_rows_that_cannot_be_used_are_named_and_not_counted():
    counts = count_tokens(["a", "", "b,"], ATOMIC)
    assert counts.problems == {1: "the sequence is empty"}
    assert counts.tokens == {"a": 1, "b": 1}
    with pytest.raises(DataError, match="sequence 2: the sequence is empty"):
        fit(["a", "", "b,"], TokenizationConfig(min_frequency=1), ATOMIC)


def test_the_vocabulary_of_a_sample_leaves_other_tokens_unknown():
    counts = count_tokens(["a,a"], ATOMIC)
    tokenizer = build_word_tokenizer(counts, TokenizationConfig(), ATOMIC)
    assert tokenizer.encode(["a,b,c"])[0].num_unknown == 2


def test_a_sample_has_its_size_whatever_the_blocks():
    rows = np.arange(1000)
    whole = in_sample(rows, 1000, 100, seed=3)
    assert whole.sum() == 100
    blocks = [in_sample(block, 1000, 100, seed=3) for block in np.array_split(rows, 7)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert (in_sample(rows, 1000, 100, seed=4) != whole).any()


@pytest.mark.parametrize("sample_size", [None, 10, 11])
def test_a_sample_no_smaller_than_the_file_is_the_file(sample_size):
    assert in_sample(np.arange(10), 10, sample_size, seed=0).all()


def test_settings_come_from_their_sections():
    data = DataConfig(path="x", sequence_column=Column(index=1), token_separator=",")
    config = Config(
        mode="tokenize",
        output_path="out",
        data=data,
        tokenization=TokenizationConfig(encoding="3mer", replacements={"gej": "x"}),
        preprocessing=PreprocessingConfig(center_token="s", region="outside_utr3"),
    )
    assert make_settings(config) == TokenizerSettings(
        encoding="3mer",
        token_separator=",",
        replacements={"gej": "x"},
        center_token="s",
        region="outside_utr3",
    )
    contradictory = config.model_copy(
        update={"data": data.model_copy(update={"specifier_separator": "#"})}
    )
    with pytest.raises(ConfigError, match="encoding atomic only, not with 3mer"):
        make_settings(contradictory)
