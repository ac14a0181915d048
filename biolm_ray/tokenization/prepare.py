"""From the input file to a fitted tokenizer, and to one prepared parquet file."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from biolm_ray.config.schema import Config
from biolm_ray.data.checks import RepeatedIds, RowProblems, UnknownTokens
from biolm_ray.data.columns import LabelKind
from biolm_ray.data.reading import Input, plan_input, ray_data_settings, read_rows
from biolm_ray.errors import DataError
from biolm_ray.files import atomic_path
from biolm_ray.tokenization.blocks import count_block, encode_block, read_counts
from biolm_ray.tokenization.fitting import (
    TokenCounts,
    build_word_tokenizer,
    fit_bpe,
    make_settings,
    merge,
)
from biolm_ray.tokenization.prepared import SUMMARY_KEY, PreparedData, prepared_schema
from biolm_ray.tokenization.tokenizer import Tokenizer

__all__ = ["LabelKind", "fit_tokenizer", "prepare"]

FORMAT = 1
_BATCHES: dict[str, Any] = {
    "batch_size": None,
    "batch_format": "pyarrow",
    "zero_copy_batch": True,
}


def fit_tokenizer(config: Config) -> Tokenizer:
    """Learn the vocabulary of the configured encoding from the input file.

    The result does not depend on blocks or workers. For bpe, a text is used in order of the
    file. Ray must be connected.

    Raises:
        ConfigError: Settings contradict each other or the vocabulary is too small.
        DataError: The file or a row of it cannot be used.
    """
    plan = plan_input(config.data, None)
    settings = make_settings(config)
    sample_size = config.tokenization.sample_size
    count = partial(
        count_block,
        settings=settings,
        num_rows=plan.count_rows() if sample_size else 0,
        sample_size=sample_size,
        seed=config.training.seed,
    )
    problems = RowProblems(plan)
    with ray_data_settings():
        blocks = _blocks(read_rows(plan).map_batches(count, **_BATCHES))
        if settings.encoding == "bpe":
            texts = _texts(blocks, problems)
            return fit_bpe(texts, config.tokenization, settings)
        counts = TokenCounts()
        for block in blocks:
            problems.add(block)
            counts = merge([counts, *read_counts(block)])
    problems.finish()
    return build_word_tokenizer(counts, config.tokenization, settings)


def prepare(
    config: Config, tokenizer: Tokenizer, folder: Path, *, label_kind: LabelKind | None
) -> PreparedData:
    """Check and encode every row of the input file into one parquet file below `folder`.

    The file's name is a hash of the input's content and of all settings that change the result;
    one that exists is whole and is used again, unless `run.prepare_again`. Sequences are stored
    in full: cropping depends on the model. Ray must be connected.

    Raises:
        ConfigError: The columns are not set as the file needs.
        DataError: The file or a row of it cannot be used; nothing is left behind.
    """
    plan = plan_input(config.data, label_kind)
    path = Path(folder) / f"{_fingerprint(config, plan, tokenizer)}.parquet"
    if config.run.prepare_again or not path.exists():
        _write(config, plan, tokenizer, path)
    prepared = PreparedData.open(path)
    if config.mode in ("fine-tune", "tune") and config.training.scaling == "log":
        _check_positive_labels(prepared, plan)
    return prepared


def _check_positive_labels(prepared: PreparedData, plan: Input) -> None:
    """Refuse labels without a logarithm; not part of the prepared data, which has no scaling."""
    labels = np.asarray(prepared.labels)
    bad = np.flatnonzero(labels <= 0) if labels.dtype.kind == "f" else []
    if len(bad):
        line = plan.where(int(prepared.line_numbers[bad[0]]))
        more = f" ({len(bad) - 1} more rows have the same problem)" if len(bad) > 1 else ""
        raise DataError(
            f"{line}: label {labels[bad[0]]:g} is not above 0, as scaling log needs; or set "
            f"scaling: standard{more}"
        )


def _blocks(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    return iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))


def _texts(blocks: Iterator[pa.Table], problems: RowProblems) -> Iterator[str]:
    """The texts of good rows; ends by raising the first problem, if there is one."""
    for block in blocks:
        if problems.add(block):
            yield from block["text"].to_pylist()
    problems.finish()


def _fingerprint(config: Config, plan: Input, tokenizer: Tokenizer) -> str:
    """Name a prepared file by the content of its input and every setting that changes it."""
    data = config.data.model_dump(mode="json", exclude={"path", "splits_to_use"})
    settings = json.dumps([FORMAT, plan.scan.digest, data, vars(plan.layout)], sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        for file in sorted(Path(folder).iterdir()):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _write(config: Config, plan: Input, tokenizer: Tokenizer, path: Path) -> None:
    schema = prepared_schema(
        vocabulary_size=max(tokenizer.vocabulary.values()) + 1,
        num_specifiers=tokenizer.settings.num_specifiers,
        label_kind=plan.layout.label_kind,
        has_weights=plan.layout.weight is not None,
        has_splits=plan.layout.split is not None,
    )
    problems = RowProblems(plan)
    repeated = RepeatedIds(plan)
    unknown = UnknownTokens(plan, config.data.max_unknown_share)
    lengths: list[np.ndarray] = []
    encode = partial(encode_block, tokenizer=tokenizer, schema=schema)
    with (
        atomic_path(path) as temporary,
        ray_data_settings(),
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for block in _blocks(read_rows(plan).map_batches(encode, **_BATCHES)):
            if not problems.add(block):
                continue
            writer.write_table(block.select(schema.names).cast(schema))
            lengths.append(_lengths(block))
            unknown.add(int(lengths[-1].sum()), *_unknown(block))
            repeated.add(block)
        problems.finish()
        if not config.data.allow_duplicate_ids and plan.layout.id != plan.layout.sequence:
            repeated.finish()
        unknown.finish()
        summary = _summary(np.concatenate(lengths), unknown, tokenizer.settings.num_specifiers)
        writer.add_key_value_metadata({SUMMARY_KEY: json.dumps(summary).encode()})


def _lengths(block: pa.Table) -> np.ndarray:
    return np.concatenate([np.diff(chunk.offsets) for chunk in block["token_ids"].chunks])


def _unknown(block: pa.Table) -> tuple[int, Counter[str]]:
    texts: Counter[str] = Counter()
    for cell in block["unknown"].drop_null():
        texts.update(json.loads(cell.as_py()))
    return int(block["num_unknown"].to_numpy().sum()), texts


def _summary(lengths: np.ndarray, unknown: UnknownTokens, num_specifiers: int) -> dict[str, Any]:
    smallest, median, p95, largest = np.quantile(lengths, [0, 0.5, 0.95, 1])
    return {
        "rows": len(lengths),
        "tokens": int(lengths.sum()),
        "length_min": int(smallest),
        "length_median": float(median),
        "length_p95": float(p95),
        "length_max": int(largest),
        "unknown_tokens": unknown.num_unknown,
        "unknown_share": unknown.share,
        "unknown_examples": unknown.most_frequent,
        "num_specifiers": num_specifiers,
    }
