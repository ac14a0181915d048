"""A block of rows as token ids, and how codes of tokens become ids."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from biolm_ray.tokenization.blocks import rows
from biolm_ray.tokenization.blocks.token_codes import TokenCodes

_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class EncodedBlock:
    """The rows of a block as ids, joined; uncropped and without special tokens.

    Attributes:
        token_ids: In the narrowest type the vocabulary allows.
        offsets: int64; row r is `token_ids[offsets[r]:offsets[r + 1]]`.
        specifiers: The floats of decorated tokens, 0 where absent; None without channels.
        centers: 0-based index of the centre token in each row, -1 where there is none; int32.
        num_unknown: How many tokens of each row the vocabulary does not hold.
        unknown_texts: How often each of them occurs in the block; empty for bpe.
        problems: Why a text cannot be used (no line number), by row. Such rows have no tokens.
    """

    token_ids: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " rows+1"]
    specifiers: Float[np.ndarray, "tokens channels"] | None
    centers: Int[np.ndarray, " rows"]
    num_unknown: Int[np.ndarray, " rows"]
    unknown_texts: Counter[str]
    problems: dict[int, str]


def narrowest_type(vocabulary_size: int) -> np.dtype:
    """The narrowest type of ids below `vocabulary_size`: uint8, uint16 or int32."""
    if vocabulary_size <= 1 << 8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.int32)


def look_up(
    codes: Int[np.ndarray, " tokens"], ids: Int[np.ndarray, " codes"]
) -> Int[np.ndarray, " tokens"]:
    """Turn codes into ids of the table's type."""
    if codes.dtype != np.uint8 or ids.dtype != np.uint8:
        return ids[codes]
    table = ids.tobytes().ljust(256, b"\0")
    token_ids = np.empty(len(codes), dtype=np.uint8)
    for start in range(0, len(codes), _AT_ONCE):
        part = codes[start : start + _AT_ONCE].tobytes().translate(table)
        token_ids[start : start + _AT_ONCE] = np.frombuffer(part, np.uint8)
    return token_ids


def centers_by_id(
    token_ids: Int[np.ndarray, " tokens"],
    offsets: Int[np.ndarray, " rows+1"],
    is_center: Bool[np.ndarray, " vocabulary"],
) -> Int[np.ndarray, " rows"]:
    """Find the first token of each row whose id shows the centre; -1 without one."""
    center_ids = np.flatnonzero(is_center)
    if len(center_ids) == 0:
        return np.full(len(offsets) - 1, -1)
    if len(center_ids) == 1:
        hits = rows.positions_of(token_ids, center_ids[0])
    else:
        hits = np.flatnonzero(is_center[token_ids])
    found = rows.first_in_rows(hits, offsets)
    return np.where(found < 0, -1, found - offsets[:-1])


def unknown_texts(
    tokens: TokenCodes, is_unknown: Bool[np.ndarray, " codes"], vocabulary: dict[str, int]
) -> Counter[str]:
    """Count the tokens that get the unknown id, but those that spell a special token.

    Args:
        tokens: Those of a block.
        is_unknown: By code.
        vocabulary: Every token, special ones included, and its id.
    """
    unknown: Counter[str] = Counter()
    counts = tokens.count_codes()
    for code in np.flatnonzero(is_unknown & (counts > 0)):
        if (text := tokens.texts[code]) not in vocabulary:
            unknown[text] += int(counts[code])
    return unknown
