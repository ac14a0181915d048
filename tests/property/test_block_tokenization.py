"""Whole blocks give what their rows give one at a time, whatever the settings and the texts."""

import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.tokenization.atomic import read_tokens
from biolm_ray.tokenization.blocks import joined_rows
from biolm_ray.tokenization.document import word_model
from biolm_ray.tokenization.fitting import clean_texts, count_tokens, fit
from biolm_ray.tokenization.settings import SPECIAL_TOKENS, TokenizerSettings, check_settings
from biolm_ray.tokenization.tokenizer import Tokenizer

NAMES = [
    "a",
    "c",
    "g",
    "t",
    "A",
    "e",
    "s",
    "x",
    "gej",
    "stop",
    "é",
    "漢",
    "alanine-and-more",
    "T",
    "u",
    "AuGt",
    "[PAD]",
]
ODDITIES = ["", " ", '"', "\n", "\t", "\r\n", "\xa0", "\u2003", " a ", "a b", "\x00", "\U000f0000"]
VALUES = ["#1", "#2.5#0.2", "#-1e2# 3 ", "##", "#", "#x", "#nan", " #4", "#1_0#inf"]

separators = st.sampled_from([None, ",", ",", ",", " ", ", ", "::", "é", "a", '"', "\t", "#,"])
names = st.sampled_from(NAMES)
replacements = st.dictionaries(
    st.sampled_from([*NAMES, "ge", "ac", "\U000f0001", " "]),
    st.sampled_from(["", "x", "s", "e", "xy", "U", "é", "long name", " ", '"', "\U000f0000"]),
    max_size=4,
)


@st.composite
def all_settings(draw):
    separator = draw(separators)
    encoding = draw(st.sampled_from(["atomic", "atomic", "1mer", "2mer", "3mer", "9mer", "bpe"]))
    specifier = draw(st.sampled_from([None, "#", "##", " #", "é", "a", "#,"]))
    settings = TokenizerSettings(
        encoding=encoding,
        token_separator=separator,
        specifier_separator=specifier if separator and encoding == "atomic" else None,
        num_specifiers=draw(st.integers(0, 2)) if encoding == "atomic" else 0,
        replacements=draw(replacements),
        center_token=draw(st.none() | names),
        drop_markers=draw(st.booleans()),
        region=draw(st.sampled_from(["whole", "whole", "utr3", "outside_utr3"])),
        letter_case=draw(st.sampled_from(["keep", "keep", "upper", "lower"])),
        nucleotides=draw(st.sampled_from(["keep", "rna", "dna"])),
    )
    try:
        return check_settings(settings)
    except ConfigError:
        assume(False)


@st.composite
def texts_for(draw, settings):
    pieces = (
        st.tuples(names, st.just("") | st.sampled_from(VALUES))
        if draw(st.booleans())
        else (st.tuples(names | st.sampled_from(ODDITIES), st.just("")))
    )
    row = st.lists(pieces, max_size=12)
    joints = st.sampled_from([settings.token_separator or ""] * 8 + [" ", ",", ""])
    glue = draw(joints)
    end = draw(st.sampled_from(["", "", glue, '"', "\n"]))
    return [glue.join(map("".join, tokens)) + end for tokens in draw(st.lists(row, max_size=6))]


def sliced(texts, kind):
    """The texts as a slice of a longer array."""
    return pa.array(["before", *texts, "after"], kind)[1:-1]


def rows_of(block):
    for row, (start, stop) in enumerate(zip(block.offsets[:-1], block.offsets[1:], strict=True)):
        channels = None if block.specifiers is None else block.specifiers[start:stop]
        yield (
            block.token_ids[start:stop].tolist(),
            channels,
            int(block.centers[row]),
            int(block.num_unknown[row]),
            block.problems.get(row),
        )


def assert_equal_to_single_rows(tokenizer, texts, kind=None):
    block = tokenizer.encode_block(sliced(texts, kind or pa.large_string()))
    assert len(block.offsets) == len(texts) + 1
    for single, row in zip(tokenizer.encode(texts), rows_of(block), strict=True):
        ids, channels, center, num_unknown, problem = row
        assert problem == single.problem
        assert ids == single.token_ids.tolist()
        assert center == single.center
        assert num_unknown == single.num_unknown
        if problem is None:
            assert (channels is None) == (single.specifiers is None)
            if channels is not None:
                np.testing.assert_array_equal(channels, single.specifiers)
    assert block.unknown_texts == unknown_texts(tokenizer, texts)
    assert block.token_ids.dtype == tokenizer.id_type


def unknown_texts(tokenizer, texts):
    if tokenizer.encoding == "bpe":
        return Counter()
    rows = tokenizer.encode(texts)
    used = [text for text, row in zip(texts, rows, strict=True) if row.num_unknown]
    counts = count_tokens(used, tokenizer.settings).tokens
    return Counter({text: n for text, n in counts.items() if text not in tokenizer.vocabulary})


BPE_MODEL = fit(
    ["acgtacgtgej", "acgacggtéca"],
    TokenizationConfig(encoding="bpe", max_token_length=4),
    TokenizerSettings(encoding="bpe"),
)


def tokenizer_for(settings, texts, size):
    """A tokenizer that knows every other token of the texts."""
    if settings.encoding == "bpe":
        return Tokenizer(settings, BPE_MODEL._model, BPE_MODEL._byte_level)
    words = sorted(count_tokens(texts, settings).tokens)[::2]
    fill = [f"[{n}]" for n in range(size - len(words))]
    vocabulary = [*SPECIAL_TOKENS, *fill, *(word for word in words if word not in SPECIAL_TOKENS)]
    return Tokenizer(settings, word_model({token: n for n, token in enumerate(vocabulary)}))


@given(st.data(), all_settings(), st.sampled_from([0, 300]))
def test_a_block_is_encoded_as_its_rows(data, settings, size):
    texts = data.draw(texts_for(settings))
    kind = data.draw(st.sampled_from([pa.string(), pa.large_string()]))
    assert_equal_to_single_rows(tokenizer_for(settings, texts, size), texts, kind)


@given(st.data(), all_settings())
def test_a_block_is_counted_as_its_rows(data, settings):
    texts = data.draw(texts_for(settings))
    single = count_tokens(texts, settings)
    assert count_tokens(sliced(texts, pa.large_string()), settings) == single


@given(st.data(), all_settings())
def test_a_block_is_cleaned_as_its_rows(data, settings):
    texts = data.draw(texts_for(settings))
    settings = settings.model_copy(update={"num_specifiers": 0})
    cleaned, problems = clean_texts(sliced(texts, pa.string()), settings)
    for row, text in enumerate(texts):
        assert (cleaned[row], problems.get(row)) == cleaned_alone(text, settings)


def cleaned_alone(text, settings):
    try:
        return "".join(read_tokens(text, settings, 0).tokens), None
    except DataError as error:
        return "", str(error)


@given(st.data(), all_settings(), st.integers(1, 9))
def test_windows_of_any_size_give_the_same_tokens(data, settings, window):
    texts = data.draw(texts_for(settings))
    tokenizer = tokenizer_for(settings, texts, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined_rows, "WINDOW", window)
        assert_equal_to_single_rows(tokenizer, texts)


@given(
    st.lists(st.text("acgtsxT", max_size=60), max_size=5),
    st.integers(1, 9),
    st.sampled_from([None, "T", "s", "x"]),
)
@example(["acg", "Tacg"], 3, "T")
@example(["", "x" * 300 + "a" + "x" * 300 + "c", "xx"], 2, None)
def test_kmers_of_a_block_are_those_of_its_rows(texts, size, center):
    settings = TokenizerSettings(encoding=f"{size}mer", center_token=center)
    assert_equal_to_single_rows(tokenizer_for(settings, texts, 0), texts)


@pytest.mark.parametrize("encoding", ["atomic", "3mer"])
@pytest.mark.parametrize("num_tokens", [100, 117, 118, 400])
def test_blocks_of_many_different_tokens_are_encoded_as_their_rows(encoding, num_tokens):
    tokens = [f"token{index}" for index in range(num_tokens)]
    texts = [",".join([*tokens, "a", " "]), ",".join(reversed(tokens)), "a,,token3,b", "  "]
    settings = TokenizerSettings(
        encoding=encoding, token_separator=",", replacements={"token5": "", "a": "alpha"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined_rows, "WINDOW", 200)
        assert_equal_to_single_rows(tokenizer_for(settings, texts, 0), texts)
        assert count_tokens(pa.array(texts), settings) == count_tokens(texts, settings)


def test_all_white_space_is_known():
    blanks = {chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()}
    assert blanks == {*joined_rows.ASCII_BLANKS.decode(), *joined_rows.OTHER_BLANKS}
