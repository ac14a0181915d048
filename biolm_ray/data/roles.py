"""Split values that name roles, such as train, val and test, in their common spellings."""

import re
from collections.abc import Mapping, Sequence

from biolm_ray.config.spelling import closest
from biolm_ray.errors import DataError

ROLES: Mapping[str, tuple[str, ...]] = {
    "training": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "held-out"),
}
"""The names of each role; case does not matter, nor do blanks, hyphens and underscores."""

_CLOSE, _LESS_CLOSE = 0.8, 0.7
_FEWEST_LETTERS, _FEWER_LETTERS = 5, 4
"""Shorter names are more often another word than a slip: `trna` is not `trn`."""

_DECORATIONS = ("s", "set", "data", "split", "part", "fold")
_MOST_LISTED = 10


def _plain(value: str) -> str:
    return re.sub(r"[\s_-]+", "", value.casefold())


_ROLE_OF = {_plain(name): role for role, names in ROLES.items() for name in names}
_RELATED = {
    **{_plain(name): name for names in ROLES.values() for name in names},
    "validate": "validation",
    "evaluation": "eval",
    "development": "dev",
    "holdout": "held-out",
}
"""The name of a role that is meant by it, or by a word that is derived from it."""


def role_of(value: str) -> str | None:
    """The role that a split value names, None if it names none."""
    return _ROLE_OF.get(_plain(value))


def nearly_named(value: str, *, beside_roles: bool = False) -> str | None:
    """The name of a role that a split value, which is none, was probably meant to be.

    Digits and words such as "set" around a name do not count: `test1` and `train_set` are nearly
    roles. So are words spelt alike from the first letter on, unless the name is short; beside
    values that are roles, more is taken for a slip.
    """
    word = re.sub(r"[^a-z]", "", value.casefold())
    for ending in ("", *_DECORATIONS):
        if word.endswith(ending) and (name := _RELATED.get(word.removesuffix(ending))):
            return name
    cutoff = _LESS_CLOSE if beside_roles else _CLOSE
    fewest = _FEWER_LETTERS if beside_roles else _FEWEST_LETTERS
    names = [name for name in _RELATED if len(name) >= fewest and name[:1] == word[:1]]
    near = closest(word, names, cutoff=cutoff, holding=False)
    return _RELATED[near] if near else None


def read_roles(values: Sequence[str]) -> dict[str, list[str]] | None:
    """The split values of each role; None when they have nothing to do with roles.

    Several spellings of one role are one role.

    Args:
        values: The distinct values, in the order in which they are listed.

    Raises:
        DataError: Some values name roles and others do not, or are nearly names of roles; or no
            value is for training.
    """
    roles: dict[str, list[str]] = {role: [] for role in ROLES}
    for value in values:
        if (role := role_of(value)) is not None:
            roles[role].append(value)
    roles = {role: names for role, names in roles.items() if names}
    strange = [value for value in values if role_of(value) is None]
    if not roles and not any(map(nearly_named, values)):
        return None
    if strange:
        raise DataError(_not_understood(roles, strange))
    if "training" not in roles:
        raise DataError(
            f"the split column names the roles {listed_roles(roles)}, but no row is for training "
            f"({_names('training')})"
        )
    return roles


def listed_roles(roles: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"'{value}' = {role}" for role, names in roles.items() for value in names)


def _not_understood(roles: Mapping[str, Sequence[str]], strange: Sequence[str]) -> str:
    shown = strange[:_MOST_LISTED]
    meant = [nearly_named(value, beside_roles=bool(roles)) for value in shown]
    listed = ", ".join(
        f"'{value}'" + (f" (did you mean '{name}'?)" if name else "")
        for value, name in zip(shown, meant, strict=True)
    )
    more = f" and {len(strange) - len(shown)} more" if len(strange) > len(shown) else ""
    what = "some values name roles and others do not" if roles else "values are nearly roles"
    understood = f"understood: {listed_roles(roles)}; " if roles else ""
    return (
        f"in the split column {what} ({understood}not understood: {listed}{more}): correct the "
        "values, leave rows out by their values with "
        f"splits.leave_out: [{', '.join(shown)}{', ...' if more else ''}], or name the parts with "
        "devsplits and testsplits. Names of roles are " + "; ".join(_names(role) for role in ROLES)
    )


def _names(role: str) -> str:
    return ", ".join(ROLES[role])
