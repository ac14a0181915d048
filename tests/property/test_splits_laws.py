"""Laws of random divisions, for any number of rows, folds and classes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm_ray.config.schema import SplitsConfig
from biolm_ray.data.drawing import part_sizes
from biolm_ray.data.roles import read_roles
from biolm_ray.data.splits import Fold, plan_folds

NAMES = {
    "training": ["train", "Training", "trn"],
    "validation": ["val", "DEV", "eval"],
    "test": ["test", "held-out", "Testing"],
}


def parts(fold: Fold) -> list[np.ndarray]:
    return [fold.train, fold.validation, fold.test]


def assert_divides(fold: Fold, num_rows: int) -> None:
    assert sorted(np.concatenate(parts(fold)).tolist()) == list(range(num_rows))
    assert all((np.diff(part) > 0).all() for part in parts(fold))


@given(st.integers(4, 200), st.integers(2, 12), st.integers(0, 5))
def test_k_folds_partition_the_rows(num_rows, num_folds, seed):
    num_folds = min(num_folds, num_rows)
    folds = plan_folds(SplitsConfig(num_folds=num_folds), None, num_rows, seed, None)
    assert len(folds) == num_folds
    for fold in folds:
        assert_divides(fold, num_rows)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(num_rows))
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@given(
    st.integers(3, 200),
    st.lists(st.floats(0.01, 100), min_size=2, max_size=3),
    st.integers(0, 5),
)
def test_hold_outs_partition_the_rows_and_repeat_exactly(num_rows, ratio, seed):
    config = SplitsConfig(num_folds=3, method="repeated hold-out", ratio=tuple(ratio))
    folds = plan_folds(config, None, num_rows, seed, None)
    again = plan_folds(config, None, num_rows, seed, None)
    for fold, same in zip(folds, again, strict=True):
        assert_divides(fold, num_rows)
        assert all(len(part) for part in parts(fold)[: len(ratio)])
        for part, same_part in zip(parts(fold), parts(same), strict=True):
            np.testing.assert_array_equal(part, same_part)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(6, 500))
def test_part_sizes_add_up_and_none_is_empty(ratio, num_rows):
    sizes = part_sizes(ratio, num_rows)
    assert sum(sizes) == num_rows
    assert min(sizes) >= 1
    shares = np.array(ratio) / sum(ratio) * num_rows
    if shares.min() >= 1:
        assert (np.abs(np.array(sizes) - shares) < 1 + 1e-6).all()


@given(st.lists(st.sampled_from("abcdefg"), min_size=3, max_size=60))
def test_split_values_are_each_tested_once_and_never_shared(values):
    if len(set(values)) < 3:
        values = [*values, "x", "y", "z"]
    folds = plan_folds(SplitsConfig(), values, len(values), 0, None)
    for fold in folds:
        assert_divides(fold, len(values))
        held = [{values[row] for row in part} for part in parts(fold)]
        assert len(set.union(*held)) == sum(len(names) for names in held)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(len(values)))


@given(st.lists(st.integers(4, 30), min_size=2, max_size=4), st.integers(2, 4), st.integers(0, 5))
def test_stratified_folds_differ_by_few_rows_of_a_class(class_sizes, num_folds, seed):
    classes = [f"class {number}" for number, size in enumerate(class_sizes) for _ in range(size)]
    folds = plan_folds(SplitsConfig(num_folds=num_folds), None, len(classes), seed, classes)
    for name in set(classes):
        counts = [sum(classes[row] == name for row in fold.test) for fold in folds]
        assert max(counts) - min(counts) <= 2


@given(
    st.lists(st.sampled_from([name for names in NAMES.values() for name in names]), max_size=60),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_kept_aside_rows_are_in_no_fold_and_the_folds_partition_the_others(more, num_folds, seed):
    values = ["train"] * 8 + more
    aside = [row for row, value in enumerate(values) if value in NAMES["test"]]
    others = sorted(set(range(len(values))) - set(aside))
    folds = plan_folds(SplitsConfig(num_folds=num_folds), values, len(values), seed, None)
    assert len(folds) == num_folds
    for fold in folds:
        assert fold.kept_aside.tolist() == aside
        assert sorted(np.concatenate(parts(fold)).tolist()) == others
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == others


@given(
    st.lists(st.sampled_from(["train", "val", "test", "exclude", "bad"]), max_size=40),
    st.sampled_from(
        [
            {},
            {"num_folds": 3},
            {"cross_validate": True},
            {"ratio": (60.0, 20.0, 20.0)},
            {"num_folds": 2, "method": "repeated hold-out", "ratio": (50.0, 50.0)},
            {"validation_splits": (("val",),)},
        ]
    ),
)
def test_rows_that_are_left_out_are_nowhere_and_the_others_are_divided_as_if_alone(more, settings):
    values = ["train"] * 8 + ["val", "exclude", "bad"] + more
    config = SplitsConfig(**settings, leave_out=("bad", "exclude"))
    kept = np.array([row for row, value in enumerate(values) if value not in ("bad", "exclude")])
    alone = [values[row] for row in kept]
    folds = plan_folds(config, values, len(values), 0, None)
    same = plan_folds(SplitsConfig(**settings), alone, len(alone), 0, None)
    for fold, expected in zip(folds, same, strict=True):
        everywhere = np.concatenate([*parts(fold), fold.kept_aside])
        assert sorted(everywhere.tolist()) == kept.tolist()
        for part, place in zip(parts(fold), parts(expected), strict=True):
            np.testing.assert_array_equal(part, kept[place])


@given(st.lists(st.text(alphabet="0123456789ABCXchr", min_size=1, max_size=5), min_size=1))
def test_numbers_letters_and_chromosomes_never_have_to_do_with_roles(values):
    assert read_roles(sorted(set(values))) is None
