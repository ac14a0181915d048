"""Folds of small files, worked out by hand."""

import numpy as np
import pytest

from biolm_ray.config.schema import SplitsConfig
from biolm_ray.data.drawing import part_sizes
from biolm_ray.data.splits import Fold, plan_folds, rows_in_splits
from biolm_ray.errors import ConfigError, DataError


def plan(values=None, num_rows=None, seed=0, classes=None, **settings) -> list[Fold]:
    num_rows = len(values) if num_rows is None else num_rows
    return plan_folds(SplitsConfig(**settings), values, num_rows, seed, classes)


def rows(fold: Fold) -> tuple[list[int], list[int], list[int]]:
    return fold.train.tolist(), fold.validation.tolist(), fold.test.tolist()


def test_each_split_value_is_tested_once_and_the_next_one_validates():
    folds = plan(["a", "b", "c", "a"])
    assert [fold.name for fold in folds] == ["0", "1", "2"]
    assert [rows(fold) for fold in folds] == [
        ([2], [1], [0, 3]),
        ([0, 3], [2], [1]),
        ([1], [0, 3], [2]),
    ]


def test_split_values_that_are_numbers_are_ordered_as_numbers():
    folds = plan(["10", "9", "1", "2"])
    assert [fold.test.tolist() for fold in folds] == [[2], [3], [1], [0]]
    assert folds[1].validation.tolist() == [1]


def test_two_split_values_are_too_few():
    with pytest.raises(DataError, match=r"2 values \('1', '2'\).*at least 3"):
        plan(["1", "2", "1"])


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
def test_values_that_name_the_roles_make_one_fold(name):
    (fold,) = plan(["train", name, "TEST", "train"])
    assert rows(fold) == ([0, 3], [1], [2])
    assert fold.name == ""
    assert f"'{name}' = validation" in fold.description


def test_named_roles_may_lack_a_test_set():
    (fold,) = plan(["train", "val", "train"])
    assert rows(fold) == ([0, 2], [1], [])


def test_named_roles_without_validation_take_a_tenth_of_the_training_rows():
    (fold,) = plan(["train"] * 20 + ["test"])
    assert (len(fold.train), len(fold.validation), fold.test.tolist()) == (18, 2, [20])


def test_named_roles_are_cross_validated_when_asked_for():
    folds = plan(["train", "val", "test", "train"], cross_validate=True)
    assert [fold.test.tolist() for fold in folds] == [[2], [0, 3], [1]]


def test_without_settings_a_tenth_validates_and_nothing_is_tested():
    (fold,) = plan(num_rows=50)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (45, 5, 0)
    assert fold.name == ""


@pytest.mark.parametrize("ratio", [(85, 15), (0.85, 0.15)])
def test_a_ratio_of_few_rows_leaves_rows_to_train(ratio):
    (fold,) = plan(num_rows=5, ratio=ratio)
    assert (len(fold.train), len(fold.validation)) == (4, 1)


def test_three_numbers_of_a_ratio_are_training_validation_and_test():
    (fold,) = plan(num_rows=100, ratio=(80, 5, 15))
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (80, 5, 15)


@pytest.mark.parametrize(
    ("ratio", "num_rows", "sizes"),
    [
        ((85, 15), 5, [4, 1]),
        ((90, 10), 2, [1, 1]),
        ((80, 10, 10), 3, [1, 1, 1]),
        ((98, 1, 1), 10, [8, 1, 1]),
        ((1, 1, 1), 10, [4, 3, 3]),
        ((50, 50), 7, [4, 3]),
    ],
)
def test_parts_are_sized_by_largest_remainders(ratio, num_rows, sizes):
    assert part_sizes(ratio, num_rows) == sizes


def test_a_single_row_cannot_be_divided():
    with pytest.raises(DataError, match="1 rows cannot be divided into 2 parts"):
        plan(num_rows=1)


def test_a_ratio_wins_over_the_split_column_and_says_so():
    (fold,) = plan(["1", "2", "3", "4"], ratio=(50, 50))
    assert fold.description == "random 50/50 split; the split column is not used"


def test_k_folds_test_every_row_once_and_validate_on_a_tenth_of_the_others():
    folds = plan(num_rows=60, num_folds=3)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(60))
    assert [(len(f.train), len(f.validation), len(f.test)) for f in folds] == [(36, 4, 20)] * 3


def test_k_folds_hold_their_share_of_every_class():
    classes = ["a"] * 12 + ["b"] * 4
    for fold in plan(num_rows=16, num_folds=4, classes=classes):
        assert sorted(classes[row] for row in fold.test) == ["a", "a", "a", "b"]


def test_repeated_hold_out_reshuffles_for_each_repeat():
    folds = plan(num_rows=20, num_folds=3, method="repeated hold-out", ratio=(70, 10, 20))
    assert [len(fold.test) for fold in folds] == [4, 4, 4]
    assert len({tuple(fold.test) for fold in folds}) == 3
    assert "overlap" in folds[0].description


def test_as_many_folds_as_split_values_go_over_the_values():
    values = ["a", "b", "c"]
    assert [rows(f) for f in plan(values, num_folds=3)] == [rows(f) for f in plan(values)]


def test_another_number_of_folds_than_split_values_is_refused():
    with pytest.raises(DataError, match=r"3 values .* there can be 3 folds, not 5"):
        plan(["a", "b", "c"], num_folds=5)


def test_named_sets_make_one_fold_each():
    folds = plan(
        ["a", "b", "c", "d"],
        validation_splits=(("a",), ("b",)),
        test_splits=(("b", "c"), ("d",)),
    )
    assert [rows(fold) for fold in folds] == [([3], [0], [1, 2]), ([0, 2], [1], [3])]
    assert [fold.name for fold in folds] == ["0", "1"]


def test_one_named_set_is_one_fold_without_a_number():
    (fold,) = plan(["a", "b", "c"], validation_splits=(("b",),), test_splits=(("c",),))
    assert (rows(fold), fold.name) == (([0], [1], [2]), "")


def test_an_unknown_named_set_names_the_values_found():
    with pytest.raises(DataError, match=r"no row is in split 'x'.*3 values \('a', 'b', 'c'\)"):
        plan(["a", "b", "c"], validation_splits=(("x",),))


def test_overlapping_named_sets_are_refused():
    with pytest.raises(DataError, match="'b' is in validation_splits and in test_splits"):
        plan(["a", "b", "c"], validation_splits=(("b",),), test_splits=(("b",),))


def test_a_fold_without_training_rows_is_refused_with_its_counts():
    with pytest.raises(DataError, match=r"has no training rows \(0 training, 1 validation, 2 test"):
        plan(["a", "b", "b"], validation_splits=(("a",),), test_splits=(("b",),))


def test_a_class_absent_from_training_is_refused_by_name_and_fold():
    with pytest.raises(DataError, match=r"fold 0 of 3: class 'y' .* none to train.*\('x'\)"):
        plan(["a", "b", "c"], classes=["y", "x", "x"])


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"validation_splits": (("a",),)}, None),
        ({"validation_splits": (("a",),), "ratio": (80, 20)}, ["a", "b", "c"]),
        ({"ratio": (80,)}, None),
        ({"method": "repeated hold-out"}, None),
        ({"cross_validate": True}, None),
        ({"num_folds": 1}, None),
        ({"cross_validate": False, "num_folds": 3}, None),
    ],
)
def test_contradictory_settings_are_refused(settings, values):
    with pytest.raises(ConfigError, match="splits"):
        plan(values, num_rows=3, **settings)


def test_rows_are_chosen_by_split_names():
    assert rows_in_splits(["a", "b", "c", "a"], ["a", "c"]).tolist() == [0, 2, 3]
    with pytest.raises(DataError, match="no row is in split 'd'"):
        rows_in_splits(["a", "b"], ["d"])


def test_a_fold_of_some_rows_is_told_in_rows_of_the_whole():
    fold = Fold(0, "", np.array([0, 2]), np.array([1]), np.array([], dtype=np.int64))
    assert rows(fold.of_rows(np.array([5, 7, 9]))) == ([5, 9], [7], [])
