"""Folds of small files, worked out by hand."""

import numpy as np
import pytest

from biolm_ray.config.schema import SplitsConfig
from biolm_ray.data.drawing import part_sizes
from biolm_ray.data.splits import Fold, plan_folds, rows_in_splits
from biolm_ray.errors import DataError


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


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev", "EVAL"])
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


ROLES = ["train"] * 12 + ["val"] * 3 + ["test"] * 5


def test_cross_validated_roles_keep_the_test_rows_aside_and_divide_the_others():
    folds = plan(ROLES, num_folds=3)
    assert [len(fold.test) for fold in folds] == [5, 5, 5]
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(15))
    for fold in folds:
        assert fold.kept_aside.tolist() == [15, 16, 17, 18, 19]
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(15))
    assert "3 disjoint folds within the 15 rows" in folds[0].description
    assert "5 test rows are kept aside" in folds[0].description


def test_cross_validated_roles_are_five_folds_where_no_number_is_given():
    folds = plan(ROLES, cross_validate=True)
    assert [fold.name for fold in folds] == ["0", "1", "2", "3", "4"]
    assert "5 disjoint folds (crossvalidation names no other number)" in folds[0].description


def test_folds_within_roles_are_those_of_a_file_without_the_test_rows():
    ours, theirs = plan(ROLES, num_folds=3), plan(num_rows=15, num_folds=3)
    assert [rows(fold) for fold in ours] == [rows(fold) for fold in theirs]


def test_folds_within_roles_hold_their_share_of_every_class():
    classes = ["a", "b", "b"] * 5 + ["a"] * 5
    for fold in plan(ROLES, num_folds=5, classes=classes):
        assert sorted(classes[row] for row in fold.test) == ["a", "b", "b"]


def test_cross_validated_roles_without_test_rows_keep_none_aside():
    folds = plan(["train"] * 5 + ["val"] * 4, num_folds=3)
    assert all(len(fold.kept_aside) == 0 for fold in folds)
    assert "no row is for test" in folds[0].description


def test_too_few_rows_for_the_folds_are_counted_without_the_test_rows():
    values = ["train", "train", "val", "test", "test", "test"]
    with pytest.raises(DataError, match=r"3 rows for training and validation cannot be .* 4 folds"):
        plan(values, num_folds=4)


def test_a_class_of_the_kept_aside_rows_alone_is_refused():
    with pytest.raises(DataError, match="class 'y' has rows to validate or test but none to train"):
        plan(ROLES, num_folds=3, classes=["x"] * 15 + ["y"] * 5)


def test_roles_are_not_rotated_when_cross_validation_is_switched_off():
    (fold,) = plan(["train", "val", "test", "train"], cross_validate=False)
    assert rows(fold) == ([0, 3], [1], [2])


def test_two_spellings_of_a_role_are_one_role():
    (fold,) = plan(["train", "Training", "val", "test"])
    assert rows(fold) == ([0, 1], [2], [3])
    assert "'Training' = training, 'train' = training" in fold.description


def test_roles_without_training_rows_are_refused():
    with pytest.raises(DataError, match=r"'val' = validation, 'test' = test, but no row is for tr"):
        plan(["val", "test", "val"])


def test_rows_that_are_all_for_training_leave_a_tenth_to_validate():
    (fold,) = plan(["train"] * 20)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (18, 2, 0)


@pytest.mark.parametrize("settings", [{}, {"num_folds": 3}, {"cross_validate": True}])
def test_roles_beside_other_values_stop_the_run(settings):
    with pytest.raises(DataError) as caught:
        plan(["train", "train", "validation", "tests", "exclude"], **settings)
    message = str(caught.value)
    assert "'train' = training, 'validation' = validation" in message
    assert "not understood: 'exclude', 'tests' (did you mean 'test'?)" in message
    assert "splits.leave_out: [exclude, tests]" in message


def test_values_that_are_all_nearly_roles_are_never_rotated():
    with pytest.raises(DataError, match=r"'traning' \(did you mean 'training'\?\)"):
        plan(["traning", "validate", "tests"])


@pytest.mark.parametrize("settings", [{}, {"num_folds": 2}, {"ratio": (50, 50)}])
def test_rows_that_are_left_out_are_in_no_part(settings):
    values = ["exclude", "train", "val", "train", "test", "train", "exclude", "val"]
    folds = plan(values, leave_out=("exclude",), **settings)
    used = {int(row) for fold in folds for part in rows(fold) for row in part}
    used |= {int(row) for fold in folds for row in fold.kept_aside}
    assert used == {1, 2, 3, 4, 5, 7}
    assert "left out: 2 rows of 'exclude'" in folds[0].description


def test_rows_that_are_left_out_do_not_train_beside_named_sets():
    (fold,) = plan(
        ["a", "b", "c", "d"], test_splits=(("a",),), validation_splits=(("b",),), leave_out=("d",)
    )
    assert rows(fold) == ([2], [1], [0])
    assert "training on the rest: 'c'" in fold.description


def test_a_split_to_leave_out_that_no_row_has_is_refused_with_the_values():
    with pytest.raises(DataError, match=r"leave_out: no row is in split 'x'.*3 values \('a', 'b'"):
        plan(["a", "b", "c"], leave_out=("x",))


def test_something_has_to_be_left():
    with pytest.raises(DataError, match="leave_out names every split"):
        plan(["a", "b"], leave_out=("a", "b"))


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
    with pytest.raises(DataError, match="1 row cannot be divided into 2 parts"):
        plan(num_rows=1)


@pytest.mark.parametrize("values", [["1", "2", "3", "4"], ["train", "val", "test", "tests"]])
def test_a_ratio_wins_over_the_split_column_and_says_so(values):
    (fold,) = plan(values, ratio=(50, 50))
    assert rows(fold) == rows(plan(num_rows=4, ratio=(50, 50))[0])
    assert fold.description == (
        "random 50/50 split; the split column serves only splits_to_use (inferenceonsplits)"
    )


@pytest.mark.parametrize("values", [None, ["a", "b", "c"] * 4, ["train", "train", "test"] * 4])
def test_k_fold_ignores_a_ratio_and_says_so(values):
    folds = plan(values, num_rows=12, num_folds=3, ratio=(80, 10, 10))
    same = plan(values, num_rows=12, num_folds=3)
    assert [rows(fold) for fold in folds] == [rows(fold) for fold in same]
    assert "the ratio 80/10/10 (splitratio) is ignored" in folds[0].description


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


@pytest.mark.parametrize("num_folds", [2, 5])
def test_another_number_of_folds_than_split_values_would_split_groups(num_folds):
    values = [f"c{number % 4}" for number in range(12)]
    with pytest.raises(DataError) as caught:
        plan(values, num_folds=num_folds)
    message = str(caught.value)
    assert f"4 values ('c0', 'c1', 'c2', 'c3'), but {num_folds} folds are asked for" in message
    assert "drawn at random would split these groups" in message
    assert message.endswith(
        "such as testsplits: [[c0, c3], [c1], [c2]] with devsplits: [[c1], [c2], [c0, c3]]"
    )
    assert "leave" not in message


def test_a_column_of_identifiers_is_no_split_column():
    values = [f"gene{number}" for number in range(1400)]
    with pytest.raises(DataError, match=r"1,400 values .* in 1,400 rows.* the right column") as one:
        plan(values)
    assert len(str(one.value)) < 700
    with pytest.raises(DataError, match="is it the right column"):
        plan(values, num_folds=5)
    assert len(plan(values[:20])) == 20


def test_a_fold_for_each_of_many_values_has_to_be_asked_for_by_number():
    values = [str(number) for number in range(101)] * 3
    with pytest.raises(DataError, match=r"would train 101 models. .* set crossvalidation: 101;"):
        plan(values, cross_validate=True)
    assert len(plan(values, num_folds=101)) == 101
    assert len(plan([str(number) for number in range(100)] * 3)) == 100


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


def test_a_fold_without_training_rows_is_refused_with_its_counts():
    with pytest.raises(DataError, match=r"has no training rows \(0 training, 1 validation, 2 test"):
        plan(["a", "b", "b"], validation_splits=(("a",),), test_splits=(("b",),))


def test_a_class_absent_from_training_is_refused_by_name_and_fold():
    with pytest.raises(
        DataError, match=r"fold 0 of 3: class 'y' .* none to train.*1 row in all.*('x').*splitpos"
    ):
        plan(["a", "b", "c"], classes=["y", "x", "x"])


def test_rows_are_chosen_by_split_names():
    assert rows_in_splits(["a", "b", "c", "a"], ["a", "c"]).tolist() == [0, 2, 3]
    with pytest.raises(DataError, match="no row is in split 'd'"):
        rows_in_splits(["a", "b"], ["d"])


def test_a_fold_of_some_rows_is_told_in_rows_of_the_whole():
    fold = Fold(0, "", np.array([0, 2]), np.array([1]), np.array([], dtype=np.int64))
    assert rows(fold.of_rows(np.array([5, 7, 9]))) == ([5, 9], [7], [])


def test_rows_that_named_test_sets_leave_out_are_counted():
    values = ["a", "b", "c", "d"]
    some = plan(values, test_splits=(("a",), ("b",)), validation_splits=(("c",), ("c",)))
    assert some[0].description.endswith("; 2 of 4 rows are tested in no fold")
    every = (("a", "d"), ("b",), ("c",))
    for fold in plan(values, test_splits=every, validation_splits=(*every[1:], every[0])):
        assert "tested in no fold" not in fold.description
