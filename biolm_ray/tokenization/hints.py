"""What may be wrong where tokens are unknown or unique: letters of another case, a separator."""

from collections.abc import Mapping
from itertools import product
from typing import get_args

from biolm_ray.data.columns import SEPARATOR_NAMES, in_yaml, shown
from biolm_ray.tokenization.settings import LetterCase, Nucleotides
from biolm_ray.tokenization.tokenizer import Tokenizer

LONG_TOKEN = 8
"""Letters from which on a token looks like a sequence that was not divided."""


def unknown_hint(unknown: Mapping[str, int], tokenizer: Tokenizer) -> str:
    """Name the settings under which most unknown tokens may be known; "" if there are none.

    Args:
        unknown: Texts of tokens that the vocabulary does not hold, and their counts.
        tokenizer: That does not know them.
    """
    separator = tokenizer.settings.token_separator
    return mapping_hint(unknown, tokenizer) or separator_hint(unknown, separator)


def separator_hint(tokens: Mapping[str, int], separator: str | None) -> str:
    """Say which separator most tokens hold or, where they are whole sequences, that none does.

    Args:
        tokens: Their texts and counts; all of them where a vocabulary is learnt, else the unknown.
        separator: That sequences were divided at; None where each letter is a token.

    Returns:
        "" where nothing speaks for another separator.
    """
    total = sum(tokens.values())
    if not total:
        return ""
    for mark, name in SEPARATOR_NAMES.items():
        holding = sum(count for text, count in tokens.items() if mark in text)
        if mark != separator and 2 * holding > total:
            return (
                f"the sequences hold a {name} between their tokens: set data.token_separator: "
                f"'{in_yaml(mark)}' (tokensep)"
            )
    num_long = sum(count for text, count in tokens.items() if len(text) >= LONG_TOKEN)
    if separator is None or 2 * num_long <= total:
        return ""
    name = SEPARATOR_NAMES.get(separator, f"'{separator}'")
    return (
        f"divided at each {name}, the sequences are tokens such as "
        f"{shown(max(tokens, key=len))}: leave data.token_separator (tokensep) out if each letter "
        "is a token, or set the separator that they have"
    )


def mapping_hint(unknown: Mapping[str, int], tokenizer: Tokenizer) -> str:
    """Name the settings under which most unknown tokens would be known; "" if there are none.

    Args:
        unknown: Texts of tokens that the vocabulary does not hold, and their counts.
        tokenizer: That does not know them.
    """
    total, settings = sum(unknown.values()), tokenizer.settings
    best, num_known = "", 0
    for letter_case, nucleotides in product(get_args(LetterCase), get_args(Nucleotides)):
        changes = {"letter_case": letter_case, "nucleotides": nucleotides}
        other = settings.model_copy(update=changes)
        whole = settings.kmer_size is not None or not settings.token_separator
        known = sum(
            count
            for text, count in unknown.items()
            if (text.translate(other.letter_mapping) if whole else other.mapped(text))
            in tokenizer.vocabulary
        )
        if known > num_known:
            wanted = [f"data.{n}: {v}" for n, v in changes.items() if v != getattr(settings, n)]
            best, num_known = " and ".join(wanted), known
    if 2 * num_known < total or not best:
        return ""
    which = "all of them are" if num_known == total else f"{num_known:,} of them are"
    masked = " (small letters often mark masked repeats)" if "upper" in best else ""
    return f"{which} known with {best}{masked}"
