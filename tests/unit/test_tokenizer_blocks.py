import numpy as np
import pyarrow as pa
import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.tokenization.blocks.encoded import narrowest_type
from biolm_ray.tokenization.fitting import clean_texts, count_tokens, fit
from biolm_ray.tokenization.settings import TokenizerSettings

ONCE = TokenizationConfig(min_frequency=1)


def fitted(texts, encoding="atomic", **settings):
    return fit(texts, ONCE, TokenizerSettings(encoding=encoding, **settings))


def rows(tokenizer, block):
    ids = np.split(block.token_ids, block.offsets[1:-1])
    return [tokenizer.tokens(row) for row in ids]


@pytest.mark.parametrize(
    ("size", "kind"),
    [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")],
)
def test_ids_take_the_narrowest_type(size, kind):
    assert narrowest_type(size) == np.dtype(kind)


def test_a_block_holds_the_ids_of_its_rows_one_after_the_other():
    tokenizer = fitted(["a,gej,c"], token_separator=",", center_token="gej")
    block = tokenizer.encode_block(pa.array(["a,c", "c,gej,gej,", " a , zz,zz"]))
    assert rows(tokenizer, block) == [["a", "c"], ["c", "gej", "gej"], ["a", "[UNK]", "[UNK]"]]
    assert block.token_ids.dtype == np.uint8
    assert block.offsets.tolist() == [0, 2, 5, 8]
    assert block.centers.tolist() == [-1, 1, -1]
    assert block.num_unknown.tolist() == [0, 0, 2]
    assert block.unknown_texts == {"zz": 2}
    assert block.problems == {}


def test_specifiers_of_a_block_stand_beside_its_tokens():
    tokenizer = fitted(["a#1#2,c"], token_separator=",", specifier_separator="#")
    block = tokenizer.encode_block(pa.array(["c,a#3#4", "c#1#2#3", "a#5"]))
    assert block.specifiers is not None
    assert block.specifiers.dtype == np.float32
    assert block.specifiers.tolist() == [[0, 0], [3, 4], [5, 0]]
    assert block.offsets.tolist() == [0, 2, 2, 3]
    assert list(block.problems) == [1]
    assert block.problems[1].startswith("token 'c#1#2#3' carries 3 specifier values")


def test_kmers_of_a_block_run_outward_from_each_rows_centre():
    tokenizer = fitted(["acgtTacgt", "acgtx"], "3mer", center_token="T")
    block = tokenizer.encode_block(pa.array(["acgtTacgt", "acgt", "", "Tacg"]))
    assert rows(tokenizer, block) == [
        ["a", "cgt", "T", "acg", "t"],
        ["acg", "t"],
        [],
        ["T", "acg"],
    ]
    assert block.centers.tolist() == [2, -1, -1, 0]
    assert block.problems == {2: "the sequence is empty"}


def test_a_block_without_rows_is_encoded():
    texts = pa.array([], pa.large_string())
    for encoding in ("atomic", "3mer"):
        block = fitted(["acgt"], encoding).encode_block(texts)
        assert block.offsets.tolist() == [0]
        assert len(block.token_ids) == 0
    assert clean_texts(texts, TokenizerSettings(encoding="bpe")) == ([], {})


def test_tokens_of_a_block_are_counted():
    settings = TokenizerSettings(
        encoding="atomic", token_separator=",", specifier_separator="#", replacements={"gej": "x"}
    )
    counts = count_tokens(pa.array(["a#1#2,gej,x", "a", ","]), settings)
    assert counts.tokens == {"a": 2, "x": 2}
    assert counts.num_specifiers == 2
    assert counts.problems == {2: "the sequence is empty"}


def test_cleaned_texts_are_joined_tokens():
    settings = TokenizerSettings(
        encoding="bpe", token_separator=",", replacements={"gej": "x", "é": "é é"}
    )
    cleaned, problems = clean_texts(pa.array(["a, gej ,c,", '""', "é,a"]), settings)
    assert cleaned == ["axc", "", "é éa"]
    assert problems == {1: "the sequence is empty"}


def test_a_row_longer_than_a_window_is_read_whole():
    text = "a,gej,é," * 400_000
    tokenizer = fitted([text[:80]], token_separator=",")
    block = tokenizer.encode_block(pa.array(["a", text, "gej"]))
    assert block.offsets.tolist() == [0, 1, 1_200_001, 1_200_002]
    assert (block.token_ids[1:-1].reshape(-1, 3) == block.token_ids[1:4]).all()
    assert tokenizer.tokens(block.token_ids[:4]) == ["a", "a", "gej", "é"]
