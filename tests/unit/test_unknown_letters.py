"""Unknown tokens and mixed letters: what is said, and what to set."""

import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from divided import plan_of, read_pieces

from biolm_ray.config.schema import Config, TokenizationConfig
from biolm_ray.data.reading import divide
from biolm_ray.errors import DataError
from biolm_ray.preparation.alphabets import (
    kinds_of_rows,
    letter_kinds,
    mixed_letters,
    mixtures,
)
from biolm_ray.preparation.checks import check_unknown_share, mostly_unknown
from biolm_ray.preparation.piece_work import EncodingJob, encode_block
from biolm_ray.preparation.prepare import _max_unknown
from biolm_ray.preparation.row_files import prepared_schema
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.hints import mapping_hint
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer


def learnt(*texts: str, encoding: str = "atomic", **settings) -> Tokenizer:
    read = TokenizerSettings(encoding=encoding, **settings)
    return fit(texts, TokenizationConfig(vocabulary_size=400, min_frequency=1), read)


def hint_for(tokenizer: Tokenizer, *texts: str) -> str:
    return mapping_hint(tokenizer.encode_block(pa.array(texts)).unknown_texts, tokenizer)


@pytest.mark.parametrize("encoding", ["atomic", "2mer"])
def test_unknown_tokens_are_traced_to_their_case_or_to_t_and_u(encoding):
    pairs = "".join(a + b for a in "ACGU" for b in "ACGU")
    tokenizer = learnt(pairs, encoding=encoding)
    masked = " (small letters often mark masked repeats)"
    upper = f"all of them are known with data.letter_case: upper{masked}"
    assert hint_for(tokenizer, "acga", "AC") == upper
    assert hint_for(tokenizer, "ATCG", "TT") == "all of them are known with data.nucleotides: rna"
    assert hint_for(tokenizer, "atcg") == (
        f"all of them are known with data.letter_case: upper and data.nucleotides: rna{masked}"
    )
    assert hint_for(tokenizer, "acgannnn" if encoding == "2mer" else "acgNt") != ""
    assert hint_for(tokenizer, "NNNNXX") == ""
    assert hint_for(tokenizer, "ACGU") == ""


def test_the_hint_counts_what_it_would_mend_and_names_small_letters_too():
    tokenizer = learnt("acgt")
    assert hint_for(tokenizer, "ACGN") == "3 of them are known with data.letter_case: lower"
    assert hint_for(tokenizer, "NNNA") == ""
    assert hint_for(tokenizer, "acgu") == "all of them are known with data.nucleotides: dna"


def test_words_between_separators_are_not_traced():
    tokenizer = learnt("a,STOP,c,aug", token_separator=",")
    assert hint_for(tokenizer, "stop,stop") == ""
    assert hint_for(tokenizer, "A,AUG") == "all of them are known with data.letter_case: lower"


def said(tokenizer: Tokenizer, *texts: str) -> str:
    kinds = letter_kinds(tokenizer)
    blocks = [tokenizer.encode_block(pa.array([text])) for text in ("", *texts)]
    rows = sum((kinds_of_rows(block, kinds) for block in blocks), Counter())
    assert rows == kinds_of_rows(tokenizer.encode_block(pa.array(["", *texts, ""])), kinds)
    return "; ".join(mixtures(rows, tokenizer))


@pytest.mark.parametrize("encoding", ["atomic", "3mer", "bpe"])
def test_rows_with_t_beside_rows_with_u_are_told(encoding):
    texts = ["ACGUAACGU"] * 3 + ["ACGTAACGT"] * 2
    told = said(learnt(*texts, encoding=encoding), *texts)
    assert "2 rows have the letter T and 3 the letter U" in told
    assert "set data.nucleotides: rna (or dna)" in told
    mapped = learnt(*texts, encoding=encoding, nucleotides="rna")
    assert said(mapped, *texts) == ""


def test_tokens_between_separators_are_told_apart_by_letter_as_well():
    texts = ["a,c,g,u,gej", "a,c,g,t"]
    told = said(learnt(*texts, token_separator=","), *texts)
    assert "1 row has the letter T and 1 the letter U" in told
    assert said(learnt("a,stop,u", token_separator=","), "a,stop,u") == ""


def test_proteins_and_one_alphabet_are_no_mixture():
    texts = ["MSTUVWYFILE", "MKTLLV", "GGUFW"]
    assert said(learnt(*texts), *texts) == ""
    assert letter_kinds(learnt("ACGU", "GGCC")) is None
    assert letter_kinds(learnt("acgu")) is None


@pytest.mark.parametrize("encoding", ["atomic", "3mer", "bpe"])
def test_small_letters_beside_capital_ones_are_told(encoding):
    texts = ["ACGUAcga", "ACGACG", "acgacg"]
    told = said(learnt(*texts, encoding=encoding), *texts)
    assert "2 rows have small letters and 2 capital ones" in told
    assert "set data.letter_case: upper" in told
    assert said(learnt(*texts, encoding=encoding, letter_case="upper"), *texts) == ""


def test_case_may_mean_something_between_separators_and_markers_are_small():
    texts = ["a,A,c,C", "a,c"]
    assert said(learnt(*texts, token_separator=","), *texts) == ""
    assert said(learnt("ACGUxACGsACGe"), "ACGUxACGsACGe") == ""


def test_bpe_learnt_on_u_is_told_of_t_though_it_knows_every_byte():
    tokenizer = learnt("ACGUACGU", "GUGUACAC", encoding="bpe")
    assert "1 row has the letter T, where the vocabulary was learnt from U" in said(
        tokenizer, "ACGTACGT"
    )
    assert said(tokenizer, "ACGUACGU") == ""


def summary(num_unknown: int, hint: str = "", examples: Any = (("{N}", 4),)) -> dict[str, Any]:
    found = {"unknown_tokens": num_unknown, "tokens": 100, "unknown_hint": hint}
    return found | {"unknown_examples": examples}


def test_too_many_unknown_tokens_are_an_error_but_in_the_data_of_the_vocabulary(caplog):
    with pytest.raises(DataError) as caught:
        check_unknown_share("a.tsv", summary(20, "all of them are known"), 0.05, is_own=False)
    assert str(caught.value) == (
        "a.tsv: 20 of 100 tokens (20 %) are not in the vocabulary, more than the 5 % allowed; "
        "most frequent: '{N}' (4); all of them are known (data.max_unknown_share sets the "
        "threshold)"
    )
    with pytest.raises(DataError, match=r"are the tokenizer and data\.token_separator the right"):
        check_unknown_share("a.tsv", summary(20), 0.05, is_own=False)
    assert not caplog.records
    check_unknown_share("a.tsv", summary(20), 0.05, is_own=True)
    assert "'{N}' (4); it was learnt from these data, without what occurs fewer" in caplog.text


def test_few_unknown_tokens_are_told_only_with_a_remedy(caplog):
    caplog.set_level(logging.INFO)
    check_unknown_share("a.tsv", summary(2), 0.05, is_own=False)
    assert not caplog.records
    check_unknown_share("a.tsv", summary(2, "all of them are known with x"), 0.05, is_own=False)
    assert caplog.messages == [
        "a.tsv: 2 of 100 tokens (2 %) are not in the vocabulary; most frequent: '{N}' (4); all of "
        "them are known with x"
    ]


def test_a_row_of_unknown_tokens_says_how_many():
    assert mostly_unknown(3, 4, "") == (
        "3 of its 4 tokens (75 %) are not in the vocabulary; are the tokenizer and "
        "data.token_separator the right ones?"
    )


def test_gaps_that_are_unknown_are_to_be_removed():
    found = summary(20, examples=(("-", 15), ("3", 4), ("N", 1)))
    with pytest.raises(
        DataError, match=r"if these are gaps, .* set data\.remove_gaps: true \(data"
    ):
        check_unknown_share("a.fa", found | {"gaps": {"-": 15, "3": 4}}, 0.05, is_own=False)
    with pytest.raises(DataError, match=r"the right ones"):
        check_unknown_share("a.fa", found, 0.05, is_own=False)
    mixed = summary(20, examples=(("N", 15), ("-", 5)))
    with pytest.raises(DataError, match=r"the right ones"):
        check_unknown_share("a.fa", mixed | {"gaps": {"-": 5}}, 0.05, is_own=False)


@pytest.mark.parametrize("encoding", ["atomic", "3mer"])
def test_a_row_of_gaps_is_told_how_to_remove_them(tmp_path, encoding):
    tokenizer = learnt("ACGUACGU", encoding=encoding)
    _, _, rejects = encode(tmp_path, tokenizer, ["A---C*G", "ANNNNNC"])
    asked = [
        problem.as_py().endswith("set data.remove_gaps: true") for problem in rejects["problem"]
    ]
    assert asked == [True, False]


def encode(folder: Path, tokenizer: Tokenizer, sequences: list[str], **job: Any):
    path = folder / "rows.tsv"
    path.write_text("".join(f"g{row}\t{text}\n" for row, text in enumerate(sequences)))
    plan = plan_of(path, sequence_column=2)
    (block,) = read_pieces(plan, divide(plan))
    num_specifiers = tokenizer.settings.num_specifiers
    schema = prepared_schema(
        num_specifiers=num_specifiers, label_kind=None, has_weights=False, has_splits=False
    )
    nowhere: Any = None
    work = EncodingJob(plan, tokenizer, schema, nowhere, stop=False, hash_ids=False, **job)
    return encode_block(block, 0, work)


def test_rows_mostly_of_unknown_tokens_are_bad_rows_whatever_their_share(tmp_path):
    sequences = ["ACGU" * 50, "ACNN", "ANNN", "acgu", "ACGU"]
    rows, encoded, rejects = encode(tmp_path, learnt("ACGU"), sequences)
    assert rows["id"].to_pylist() == ["g0", "g1", "g4"]
    assert encoded.offsets.tolist() == [0, 200, 204, 208]
    assert encoded.unknown_texts == {"N": 2}
    assert rejects["rule"].to_pylist() == ["unknown", "unknown"]
    assert rejects["line"].to_pylist() == [3, 4]
    assert rejects["problem"][1].as_py().startswith("4 of its 4 tokens (100 %) are not in the")
    assert "known with data.letter_case: upper" in rejects["problem"][1].as_py()
    rows, _, rejects = encode(tmp_path, learnt("ACGU"), sequences, max_unknown=1.0)
    assert (len(rows), len(rejects)) == (5, 0)


def test_bytes_of_bpe_are_never_unknown(tmp_path):
    rows, _, rejects = encode(tmp_path, learnt("ACGU", encoding="bpe"), ["acgt", "????"])
    assert (len(rows), len(rejects)) == (2, 0)


@pytest.mark.parametrize(
    ("digest", "share", "allowed", "limit"),
    [
        ("own", 0.2, 0.05, 1.0),
        ("own", 0.02, 0.05, 0.5),
        ("other", 0.2, 0.05, 0.5),
        ("other", 0.2, 0.8, 0.8),
    ],
)
def test_rows_may_be_unknown_in_the_data_of_a_vocabulary_that_leaves_much_out(
    digest, share, allowed, limit
):
    tokenizer = learnt("ACGU").learnt_from("own", share)
    data = {"path": "x", "sequence_column": 2, "max_unknown_share": allowed}
    config = Config.model_validate({"mode": "predict", "output_path": "o", "data": data})
    scanned: Any = SimpleNamespace(digest=digest)
    assert _max_unknown(config, scanned, tokenizer) == limit


def test_a_vocabulary_with_letters_that_may_mean_the_same_is_told():
    assert mixed_letters(learnt("ACGU")) == []
    assert mixed_letters(learnt("ACGU", "ACGT", nucleotides="rna")) == []
    (told,) = mixed_letters(learnt("ACGU", "ACGT"))
    assert told.startswith("the vocabulary has T and U as different letters")
    (told,) = mixed_letters(learnt("ACGUacgu"))
    assert told.endswith("set data.letter_case: upper")


PROTEINS = ("MKTAYIAKQRU", "ACDEFGHIKLMNPQRSTVWY")


@pytest.mark.parametrize("size", [100, 400])
def test_bytes_that_bpe_begins_with_are_no_letters_of_the_data(size):
    settings = TokenizerSettings(encoding="bpe")
    tokenization = TokenizationConfig(vocabulary_size=size, min_frequency=1)
    assert mixed_letters(fit(PROTEINS, tokenization, settings)) == []
    assert mixed_letters(fit(["ACGUACGU"] * 3, tokenization, settings)) == []
    told = mixed_letters(fit(["ACGUACGUacguacgu"] * 3, tokenization, settings))
    assert len(told) == (size > 263)


@pytest.mark.parametrize("size", [100, 400])
def test_t_and_u_of_proteins_are_different_amino_acids(size):
    tokenization = TokenizationConfig(vocabulary_size=size, min_frequency=1)
    tokenizer = fit(["AC"], tokenization, TokenizerSettings(encoding="bpe"))

    def told(*texts: str) -> list[str]:
        encoded = tokenizer.encode_block(pa.array(texts))
        return mixtures(kinds_of_rows(encoded, letter_kinds(tokenizer)), tokenizer)

    assert told(*PROTEINS) == []
    assert "the letter T and 1 the letter U" in told("ACGT", "ACGU")[0]
