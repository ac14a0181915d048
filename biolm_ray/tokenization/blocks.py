"""What Ray Data tasks do to one block of rows: count its tokens, or encode them."""

import json
import pickle
from collections import Counter

import numpy as np
import pyarrow as pa

from biolm_ray.data.reading import PROBLEM_FIELDS
from biolm_ray.tokenization.fitting import TokenCounts, count_tokens, in_sample
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Encoded, Tokenizer

TOKENS_RULE = "tokens"

FITTING_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64()),
        pa.field("text", pa.large_string()),
        pa.field("counts", pa.large_binary()),
        *PROBLEM_FIELDS,
    ]
)


def count_block(
    block: pa.Table,
    *,
    settings: TokenizerSettings,
    num_rows: int,
    sample_size: int | None,
    seed: int,
) -> pa.Table:
    """What fitting needs of a block: its token counts, or for bpe its sampled texts.

    Gives one record with pickled `TokenCounts`, or one per text, and one per bad row.
    """
    block = block.filter(pa.array(in_sample(block["row"].to_numpy(), num_rows, sample_size, seed)))
    good = block.filter(block["problem"].is_null())
    records = block.filter(block["problem"].is_valid()).select(["line", "rule", "problem"])
    records = records.to_pylist()
    lines, texts = good["line"].to_pylist(), good["sequence"].to_pylist()
    counts = count_tokens(texts, settings)
    records += [
        {"line": lines[index], "rule": TOKENS_RULE, "problem": problem}
        for index, problem in counts.problems.items()
    ]
    if settings.encoding == "bpe":
        records += [{"line": line, "text": text} for line, text in zip(lines, texts, strict=True)]
    else:
        records.append({"counts": pickle.dumps(counts)})
    return pa.Table.from_pylist(records, schema=FITTING_SCHEMA)


def read_counts(block: pa.Table) -> list[TokenCounts]:
    """The counts that `count_block` put into its block."""
    return [pickle.loads(counts.as_py()) for counts in block["counts"] if counts.is_valid]


def encode_block(block: pa.Table, *, tokenizer: Tokenizer, schema: pa.Schema) -> pa.Table:
    """Turn the texts of a block into token ids; rows that cannot be encoded get a problem.

    Args:
        schema: Of the prepared file.

    Returns:
        The columns of `schema`, then num_unknown, unknown (JSON: text to count), rule, problem.
    """
    rules, problems = block["rule"].to_pylist(), block["problem"].to_pylist()
    good = [row for row, problem in enumerate(problems) if problem is None]
    texts = block["sequence"].to_pylist()
    encoded = [Encoded(np.empty(0, dtype=np.int32))] * len(block)
    for row, result in zip(good, tokenizer.encode([texts[row] for row in good]), strict=True):
        encoded[row] = result
        problem = result.problem
        if problem is None and not len(result.token_ids):
            problem = "no token of the sequence is left to encode"
        if problem is not None:
            rules[row], problems[row] = TOKENS_RULE, problem
    columns = {name: block[name] for name in block.column_names if name in schema.names}
    columns["center"] = pa.array([row.center for row in encoded], pa.int32())
    columns["token_ids"] = _list_array([row.token_ids for row in encoded], schema, "token_ids")
    if "specifiers" in schema.names:
        values = [
            np.empty(0, np.float32) if row.specifiers is None else row.specifiers.ravel()
            for row in encoded
        ]
        columns["specifiers"] = _list_array(values, schema, "specifiers")
    columns["num_unknown"] = pa.array([row.num_unknown for row in encoded], pa.int64())
    columns["unknown"] = _unknown_texts(encoded, texts, tokenizer)
    columns["rule"] = pa.array(rules, pa.string())
    columns["problem"] = pa.array(problems, pa.string())
    order = [*schema.names, "num_unknown", "unknown", "rule", "problem"]
    return pa.table({name: columns[name] for name in order})


def _list_array(values: list[np.ndarray], schema: pa.Schema, name: str) -> pa.Array:
    value_type = schema.field(name).type.value_type
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in values], dtype=np.int64)])
    joined = np.concatenate(values).astype(value_type.to_pandas_dtype(), copy=False)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(joined))


def _unknown_texts(encoded: list[Encoded], texts: list[str], tokenizer: Tokenizer) -> pa.Array:
    """The texts of unknown tokens, once per block, in its first row."""
    unknown: Counter[str] = Counter()
    if tokenizer.encoding != "bpe":
        rows = [text for row, text in zip(encoded, texts, strict=True) if row.num_unknown]
        tokens = count_tokens(rows, tokenizer.settings).tokens
        unknown.update({text: tokens[text] for text in tokens if text not in tokenizer.vocabulary})
    cells: list[str | None] = [None] * len(encoded)
    if unknown:
        cells[0] = json.dumps(dict(unknown))
    return pa.array(cells, pa.large_string())
