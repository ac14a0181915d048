"""No setting may be so large that something overflows with it."""

import types
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import ValidationError

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config, Section
from biolm_ray.errors import ConfigError
from biolm_ray.models.registry import find_spec, read_options

DATA = {"filepath": "d.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}
TOO_LARGE = (10**400, 10**31, float("inf"), -float("inf"), float("nan"))


def sections(owner: type[Section]) -> list[type[Section]]:
    kinds = [field.annotation for field in owner.model_fields.values()]
    inner = [each for each in kinds if isinstance(each, type) and issubclass(each, Section)]
    return [owner, *(found for each in inner for found in sections(each))]


def numeric(annotation: Any) -> bool:
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return any(map(numeric, get_args(annotation)))
    return annotation in (int, float)


NUMBERS = [
    (owner, name)
    for owner in sections(Config)
    for name, field in owner.model_fields.items()
    if numeric(field.annotation)
]


def test_the_settings_that_are_numbers_are_found():
    names = {name for _, name in NUMBERS}
    assert {"num_epochs", "learning_rate", "resume", "seed", "max_rows", "wait_minutes"} <= names


@pytest.mark.parametrize(("owner", "name"), NUMBERS, ids=lambda value: str(value).split(".")[-1])
def test_every_number_has_an_upper_bound(owner, name):
    for value in TOO_LARGE:
        with pytest.raises(ValidationError) as caught:
            owner.model_validate({name: value})
        assert name in {error["loc"][0] for error in caught.value.errors()}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"nepochs": "1" + "0" * 400}, "whole number above 0 and at most 2,147,483,647"),
        ({"nepochs": "1" + "0" * 9000}, "nepochs: found '1000.*; expected a whole number above 0"),
        (
            {"training.learning_rate": "1e400"},
            "found inf; expected a number above 0 and finite",
        ),
        ({"labelpos": 10**30}, "found 10*; expected a column number from 1"),
        ({"training.learning_rate": "1e31"}, r"a number above 0 and at most 1e\+30"),
    ],
)
def test_a_number_that_is_too_large_is_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, "fine-tune", DATA | overrides)


@pytest.mark.parametrize(
    ("model", "option", "value"),
    [
        ("saluki", "channels", 10**30),
        ("saluki", "dropout", float("inf")),
        ("xlnet", "d_model", 10**400),
    ],
)
def test_an_option_of_a_model_that_is_too_large_is_named(model, option, value):
    with pytest.raises(ConfigError, match=f"option '{option}' of model {model}"):
        read_options(find_spec(model), {option: value})


@pytest.mark.parametrize("values", [[0.1, float("inf")], {"low": 0.1, "high": float("inf")}])
def test_a_search_has_bounds_too(values):
    with pytest.raises(ConfigError, match="inf"):
        load_config(None, "tune", DATA | {"tune.space": {"training.learning_rate": values}})
