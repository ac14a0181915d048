"""Which letters rows are written with: T or U, small or capital ones, and whether they mix."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, UInt8

from biolm_ray.tokenization.blocks.encoded import EncodedBlock
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.wording import counted

THYMINE, URACIL, CAPITAL, SMALL, AMINO = 1, 2, 4, 8, 16
"""Bits of the kinds of letters that a token or a row has."""
_AMINO_ACIDS = frozenset("EFILPQfilpq")
"""Letters that stand for no nucleotide; a small e may be a marker."""


def letter_kinds(tokenizer: Tokenizer) -> UInt8[np.ndarray, " vocabulary"] | None:
    """The kinds of letters in each token of a vocabulary.

    T and U are told apart where letters stand for nucleotides, small and capital letters where
    tokens have no separator, since words between separators may mean their case. The single bytes
    of bpe count too: which of them occur is known of rows.

    Returns:
        None where rows cannot mix letters: the vocabulary has one of each kind, or they are mapped.
    """
    settings, words = tokenizer.settings, _words(tokenizer)
    kinds = np.zeros(len(words), np.uint8)
    if settings.nucleotides == "keep" and not learnt_letters(tokenizer) & _AMINO_ACIDS:
        kinds |= _with(words, "Tt") * np.uint8(THYMINE)
        kinds |= _with(words, "Uu") * np.uint8(URACIL)
        kinds |= _with(words, "".join(_AMINO_ACIDS)) * np.uint8(AMINO)
    if settings.letter_case == "keep" and not settings.token_separator:
        kinds |= _with(words, "ACGTUN") * np.uint8(CAPITAL)
        kinds |= _with(words, "acgtun") * np.uint8(SMALL)
    found = int(np.bitwise_or.reduce(kinds, initial=0))
    may_mix = _has(found, THYMINE | URACIL) or _has(found, CAPITAL | SMALL)
    return kinds if may_mix else None


def mixed_letters(tokenizer: Tokenizer) -> list[str]:
    """Say where a vocabulary has different letters that may mean the same, and what to do.

    Of bpe the letters count that it has learnt, not the bytes that it begins with.
    """
    kinds = letter_kinds(tokenizer)
    if kinds is None:
        return []
    is_learnt = np.array([len(word) >= _fewest_letters(tokenizer) for word in _words(tokenizer)])
    found = int(np.bitwise_or.reduce(kinds[is_learnt], initial=0))
    notes = []
    if _has(found, THYMINE | URACIL):
        notes.append(
            "the vocabulary has T and U as different letters; if they mean the same, set "
            "data.nucleotides: rna (or dna)"
        )
    if _has(found, CAPITAL | SMALL):
        notes.append(
            "the vocabulary has small and capital letters as different ones (small letters often "
            "mark masked repeats); if they mean the same, set data.letter_case: upper"
        )
    return notes


def learnt_letters(tokenizer: Tokenizer) -> set[str]:
    """The letters that a vocabulary was learnt from; bpe knows all others as single bytes."""
    fewest = _fewest_letters(tokenizer)
    return {letter for word in _words(tokenizer) if len(word) >= fewest for letter in word}


def _fewest_letters(tokenizer: Tokenizer) -> int:
    """Letters from which on a token was learnt from the data."""
    return 2 if tokenizer.encoding == "bpe" else 1


def kinds_of_rows(
    encoded: EncodedBlock, kinds: UInt8[np.ndarray, " vocabulary"] | None
) -> Counter[int]:
    """How many rows of a block have letters of which kinds; nothing where rows cannot mix them."""
    if kinds is None:
        return Counter()
    starts = encoded.offsets[:-1][np.diff(encoded.offsets) > 0]
    if not len(starts):
        return Counter()
    of_rows = np.bitwise_or.reduceat(kinds[encoded.token_ids], starts)
    return Counter(of_rows.tolist())


def mixtures(rows: Mapping[int, int], tokenizer: Tokenizer) -> list[str]:
    """Say where rows are written with different letters for the same, and what to do.

    Args:
        rows: How many have letters of which kinds.
        tokenizer: That read them.
    """
    num_t, num_u = _num_with(rows, THYMINE), _num_with(rows, URACIL)
    if _num_with(rows, AMINO):  # proteins, whose T is threonine and whose U selenocysteine
        num_t = num_u = 0
    num_capital, num_small = _num_with(rows, CAPITAL), _num_with(rows, SMALL)
    learnt = learnt_letters(tokenizer)
    notes = []
    if num_t and num_u:
        notes.append(
            f"{counted(num_t, 'row has', 'rows have')} the letter T and {num_u:,} the letter U, "
            "which are different tokens; if they mean the same, set data.nucleotides: rna (or dna)"
        )
    elif (num_t and learnt & set("Uu") and not learnt & set("Tt")) or (
        num_u and learnt & set("Tt") and not learnt & set("Uu")
    ):
        found, known, setting = ("T", "U", "rna") if num_t else ("U", "T", "dna")
        notes.append(
            f"{counted(num_t or num_u, 'row has', 'rows have')} the letter {found}, where the "
            f"vocabulary was learnt from {known}; if they mean the same, "
            f"set data.nucleotides: {setting}"
        )
    if num_capital and num_small:
        notes.append(
            f"{counted(num_small, 'row has', 'rows have')} small letters and {num_capital:,} "
            "capital ones, which are different tokens (small letters often mark masked repeats); "
            "if they mean the same, set data.letter_case: upper"
        )
    return notes


def _words(tokenizer: Tokenizer) -> list[str]:
    """The texts of the vocabulary; "" for special tokens and names of several letters."""
    special = set(tokenizer.special_ids.values())
    has_names = tokenizer.encoding == "atomic" and tokenizer.settings.token_separator
    texts = tokenizer.tokens(np.arange(max(tokenizer.vocabulary.values()) + 1))
    return [
        "" if token_id in special or (has_names and len(text) > 1) else text
        for token_id, text in enumerate(texts)
    ]


def _with(words: list[str], letters: str) -> Bool[np.ndarray, " vocabulary"]:
    return np.array([not set(letters).isdisjoint(word) for word in words])


def _has(kinds: int, wanted: int) -> bool:
    return kinds & wanted == wanted


def _num_with(rows: Mapping[int, int], kind: int) -> int:
    return sum(count for kinds, count in rows.items() if kinds & kind)
