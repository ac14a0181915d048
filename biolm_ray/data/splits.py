"""Which rows train, validate and test in each fold: pure functions of names, numbers and a seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Int

from biolm_ray.config.schema import SplitsConfig
from biolm_ray.data.drawing import deal, part_sizes, seeded_generator
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.data.roles import listed_roles, read_roles
from biolm_ray.errors import DataError
from biolm_ray.wording import counted, part_of

HELD_OUT_SHARE = 0.1
FOLDS_OF_ROLES = 5
"""Folds within training and validation rows where no number is asked for."""

FEW_VALUES, MANY_VALUES = 20, 100
"""Split values that are never too many, and that are too many unless their number is set."""

Rows = Int[np.ndarray, " rows"]
Mask = Bool[np.ndarray, " rows"]


def _no_rows() -> Rows:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Fold:
    """The rows of one training run, each array in ascending order.

    Attributes:
        index: 0-based number of the fold.
        name: Its folder below `fine-tune/`; empty when the run has one fold only.
        description: How the rows were chosen, for the printed line.
        kept_aside: Rows that no fold trains on, validates or tests with, for all models to
            predict in the end; the same in every fold.
    """

    index: int
    name: str
    train: Rows
    validation: Rows
    test: Rows
    description: str = ""
    kept_aside: Rows = field(default_factory=_no_rows)

    def of_rows(self, rows: Rows) -> "Fold":
        """The same fold when its row i stands for row `rows[i]` of a larger set."""
        return replace(
            self,
            train=rows[self.train],
            validation=rows[self.validation],
            test=rows[self.test],
            kept_aside=rows[self.kept_aside],
        )


@dataclass(frozen=True)
class _Table:
    """The rows to divide, with what the division may depend on."""

    num_rows: int
    seed: int
    splits: np.ndarray | None
    classes: np.ndarray | None

    def of_rows(self, rows: Rows) -> "_Table":
        splits, classes = self.splits, self.classes
        return replace(
            self,
            num_rows=len(rows),
            splits=None if splits is None else splits[rows],
            classes=None if classes is None else classes[rows],
        )

    def deal(self, sizes: Sequence[int], fold: int, purpose: str) -> list[Rows]:
        """Deal the rows out to parts at random, class by class where they have classes."""
        classes = None if self.classes is None else self.classes.tolist()
        return deal(sizes, seeded_generator(self.seed, fold, purpose), classes)


def plan_folds(
    config: SplitsConfig,
    split_values: Sequence[str] | None,
    num_rows: int,
    seed: int,
    classes: Sequence[str] | None = None,
) -> list[Fold]:
    """Divide the rows into folds by the split column, by named sets, or at random.

    Random parts are stratified when `classes` holds the class of every row. Whether the settings
    go together, the configuration has checked.

    Raises:
        DataError: The rows or split values do not allow the division, or leave a training
            set empty or without one of the classes.
    """
    assert split_values is None or len(split_values) == num_rows
    table = _Table(num_rows, seed, _texts(split_values), _texts(classes))
    kept, note = _rows_to_divide(config, table)
    table = table.of_rows(kept)
    folds = _divide(config, table)
    if len(folds) == 1 and not config.cross_validate:
        folds = [replace(folds[0], name="")]
    for fold in folds:
        _check_fold(fold, len(folds), table, is_drawn=config.draws_by_ratio)
    return [replace(fold.of_rows(kept), description=f"{fold.description}{note}") for fold in folds]


def rows_in_splits(split_values: Sequence[str], names: Sequence[str]) -> Rows:
    """The rows whose split value is one of the names, in ascending order.

    Raises:
        DataError: A name is not among the values.
    """
    column = np.asarray(split_values, dtype=str)
    _check_names(names, column)
    return np.flatnonzero(np.isin(column, list(names)))


def _texts(values: Sequence[str] | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=str)


def _rows_to_divide(config: SplitsConfig, table: _Table) -> tuple[Rows, str]:
    """The rows that are not left out by their split value, and what to say of the others."""
    if not config.leave_out:
        return np.arange(table.num_rows), ""
    assert table.splits is not None
    _check_names(config.leave_out, table.splits, "splits.leave_out: ")
    kept = np.flatnonzero(~np.isin(table.splits, config.leave_out))
    if not len(kept):
        raise DataError(
            f"splits.leave_out names every split, so that of {table.num_rows} rows none is left"
        )
    return (
        kept,
        f"; left out: {counted(table.num_rows - len(kept), 'row')} of {_quoted(config.leave_out)}",
    )


def _divide(config: SplitsConfig, table: _Table) -> list[Fold]:
    if config.validation_splits or config.test_splits:
        return _named_sets(config, table)
    if config.draws_by_ratio or not (config.num_folds or table.splits is not None):
        return _hold_outs(config, table)
    values = [] if table.splits is None else sorted_naturally(table.splits.tolist())
    roles = read_roles(values)
    if roles:
        folds = _by_roles(config, table, roles)
    elif values:
        folds = _by_split_values(config, table, values)
    else:
        assert config.num_folds
        folds = _disjoint_folds(config.num_folds, table)
    if config.ratio is None:
        return folds
    note = (
        f"; the ratio {_percent(config.ratio)} (splitratio) is ignored by this cross-validation, "
        "splits.method: repeated hold-out would draw by it"
    )
    return [replace(fold, description=fold.description + note) for fold in folds]


def _by_roles(config: SplitsConfig, table: _Table, roles: dict[str, list[str]]) -> list[Fold]:
    assert table.splits is not None
    train, validation, test = (
        np.isin(table.splits, roles.get(role, [])) for role in ("training", "validation", "test")
    )
    named = f"the split column names the roles: {listed_roles(roles)}"
    if not (config.num_folds or config.cross_validate):
        fold = _fold(0, train, validation, test, named)
        return [fold if len(fold.validation) else _hold_out_validation(fold, table)]
    num_folds = config.num_folds or FOLDS_OF_ROLES
    learnt, aside = np.flatnonzero(train | validation), np.flatnonzero(test)
    asked = "" if config.num_folds else " (crossvalidation names no other number)"
    kept = f"the {len(aside):,} test rows are kept aside"
    text = (
        f"{named}; {num_folds} disjoint folds{asked} within the "
        f"{counted(len(learnt), 'row')} for training and validation, a tenth of each "
        f"fold's training rows validates; "
        f"{kept if len(aside) else 'no row is for test, so none is kept aside'}"
    )
    folds = _disjoint_folds(num_folds, table.of_rows(learnt), "rows for training and validation")
    return [replace(fold.of_rows(learnt), kept_aside=aside, description=text) for fold in folds]


def _by_split_values(config: SplitsConfig, table: _Table, values: list[str]) -> list[Fold]:
    """Let each value test once, the following one validate, and the others train."""
    assert table.splits is not None
    _check_values(config, values, table.num_rows)
    folds = []
    for index, test in enumerate(values):
        validation = values[(index + 1) % len(values)]
        folds.append(
            _fold(
                index,
                ~np.isin(table.splits, [test, validation]),
                table.splits == validation,
                table.splits == test,
                f"test split '{test}', validation split '{validation}', training on the rest",
            )
        )
    if config.cross_validate is False:
        return folds[:1]
    note = f"{counted(len(values), 'fold')}, one for each split value; fold"
    return [replace(fold, description=f"{note} {fold.name}: {fold.description}") for fold in folds]


def _check_values(config: SplitsConfig, values: list[str], num_rows: int) -> None:
    """Make sure that there can be a fold for each split value, and that as many were meant."""
    many = len(values)
    found = f"the split column has {_listed(values)}"
    if many < 3:
        raise DataError(
            f"{found}: cross-validation over it needs at least 3 (one to test, one to validate, "
            "the rest to train)"
        )
    is_alone = many > FEW_VALUES and num_rows < 2 * many
    if is_alone:
        found += f" in {num_rows:,} rows, most of them alone with theirs (is it the right column?)"
    by_hand = (
        "devsplits and testsplits with a list of values for each fold (each value in one of the "
        f"lists of testsplits, so that every row is tested once), such as {_example(values)}"
    )
    if config.num_folds and config.num_folds != many:
        raise DataError(
            f"{found}, but {config.num_folds} folds are asked for. Folds drawn at random would "
            "split these groups, and like sequences would train and test; to keep groups together "
            "in another number of folds comes with a later version. Today there is "
            f"crossvalidation: true (a fold for each value), or {by_hand}"
        )
    if config.num_folds or config.cross_validate is False:
        return
    if is_alone or many > MANY_VALUES:
        raise DataError(
            f"{found}; a fold for each value would train {many:,} models. If that is meant, set "
            f"crossvalidation: {many}; otherwise give the column of the splits (splitpos), or "
            f"{by_hand}"
        )


def _example(values: Sequence[str]) -> str:
    """Divide the first split values into three folds, as devsplits and testsplits."""
    groups = [list(values[start:6:3]) for start in range(3)]
    tests = ", ".join(f"[{', '.join(group)}]" for group in groups)
    validations = ", ".join(f"[{', '.join(group)}]" for group in (*groups[1:], groups[0]))
    more = " and so on" if len(values) > 6 else ""
    return f"testsplits: [{tests}] with devsplits: [{validations}]{more}"


def _named_sets(config: SplitsConfig, table: _Table) -> list[Fold]:
    assert table.splits is not None
    num_sets = max(len(config.validation_splits or ()), len(config.test_splits or ()))
    validations = config.validation_splits or ((),) * num_sets
    tests = config.test_splits or ((),) * num_sets
    folds = []
    for index, (validation, test) in enumerate(zip(validations, tests, strict=True)):
        _check_names([*validation, *test], table.splits)
        train = ~np.isin(table.splits, [*validation, *test])
        rest = sorted_naturally(table.splits[train].tolist())
        fold = _fold(
            index,
            train,
            np.isin(table.splits, validation),
            np.isin(table.splits, test),
            f"test splits {_quoted(test)}, validation splits {_quoted(validation)}, "
            f"training on the rest: {_quoted(rest)}",
        )
        folds.append(fold if validation else _hold_out_validation(fold, table))
    num_tested = len(np.unique(np.concatenate([fold.test for fold in folds])))
    if 0 < num_tested < table.num_rows and len(folds) > 1:
        untested = part_of(table.num_rows - num_tested, table.num_rows, "row")
        note = f"; {untested} tested in no fold"
        folds = [replace(fold, description=fold.description + note) for fold in folds]
    return folds


def _hold_outs(config: SplitsConfig, table: _Table) -> list[Fold]:
    repeats = config.num_folds or 1
    ratio = config.ratio or (90.0, 10.0)
    kind = f"random {_percent(ratio)} split"
    if config.num_folds:
        kind = f"{kind}, repeated {counted(repeats, 'time')} (test sets may overlap)"
    if table.splits is not None:
        kind = f"{kind}; the split column serves only splits_to_use (inferenceonsplits)"
    folds = []
    for index in range(repeats):
        parts = table.deal(part_sizes(ratio, table.num_rows), index, "hold-out")
        train, validation, test = (*parts, _no_rows())[:3]
        folds.append(Fold(index, str(index), train, validation, test, kind))
    return folds


def _disjoint_folds(num_folds: int, table: _Table, which: str = "rows") -> list[Fold]:
    if num_folds > table.num_rows:
        raise DataError(f"{table.num_rows} {which} cannot be divided into {num_folds} folds")
    parts = table.deal(part_sizes((1.0,) * num_folds, table.num_rows), 0, "k-fold")
    kind = f"random division into {num_folds} disjoint folds"
    folds = []
    for index, rows in enumerate(parts):
        test = np.zeros(table.num_rows, dtype=bool)
        test[rows] = True
        fold = _fold(index, ~test, np.zeros_like(test), test, kind)
        folds.append(_hold_out_validation(fold, table))
    return folds


def _hold_out_validation(fold: Fold, table: _Table) -> Fold:
    """Move a seeded tenth of the training rows to validation."""
    if len(fold.train) < 2:
        return fold
    sizes = part_sizes((1 - HELD_OUT_SHARE, HELD_OUT_SHARE), len(fold.train))
    train, validation = table.of_rows(fold.train).deal(sizes, fold.index, "validation")
    return replace(
        fold,
        train=fold.train[train],
        validation=fold.train[validation],
        description=f"{fold.description}; a tenth of the training rows validates",
    )


def _fold(index: int, train: Mask, validation: Mask, test: Mask, description: str) -> Fold:
    rows = np.flatnonzero
    return Fold(index, str(index), rows(train), rows(validation), rows(test), description)


def _check_names(names: Sequence[str], splits: np.ndarray, setting: str = "") -> None:
    values = sorted_naturally(splits.tolist())
    for name in names:
        if name not in values:
            raise DataError(
                f"{setting}no row is in split '{name}'; the split column has {_listed(values)}"
            )


def _check_fold(fold: Fold, num_folds: int, table: _Table, *, is_drawn: bool) -> None:
    where = f"fold {fold.index} of {num_folds}" if num_folds > 1 else "the only fold"
    counts = Counter(training=len(fold.train), validation=len(fold.validation))
    for part, count in counts.items():
        if not count:
            raise DataError(
                f"{where} has no {part} rows ({len(fold.train)} training, "
                f"{len(fold.validation)} validation, {len(fold.test)} test; {fold.description})"
            )
    if table.classes is None:
        return
    rows = np.concatenate([fold.validation, fold.test, fold.kept_aside])
    trained = set(table.classes[fold.train].tolist())
    absent = sorted_naturally(set(table.classes[rows].tolist()) - trained)
    if absent:
        num_all = int((table.classes == absent[0]).sum())
        raise DataError(
            f"{where}: class '{absent[0]}' has rows to validate or test but none to train "
            f"({counted(num_all, 'row')} in all); the training rows hold "
            f"{_listed(sorted_naturally(trained), 'class', 'classes')}. "
            + _remedy_for_class(num_all, is_drawn=is_drawn or table.splits is None)
        )


def _remedy_for_class(num_rows: int, *, is_drawn: bool) -> str:
    """What to do about a class that a fold does not train.

    Rows that are drawn are dealt out class by class, so that only a class of very few is missed.
    """
    leave_out = (
        "leave the class out (its name in data.missing_values, and data.on_bad_rows: quarantine)"
    )
    if not is_drawn:
        return f"Put some of its rows into other splits (splitpos), or {leave_out}"
    few = "too few to be divided" if num_rows < 3 else "rare"
    return (
        f"Rows are drawn class by class, but this one is {few}: set fewer folds "
        f"(crossvalidation) or another splitratio, or {leave_out}"
    )


def _percent(ratio: Sequence[float]) -> str:
    return "/".join(f"{100 * share / sum(ratio):.3g}" for share in ratio)


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:10]) or "none"
    return f"{shown}, ..." if len(names) > 10 else shown


def _listed(values: Sequence[str], one: str = "value", many: str = "values") -> str:
    return f"{counted(len(values), one, many)} ({_quoted(values)})"
