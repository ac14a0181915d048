"""Letters turned into capitals, T into U: what is mapped, what is not, and what a model keeps."""

import json

import pyarrow as pa
import pytest

from biolm_ray.config.schema import DataConfig, TokenizationConfig
from biolm_ray.errors import ConfigError
from biolm_ray.tokenization.atomic import read_tokens
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer


def read(text: str, **settings) -> list[str]:
    return read_tokens(text, TokenizerSettings(encoding="atomic", **settings)).tokens


def test_letters_are_kept_unless_a_mapping_is_asked_for():
    assert read("acGTuN") == list("acGTuN")


@pytest.mark.parametrize(
    ("settings", "mapped"),
    [
        ({"letter_case": "upper"}, "ACGTUN*É"),
        ({"letter_case": "lower"}, "acgtun*É"),
        ({"nucleotides": "rna"}, "acGUuN*É"),
        ({"nucleotides": "dna"}, "acGTtN*É"),
        ({"letter_case": "upper", "nucleotides": "dna"}, "ACGTTN*É"),
        ({"letter_case": "lower", "nucleotides": "rna"}, "acguun*É"),
    ],
)
def test_only_the_letters_of_ascii_are_mapped(settings, mapped):
    assert read("acGTuN*É", **settings) == list(mapped)


def test_between_separators_words_are_kept_and_nucleotides_mapped():
    settings = {"token_separator": ",", "letter_case": "upper", "nucleotides": "rna"}
    assert read("a,t,gej,Stop,augT,x,act1", **settings) == [
        "A",
        "U",
        "gej",
        "Stop",
        "AUGU",
        "X",
        "act1",
    ]


def test_what_is_replaced_is_not_mapped():
    settings = {"replacements": {"t": "e", "gej": "z"}, "letter_case": "upper"}
    assert read("atgejT", **settings) == list("AezT")
    assert read("a,t,gej,T,g#1", token_separator=",", specifier_separator="#", **settings) == [
        *("A", "e", "z", "T", "G"),
    ]


def test_the_centre_is_named_as_in_the_file_or_as_it_is_read():
    for center in ("t", "U"):
        settings = TokenizerSettings(
            encoding="atomic", center_token=center, letter_case="upper", nucleotides="rna"
        )
        tokenizer = fit(["acgtacgt"], TokenizationConfig(), settings)
        assert tokenizer.encode(["aat"])[0].center == 2
    kept = settings.model_copy(update={"center_token": "e", "replacements": {"stop": "e"}})
    assert kept.center == "e"


@pytest.mark.parametrize("settings", [{"region": "utr3"}, {"drop_markers": True}])
def test_markers_cannot_be_looked_for_where_capitals_replace_them(settings):
    settings = {**settings, "encoding": "atomic", "letter_case": "upper"}
    with pytest.raises(ConfigError, match=r"makes letters of the markers e.*\{e: e"):
        Tokenizer(TokenizerSettings(**settings), {"vocab": {"[UNK]": 0}})
    kept = TokenizerSettings(**settings, replacements={"e": "e", "s": "s", "x": "x"})
    assert Tokenizer(kept, {"vocab": {"[UNK]": 0}}).settings == kept


@pytest.mark.parametrize("encoding", ["atomic", "3mer", "bpe"])
def test_a_tokenizer_maps_whatever_it_reads_once_it_is_saved(tmp_path, encoding):
    settings = TokenizerSettings(encoding=encoding, letter_case="upper", nucleotides="rna")
    fit(["acguacgu", "ACGUACGU"], TokenizationConfig(vocabulary_size=300), settings).save(tmp_path)
    tokenizer = Tokenizer.load(tmp_path).adapted(DataConfig(path="x", sequence_column=2))
    expected = tokenizer.encode(["ACGUACGU"])[0].token_ids.tolist()
    texts = ["acgtacgt", "ACGTACGU", "AcGuaCgT"]
    assert [row.token_ids.tolist() for row in tokenizer.encode(texts)] == [expected] * 3
    block = tokenizer.encode_block(pa.array(texts))
    assert block.token_ids.tolist() == expected * 3
    assert not block.num_unknown.any()


def test_a_tokenizer_saved_before_keeps_letters_and_is_written_as_before(tmp_path):
    fit(["acgu"] * 2, TokenizationConfig(), TokenizerSettings(encoding="atomic")).save(tmp_path)
    written = json.loads((tmp_path / "tokenization.json").read_text())
    assert written.keys().isdisjoint({"letter_case", "nucleotides", "learnt_from"})
    assert Tokenizer.load(tmp_path).settings.letter_case == "keep"


def test_data_may_ask_for_a_mapping_only_where_letters_were_kept():
    tokenizer = fit(["acgu"] * 2, TokenizationConfig(), TokenizerSettings(encoding="atomic"))
    data = DataConfig(path="x", sequence_column=2, letter_case="lower", nucleotides="rna")
    mapping = tokenizer.adapted(data)
    assert mapping.encode(["TACG"])[0].num_unknown == 0
    assert mapping.adapted(data) is mapping
    other = DataConfig(path="x", sequence_column=2, nucleotides="dna")
    with pytest.raises(ConfigError, match=r"data.nucleotides: dna asked for, but .* with rna"):
        mapping.adapted(other)
    kept = DataConfig(path="x", sequence_column=2, letter_case="keep")
    with pytest.raises(ConfigError, match=r"data.letter_case: keep asked for"):
        mapping.adapted(kept)


def test_data_read_by_another_mapping_are_not_those_that_a_vocabulary_was_learnt_from():
    tokenizer = fit(["acgu"] * 2, TokenizationConfig(), TokenizerSettings(encoding="atomic"))
    tokenizer = tokenizer.learnt_from("digest", 0.2)
    plain = DataConfig(path="x", sequence_column=2, letter_case="keep")
    assert tokenizer.adapted(plain).settings.learnt_from is not None
    mapping = DataConfig(path="x", sequence_column=2, letter_case="upper")
    assert tokenizer.adapted(mapping).settings.learnt_from is None
