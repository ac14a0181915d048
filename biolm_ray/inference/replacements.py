"""The dictionary of a replacement run, as users write it and as token ids."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from biolm_ray.config.spelling import closest
from biolm_ray.errors import ConfigError
from biolm_ray.tokenization.tokenizer import Tokenizer

Readable = Mapping[str, Mapping[str, int]]


def readable_vocabulary(tokenizer: Tokenizer) -> Readable:
    """Give the ids of every token text as reports show it, by what stands before it in the file.

    Only bpe has more than one id for a text: a token at the start of a sequence is spelled with a
    mark in front.
    """
    spelled = list(tokenizer.vocabulary)
    texts = tokenizer.tokens(np.array(list(tokenizer.vocabulary.values())))
    readable: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for spelling, text in zip(spelled, texts, strict=True):
        mark = spelling.removesuffix(text) if text else spelling
        readable[text][mark] = tokenizer.vocabulary[spelling]
    return dict(readable)


def replacement_ids(
    replacements: Mapping[str, Sequence[str]], readable: Readable
) -> dict[int, tuple[int, ...]]:
    """Translate a replacement dictionary to token ids: what takes the place of each, in order.

    A key the vocabulary lacks can match no token and is left out (see `unused_replacements`).

    Raises:
        ConfigError: A new token is not in the vocabulary, or no key is.
    """
    for new in dict.fromkeys(new for all_new in replacements.values() for new in all_new):
        if new not in readable:
            raise ConfigError(
                f"interpret.replacements: the new token '{new[:40]}' is not in the "
                f"vocabulary of {len(readable)} tokens{to_nearest(new, readable)}"
            )
    choices = {
        old_id: tuple(same_place(mark, readable[new]) for new in dict.fromkeys(all_new))
        for old, all_new in replacements.items()
        for mark, old_id in readable.get(old, {}).items()
    }
    if replacements and not choices:
        first = next(iter(replacements))
        raise ConfigError(
            f"interpret.replacements: none of its {len(replacements)} keys is in the "
            f"vocabulary of {len(readable)} tokens; the first is '{first[:40]}'"
            f"{to_nearest(first, readable)}"
        )
    return choices


def unused_replacements(replacements: Collection[str], readable: Readable) -> tuple[str, ...]:
    """List the keys that can match no token because the vocabulary lacks them."""
    return tuple(old for old in replacements if old not in readable)


def same_place(mark: str, ids: Mapping[str, int]) -> int:
    """Prefer the spelling for the same place in a sequence, then the one without a mark."""
    return ids.get(mark, ids.get("", next(iter(ids.values()))))


def to_nearest(token: str, vocabulary: Collection[str]) -> str:
    """Name the token that is spelled most like one, for the end of a message."""
    near = closest(token, vocabulary, cutoff=0.0, holding=False)
    return f"; the nearest is '{near}'" if near else ""
