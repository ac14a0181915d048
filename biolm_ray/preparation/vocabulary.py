"""Learning a tokenizer from the input, piece by piece."""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial

from biolm_ray.config.schema import Config, DataConfig
from biolm_ray.data.columns import LabelKind
from biolm_ray.data.store import Folder
from biolm_ray.preparation.alphabets import mixed_letters
from biolm_ray.preparation.checks import tell_gaps
from biolm_ray.preparation.piece_work import FittingJob, Report, count_piece
from biolm_ray.preparation.rejects import BadRows
from biolm_ray.preparation.scanning import (
    Progress,
    RowsDone,
    Scanned,
    prepared_folder,
    scan_data,
)
from biolm_ray.preparation.spread import spread
from biolm_ray.tokenization.fitting import (
    TokenCounts,
    build_word_tokenizer,
    fit_bpe,
    fitting_of,
    make_settings,
    merge,
)
from biolm_ray.tokenization.tokenizer import Tokenizer

log = logging.getLogger("biolm_ray")


def fit_tokenizer(
    config: Config, *, label_kind: LabelKind | None = None, progress: Progress | None = None
) -> Tokenizer:
    """Learn the vocabulary of the configured encoding from the input.

    The result does not depend on pieces or workers. For bpe, texts are used in order of the
    input. Ray must be connected.

    Args:
        config: Of the run.
        label_kind: What the labels are, if rows with bad ones are to be told of or left out.
        progress: Called as the work goes on.

    Raises:
        ConfigError: Settings contradict each other or the vocabulary is too small.
        DataError: The input or a row of it cannot be used.
    """
    settings = make_settings(config)
    scanned = scan_data(config, label_kind, Folder(prepared_folder(config)), progress)
    job = FittingJob(
        plan=scanned.plan,
        settings=settings,
        num_rows=scanned.num_rows,
        sample_size=config.tokenization.sample_size,
        seed=config.training.seed,
    )
    # The other modes go on to prepare the data, and are told of gaps and mixed letters then.
    is_last = config.mode == "tokenize" and not config.run.prepare_only
    blocks = _counted(job, scanned, config.data, progress, tell=is_last)
    if settings.encoding == "bpe":
        texts = (text for block in blocks for text in block.texts)
        tokenizer, unknown_share = fit_bpe(texts, config.tokenization, settings), 0.0
    else:
        counts = TokenCounts()
        for block in blocks:
            assert block.counts is not None
            counts = merge([counts, block.counts])
        tokenizer = build_word_tokenizer(counts, config.tokenization, settings)
        num_known = sum(counts.tokens[token] for token in tokenizer.vocabulary)
        unknown_share = 1 - num_known / counts.tokens.total()
    for note in mixed_letters(tokenizer) if is_last else ():
        log.warning("%s: %s", scanned.plan.name, note)
    return tokenizer.learnt_from(scanned.digest, unknown_share, fitting_of(config.tokenization))


def _counted(
    job: FittingJob,
    scanned: Scanned,
    settings: DataConfig,
    progress: Progress | None,
    *,
    tell: bool,
) -> Iterator[Report]:
    """Count the blocks of an input, in order, refusing bad rows as the settings say."""
    gaps: Counter[str] = Counter()
    bad_rows = BadRows(scanned.plan, settings, scanned.num_rows)
    done = RowsDone("learning the vocabulary", scanned, progress)
    for block in spread(partial(count_piece, job=job), scanned.pieces, scanned.num_bytes):
        bad_rows.add(block.rejects, block.num_rows)
        done.add(block.num_rows)
        gaps += block.gaps
        yield block
    if tell:
        tell_gaps(scanned.plan.name, gaps)
