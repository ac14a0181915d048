import numpy as np
import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.errors import ConfigError
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.settings import TokenizerSettings, check_settings

ONCE = TokenizationConfig(min_frequency=1)


def atomic(texts, **settings):
    return fit(texts, ONCE, TokenizerSettings(encoding="atomic", **settings))


def texts_of(tokenizer, text):
    return tokenizer.tokens(tokenizer.encode([text])[0].token_ids)


def test_each_token_between_separators_is_an_entry():
    tokenizer = atomic(["a,gej,A,a"], token_separator=",")
    assert texts_of(tokenizer, "gej,a,A") == ["gej", "a", "A"]


def test_without_a_separator_each_character_is_a_token():
    tokenizer = atomic(["ACGA"])
    assert texts_of(tokenizer, "GAC") == ["G", "A", "C"]


@pytest.mark.parametrize(
    "text", ['"a,c,gej"', " a , c,  gej ", "a,c,gej,", '"a","c","gej"', "a,,c,gej", "a,c,gej\r\n"]
)
def test_quotes_spaces_and_empty_tokens_are_no_part_of_a_sequence(text):
    tokenizer = atomic(["a,c,gej"], token_separator=",")
    assert texts_of(tokenizer, text) == ["a", "c", "gej"]


def test_white_space_can_separate_tokens():
    tokenizer = atomic(["a c  gej"], token_separator=" ")
    assert texts_of(tokenizer, " a gej  c") == ["a", "gej", "c"]


def test_case_matters():
    encoded = atomic(["a,a,c"], token_separator=",").encode(["A,a"])[0]
    assert encoded.num_unknown == 1
    assert encoded.token_ids.tolist()[0] == 0


def test_a_special_tokens_name_in_a_text_is_an_unknown_token():
    encoded = atomic(["a,[PAD],[PAD]"], token_separator=",").encode(["a,[PAD],[MASK]"])[0]
    assert encoded.token_ids.tolist() == [7, 0, 0]
    assert encoded.num_unknown == 2


def test_replacements_change_whole_tokens_once():
    replacements = {"gej": "x", "x": "y", "a": "b"}
    tokenizer = atomic(["gej,x,a,ga"], token_separator=",", replacements=replacements)
    assert texts_of(tokenizer, "gej,x,a,ga") == ["x", "y", "b", "ga"]


def test_without_a_separator_replacements_change_the_text_longest_first():
    tokenizer = atomic(["AgejCg"], replacements={"gej": "x", "g": "G", "x": "y"})
    assert texts_of(tokenizer, "AgejCgx") == ["A", "x", "C", "G", "[UNK]"]


def test_specifiers_become_channels_with_zero_where_absent():
    tokenizer = atomic(["a#2.5#0.2,c,A,g#5.7#-1"], token_separator=",", specifier_separator="#")
    assert tokenizer.settings.num_specifiers == 2
    encoded = tokenizer.encode(["a#2.5#0.2, c, A, g # 5.7 #1e2", "c,c"])
    assert tokenizer.tokens(encoded[0].token_ids) == ["a", "c", "A", "g"]
    expected = np.array([[2.5, 0.2], [0, 0], [0, 0], [5.7, 100]], dtype=np.float32)
    np.testing.assert_array_equal(encoded[0].specifiers, expected)
    assert encoded[0].specifiers.dtype == np.float32
    np.testing.assert_array_equal(encoded[1].specifiers, np.zeros((2, 2)))


def test_tokens_may_carry_different_counts_of_numbers_0_where_absent():
    text = "a#2.5#0.2, c, A, g#5.7"  # the example of the reference's own description
    tokenizer = atomic(["c#1", text], token_separator=",", specifier_separator="#")
    assert tokenizer.settings.num_specifiers == 2
    (encoded,) = tokenizer.encode([text])
    expected = np.array([[2.5, 0.2], [0, 0], [0, 0], [5.7, 0]], dtype=np.float32)
    np.testing.assert_array_equal(encoded.specifiers, expected)


def test_without_decorated_tokens_there_are_no_channels():
    tokenizer = atomic(["a,c"], token_separator=",", specifier_separator="#")
    assert tokenizer.encode(["a,c"])[0].specifiers is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a#x#1,c", "specifier 'x' of token 'a#x#1' is not a finite number"),
        ("a#1#", "specifier '' of token 'a#1#' is not a finite number"),
        ("a#nan#1", "specifier 'nan' of token 'a#nan#1' is not a finite number"),
        ("a#1e40#1", "specifier '1e40' of token 'a#1e40#1' is not a finite number"),
        ("a#-inf#1", "specifier '-inf' of token 'a#-inf#1' is not a finite number"),
        (
            "a#1#2#3,c#1",
            "token 'a#1#2#3' carries 3 specifier values, where those that the vocabulary was "
            "learnt from carry at most 2",
        ),
        ("#1#2", "specifiers '#1#2' have no token before them"),
        ("", "the sequence is empty"),
        (' "" ', "the sequence is empty"),
        (", ,", "the sequence is empty"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(text, message):
    tokenizer = atomic(["a#1#2,c"], token_separator=",", specifier_separator="#")
    encoded = tokenizer.encode(["a,c", text])
    assert encoded[0].problem is None
    assert encoded[1].problem == message
    assert len(encoded[1].token_ids) == 0


def test_the_centre_is_the_first_token_that_equals_it():
    tokenizer = atomic(["a,gej,g,g"], token_separator=",", center_token="g")
    assert [e.center for e in tokenizer.encode(["a,gej,g,g", "a,a"])] == [2, -1]


def test_a_centre_that_is_no_token_is_found_inside_tokens():
    tokenizer = atomic(["a,gej,cej"], token_separator=",", center_token="ej")
    assert tokenizer.encode(["a,a,cej,gej"])[0].center == 2


def test_a_centre_is_found_under_its_replacement():
    tokenizer = atomic(
        ["a,gej"], token_separator=",", center_token="gej", replacements={"gej": "x"}
    )
    assert tokenizer.encode(["a,gej"])[0].center == 1


def test_every_atomic_token_counts_one_in_offsets():
    tokenizer = atomic(["a,gej"], token_separator=",")
    encoded = tokenizer.encode(["a,gej,zz"])[0]
    assert tokenizer.num_letters(encoded.token_ids).tolist() == [1, 1, 1]
    assert tokenizer.num_letters(np.array([1, 2, 3, 4])).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoding": "bpe", "specifier_separator": "#"}, "encoding atomic only"),
        ({"encoding": "atomic", "specifier_separator": "#"}, "needs a tokensep"),
        (
            {"encoding": "atomic", "specifier_separator": "#", "token_separator": "#"},
            "both '#'",
        ),
        ({"encoding": "atomic", "drop_markers": True, "center_token": "s"}, "drops all markers"),
        ({"encoding": "atomic", "region": "utr3", "center_token": "e"}, "end of the CDS"),
        ({"encoding": "atomic", "replacements": {"": "x"}}, "empty token"),
    ],
)
def test_contradictory_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_settings(TokenizerSettings(**settings))
