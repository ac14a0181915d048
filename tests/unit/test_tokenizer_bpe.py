import numpy as np
import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.errors import DataError
from biolm_ray.tokenization.bpe import letters
from biolm_ray.tokenization.fitting import fit, fit_bpe
from biolm_ray.tokenization.tokenizer import TokenizerSettings

TEXTS = ["a,c,g,gej,t,a,c,g,t", "a,c,g,a,c,g,gej,t", "t,t,a,c,g"]
CONFIG = TokenizationConfig(encoding="bpe", max_token_length=4)


def bpe(texts=TEXTS, config=CONFIG, **settings):
    return fit(texts, config, TokenizerSettings(encoding="bpe", token_separator=",", **settings))


def test_tokens_join_to_the_text_without_separators():
    tokenizer = bpe()
    encoded = tokenizer.encode(TEXTS)
    for text, sequence in zip(TEXTS, encoded, strict=True):
        assert "".join(tokenizer.tokens(sequence.token_ids)) == text.replace(",", "")


def test_multi_letter_tokens_are_replaced_before_they_are_joined():
    tokenizer = bpe(replacements={"gej": "x"}, center_token="gej")
    encoded = tokenizer.encode(TEXTS[:1])[0]
    tokens = tokenizer.tokens(encoded.token_ids)
    assert "".join(tokens) == "acgxtacgt"
    assert "x" in tokens[encoded.center]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
def test_tokens_are_no_longer_than_their_limit(limit):
    config = TokenizationConfig(encoding="bpe", max_token_length=limit)
    tokenizer = bpe(["acgt" * 20, "ttg" * 20], config)
    lengths = {len(token) for token in tokenizer.vocabulary.keys() - tokenizer.special_ids.keys()}
    assert max(lengths) <= limit
    assert max(lengths) >= min(limit, 2)


def test_the_prefix_space_counts_no_letter():
    tokenizer = bpe()
    encoded = tokenizer.encode(["g,g,a,c,g"])[0]
    counts = tokenizer.num_letters(encoded.token_ids)
    assert counts.tolist() == [len(text) for text in tokenizer.tokens(encoded.token_ids)]
    assert counts.sum() == 5


def test_letters_of_several_bytes_count_once():
    tokenizer = bpe()
    encoded = tokenizer.encode(["a,é,漢,c"])[0]
    assert encoded.num_unknown == 0
    assert tokenizer.num_letters(encoded.token_ids).sum() == 4


def test_byte_level_tokens_read_as_letters():
    assert letters("Ġacg") == ("acg", 3)
    assert letters("Ġ") == ("", 0)
    assert letters("Ã©") == ("é", 1)


def test_a_special_tokens_name_in_a_text_is_spelt_out():
    tokenizer = bpe()
    ids = tokenizer.encode(["a,[PAD],c"])[0].token_ids
    assert not np.isin(ids, list(tokenizer.special_ids.values())).any()


def test_vocabulary_size_counts_special_tokens_and_bytes():
    config = TokenizationConfig(encoding="bpe", vocabulary_size=265)
    assert len(bpe(config=config).vocabulary) == 265


def test_a_vocabulary_without_room_for_the_bytes_is_these_alone_with_a_warning(caplog):
    config = TokenizationConfig(encoding="bpe", vocabulary_size=200)
    tokenizer = bpe(config=config)
    assert len(tokenizer.vocabulary) == 263
    assert tokenizer.tokens(tokenizer.encode(["a,c,g"])[0].token_ids) == ["", "a", "c", "g"]
    [warning] = caplog.messages
    assert warning.startswith("vocabsize 200 is below the 263 special tokens and single bytes")


def test_min_frequency_holds():
    config = TokenizationConfig(encoding="bpe", min_frequency=100)
    assert len(bpe(config=config).vocabulary) == 263


def test_a_text_that_cannot_be_used_stops_fitting():
    with pytest.raises(DataError, match="sequence 4: the sequence is empty"):
        fit_bpe(iter([*TEXTS, ""]), CONFIG, TokenizerSettings(encoding="bpe"))
