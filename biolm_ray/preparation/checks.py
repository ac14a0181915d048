"""Rules over all rows of an input: identifiers that repeat, and tokens that are not known."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt64
from pandas.util import hash_array

from biolm_ray.data.columns import GAPS, shown
from biolm_ray.errors import DataError
from biolm_ray.tokenization.settings import TokenizerSettings

log = logging.getLogger("biolm_ray")

NUM_SHOWN_TOKENS = 5
MAX_UNKNOWN_IN_ROW = 0.5
"""Share of a row's tokens from which on it is a bad row, unless the share of all may be larger."""
RIGHT_TOKENS = "are the tokenizer and data.token_separator the right ones?"
SEPARATORS = ", ;"
"""Signs that stand between tokens where sequences were written with separators."""
REMOVE_GAPS = (
    "if these are gaps, stops or numbers of positions in the sequences, set data.remove_gaps: true"
)


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
    where: str, summary: Mapping[str, Any], max_share: float, *, is_own: bool
) -> None:
    """Refuse a share of unknown tokens above the threshold.

    In the very data that the vocabulary was learnt from, it is only told: there tokens are unknown
    since they are rare.

    Args:
        where: The name of the input, for the message.
        summary: Of the prepared data set.
        max_share: The threshold.
        is_own: Whether the vocabulary was learnt from these data.

    Raises:
        DataError: Too many tokens are unknown.
    """
    num_unknown, num_tokens = summary["unknown_tokens"], summary["tokens"]
    share, hint = num_unknown / max(num_tokens, 1), summary.get("unknown_hint", "")
    found = (
        f"{where}: {num_unknown} of {num_tokens} tokens ({100 * share:.3g} %) are not in the "
        "vocabulary"
    )
    listed = ", ".join(f"{shown(text)} ({count})" for text, count in summary["unknown_examples"])
    examples = f"; most frequent: {listed}" if listed else ""
    if share > max_share and not is_own:
        raise DataError(
            f"{found}, more than the {100 * max_share:.3g} % allowed{examples}; "
            f"{hint or _remedy(dict(summary['unknown_examples']), summary.get('gaps', {}))} "
            "(data.max_unknown_share sets the threshold)"
        )
    if share > max_share:
        hint = (
            "it was learnt from these data, without what occurs fewer than "
            "tokenization.min_frequency (minfreq) times or is beyond its size or sample"
        )
    if hint:
        log.warning("%s%s; %s", found, examples, hint)


def _remedy(unknown: Mapping[str, int], gaps: Mapping[str, int]) -> str:
    """What to do about unknown tokens, most of which may hold gaps of the sequences."""
    signs = [sign for sign in gaps if sign in GAPS]
    with_gaps = sum(count for text, count in unknown.items() if any(sign in text for sign in signs))
    return REMOVE_GAPS if 2 * with_gaps > sum(unknown.values()) else RIGHT_TOKENS


def mostly_unknown(
    num_unknown: int,
    num_tokens: int,
    hint: str,
    unknown: Mapping[str, int] | None = None,
    gaps: Mapping[str, int] | None = None,
) -> str:
    """Say of a row that too many of its tokens are unknown.

    Args:
        num_unknown: How many.
        num_tokens: Of how many.
        hint: Under which settings they would be known.
        unknown: Their texts, with counts.
        gaps: The gaps of the sequence, with counts.
    """
    return (
        f"{num_unknown} of its {num_tokens} tokens ({100 * num_unknown / num_tokens:.3g} %) are "
        f"not in the vocabulary; {hint or _remedy(unknown or {}, gaps or {})}"
    )


def count_gaps(texts: pa.LargeStringArray, settings: TokenizerSettings) -> Counter[str]:
    """Count gaps, stops, digits and separators that become tokens though they are no letters.

    Those that the settings name, and texts whose tokens have a separator, are meant.
    """
    if settings.token_separator is not None or not len(texts):
        return Counter()
    _, offsets, data = texts.buffers()
    start, stop = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
    raw = np.frombuffer(data, np.uint8)[start:stop] if data else np.empty(0, np.uint8)
    if not raw.size or raw.min() > max((GAPS + SEPARATORS).encode()):
        return Counter()  # the usual case, at once: letters come after all of these
    named = {settings.center_token or "", *settings.replacements}
    signs = [sign for sign in GAPS + SEPARATORS if not any(sign in text for text in named)]
    counts = {sign: int(np.count_nonzero(raw == ord(sign))) for sign in signs}
    return Counter({sign: count for sign, count in counts.items() if count})


def tell_gaps(where: str, gaps: Mapping[str, int]) -> None:
    """Warn of what is probably no letter of a sequence, with counts."""
    for meant, remedy in (
        (GAPS, "are gaps, stops or numbers of positions, set data.remove_gaps: true"),
        (SEPARATORS, "stand between tokens, set data.token_separator (tokensep) to it"),
    ):
        signs = {sign: number for sign, number in gaps.items() if sign in meant}
        listed = ", ".join(f"{number:,} '{sign}'" for sign, number in signs.items())
        if signs:
            log.warning(
                "%s: the sequences hold %s, which become tokens: if they %s",
                where,
                listed,
                remedy,
            )


def most_frequent(texts: Counter[str]) -> list[tuple[str, int]]:
    """The few most frequent texts with their counts, equally frequent ones in their order."""
    ranked = sorted(texts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ranked[:NUM_SHOWN_TOKENS]
