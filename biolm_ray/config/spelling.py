"""The name that was probably meant where one is misspelt."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_SIGNS = re.compile(r"[\W_]+")
_LEAST_LETTERS = 3
USUAL_CUTOFF = 0.6


def closest(
    word: str, names: Iterable[str], *, cutoff: float = USUAL_CUTOFF, holding: bool = True
) -> str | None:
    """Return the name that is spelt most like a word, whatever its case, blanks and signs.

    Args:
        word: What was written.
        names: What could be meant; of names that are alike but for case and signs, the first.
        cutoff: Least likeness, from 0 to 1.
        holding: Whether names that hold the whole word go before others.
    """
    plain: dict[str, str] = {}
    for name in names:
        if name == word:
            return name
        plain.setdefault(_plain(name), name)
    wanted, near = _plain(word), []
    if holding and len(wanted) >= _LEAST_LETTERS:
        near = get_close_matches(wanted, [name for name in plain if wanted in name], 1, 0.0)
    near = near or get_close_matches(wanted, list(plain), 1, cutoff)
    return plain[near[0]] if near else None


def did_you_mean(word: str, names: Iterable[str], *, cutoff: float = USUAL_CUTOFF) -> str:
    """Return "; did you mean '...'?" for the end of a message, or "" where no name is close."""
    close = closest(word, names, cutoff=cutoff)
    return f"; did you mean '{close}'?" if close else ""


def _plain(name: str) -> str:
    return _SIGNS.sub("", name.casefold()) or name
