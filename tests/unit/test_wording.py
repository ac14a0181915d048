"""Numbers stand with the right form of their noun."""

import pytest

from biolm_ray.wording import all_of, counted


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (2000, ("row",), "2,000 rows"),
        (1, ("row has", "rows have"), "1 row has"),
        (2, ("other class", "other classes"), "2 other classes"),
    ],
)
def test_only_a_single_thing_is_one(number, nouns, text):
    assert counted(number, *nouns) == text


def test_all_of_a_kind_are_named_as_people_say_it():
    assert [all_of(number, "model") for number in (1, 2, 3)] == [
        "the model",
        "both models",
        "all 3 models",
    ]
