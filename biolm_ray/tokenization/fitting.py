"""Learning a vocabulary from sequence texts, in pieces that can be merged."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from biolm_ray.config.schema import Config, TokenizationConfig
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.tokenization import bpe, document
from biolm_ray.tokenization.atomic import read_tokens
from biolm_ray.tokenization.blocks.cleaning import clean_texts
from biolm_ray.tokenization.blocks.kmers import frame_block
from biolm_ray.tokenization.blocks.token_codes import read_codes
from biolm_ray.tokenization.hints import separator_hint
from biolm_ray.tokenization.kmer import frame_kmers
from biolm_ray.tokenization.settings import (
    SPECIAL_TOKENS,
    Fitting,
    TokenizerSettings,
    check_settings,
)
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.wording import counted

__all__ = [
    "TokenCounts",
    "build_word_tokenizer",
    "clean_texts",
    "count_tokens",
    "fit",
    "fit_bpe",
    "fitting_of",
    "in_sample",
    "make_settings",
    "merge",
]

log = logging.getLogger("biolm_ray")

_SAMPLE = 7  # sets the draw of the tokenizer's sample apart from other uses of the run's seed


@dataclass
class TokenCounts:
    """Token frequencies of some rows.

    Attributes:
        tokens: How often each token occurs.
        num_specifiers: The most values a decorated token carries.
        problems: Why a row cannot be used, by its index among the texts counted.
    """

    tokens: Counter[str] = field(default_factory=Counter)
    num_specifiers: int = 0
    problems: dict[int, str] = field(default_factory=dict)


def make_settings(config: Config) -> TokenizerSettings:
    """Gather from a configuration what a tokenizer has to know.

    Raises:
        ConfigError: Two of the settings contradict each other.
    """
    return check_settings(
        TokenizerSettings(
            encoding=config.tokenization.encoding,
            token_separator=config.data.token_separator or None,
            specifier_separator=config.data.specifier_separator or None,
            replacements=config.tokenization.replacements,
            center_token=config.preprocessing.center_token,
            drop_markers=config.preprocessing.drop_markers,
            region=config.preprocessing.region,
            letter_case=config.data.letter_case,
            nucleotides=config.data.nucleotides,
        )
    )


def fitting_of(tokenization: TokenizationConfig) -> Fitting:
    """Give the settings that a vocabulary is learnt with, to keep beside it."""
    return Fitting(**{name: getattr(tokenization, name) for name in Fitting.model_fields})


def count_tokens(texts: Iterable[str] | pa.Array, settings: TokenizerSettings) -> TokenCounts:
    """Count the tokens (k-mers) of some rows, those of a block or of a whole file.

    A row that cannot be used is left out and named in `problems`.

    Args:
        texts: An arrow array of strings without nulls is counted as a whole, others one by one.
        settings: How to read them.
    """
    if isinstance(texts, pa.Array):
        return _count_block(texts, settings)
    counts = TokenCounts()
    for index, text in enumerate(texts):
        try:
            read = read_tokens(text, settings)
        except DataError as error:
            counts.problems[index] = str(error)
            continue
        tokens = read.tokens
        if settings.kmer_size is not None:
            tokens, _ = frame_kmers(tokens, settings.kmer_size, settings.center)
        counts.tokens.update(tokens)
        if read.specifiers is not None:
            counts.num_specifiers = max(counts.num_specifiers, read.specifiers.shape[1])
    return counts


def _count_block(texts: pa.Array, settings: TokenizerSettings) -> TokenCounts:
    tokens = read_codes(texts, settings)
    problems = tokens.problems
    if problems and tokens.specifiers is not None:
        # A row that its markers rule out may have more channels than those that count.
        tokens = read_codes(texts.take(np.delete(np.arange(len(texts)), list(problems))), settings)
    num_specifiers = 0 if tokens.specifiers is None else tokens.specifiers.shape[1]
    if settings.kmer_size is not None:
        tokens, _ = frame_block(tokens, settings.kmer_size, settings.center)
    return TokenCounts(tokens.count(), num_specifiers, problems)


def merge(parts: Iterable[TokenCounts]) -> TokenCounts:
    """Add up the counts of blocks. Problems stay behind, since their indices are the block's."""
    total = TokenCounts()
    for part in parts:
        total.tokens.update(part.tokens)
        total.num_specifiers = max(total.num_specifiers, part.num_specifiers)
    return total


def build_word_tokenizer(
    counts: TokenCounts, tokenization: TokenizationConfig, settings: TokenizerSettings
) -> Tokenizer:
    """Make an atomic or k-mer tokenizer from the counts of all rows.

    Ids go to the special tokens first, then to tokens by falling frequency, equally frequent
    ones in the order of their characters' code points. vocabulary_size counts special tokens.

    Raises:
        ConfigError: The vocabulary has no room for a token.
        DataError: No token is frequent enough.
    """
    room = tokenization.vocabulary_size - len(SPECIAL_TOKENS)
    if room < 1:
        raise ConfigError(
            f"vocabsize {tokenization.vocabulary_size} leaves no room beside the "
            f"{len(SPECIAL_TOKENS)} special tokens"
        )
    frequent = [
        (-count, token)
        for token, count in counts.tokens.items()
        if count >= tokenization.min_frequency and token not in SPECIAL_TOKENS
    ]
    if not frequent:
        hint = separator_hint(counts.tokens, settings.token_separator)
        raise DataError(
            f"no token occurs {tokenization.min_frequency} times (minfreq), and there are "
            f"{counted(len(counts.tokens), 'different token')}: nothing to learn a vocabulary from"
            f"{'; ' if hint else ''}{hint}"
        )
    if settings.token_separator is not None and 2 * len(counts.tokens) > counts.tokens.total():
        hint = separator_hint(counts.tokens, settings.token_separator)
        if hint:
            log.warning("most tokens occur once only; %s", hint)
    words = [token for _, token in sorted(frequent)[:room]]
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *words])}
    settings = settings.model_copy(update={"num_specifiers": counts.num_specifiers})
    return Tokenizer(settings, document.word_model(vocabulary))


def fit_bpe(
    texts: Iterable[str], tokenization: TokenizationConfig, settings: TokenizerSettings
) -> Tokenizer:
    """Learn a byte-level BPE from raw texts, read one at a time.

    Raises:
        DataError: A text cannot be used; the message counts texts from 1.
    """
    model = bpe.train_model(_cleaned(texts, settings), tokenization)
    return Tokenizer(settings, model, dict(bpe.BYTE_LEVEL))


def fit(
    texts: Iterable[str], tokenization: TokenizationConfig, settings: TokenizerSettings
) -> Tokenizer:
    """Learn the tokenizer of any encoding from texts that fit in memory.

    Raises:
        ConfigError: The vocabulary is too small.
        DataError: A text cannot be used; the message counts texts from 1.
    """
    if settings.encoding == "bpe":
        return fit_bpe(texts, tokenization, settings)
    counts = count_tokens(texts, settings)
    for index, problem in counts.problems.items():
        raise DataError(f"sequence {index + 1}: {problem}")
    return build_word_tokenizer(counts, tokenization, settings)


def in_sample(
    row_numbers: Int[np.ndarray, " rows"], num_rows: int, sample_size: int | None, seed: int
) -> Bool[np.ndarray, " rows"]:
    """Tell which rows belong to the sample a tokenizer is learnt from.

    The same rows are chosen however the file is cut into blocks.

    Args:
        row_numbers: 0-based numbers in the whole file, those of a block for example.
        num_rows: Rows of the whole file.
        sample_size: Rows to choose; None, or no fewer than there are, chooses all.
        seed: The seed of the run.
    """
    if sample_size is None or sample_size >= num_rows:
        return np.ones(len(row_numbers), dtype=bool)
    generator = np.random.default_rng([seed, _SAMPLE])
    chosen = generator.choice(num_rows, size=sample_size, replace=False)
    return np.isin(row_numbers, chosen)


def _cleaned(texts: Iterable[str], settings: TokenizerSettings) -> Iterator[str]:
    for index, text in enumerate(texts):
        try:
            yield "".join(read_tokens(text, settings).tokens)
        except DataError as error:
            raise DataError(f"sequence {index + 1}: {error}") from None
