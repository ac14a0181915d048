"""Whether unknown tokens are known under another case, or with T and U exchanged."""

from collections.abc import Mapping
from itertools import product
from typing import get_args

from biolm_ray.tokenization.settings import LetterCase, Nucleotides
from biolm_ray.tokenization.tokenizer import Tokenizer


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
