"""Sequences that stand in training and in test."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biolm_ray import load_config
from biolm_ray.data.copies import copies_in_training
from biolm_ray.data.splits import Fold
from biolm_ray.experiment.first_lines import say_copies
from biolm_ray.preparation.prepared import PreparedData
from tests.stored import store

TEXTS = ["abc", "ab", "abc", "c", "ab", "abc"]


def fold_of(train: list[int], validation: list[int], test: list[int], aside: list[int]) -> Fold:
    parts: Any = [np.array(rows, dtype=np.int64) for rows in (train, validation, test, aside)]
    return Fold(0, "0", *parts[:3], kept_aside=parts[3])


def stored(folder: Path) -> PreparedData:
    letters = np.frombuffer("".join(TEXTS).encode(), np.uint8)
    lengths = np.array([len(text) for text in TEXTS])
    return store(folder, [4, 2], letters, lengths, np.arange(len(TEXTS)) / 1.0)


def config_for(**more):
    least = {"task": "regression", "filepath": "x.tsv", "seqpos": 2, "labelpos": 3, **more}
    return load_config(None, "fine-tune", least)


def test_a_copy_is_found_with_the_first_training_row_of_its_fold():
    sequences = np.array([7, 8, 7, 9, 8, 7], dtype=np.uint64)
    folds = [fold_of([0, 2, 3], [1], [4, 5], []), fold_of([1, 4], [0], [2, 3], [])]
    assert copies_in_training(folds, sequences) == {5: 0}


def test_rows_kept_aside_count_and_validation_rows_where_nothing_is_tested():
    sequences = np.array([7, 8, 7, 9, 8, 7], dtype=np.uint64)
    assert copies_in_training([fold_of([0, 1], [2], [3], [5])], sequences) == {5: 0}
    assert copies_in_training([fold_of([0, 1], [2, 4], [], [])], sequences) == {2: 0, 4: 1}


def test_copies_are_told_with_their_count_and_the_remedy(tmp_path: Path, caplog):
    prepared = stored(tmp_path / "data")
    folds = [fold_of([0, 1], [3], [4, 5], []), fold_of([4, 5], [3], [0, 1], [])]
    with caplog.at_level(logging.INFO, logger="biolm_ray"):
        say_copies(config_for(), prepared, folds)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "4 of 4 test rows have the same sequence as a training row" in record.message
    assert "'g0' as 'g5'" in record.message
    assert "keep one of each" in record.message


def test_nothing_is_told_where_no_sequence_repeats(tmp_path: Path, caplog):
    say_copies(config_for(), stored(tmp_path / "data"), [fold_of([0, 2, 5], [1, 4], [3], [])])
    assert not caplog.records


def test_streamed_data_are_not_read_for_it(caplog):
    unread: Any = None
    with caplog.at_level(logging.INFO, logger="biolm_ray"):
        say_copies(config_for(**{"training.feed": "streaming"}), unread, [])
    assert "streamed data: not looked up" in caplog.text


@pytest.mark.parametrize("num_rows", [3, 50])
def test_copies_agree_with_an_obvious_count(num_rows):
    draw = np.random.default_rng(num_rows)
    sequences = draw.integers(0, 30, num_rows).astype(np.uint64)
    rows = draw.permutation(num_rows)
    train, validation, test = (sorted(rows[part::3].tolist()) for part in range(3))
    fold = fold_of(train, validation, test, [])
    trained = {sequences[row] for row in fold.train}
    expected = {row for row in fold.test.tolist() if sequences[row] in trained}
    assert set(copies_in_training([fold], sequences)) == expected
