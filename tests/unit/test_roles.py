"""Which split values name roles, which nearly do, and which have nothing to do with them."""

import pytest

from biolm_ray.data.roles import nearly_named, read_roles, role_of


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("training", ["train", "TRAINING", "trn"]),
        ("validation", ["val", "Valid", "validation", "dev", "eval"]),
        ("test", ["Test", "testing", "held-out", "held_out", "heldout", "Held out"]),
    ],
)
def test_common_spellings_are_roles(role, names):
    assert {role_of(name) for name in names} == {role}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("tests", "test"),
        ("traning", "training"),
        ("validate", "validation"),
        ("vaild", "valid"),
        ("test_set", "test"),
        ("train1", "train"),
        ("dev-split", "dev"),
        ("Training data", "training"),
        ("holdout", "held-out"),
    ],
)
def test_misspelt_roles_are_recognized(value, name):
    assert role_of(value) is None
    assert nearly_named(value) == name


def test_a_slip_in_a_short_name_is_guessed_only_beside_roles():
    assert nearly_named("tset") is None
    assert nearly_named("tset", beside_roles=True) == "test"


@pytest.mark.parametrize(
    "values",
    [
        [str(number) for number in range(10)],
        ["A", "B", "C"],
        [f"chr{number}" for number in range(1, 23)] + ["chrX"],
        ["c0", "c1", "c2"],
        ["fold1", "fold2", "fold3"],
        ["set1", "set2", "set3"],
        ["mRNA", "tRNA", "rRNA"],
        ["strain1", "strain2", "strain3"],
        ["east", "west", "rest"],
        ["liver", "heart", "brain", "testis"],
        ["valine", "leucine", "tryptophan"],
    ],
)
def test_other_values_have_nothing_to_do_with_roles(values):
    assert read_roles(values) is None
