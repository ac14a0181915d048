"""The cleaned texts of a block: what byte pair encoding learns from and encodes."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from biolm_ray.tokenization.blocks.codebook import NUM_LETTERS
from biolm_ray.tokenization.blocks.token_codes import TokenCodes, read_codes
from biolm_ray.tokenization.settings import TokenizerSettings


def clean_texts(texts: pa.Array, settings: TokenizerSettings) -> tuple[list[str], dict[int, str]]:
    """Read a block of raw texts and join the tokens of each row again, without separators.

    Args:
        texts: Strings without nulls; a slice will do.
        settings: How to read them.

    Returns:
        One text per row, and why a row cannot be used, by row; the text of such a row is "".
    """
    tokens = read_codes(texts, settings, settings.num_specifiers)
    joined, offsets = _joined(tokens)
    bounds = offsets.tolist()
    cleaned = [joined[start:stop].decode() for start, stop in pairwise(bounds)]
    return cleaned, tokens.problems


def _joined(tokens: TokenCodes) -> tuple[bytes, Int[np.ndarray, " rows+1"]]:
    """The bytes of all tokens, and where rows begin and end among them."""
    if len(tokens.texts) == NUM_LETTERS:
        return tokens.codes.astype(np.uint8, copy=False).tobytes(), tokens.offsets
    joined = pa.array(tokens.texts, pa.large_string()).take(pa.array(tokens.codes))
    places = np.frombuffer(joined.buffers()[1], np.int64)
    return joined.buffers()[2].to_pybytes(), places[tokens.offsets]
