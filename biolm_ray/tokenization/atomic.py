"""From the raw text of a sequence column to tokens and their specifier values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from biolm_ray.data.columns import shown
from biolm_ray.data.targets import fits_float32
from biolm_ray.errors import DataError
from biolm_ray.tokenization.markers import kept_positions
from biolm_ray.tokenization.settings import TokenizerSettings

_PLACEHOLDERS = 0xF0000


@dataclass(frozen=True)
class TokenTexts:
    """The tokens of one sequence before any vocabulary.

    Attributes:
        tokens: Their texts, without specifiers.
        specifiers: One row of floats per token, zeros where a token carries none; None when no
            channels are expected and none were found.
    """

    tokens: list[str]
    specifiers: Float[np.ndarray, "length channels"] | None


def placeholder(index: int) -> str:
    """A private-use character that keeps one replacement from being replaced again."""
    return chr(_PLACEHOLDERS + index)


def longest_first(replacements: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(replacements.items(), key=lambda pair: (-len(pair[0]), pair[0]))


def split_text(text: str, settings: TokenizerSettings) -> list[str]:
    """Split a text into tokens, still decorated.

    Double quotes, spaces around separators, empty tokens (as after a trailing separator) and,
    without a separator, all white space are no part of a sequence. Without a separator tokens are
    replaced here, and letters that are left are mapped.
    """
    if '"' in text:
        text = text.replace('"', "")
    separator = settings.token_separator
    if separator:
        return [token for part in text.split(separator) if (token := part.strip())]
    text = "".join(text.split())
    pairs = longest_first(settings.replacements)
    for index, (old, _) in enumerate(pairs):
        text = text.replace(old, placeholder(index))
    text = text.translate(settings.letter_mapping)
    for index, (_, new) in enumerate(pairs):
        text = text.replace(placeholder(index), new)
    return list(text)


def split_specifiers(
    tokens: list[str], separator: str, num_channels: int | None
) -> tuple[list[str], Float[np.ndarray, "length channels"] | None]:
    """Take the floats off decorated tokens such as `a#2.5#0.2`.

    The n-th float of a token stands in channel n; channels that it has no float for are 0.

    Args:
        tokens: Decorated or plain, in any mixture.
        separator: Between a token and its values.
        num_channels: Most values of a token; None takes the most there are.

    Raises:
        DataError: A value is no finite number, or a token carries too many values.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    for token in tokens:
        name, *texts = token.split(separator)
        if texts and not name.strip():
            raise DataError(f"specifiers {shown(token)} have no token before them")
        names.append(name.strip() if texts else token)
        rows.append([_read_number(text, token) for text in texts])
        if num_channels is not None and len(texts) > num_channels:
            raise DataError(
                f"token {shown(token)} carries {len(texts)} specifier values, where those that "
                f"the vocabulary was learnt from carry at most {num_channels}"
            )
    if num_channels is None:
        num_channels = max(map(len, rows), default=0)
    if not num_channels:
        return names, None
    specifiers = np.zeros((len(names), num_channels), dtype=np.float32)
    for position, values in enumerate(rows):
        specifiers[position, : len(values)] = values
    return names, specifiers


def finite_number(text: str) -> float:
    """Read a float; NaN when the text is none, or one that float32 cannot hold."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if fits_float32(value) else math.nan


def _read_number(text: str, token: str) -> float:
    value = finite_number(text)
    if math.isnan(value):
        raise DataError(f"specifier {shown(text)} of token {shown(token)} is not a finite number")
    return value


def replaced(text: str, settings: TokenizerSettings) -> str:
    """The token meant by what stands between two separators, specifiers taken off; "" if none."""
    token = text.strip()
    replacement = settings.replacements.get(token)
    return settings.mapped(token) if replacement is None else replacement


def read_tokens(
    text: str, settings: TokenizerSettings, num_specifiers: int | None = None
) -> TokenTexts:
    """Read one sequence: split, take specifiers off, replace or map tokens, apply the markers.

    Args:
        text: As it stands in the sequence column.
        settings: How to read it.
        num_specifiers: Most values of a token; None while fitting, when the most that there are
            in the sequence decide.

    Raises:
        DataError: The sequence is empty, a specifier is malformed, or a marker is missing.
    """
    tokens = split_text(text, settings)
    specifiers = None
    if settings.specifier_separator:
        tokens, specifiers = split_specifiers(tokens, settings.specifier_separator, num_specifiers)
    elif num_specifiers:
        specifiers = np.zeros((len(tokens), num_specifiers), dtype=np.float32)
    if settings.token_separator and (settings.replacements or settings.letter_mapping):
        tokens = [replaced(token, settings) for token in tokens]
    if "" in tokens:
        kept = [position for position, token in enumerate(tokens) if token]
        tokens, specifiers = _keep(tokens, specifiers, kept)
    if not tokens:
        raise DataError("the sequence is empty")
    if settings.drop_markers or settings.region != "whole":
        kept = kept_positions(tokens, settings.drop_markers, settings.region)
        tokens, specifiers = _keep(tokens, specifiers, kept)
    return TokenTexts(tokens, specifiers)


def _keep(
    tokens: list[str],
    specifiers: Float[np.ndarray, "length channels"] | None,
    positions: Sequence[int],
) -> tuple[list[str], Float[np.ndarray, "kept channels"] | None]:
    kept = [tokens[position] for position in positions]
    return kept, None if specifiers is None else specifiers[list(positions)]
