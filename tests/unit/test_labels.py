"""Labels that cannot be learnt, and labels that seem to mean something else."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from biolm_ray.config.schema import Config
from biolm_ray.errors import DataError
from biolm_ray.preparation.labels import MAYBE_MISSING, check_labels


def check(labels, names=(), **data) -> None:
    prepared: Any = SimpleNamespace(labels=labels, target_names=names)
    settings = {"path": "x", "sequence_column": 2, "label_column": 3, **data}
    config = Config.model_validate({"mode": "fine-tune", "output_path": "o", "data": settings})
    check_labels(config, prepared, np.arange(len(labels)))


def test_usual_labels_pass_without_a_word(caplog):
    check(["nuc", "cyt", "nuc,cytoplasm", "a;b"] * 5)
    check([str(number) for number in range(10)])
    check(["1.1.1.1", "2.7.11.1", "x"])
    check(np.array([[1.0], [2.0]]))
    check(np.array([[0.0], [1.0]]))
    assert not caplog.records


def test_a_single_class_or_number_is_refused(caplog):
    with pytest.raises(DataError, match=r"all rows have the class 'nuc', and .*labelpos"):
        check(["nuc"] * 3)
    with pytest.raises(DataError, match=r"all labels are 2\.5, and there is nothing to learn"):
        check(np.full((3, 1), 2.5))
    with pytest.raises(DataError, match=r"all labels of 'b' are 0"):
        check(np.array([[1.0, 0.0], [2.0, 0.0]]), ("a", "b"))
    assert not caplog.records


def test_of_the_few_rows_of_a_trial_run_one_class_is_only_told(caplog):
    check(["nuc"] * 3, max_rows=3)
    assert "the class 'nuc'" in caplog.text
    assert "data.max_rows (dev)" in caplog.text


@pytest.mark.parametrize(
    "labels",
    [
        [str(number / 8) for number in range(300)] * 20,
        [str(number) for number in range(300)] * 9,
        [f"{number},5" for number in range(30)],
    ],
)
def test_many_numbers_are_no_classes(labels):
    with pytest.raises(DataError, match=r"different numbers for .* rows: .* task: regression"):
        check(labels)


def test_numbers_with_many_rows_of_each_may_be_classes(caplog):
    check([str(number) for number in range(30)] * 10)
    assert "30 different numbers for 300 rows: to predict them as numbers" in caplog.text


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_lists_of_classes_are_refused(separator):
    several = f"nuc{separator}cyt"
    with pytest.raises(DataError, match=r"\(2 rows\) lists several classes, and a row can be of"):
        check(["nuc", "cyt", several, several])
    with pytest.raises(DataError, match="lists several classes"):
        check([several, f"cyt{separator}mem", f"mem{separator}nuc"])
    check(["nuc", "cyt", "nuc+cyt"])


@pytest.mark.parametrize("word", [*MAYBE_MISSING, "None", "Na"])
def test_words_that_may_stand_for_missing_values_are_asked_about(caplog, word):
    check(["nuc", word, "cyt"], missing_values=["?"])
    assert f"1 of 3 rows has the class '{word}'" in caplog.text
    assert f"set data.missing_values: ['?', '{word}']" in caplog.text


def test_several_columns_of_zeros_and_ones_are_told(caplog):
    caplog.set_level(logging.WARNING)
    check(np.array([[1.0, 0.0], [0.0, 1.0]]), ("nuc", "cyt"))
    assert "all labels of nuc, cyt are 0 or 1 and are learnt as numbers" in caplog.text
