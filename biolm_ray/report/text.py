"""Plain text for the terminal: tables and one-line summaries."""

from collections.abc import Mapping

import pandas as pd

from biolm_ray.experiment.progress import readable_time
from biolm_ray.inference.distribute import LooSummary
from biolm_ray.tokenization.prepared import PreparedData


def text_table(table: pd.DataFrame, *, digits: int = 4) -> str:
    """Align a table in columns: texts left, numbers right; an empty cell is a dash."""
    header = [str(name) for name in table.columns]
    rows = [
        [_cell(value, digits) for value in row] for row in table.itertuples(index=False, name=None)
    ]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def text_facts(facts: Mapping[str, object], *, digits: int = 4) -> str:
    """Put names and values one to a line, the values below each other."""
    width = max((len(name) for name in facts), default=0)
    return "\n".join(
        f"{name.ljust(width)}  {_cell(value, digits)}" for name, value in facts.items()
    )


def describe_data(prepared: PreparedData, block_size: int) -> str:
    """Say what a prepared data set holds, and what of it a model will not see."""
    summary = prepared.summary
    lengths = [f"{summary[f'length_{name}']:,.0f}" for name in ("min", "median", "p95", "max")]
    lines = [
        f"{summary['rows']:,} rows, {summary['tokens']:,} tokens; length min {lengths[0]}, "
        f"median {lengths[1]}, 95th percentile {lengths[2]}, max {lengths[3]}"
    ]
    num_longer = prepared.num_longer(block_size)
    if num_longer:
        lines.append(f"{num_longer:,} rows are longer than the block size {block_size}")
    if summary["unknown_tokens"]:
        most = ", ".join(f"'{token}' {count}x" for token, count in summary["unknown_examples"])
        lines.append(
            f"{summary['unknown_tokens']:,} tokens ({summary['unknown_share']:.2%}) are not in the "
            f"vocabulary and read as [UNK]: {most}"
        )
    return "\n".join(lines)


def describe_scoring(summary: LooSummary) -> str:
    """Say what a leave-one-out run did and how well its scores were confirmed.

    The rate counts only what this run scored itself.
    """
    own = summary.num_positions - summary.num_reused
    rate = own / summary.seconds if summary.seconds > 0 else 0.0
    reused = f", {summary.num_reused:,} of them by an earlier run" if summary.num_reused else ""
    unused = summary.unused_replacements
    missing = f"\nnever met in the vocabulary: {', '.join(unused)}" if unused else ""
    return (
        f"{summary.num_positions:,} edits of {summary.num_sequences:,} sequences scored{reused} in "
        f"{readable_time(summary.seconds)} ({rate:,.0f} positions/s); largest difference to an "
        f"independent full pass: {summary.largest_difference:.1e}{missing}"
    )


def _cell(value: object, digits: int) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
