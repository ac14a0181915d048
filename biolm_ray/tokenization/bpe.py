"""Byte-level byte pair encoding: training it, and reading its tokens as letters."""

import json
import logging
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.tokenization.settings import SPECIAL_TOKENS

log = logging.getLogger("biolm_ray")

BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
"""The step that turns a text into the characters that stand for its bytes."""

_LETTERS_AT_ONCE = 1 << 20


def train_model(texts: Iterable[str], tokenization: TokenizationConfig) -> dict[str, Any]:
    """Learn merges from cleaned texts; the result does not depend on their order.

    The vocabulary starts with the special tokens and the 256 byte characters, which every text
    can fall back on. The library joins two tokens only to one that is shorter than
    max_token_length in bytes (the prefix space is two), single characters excepted; this is left
    as it is, so that the vocabulary equals the one the reference system learns. So does the
    vocabulary of a size below that start: it has no merges.

    Returns:
        The `model` part of a tokenizer.json.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    fewest = len(SPECIAL_TOKENS) + len(alphabet)
    if tokenization.vocabulary_size < fewest:
        log.warning(
            "vocabsize %d is below the %d special tokens and single bytes that bpe begins with: "
            "these are the vocabulary, and each letter is a token; set it above %d for longer ones",
            tokenization.vocabulary_size,
            fewest,
            fewest,
        )
    no_merges = tokenization.max_token_length == 1
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=fewest if no_merges else tokenization.vocabulary_size,
        min_frequency=tokenization.min_frequency,
        max_token_length=tokenization.max_token_length,
        initial_alphabet=alphabet,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def encoder(model: dict[str, Any], byte_level: dict[str, Any]) -> Tokenizer:
    """Make the bare encoder of cleaned texts: bytes and merges, nothing else."""
    return Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": byte_level,
                "post_processor": None,
                "decoder": None,
                "model": model,
            }
        )
    )


def encode(
    tokenizer: Tokenizer, texts: list[str], id_type: np.dtype
) -> tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " texts"]]:
    """Encode cleaned texts.

    Args:
        tokenizer: From `encoder`.
        texts: One after the other; "" gives no token.
        id_type: Of the ids.

    Returns:
        The ids of all texts, joined, and their number in each.
    """
    parts = [np.empty(0, dtype=id_type)]
    lengths: list[int] = []
    for first, last in _batches(texts):
        encodings = tokenizer.encode_batch_fast(texts[first:last], add_special_tokens=False)
        for encoding in encodings:
            parts.append(np.array(encoding.ids, dtype=id_type))
            lengths.append(len(parts[-1]))
    return np.concatenate(parts), np.array(lengths, dtype=np.int64)


def _batches(texts: list[str]) -> Iterator[tuple[int, int]]:
    """Cut texts into runs of about a million letters, since an encoding is large."""
    first = num_letters = 0
    for index, text in enumerate(texts):
        num_letters += len(text)
        if num_letters >= _LETTERS_AT_ONCE:
            yield first, index + 1
            first, num_letters = index + 1, 0
    if first < len(texts):
        yield first, len(texts)


@cache
def _bytes_of_characters() -> dict[str, int]:
    # Printable bytes of Latin-1 stand for themselves, the others for U+0100 onwards, in order.
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + index): byte for index, byte in enumerate(others)}


def letters(token: str) -> tuple[str, int]:
    """Give the text of a byte-level token without the prefix space, and its number of letters.

    A letter of several bytes that is split over tokens counts where its first byte stands.
    """
    table = _bytes_of_characters()
    if any(character not in table for character in token):
        return token, len(token)
    raw = bytes(table[character] for character in token).removeprefix(b" ")
    num_letters = sum(byte & 0xC0 != 0x80 for byte in raw)
    return raw.decode("utf-8", errors="replace"), num_letters
