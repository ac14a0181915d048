"""A token separator that does not fit the sequences is told with the one that does."""

import logging

import pyarrow as pa
import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.errors import DataError
from biolm_ray.preparation.checks import count_gaps, tell_gaps
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.hints import separator_hint, unknown_hint
from biolm_ray.tokenization.settings import TokenizerSettings

WHOLE = [f"acguacgu{letter}" for letter in "acgu"]
DIVIDED = [f"a{{}}c{{}}g{{}}u{{}}{letter}" for letter in "acgu"]


def learn(texts, separator: str | None, **tokenization):
    settings = TokenizerSettings(encoding="atomic", token_separator=separator)
    return fit(texts, TokenizationConfig(**{"min_frequency": 2, **tokenization}), settings)


def test_sequences_without_the_separator_are_tokens_as_a_whole():
    with pytest.raises(DataError) as caught:
        learn(WHOLE, ",")
    assert str(caught.value) == (
        "no token occurs 2 times (minfreq), and there are 4 different tokens: nothing to learn a "
        "vocabulary from; divided at each comma, the sequences are tokens such as 'acguacgua': "
        "leave data.token_separator (tokensep) out if each letter is a token, or set the separator "
        "that they have"
    )


@pytest.mark.parametrize(("mark", "name"), [(",", "comma"), (" ", "blank"), ("|", "bar")])
def test_the_separator_that_fits_is_named(mark, name):
    texts = [text.format(*[mark] * 4) for text in DIVIDED]
    with pytest.raises(DataError, match=f"hold a {name} between .*set data.token_separator: '"):
        learn(texts, ";")


def test_it_is_warned_of_where_tokens_may_be_rare(caplog):
    learn(WHOLE, ",", min_frequency=1)
    assert "most tokens occur once only; divided at each comma" in caplog.text
    caplog.clear()
    learn(["a,c,g", "g,a,c"], ",", min_frequency=1)
    assert not caplog.records


def test_words_that_are_rare_on_purpose_are_not_taken_for_it():
    assert separator_hint({"exon": 1, "cds": 1}, ",") == ""
    assert separator_hint({}, ",") == ""


@pytest.mark.parametrize(
    ("separator", "unknown", "hint"),
    [
        (
            None,
            {",": 9, "N": 1},
            "hold a comma between their tokens: set data.token_separator: ','",
        ),
        (",", {"acguacgua": 5}, "divided at each comma, the sequences are tokens such as"),
        (",", {"N": 5}, ""),
    ],
)
def test_a_model_that_knows_no_token_asks_for_the_separator(separator, unknown, hint):
    tokenizer = learn(["a,c,g,u"] * 2, ",").adapted()
    tokenizer = tokenizer._with(token_separator=separator)
    found = unknown_hint(unknown, tokenizer)
    assert (hint in found) if hint else not found


def test_separators_that_become_tokens_are_counted(caplog):
    caplog.set_level(logging.WARNING)
    texts = pa.array(["a,c", "g,u-a"], pa.large_string())
    gaps = count_gaps(texts, TokenizerSettings(encoding="atomic"))
    assert gaps == {",": 2, "-": 1}
    tell_gaps("rows.tsv", gaps)
    assert caplog.messages == [
        "rows.tsv: the sequences hold 1 '-', which become tokens: if they are gaps, stops or "
        "numbers of positions, set data.remove_gaps: true",
        "rows.tsv: the sequences hold 2 ',', which become tokens: if they stand between tokens, "
        "set data.token_separator (tokensep) to it",
    ]
    assert not count_gaps(texts, TokenizerSettings(encoding="atomic", token_separator=","))
