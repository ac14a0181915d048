"""Which rows train, validate and test in each fold: pure functions of names, numbers and a seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from biolm_ray.config.schema import SplitsConfig
from biolm_ray.data.drawing import deal, part_sizes, seeded_generator
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.errors import ConfigError, DataError

ROLE_NAMES = {
    "training": {"train", "training"},
    "validation": {"val", "valid", "validation", "dev"},
    "test": {"test"},
}
HELD_OUT_SHARE = 0.1
Rows = Int[np.ndarray, " rows"]


@dataclass(frozen=True)
class Fold:
    """The rows of one training run, each array in ascending order.

    Attributes:
        index: 0-based number of the fold.
        name: Its folder below `fine-tune/`; empty when the run has one fold only.
        description: How the rows were chosen, for the printed line.
    """

    index: int
    name: str
    train: Rows
    validation: Rows
    test: Rows
    description: str = ""

    def of_rows(self, rows: Rows) -> "Fold":
        """The same fold when its row i stands for row `rows[i]` of a larger set."""
        return replace(
            self,
            train=rows[self.train],
            validation=rows[self.validation],
            test=rows[self.test],
        )


def plan_folds(
    config: SplitsConfig,
    split_values: Sequence[str] | None,
    num_rows: int,
    seed: int,
    classes: Sequence[str] | None = None,
) -> list[Fold]:
    """Divide the rows into folds by the split column, by named sets, or at random.

    Random parts are stratified when `classes` holds the class of every row.

    Raises:
        ConfigError: The settings contradict each other.
        DataError: The rows or split values do not allow the division, or leave a training
            set empty or without one of the classes.
    """
    if split_values is not None:
        assert len(split_values) == num_rows
    _check_settings(config, split_values is not None)
    if config.validation_splits or config.test_splits:
        assert split_values is not None
        folds = _named_sets(config, split_values, seed, classes)
    elif config.method == "repeated hold-out" or (config.ratio and not config.num_folds):
        folds = _hold_outs(config, num_rows, seed, classes)
    elif split_values is not None and not config.ratio:
        folds = _by_split_values(config, split_values, seed, classes)
    elif config.num_folds:
        folds = _disjoint_folds(config.num_folds, num_rows, seed, classes)
    else:
        folds = _hold_outs(config, num_rows, seed, classes)
    if split_values is not None and folds[0].description.startswith("random"):
        note = "; the split column is not used"
        folds = [replace(fold, description=fold.description + note) for fold in folds]
    if len(folds) == 1 and not config.cross_validate:
        folds = [replace(folds[0], name="")]
    for fold in folds:
        _check_fold(fold, len(folds), classes)
    return folds


def rows_in_splits(split_values: Sequence[str], names: Sequence[str]) -> Rows:
    """The rows whose split value is one of the names, in ascending order.

    Raises:
        DataError: A name is not among the values.
    """
    _check_names(names, split_values)
    return np.flatnonzero(np.isin(np.asarray(split_values, dtype=str), list(names)))


def _check_settings(config: SplitsConfig, has_split_column: bool) -> None:
    named = config.validation_splits or config.test_splits
    if named and not has_split_column:
        raise ConfigError("splits.validation_splits and test_splits need data.split_column")
    if named and config.ratio:
        raise ConfigError("splits: give either ratio or validation_splits/test_splits, not both")
    if config.ratio and len(config.ratio) not in (2, 3):
        raise ConfigError(
            f"splits.ratio has {len(config.ratio)} numbers: give two (training, validation) "
            "or three (training, validation, test), such as 80,10,10"
        )
    if config.method == "repeated hold-out" and not config.num_folds:
        raise ConfigError("splits.method 'repeated hold-out' needs splits.num_folds")
    if config.cross_validate is False and config.num_folds:
        raise ConfigError("splits: num_folds contradicts cross_validate: false")
    if config.cross_validate and not (config.num_folds or has_split_column):
        raise ConfigError("splits.cross_validate needs splits.num_folds or data.split_column")


def _by_split_values(
    config: SplitsConfig,
    split_values: Sequence[str],
    seed: int,
    classes: Sequence[str] | None,
) -> list[Fold]:
    values = sorted_naturally(split_values)
    roles = _roles(values)
    if roles and config.cross_validate is None and config.num_folds is None:
        return [_roles_fold(roles, split_values, seed, classes)]
    if config.num_folds and config.num_folds != len(values):
        raise DataError(
            f"the split column has {_listed(values)}, so there can be {len(values)} folds, "
            f"not {config.num_folds}; leave out data.split_column for {config.num_folds} folds "
            "drawn at random"
        )
    if len(values) < 3:
        raise DataError(
            f"the split column has only {_listed(values)}: cross-validation over it needs at "
            "least 3 (one to test, one to validate, the rest to train)"
        )
    column = np.asarray(split_values, dtype=str)
    folds = []
    for index, test in enumerate(values):
        validation = values[(index + 1) % len(values)]
        folds.append(
            _fold(
                index,
                ~np.isin(column, [test, validation]),
                column == validation,
                column == test,
                f"test split '{test}', validation split '{validation}', training on the rest",
            )
        )
    return folds[:1] if config.cross_validate is False else folds


def _roles(values: list[str]) -> dict[str, str] | None:
    """The split value of each role when the values name roles, such as train, val, test."""
    roles: dict[str, str] = {}
    for value in values:
        role = next((r for r, names in ROLE_NAMES.items() if value.lower() in names), None)
        if role is None or role in roles:
            return None
        roles[role] = value
    return roles if "training" in roles and len(roles) > 1 else None


def _roles_fold(
    roles: dict[str, str], split_values: Sequence[str], seed: int, classes: Sequence[str] | None
) -> Fold:
    column = np.asarray(split_values, dtype=str)
    nothing = np.zeros(len(column), dtype=bool)
    train, validation, test = (
        column == roles[role] if role in roles else nothing for role in ROLE_NAMES
    )
    listed = ", ".join(f"'{value}' = {role}" for role, value in roles.items())
    fold = _fold(0, train, validation, test, f"the split column names the roles: {listed}")
    return fold if "validation" in roles else _hold_out_validation(fold, seed, classes)


def _named_sets(
    config: SplitsConfig,
    split_values: Sequence[str],
    seed: int,
    classes: Sequence[str] | None,
) -> list[Fold]:
    num_sets = max(len(config.validation_splits or ()), len(config.test_splits or ()))
    validations = config.validation_splits or ((),) * num_sets
    tests = config.test_splits or ((),) * num_sets
    if len(validations) != len(tests):
        raise ConfigError(
            f"splits: {len(validations)} validation_splits but {len(tests)} test_splits; "
            "each fold needs one of both"
        )
    expected = num_sets if config.cross_validate is not False else 1
    if (config.num_folds or expected) != num_sets:
        raise ConfigError(
            f"splits: {num_sets} named sets, but {config.num_folds or expected} folds asked for"
        )
    column = np.asarray(split_values, dtype=str)
    folds = []
    for index, (validation, test) in enumerate(zip(validations, tests, strict=True)):
        _check_names([*validation, *test], split_values)
        both = sorted(set(validation) & set(test))
        if both:
            raise DataError(f"split '{both[0]}' is in validation_splits and in test_splits")
        fold = _fold(
            index,
            ~np.isin(column, [*validation, *test]),
            np.isin(column, validation),
            np.isin(column, test),
            f"test splits {_quoted(test)}, validation splits {_quoted(validation)}, "
            "training on the rest",
        )
        folds.append(fold if validation else _hold_out_validation(fold, seed, classes))
    return folds


def _hold_outs(
    config: SplitsConfig, num_rows: int, seed: int, classes: Sequence[str] | None
) -> list[Fold]:
    repeats = config.num_folds or 1
    ratio = config.ratio or ((80.0, 10.0, 10.0) if config.num_folds else (90.0, 10.0))
    percent = "/".join(f"{100 * share / sum(ratio):.3g}" for share in ratio)
    kind = f"random {percent} split"
    if config.num_folds:
        kind = f"{kind}, repeated {repeats} times (test sets may overlap)"
    folds = []
    for index in range(repeats):
        generator = seeded_generator(seed, index, "hold-out")
        parts = deal(part_sizes(ratio, num_rows), generator, classes)
        train, validation, test = (*parts, parts[0][:0])[:3]
        folds.append(Fold(index, str(index), train, validation, test, kind))
    return folds


def _disjoint_folds(
    num_folds: int, num_rows: int, seed: int, classes: Sequence[str] | None
) -> list[Fold]:
    if num_folds < 2:
        raise ConfigError("splits.num_folds is 1: k-fold needs at least 2 folds")
    if num_folds > num_rows:
        raise DataError(f"{num_rows} rows cannot be divided into {num_folds} folds")
    sizes = part_sizes((1.0,) * num_folds, num_rows)
    parts = deal(sizes, seeded_generator(seed, 0, "k-fold"), classes)
    kind = f"random division into {num_folds} disjoint folds"
    folds = []
    for index, rows in enumerate(parts):
        test = _mask(rows, num_rows)
        fold = _fold(index, ~test, np.zeros_like(test), test, kind)
        folds.append(_hold_out_validation(fold, seed, classes))
    return folds


def _hold_out_validation(fold: Fold, seed: int, classes: Sequence[str] | None) -> Fold:
    """Move a seeded tenth of the training rows to validation."""
    if len(fold.train) < 2:
        return fold
    generator = seeded_generator(seed, fold.index, "validation")
    own = None if classes is None else np.asarray(classes, dtype=str)[fold.train].tolist()
    sizes = part_sizes((1 - HELD_OUT_SHARE, HELD_OUT_SHARE), len(fold.train))
    train, validation = deal(sizes, generator, own)
    return replace(
        fold,
        train=fold.train[train],
        validation=fold.train[validation],
        description=f"{fold.description}; a tenth of the training rows validates",
    )


def _mask(rows: Rows, num_rows: int) -> np.ndarray:
    mask = np.zeros(num_rows, dtype=bool)
    mask[rows] = True
    return mask


def _fold(
    index: int, train: np.ndarray, validation: np.ndarray, test: np.ndarray, description: str
) -> Fold:
    rows = np.flatnonzero
    return Fold(index, str(index), rows(train), rows(validation), rows(test), description)


def _check_names(names: Sequence[str], split_values: Sequence[str]) -> None:
    values = sorted_naturally(split_values)
    for name in names:
        if name not in values:
            raise DataError(f"no row is in split '{name}'; the split column has {_listed(values)}")


def _check_fold(fold: Fold, num_folds: int, classes: Sequence[str] | None) -> None:
    where = f"fold {fold.index} of {num_folds}" if num_folds > 1 else "the only fold"
    counts = Counter(training=len(fold.train), validation=len(fold.validation))
    for part, count in counts.items():
        if not count:
            raise DataError(
                f"{where} has no {part} rows ({len(fold.train)} training, "
                f"{len(fold.validation)} validation, {len(fold.test)} test; {fold.description})"
            )
    if classes is None:
        return
    rows = np.concatenate([fold.validation, fold.test])
    column = np.asarray(classes, dtype=str)
    trained = set(column[fold.train].tolist())
    absent = sorted_naturally(set(column[rows].tolist()) - trained)
    if absent:
        raise DataError(
            f"{where}: class '{absent[0]}' has rows to validate or test but none to train; "
            f"the training rows hold {_listed(sorted_naturally(trained), 'class', 'classes')}"
        )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _listed(values: Sequence[str], one: str = "value", many: str = "values") -> str:
    shown = _quoted(values[:10]) + (", ..." if len(values) > 10 else "")
    return f"{len(values)} {one if len(values) == 1 else many} ({shown})"
