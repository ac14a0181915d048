"""Labels as a whole: what cannot be learnt from them, and what they seem to mean."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from biolm_ray.config.schema import Config, DataConfig
from biolm_ray.data.columns import read_number, shown
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.errors import DataError
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.wording import counted, part_of

log = logging.getLogger("biolm_ray")

MAYBE_MISSING = frozenset(("-", "--", ".", "none", "na", "n.a.", "nan", "null", "missing"))
"""Words, in small letters, that may be classes or stand for missing values."""
MANY_CLASSES = 20
ROWS_PER_CLASS = 10
CLASS_SEPARATORS = ";|,"
RIGHT_COLUMN = "is data.label_column (labelpos) the right column?"


def check_labels(config: Config, prepared: PreparedData, rows: Int[np.ndarray, " rows"]) -> None:
    """Refuse labels that a model cannot be trained on, and ask about those that look odd.

    Args:
        config: Of the run.
        prepared: The data set.
        rows: Those of it that are used.

    Raises:
        DataError: There is one class only, all labels are the same number, classes are numbers to
            be predicted as such, or a row has several classes.
    """
    labels = prepared.labels
    if labels is None or not len(rows):
        return
    few = config.data.max_rows is not None
    if isinstance(labels, list):
        _check_classes(Counter(labels[row] for row in rows), config.data, few)
    else:
        _check_numbers(labels[rows], prepared.target_names, few)


def _check_classes(counts: Mapping[str, int], data: DataConfig, few: bool) -> None:
    if len(counts) == 1:
        (name,) = counts
        _refuse(few, f"all rows have the class {shown(name)}, and there is nothing to tell apart")
    num_rows = sum(counts.values())
    numbers = [read_number(name.replace(",", ".")) for name in counts]
    if len(counts) > MANY_CLASSES and None not in numbers:
        found = f"the classes are {len(counts):,} different numbers for {num_rows:,} rows"
        if any(number % 1 for number in numbers if number) or num_rows < ROWS_PER_CLASS * len(
            counts
        ):
            raise DataError(
                f"{found}: to predict numbers, set task: regression; if they name classes, "
                f"there are too few rows of each (fewer than {ROWS_PER_CLASS} on average)"
            )
        log.warning("%s: to predict them as numbers, set task: regression", found)
    _refuse_several_classes(counts)
    for name in counts:
        if name.lower() in MAYBE_MISSING:
            words = ", ".join(f"'{word}'" for word in (*data.missing_values, name))
            log.warning(
                "%s the class %s: if it stands for a missing value, set data.missing_values: [%s]",
                part_of(counts[name], num_rows, "row", ("has", "have")),
                shown(name),
                words,
            )


def _refuse_several_classes(counts: Mapping[str, int]) -> None:
    """Refuse lists of classes, such as `a;b` where `a` or `b` is in another class too."""
    for separator in CLASS_SEPARATORS:
        parts = {name: set(name.split(separator)) for name in counts if separator in name}
        known = Counter(part for name in counts for part in set(name.split(separator)))
        lists = [name for name, found in parts.items() if all(known[part] > 1 for part in found)]
        if lists:
            first = sorted_naturally(lists)[0]
            raise DataError(
                f"class {shown(first)} ({counted(counts[first], 'row')}) lists several classes, "
                "and a row can be of one class only: train a classification of yes and no for each "
                f"class, or write another sign than '{separator}' where a combination is a class "
                "of its own"
            )


def _check_numbers(
    labels: Float[np.ndarray, "rows targets"], names: Sequence[str], few: bool
) -> None:
    for place, column in enumerate(labels.T):
        if (column == column[0]).all():
            of_target = f" of '{names[place]}'" if names else ""
            _refuse(few, f"all labels{of_target} are {column[0]:g}, and there is nothing to learn")
    if len(names) > 1 and np.isin(labels, (0, 1)).all():
        log.warning(
            "all labels of %s are 0 or 1 and are learnt as numbers; several classes at once are "
            "not known yet: for probabilities, train a classification of each column (labelpos)",
            ", ".join(names),
        )


def _refuse(few: bool, found: str) -> None:
    """Stop; of the few rows that a trial run takes, only warn."""
    if not few:
        raise DataError(f"{found}: {RIGHT_COLUMN}")
    log.warning("%s among the rows that data.max_rows (dev) leaves", found)
