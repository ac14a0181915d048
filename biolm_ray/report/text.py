"""Plain text for the terminal: tables and one-line summaries."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from biolm_ray.data.naming import kept_apart
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.experiment.progress import readable_time
from biolm_ray.inference.table_work import LooSummary
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.rejects import describe_counts
from biolm_ray.wording import counted

MOST_SPLITS, MOST_CLASSES = 20, 10
PREFIX_NOTE = " (a blank that bpe puts before each sequence counts, as a token or part of one)"
"""Why a sequence may have a token more than letters."""
COUNTS = ("rows", "epoch", "samples")
"""Columns of whole numbers, whose means are not."""
F1_KEYS = ("f1", "test_f1", "eval_f1")
SMALLEST_PLAIN, LARGEST_PLAIN = 1e-4, 1e7
"""Numbers beyond these are written with an exponent."""


def text_table(table: pd.DataFrame, *, digits: int = 4) -> str:
    """Align a table in columns: texts left, numbers right; an empty cell is a dash."""
    header = [_shown_name(str(name)) for name in table.columns]
    rows = [
        [_cell(value, digits, name) for name, value in zip(table.columns, row, strict=True)]
        for row in table.itertuples(index=False, name=None)
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
    width = max((len(_shown_name(name)) for name in facts), default=0)
    return "\n".join(
        f"{_shown_name(name).ljust(width)}  {_cell(value, digits, name)}"
        for name, value in facts.items()
    )


def describe_data(prepared: PreparedData, block_size: int, room: int, encoding: str = "") -> str:
    """Say what a prepared data set holds, and what of it a model will not see.

    Args:
        prepared: The data set.
        block_size: Of the model.
        room: What its special tokens leave of that.
        encoding: Of the tokenizer.
    """
    summary = prepared.summary
    lengths = [f"{summary[f'length_{name}']:,.0f}" for name in ("min", "median", "p95", "max")]
    num_longer = prepared.num_longer(room)
    special = f" less {block_size - room} special tokens" if room < block_size else ""
    facts = {
        "rows": f"{summary['rows']:,}",
        "tokens": f"{summary['tokens']:,}",
        "length": f"min {lengths[0]}, median {lengths[1]}, 95th percentile {lengths[2]}, "
        f"max {lengths[3]}{PREFIX_NOTE if encoding == 'bpe' else ''}",
        "cut": f"{num_longer:,} rows ({num_longer / len(prepared):.2%}) are longer than the block "
        f"size {block_size}{special}",
        "unknown": f"{counted(summary['unknown_tokens'], 'token')} "
        f"({_share(summary['unknown_tokens'], summary['unknown_share'])})"
        + _unknown_examples(summary["unknown_examples"]),
    }
    rejected = sum(prepared.manifest["rejected"].values())
    if rejected:
        facts["rejected"] = (
            f"{counted(rejected, 'row')} ({describe_counts(prepared.manifest['rejected'])})"
        )
    return text_facts(facts) + describe_labels(prepared)


def _share(number: int, share: float) -> str:
    """A share in percent that is 0 for no thing only."""
    return "below 0.01%" if number and share < 0.5e-4 else f"{share:.2%}"


def _unknown_examples(examples: Sequence[tuple[str, int]]) -> str:
    if not examples:
        return ""
    return ", read as [UNK]: " + ", ".join(f"'{text}' {count}x" for text, count in examples)


def describe_labels(prepared: PreparedData) -> str:
    """The table of the labels, and how many splits are not in it; empty without labels."""
    table = label_table(prepared)
    if table is None:
        return ""
    num_hidden = len(set(prepared.splits or ["all"])) - table["split"].nunique()
    note = f"\n... and {counted(num_hidden, 'more split')}" if num_hidden else ""
    return f"\n{text_table(table)}{note}"


def label_table(prepared: PreparedData) -> pd.DataFrame | None:
    """What the labels of each split are like: a row per split, or one for all rows.

    Numbers: how many, mean, standard deviation, least and largest, for one target after the other.
    Classes: how many of each. Of many splits or classes there are only the largest; the other
    classes are counted together.
    """
    labels = prepared.labels
    if labels is None:
        return None
    splits = pd.Series(["all"] * len(prepared) if prepared.splits is None else prepared.splits)
    order = _largest(splits, MOST_SPLITS)
    if isinstance(labels, list):
        return _class_table(pd.Series(labels), splits, order)
    tables = [_number_table(column, splits, order) for column in labels.T]
    for name, table in zip(prepared.target_names, tables, strict=False):
        table.insert(0, "target", name)
    return pd.concat(tables, ignore_index=True)


def _largest(names: pd.Series, most: int) -> list[str]:
    """The most frequent names, in the order in which names are listed."""
    return sorted_naturally(names.value_counts().index[:most].astype(str))


def _class_table(labels: pd.Series, splits: pd.Series, order: Sequence[str]) -> pd.DataFrame:
    shown = _largest(labels, MOST_CLASSES)
    num_others = labels.nunique() - len(shown)
    others = counted(num_others, "other class", "other classes")
    labels = labels.where(labels.isin(shown), others)
    counts = pd.crosstab(splits, labels).reindex(order)
    columns = [*shown, others] if num_others else shown
    columns = {kept_apart(name, ("split",)): counts[name].to_numpy() for name in columns}
    return pd.DataFrame({"split": order, **columns})


def _number_table(
    labels: Float[np.ndarray, " rows"], splits: pd.Series, order: Sequence[str]
) -> pd.DataFrame:
    found = pd.Series(labels).groupby(splits).agg(["size", "mean", "std", "min", "max"])
    found = found.reindex(order)
    names = ("rows", "label mean", "deviation", "min", "max")
    columns = {name: found.iloc[:, place].to_numpy() for place, name in enumerate(names)}
    return pd.DataFrame({"split": order, **columns})


def describe_scoring(summary: LooSummary, title: str = "") -> str:
    """Say what a leave-one-out run did and how well its scores were confirmed.

    The rate counts only what this run scored itself.

    Args:
        summary: Of one table.
        title: What to call it where there are several.
    """
    own = summary.num_positions - summary.num_reused
    rate = own / summary.seconds if summary.seconds > 0 else 0.0
    took = f" in {readable_time(summary.seconds)} ({rate:,.0f} positions a second)"
    if summary.num_reused:
        which = f"{summary.num_reused:,}" if own else "all"
        took = f", {which} of them by an earlier run{took if own else ''}"
    noise = f"\n{_about_noise(summary)}" if summary.noise_floors else ""
    redone = f"\nredone by whole passes: {summary.num_redone:,}" if summary.num_redone else ""
    unused = summary.unused_replacements
    missing = f"\nnever met in the vocabulary: {', '.join(unused)}" if unused else ""
    notes = "".join(f"\n{note}" for note in summary.notes)
    start = f"{title}: " if title else ""
    return (
        f"{start}{counted(summary.num_positions, 'edit')} of "
        f"{counted(summary.num_sequences, 'sequence')} scored{took}; "
        "some were predicted a second time, from sequences edited one by one: their scores differ "
        f"by at most {summary.largest_difference:.1e}"
        f"{redone}{noise}{missing}{notes}"
    )


def _about_noise(summary: LooSummary) -> str:
    """Say how far scores are uncertain, and what it means where most are no larger than that."""
    floors = ", ".join(f"{floor:.1e}" for floor in summary.noise_floors)
    text = (
        f"noise floor: {floors} (the standard error of a score, from how far the models disagree)"
    )
    shares = summary.shares_in_noise
    if max(shares, default=0.0) <= 0.5:
        return text
    return (
        f"{text}; {', '.join(f'{share:.0%}' for share in shares)} of the scores are no larger and "
        "cannot be told apart from it: single positions tell little here, means over many tell more"
    )


def _shown_name(name: str) -> str:
    """A metric's name in text, where the key of files does not say what it is."""
    return f"{name.removesuffix('f1')}macro_f1" if name in F1_KEYS else name


def _cell(value: object, digits: int, name: str) -> str:
    """A value as tables show it: counts whole, numbers as short as they can be read."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    if name in COUNTS:
        return f"{value:.0f}" if value.is_integer() else f"{value:.1f}"
    is_usual = value == 0 or SMALLEST_PLAIN <= abs(value) < LARGEST_PLAIN
    return f"{value:.{digits}f}" if is_usual else f"{value:.{digits}g}"
