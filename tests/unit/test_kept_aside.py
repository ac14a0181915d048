"""Rows that no fold sees: what a fold remembers of them, and what is reported."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from biolm_ray import stages
from biolm_ray.data.splits import Fold
from biolm_ray.data.targets import Targets
from biolm_ray.inference.predict import MeanPredictions
from biolm_ray.report.cross_validation import report_folds
from biolm_ray.report.predictions import labelled_table
from biolm_ray.training.fold import FoldJob
from biolm_ray.training.trained_rows import ROWS, read_rows, save_rows
from tests.stored import store_rows

FOLD = Fold(0, "0", np.array([0, 3]), np.array([1]), np.array([], dtype=np.int64))
ASIDE = replace(FOLD, kept_aside=np.array([2, 4]))


def digest(fold: Fold) -> str:
    nowhere = Path("nowhere")
    anything: Any = None
    job = FoldJob(
        config=anything, prepared="", tokenizer=nowhere, fold=fold, folder=nowhere, board=nowhere
    )
    return job.rows_digest


def test_a_fold_is_identified_by_its_rows_and_by_those_kept_aside_where_there_are_any():
    parts = b"".join(rows.tobytes() + b"|" for rows in (FOLD.train, FOLD.validation, FOLD.test))
    assert digest(FOLD) == hashlib.sha256(parts).hexdigest()[:16]
    assert digest(ASIDE) != digest(FOLD)


def test_a_model_folder_remembers_the_rows_kept_aside(tmp_path: Path):
    save_rows(tmp_path, store_rows(tmp_path / "data", [5]), ASIDE)
    again = read_rows(tmp_path)
    assert again is not None
    assert again.rows["kept_aside"].tolist() == [2, 4]


def test_model_folders_from_before_kept_no_rows_aside(tmp_path: Path):
    np.savez(
        tmp_path / ROWS,
        prepared=np.array("data"),
        train=FOLD.train,
        validation=FOLD.validation,
        test=FOLD.test,
    )
    again = read_rows(tmp_path)
    assert again is not None
    assert len(again.rows["kept_aside"]) == 0


def test_kept_aside_rows_wait_for_the_models_that_are_missing(caplog):
    anything: Any = None
    jobs: Any = [SimpleNamespace(fold=ASIDE), SimpleNamespace(fold=ASIDE)]
    with caplog.at_level(logging.WARNING, logger="biolm_ray"):
        assert stages._predict_kept_aside(anything, anything, jobs, 1, anything) is None
    assert "the rows kept aside (2) are predicted by all 2 models" in caplog.text
    assert "the missing 1 is finished (--resume)" in caplog.text


def test_predictions_kept_aside_by_an_earlier_run_do_not_stay(tmp_path: Path):
    metrics = {0: {"epoch": 1.0, "eval_mse": 0.5, "eval_samples": 1.0}}
    aside = pd.DataFrame({"sequence": ["a", "b"], "label": [1.0, 2.0], "prediction": [1.0, 3.0]})
    report = report_folds(tmp_path, [FOLD], metrics, aside)
    assert report.folds.set_index("fold").loc["kept aside", "rows"] == 2
    assert (tmp_path / "kept_aside_predictions.csv").exists()
    report_folds(tmp_path, [FOLD], metrics)
    assert not (tmp_path / "kept_aside_predictions.csv").exists()


def test_kept_aside_rows_of_classes_are_judged_by_the_mean_probability(tmp_path: Path):
    data = store_rows(tmp_path / "data", [5])
    data.__dict__["labels"] = ["x", "y", "x", "y", "y"]
    each = np.array([[[0.9, 0.1], [0.6, 0.4]], [[0.5, 0.5], [0.2, 0.8]]])
    targets = Targets(task="classification", classes=("x", "y"))
    mean, deviation = each.mean(axis=0), each.std(axis=0, ddof=1)
    by_both = MeanPredictions(mean, deviation, np.array([2, 2]))
    table = labelled_table(data, ASIDE.kept_aside, by_both, targets)
    assert table["sequence"].tolist() == ["g2", "g4"]
    assert table["prediction"].tolist() == ["x", "y"]
    metrics = {0: {"epoch": 1.0, "test_accuracy": 0.5, "test_samples": 1.0}}
    report = report_folds(tmp_path, [FOLD], metrics, table)
    assert report.folds.set_index("fold").loc["kept aside", "test_accuracy"] == 1.0
