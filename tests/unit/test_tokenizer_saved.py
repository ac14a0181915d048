import itertools
import json
import os
import pickle

import pytest
import tokenizers

from biolm_ray.config.schema import Column, DataConfig, PreprocessingConfig, TokenizationConfig
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.tokenizer import Tokenizer, TokenizerSettings

TEXTS = ["a,s,c,x,g,a,gej,t,e,t,e,t", '"s, a,c,t ,gej, e,x,c"', "a,c,g,e,a,"]
ONCE = TokenizationConfig(min_frequency=1)


def fitted(encoding="atomic", **settings):
    read = TokenizerSettings(encoding=encoding, token_separator=",", **settings)
    return fit(TEXTS, ONCE, read)


def ids(tokenizer, texts=TEXTS):
    return [encoded.token_ids.tolist() for encoded in tokenizer.encode(texts)]


@pytest.mark.parametrize("encoding", ["atomic", "3mer", "bpe"])
def test_a_saved_tokenizer_loads_as_it_was(encoding, tmp_path):
    tokenizer = fitted(encoding, center_token="t", replacements={"gej": "y"})
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert loaded.settings == tokenizer.settings
        assert ids(loaded) == ids(tokenizer)
    assert ids(pickle.loads(pickle.dumps(tokenizer))) == ids(tokenizer)


@pytest.mark.parametrize(
    ("encoding", "separator", "drop_markers", "region"),
    list(
        itertools.product(
            ["atomic", "3mer", "bpe"], [",", None], [True, False], ["whole", "utr3", "outside_utr3"]
        )
    ),
)
def test_the_file_gives_the_same_ids_in_the_tokenizers_library(
    encoding, separator, drop_markers, region, tmp_path
):
    texts = TEXTS if separator else [text.replace(",", "") for text in TEXTS]
    read = TokenizerSettings(
        encoding=encoding,
        token_separator=separator,
        replacements={"gej": "x", "x": "y", "a": "b"},
        drop_markers=drop_markers,
        region=region,
    )
    tokenizer = fit(texts, ONCE, read)
    tokenizer.save(tmp_path)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [library.encode(t, add_special_tokens=False).ids for t in texts] == ids(tokenizer, texts)
    framed = library.encode(texts[0]).tokens
    assert (framed[0], framed[-1]) == ("[CLS]", "[SEP]")


@pytest.mark.parametrize("separator", [",", "|", "\t", " ", ".", "::"])
def test_the_file_knows_any_separator(separator, tmp_path):
    text = f" a{separator}gej#1.5{separator}c{separator}"
    read = TokenizerSettings(
        encoding="atomic",
        token_separator=separator,
        specifier_separator="#",
        replacements={"gej": "x"},
    )
    tokenizer = fit([text], ONCE, read)
    tokenizer.save(tmp_path)
    assert tokenizer.tokens(tokenizer.encode([text])[0].token_ids) == ["a", "x", "c"] or (
        separator == "."
    )
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.encode(text, add_special_tokens=False).ids == ids(tokenizer, [text])[0]


def test_a_file_without_settings_takes_those_given(tmp_path):
    tokenizer = fitted("bpe")
    tokenizer.save(tmp_path)
    (tmp_path / "tokenization.json").unlink()
    read = TokenizerSettings(encoding="atomic", token_separator=",")
    loaded = Tokenizer.load(tmp_path, read)
    assert loaded.encoding == "bpe"
    assert ids(loaded) == ids(tokenizer)
    with pytest.raises(ConfigError, match=r"no tokenization\.json beside it"):
        Tokenizer.load(tmp_path)


def test_word_files_stay_kmers_under_kmer_settings(tmp_path):
    fitted("3mer").save(tmp_path)
    (tmp_path / "tokenization.json").unlink()
    for given, expected in (("3mer", "3mer"), ("bpe", "atomic"), ("atomic", "atomic")):
        assert Tokenizer.load(tmp_path, TokenizerSettings(encoding=given)).encoding == expected


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no tokenizer there"):
        Tokenizer.load(tmp_path)
    with pytest.raises(ConfigError, match="no tokenizer there"):
        Tokenizer.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not the tokenizer.json of a trained tokenizer"),
        (
            json.dumps({"model": {"type": "WordPiece", "vocab": {}}}),
            "holds a WordPiece tokenizer",
        ),
        (
            json.dumps({"model": {"type": "WordLevel", "vocab": {"[UNK]": 0}}}),
            r"lacks the special token \[PAD\]",
        ),
        (
            json.dumps({"model": {"type": "BPE", "vocab": {"[UNK]": 0, "[PAD]": 1}}}),
            "no ByteLevel step",
        ),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(content, message, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        Tokenizer.load(tmp_path, TokenizerSettings(encoding="atomic"))


def test_damaged_settings_are_refused(tmp_path):
    fitted().save(tmp_path)
    (tmp_path / "tokenization.json").write_text('{"encoding": "bpe"}', encoding="utf-8")
    with pytest.raises(DataError, match="encoding bpe does not fit"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenization.json").write_text('{"encoding": 3}', encoding="utf-8")
    with pytest.raises(DataError, match=r"tokenization\.json: damaged \('encoding': "):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_adapts_to_the_separators_of_another_file():
    tokenizer = fitted()
    data = DataConfig(path="other.tsv", sequence_column=Column(index=1), token_separator="|")
    adapted = tokenizer.adapted(data=data, preprocessing=PreprocessingConfig(center_token="t"))
    encoded = adapted.encode(["a|gej|t"])[0]
    assert adapted.tokens(encoded.token_ids) == ["a", "gej", "t"]
    assert encoded.center == 2
    assert adapted.vocabulary == tokenizer.vocabulary
    assert tokenizer.encode(["a,gej,t"])[0].center == -1


@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "a pipe"), (os.mkdir, "a folder")])
def test_what_is_in_the_place_of_the_file_is_named(tmp_path, make, kind):
    make(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match=rf"tokenizer.json is {kind}, not the file of a"):
        Tokenizer.load(tmp_path)
