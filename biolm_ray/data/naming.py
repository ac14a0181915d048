"""Names that users give, kept apart from ours and from each other in columns and files."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

LONGEST = 40
AWKWARD = re.compile(r"[^\w.+-]+")
_PLACE = re.compile(r"_\d+$")
_ENDING = re.compile(r"\.(?=(csv|tsv|parquet|gz|bedgraph|json|png|txt)$)", re.IGNORECASE)


def kept_apart(name: str, ours: Collection[str]) -> str:
    """A name as it stands beside names of ours: one that equals one of them ends in `_` more.

    `std` becomes `std_`, and so `std_` becomes `std__`: different names stay different, and
    `given_name` gives each back. All other names stay as they are.
    """
    return f"{name}_" if name.rstrip("_") in ours else name


def given_name(name: str, ours: Collection[str]) -> str:
    """The name that `kept_apart` was given."""
    return name[:-1] if name.endswith("_") and name.rstrip("_") in ours else name


def name_for_files(name: str) -> str:
    """A name without what is awkward in names of files; it may be empty.

    It does not end as files do: `x.csv` becomes `x_csv`.
    """
    return _ENDING.sub("_", AWKWARD.sub("_", name).strip("_")[:LONGEST])


def alike_in_files(names: Iterable[str]) -> bool:
    """Whether two of the names are one where case and the form of accents do not count."""
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    return len(set(folded)) < len(folded)


def told_apart(names: Sequence[str], places: Sequence[str]) -> list[str]:
    """Add to each name its place, which no other has."""
    return [f"{name}_{place}" for name, place in zip(names, places, strict=True)]


def without_places(names: Iterable[str]) -> tuple[str, ...]:
    """The names that `told_apart` was given, where places are numbers."""
    return tuple(_PLACE.sub("", name) for name in names)
