"""Which tokens stand for each other: the alphabet of saturation and of insertions."""

from collections import defaultdict
from collections.abc import Sequence

from biolm_ray.errors import ConfigError
from biolm_ray.inference.replacements import (
    Readable,
    readable_vocabulary,
    same_place,
    to_nearest,
)
from biolm_ray.tokenization.markers import MARKERS
from biolm_ray.tokenization.tokenizer import SPECIAL_TOKENS, Tokenizer


def token_classes(
    texts: Sequence[str], kept_letters: frozenset[str] = MARKERS
) -> list[tuple[str, ...]]:
    """Group tokens of the same length and pattern of capital and small letters.

    So a, c, g, t are a class, A, C, G, T another, and aej, cej, gej, tej a third. A kept letter
    stays as it is: a token that has one goes only with tokens that have it at the same place.
    Special tokens and tokens alone in their class are left out.
    """
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        if text and text not in SPECIAL_TOKENS:
            classes["".join(_pattern(letter, kept_letters) for letter in text)].append(text)
    return [tuple(members) for members in classes.values() if len(members) > 1]


def saturating_choices(
    alphabet: Sequence[str] | None, tokenizer: Tokenizer
) -> dict[int, tuple[int, ...]]:
    """Give the ids that can take the place of each id: all others of its class.

    Args:
        alphabet: The tokens that take part; None: all of the vocabulary, with the markers e, s
            and x as kept letters.
        tokenizer: Has the vocabulary.

    Raises:
        ConfigError: A token is not in the vocabulary, or no two of them are of a class.
    """
    readable = readable_vocabulary(tokenizer)
    if alphabet is None:
        classes = _vocabulary_classes(readable, tokenizer)
    else:
        classes = token_classes(_named(alphabet, readable), frozenset())
    if not classes:
        raise ConfigError(
            "saturation replaces a token by others of its length and case, and there are no two "
            "such tokens; name others in interpret.alphabet, or use replace"
        )
    return {
        old_id: tuple(same_place(mark, readable[new]) for new in members if new != old)
        for members in classes
        for old in members
        for mark, old_id in readable[old].items()
    }


def inserted_ids(alphabet: Sequence[str] | None, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Give the ids to put in: those of the named tokens, or of all that have a class.

    Raises:
        ConfigError: A token is not in the vocabulary, or none is named and none has a class.
    """
    readable = readable_vocabulary(tokenizer)
    if alphabet is not None:
        texts = _named(alphabet, readable)
    else:
        classes = _vocabulary_classes(readable, tokenizer)
        texts = tuple(text for members in classes for text in members)
    if not texts:
        raise ConfigError("name the tokens to put in, such as interpret.alphabet: [a, c, g, t]")
    return tuple(same_place("", readable[text]) for text in texts)


def _vocabulary_classes(readable: Readable, tokenizer: Tokenizer) -> list[tuple[str, ...]]:
    if tokenizer.encoding == "bpe":
        raise ConfigError(
            "the tokens of a bpe vocabulary are too many and too different to try them all; name "
            "some in interpret.alphabet"
        )
    return token_classes(tuple(readable))


def _named(alphabet: Sequence[str], readable: Readable) -> tuple[str, ...]:
    for text in alphabet:
        if text not in readable or text in SPECIAL_TOKENS:
            raise ConfigError(
                f"interpret.alphabet: '{text[:40]}' is no token of the vocabulary"
                f"{to_nearest(text, readable)}"
            )
    return tuple(dict.fromkeys(alphabet))


def _pattern(letter: str, kept_letters: frozenset[str]) -> str:
    if letter in kept_letters or not letter.isalpha():
        return letter
    return "A" if letter.isupper() else "a"
