from collections import Counter

import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.errors import ConfigError
from biolm_ray.inference.alphabet import inserted_ids, saturating_choices, token_classes
from biolm_ray.tokenization.fitting import TokenCounts, build_word_tokenizer
from biolm_ray.tokenization.tokenizer import Tokenizer, TokenizerSettings


def make_tokenizer(*tokens: str) -> Tokenizer:
    settings = TokenizerSettings(encoding="atomic", token_separator=",")
    counts = TokenCounts(Counter(tokens))
    return build_word_tokenizer(counts, TokenizationConfig(min_frequency=1), settings)


def as_texts(tokenizer: Tokenizer, choices: dict[int, tuple[int, ...]]) -> dict[str, list[str]]:
    text_of = {token_id: text for text, token_id in tokenizer.vocabulary.items()}
    return {text_of[old]: sorted(text_of[i] for i in new) for old, new in choices.items()}


def test_tokens_of_equal_length_and_case_are_a_class() -> None:
    tokens = ["a", "c", "A", "C", "aej", "cej", "Aej", "[MASK]"]
    assert token_classes(tokens) == [("a", "c"), ("A", "C"), ("aej", "cej")]


def test_markers_go_with_nothing_but_are_letters_where_the_alphabet_says_so() -> None:
    assert token_classes(["a", "c", "e", "s", "x"]) == [("a", "c")]
    assert token_classes(["acx", "agx", "axg"]) == [("acx", "agx")]
    assert token_classes(["a", "e"], frozenset()) == [("a", "e")]


def test_every_token_is_replaced_by_all_others_of_its_class() -> None:
    tokenizer = make_tokenizer("a", "c", "g", "A", "gej", "x")
    choices = as_texts(tokenizer, saturating_choices(None, tokenizer))
    assert choices == {"a": ["c", "g"], "c": ["a", "g"], "g": ["a", "c"]}


def test_a_named_alphabet_leaves_all_other_tokens_alone() -> None:
    tokenizer = make_tokenizer("a", "c", "n", "A", "C")
    choices = as_texts(tokenizer, saturating_choices(("a", "c", "A"), tokenizer))
    assert choices == {"a": ["c"], "c": ["a"]}


def test_insertions_are_the_named_tokens_or_all_that_have_a_class() -> None:
    tokenizer = make_tokenizer("a", "c", "gej", "x")
    vocabulary = tokenizer.vocabulary
    assert inserted_ids(("gej",), tokenizer) == (vocabulary["gej"],)
    assert set(inserted_ids(None, tokenizer)) == {vocabulary["a"], vocabulary["c"]}


def test_an_alphabet_that_the_vocabulary_lacks_is_refused_with_the_nearest_token() -> None:
    with pytest.raises(ConfigError, match=r"alphabet: 'gek' is no token .* nearest is 'gej'"):
        inserted_ids(("gek",), make_tokenizer("a", "gej"))


def test_a_vocabulary_without_two_tokens_of_a_kind_cannot_be_saturated() -> None:
    with pytest.raises(ConfigError, match="no two such tokens"):
        saturating_choices(None, make_tokenizer("a", "gej"))
