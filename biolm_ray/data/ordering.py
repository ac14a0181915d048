"""The one order in which names of splits and classes are listed."""

from collections.abc import Iterable


def sorted_naturally(names: Iterable[str]) -> list[str]:
    """Sort distinct names: as numbers when all are numbers, else as text."""
    distinct = sorted(set(names))
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return distinct
