"""Rules over all rows of an input: identifiers that repeat, and tokens that are not known."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt64
from pandas.util import hash_array

from biolm_ray.data.columns import shown
from biolm_ray.errors import DataError

NUM_SHOWN_TOKENS = 5


def hash_ids(ids: pa.ChunkedArray | pa.Array) -> UInt64[np.ndarray, " rows"]:
    """Hash identifiers, the same in every process (SipHash with a fixed key, by pandas)."""
    texts = np.asarray(ids.to_numpy(zero_copy_only=False), dtype=object)
    return hash_array(texts, categorize=False)  # pyright: ignore[reportCallIssue]


def rows_with_equal_hashes(
    parts: Sequence[UInt64[np.ndarray, " rows"]],
) -> Int[np.ndarray, " candidates"]:
    """The rows whose hash stands more than once, ascending; 16 bytes of memory to a row.

    Args:
        parts: The hashes of consecutive rows.
    """
    hashes = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    ordered = np.sort(hashes)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.flatnonzero(np.isin(hashes, repeated)) if len(repeated) else np.empty(0, np.int64)


def repeats(ids: Sequence[str]) -> dict[int, int]:
    """For each identifier that stood before: its index, and that of its first appearance."""
    firsts: dict[str, int] = {}
    return {
        index: first
        for index, name in enumerate(ids)
        if (first := firsts.setdefault(name, index)) != index
    }


def repeated_id_problem(name: str, first_place: str) -> str:
    """Say of a row that its identifier is taken."""
    return (
        f"id {shown(name)} stands on {first_place} already; make the ids unique or set "
        "data.allow_duplicate_ids: true"
    )


def check_unknown_share(
    where: str,
    num_unknown: int,
    num_tokens: int,
    most_frequent: Sequence[tuple[str, int]],
    max_share: float,
) -> None:
    """Refuse a share of unknown tokens above the threshold.

    Args:
        where: The name of the input, for the message.
        num_unknown: Tokens that the vocabulary does not hold.
        num_tokens: All tokens.
        most_frequent: Texts and counts; empty for encodings that split texts.
        max_share: The threshold.

    Raises:
        DataError: Too many tokens are unknown.
    """
    share = num_unknown / max(num_tokens, 1)
    if share <= max_share:
        return
    listed = ", ".join(f"{shown(text)} ({count})" for text, count in most_frequent)
    raise DataError(
        f"{where}: {num_unknown} of {num_tokens} tokens ({100 * share:.3g} %) are not in the "
        f"vocabulary, more than the {100 * max_share:.3g} % allowed"
        + (f"; most frequent: {listed}" if listed else "")
        + "; are the tokenizer and data.token_separator the right ones? "
        "(data.max_unknown_share sets the threshold)"
    )


def most_frequent(texts: Counter[str]) -> list[tuple[str, int]]:
    """The few most frequent texts with their counts, equally frequent ones in their order."""
    ranked = sorted(texts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ranked[:NUM_SHOWN_TOKENS]
