import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import DataError
from biolm_ray.inference.table_work import LooSummary
from biolm_ray.report.cross_validation import pooled_metrics
from biolm_ray.report.tables import (
    out_of_fold_table,
    summary_table,
    summary_text,
    write_summary,
)
from biolm_ray.report.text import (
    describe_labels,
    describe_scoring,
    label_table,
    text_facts,
    text_table,
)
from biolm_ray.training.fold_tables import (
    class_report,
    prediction_table,
    rank_table,
    write_prediction_tables,
    write_results,
    write_table,
)

NUMBERS = Targets(task="regression", scaler=Scaler(kind="standard", center=1.0, spread=2.0))
SEVERAL = Targets(
    task="regression",
    scaler=(Scaler(kind="none"), Scaler(kind="standard", center=10.0, spread=5.0)),
    names=("half_life", "tpm"),
)
CLASSES = Targets(task="classification", classes=("low", "high"))


def test_ranks_count_from_one_and_equal_values_share_theirs() -> None:
    table = rank_table(["a", "b", "c"], np.array([3.0, 1.0, 1.0]), np.array([0.1, 0.3, 0.2]))
    assert list(table.columns) == [
        "seqs",
        "label",
        "label_rank",
        "pred",
        "pred_rank",
        "rank_delta",
    ]
    assert table["label_rank"].tolist() == [3.0, 1.5, 1.5]
    assert table["pred_rank"].tolist() == [1.0, 3.0, 2.0]
    assert table["rank_delta"].tolist() == [-2.0, 1.5, 0.5]


def test_a_class_report_has_a_row_for_each_class_and_average() -> None:
    report = class_report(["low", "high", "high", "low"], ["low", "high", "low", "low"])
    by_class = report.set_index("class")
    assert list(by_class.index) == ["high", "low", "macro avg", "weighted avg", "accuracy"]
    assert by_class.loc["low", "precision"] == pytest.approx(2 / 3)
    assert by_class.loc["high", "recall"] == 0.5
    assert by_class.loc["accuracy", "f1-score"] == 0.75
    assert by_class["support"].tolist() == [2, 2, 4, 4, 4]


def test_a_prediction_table_leaves_out_labels_that_there_are_not() -> None:
    table = prediction_table(["a", "b"], None, np.array([[1.0], [2.0]]), NUMBERS)
    assert list(table.columns) == ["sequence", "prediction"]


def test_several_targets_have_columns_of_their_own() -> None:
    table = prediction_table(
        ["a", "b"],
        np.array([[1.0, 10.0], [2.0, 20.0]]),
        np.array([[1.5, 15.0], [2.5, 25.0]]),
        SEVERAL,
        deviations=np.array([[0.1, 0.2], [0.3, 0.4]]),
    )
    assert table.to_dict(orient="list") == {
        "sequence": ["a", "b"],
        "label_half_life": [1.0, 2.0],
        "prediction_half_life": [1.5, 2.5],
        "prediction_std_half_life": [0.1, 0.3],
        "label_tpm": [10.0, 20.0],
        "prediction_tpm": [15.0, 25.0],
        "prediction_std_tpm": [0.2, 0.4],
    }


def test_class_predictions_are_named_and_followed_by_probabilities() -> None:
    table = prediction_table(
        ["a", "b"],
        ["low", "high"],
        np.array([[0.9, 0.1], [0.3, 0.7]]),
        CLASSES,
        deviations=np.array([[0.01, 0.02], [0.03, 0.04]]),
    )
    assert table.to_dict(orient="list") == {
        "sequence": ["a", "b"],
        "label": ["low", "high"],
        "prediction": ["low", "high"],
        "prediction_std": [0.01, 0.04],
        "probability_low": [0.9, 0.3],
        "probability_high": [0.1, 0.7],
    }


def test_a_regression_fold_leaves_predictions_and_ranks_in_original_units(tmp_path: Path) -> None:
    prepared = SimpleNamespace(
        ids_of=lambda rows: ["c", "a"], labels=np.array([[1.0], [2.0], [3.0]])
    )
    predictions = NUMBERS.decode(np.array([[0.1], [1 / 3]]))
    write_prediction_tables(tmp_path, prepared, np.array([2, 0]), predictions, NUMBERS)
    table = pd.read_csv(tmp_path / "test_predictions.csv", dtype=str)
    assert table["sequence"].tolist() == ["c", "a"]
    assert table["label"].astype(float).tolist() == [3.0, 1.0]
    assert table["prediction"].astype(float).tolist() == [0.1 * 2 + 1, 1 / 3 * 2 + 1]
    ranks = pd.read_csv(tmp_path / "rank_deltas.csv")
    assert ranks["rank_delta"].tolist() == [-1.0, 1.0]
    assert not (tmp_path / "classification_report.csv").exists()


def test_each_of_several_targets_has_its_table_of_ranks(tmp_path: Path) -> None:
    labels = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    prepared = SimpleNamespace(ids_of=lambda rows: ["c", "a"], labels=labels)
    predictions = SEVERAL.decode(np.array([[0.5, 1.0], [0.25, 3.0]]))
    write_prediction_tables(tmp_path, prepared, np.array([2, 0]), predictions, SEVERAL)
    table = pd.read_csv(tmp_path / "test_predictions.csv")
    assert table["label_tpm"].tolist() == [30.0, 10.0]
    assert table["prediction_tpm"].tolist() == [15.0, 25.0]
    for name, deltas in (("half_life", [0.0, 0.0]), ("tpm", [-1.0, 1.0])):
        ranks = pd.read_csv(tmp_path / f"rank_deltas_{name}.csv")
        assert ranks["rank_delta"].tolist() == deltas
    assert not (tmp_path / "rank_deltas.csv").exists()


def test_several_targets_are_pooled_each_on_its_own(tmp_path: Path) -> None:
    labels = np.array([[1.0, 10.0], [2.0, 30.0]])
    predictions = np.array([[1.0, 10.0], [4.0, 10.0]])
    table = prediction_table(["a", "b"], labels, predictions, SEVERAL)
    write_table(tmp_path / "test_predictions.csv", table)
    whole = out_of_fold_table({0: tmp_path}, {0: np.array([1, 0])})
    assert whole["prediction_half_life"].tolist() == [4.0, 1.0]
    scores = pooled_metrics(whole)
    assert (scores["test_mae_half_life"], scores["test_mae_tpm"]) == (1.0, 10.0)
    assert (scores["test_mae"], scores["rows"]) == (5.5, 2)


def test_a_classification_fold_leaves_predictions_and_a_class_report(tmp_path: Path) -> None:
    prepared = SimpleNamespace(ids_of=lambda rows: ["a", "b"], labels=["high", "low"])
    predictions = CLASSES.decode(np.array([[0.0, 2.0], [0.0, 1.0]]))
    write_prediction_tables(tmp_path, prepared, np.array([0, 1]), predictions, CLASSES)
    table = pd.read_csv(tmp_path / "test_predictions.csv")
    assert table["prediction"].tolist() == ["high", "high"]
    assert (tmp_path / "classification_report.csv").is_file()
    assert not (tmp_path / "rank_deltas.csv").exists()


def test_results_are_written_in_files_by_part_under_the_names_of_the_reference(
    tmp_path: Path,
) -> None:
    metrics = {"test_spearman": 0.5, "eval_loss": 0.25, "epoch": 3.0, "eval_r2": float("nan")}
    write_results(tmp_path, metrics)
    assert json.loads((tmp_path / "test_results.json").read_text()) == {
        "epoch": 3.0,
        "test_spearman rho": 0.5,
    }
    everything = json.loads((tmp_path / "all_results.json").read_text())
    assert everything == {
        "epoch": 3.0,
        "eval_loss": 0.25,
        "eval_r2": None,
        "test_spearman rho": 0.5,
    }
    assert not (tmp_path / "train_results.json").exists()


def write_fold(folder: Path, ids: list[str]) -> Path:
    predictions = np.arange(len(ids)) / 7
    write_table(
        folder / "test_predictions.csv",
        prediction_table(ids, np.ones((len(ids), 1)), predictions[:, None], NUMBERS),
    )
    return folder


def test_the_out_of_fold_table_has_every_row_once_in_the_order_of_the_data(tmp_path: Path) -> None:
    folders = {
        0: write_fold(tmp_path / "0", ["s3", "007"]),
        1: write_fold(tmp_path / "1", ["NA", "s2"]),
    }
    table = out_of_fold_table(folders, {0: np.array([3, 0]), 1: np.array([1, 2])})
    assert list(table.columns) == ["sequence", "fold", "label", "prediction"]
    assert table["sequence"].tolist() == ["007", "NA", "s2", "s3"]
    assert table["fold"].tolist() == [0, 1, 1, 0]
    assert table["prediction"].tolist() == [1 / 7, 0.0, 1 / 7, 0.0]


def test_classes_stay_texts_in_the_out_of_fold_table(tmp_path: Path) -> None:
    targets = Targets(task="classification", classes=("01", "2"))
    predictions = prediction_table(["a"], ["01"], np.array([[0.25, 0.75]]), targets)
    write_table(tmp_path / "test_predictions.csv", predictions)
    table = out_of_fold_table({0: tmp_path}, {0: np.array([0])})
    assert table.to_dict(orient="records") == [
        {
            "sequence": "a",
            "fold": 0,
            "label": "01",
            "prediction": "2",
            "probability_01": 0.25,
            "probability_2": 0.75,
        }
    ]


def test_a_fold_whose_predictions_are_of_other_rows_is_refused(tmp_path: Path) -> None:
    folders = {0: write_fold(tmp_path / "0", ["a", "b"])}
    with pytest.raises(DataError, match="has 2 rows, but its fold tests 3"):
        out_of_fold_table(folders, {0: np.arange(3)})
    with pytest.raises(DataError, match=r"test_predictions.csv is missing"):
        out_of_fold_table({0: tmp_path / "1"}, {0: np.arange(3)})


def test_the_summary_ends_with_mean_and_sample_deviation(tmp_path: Path) -> None:
    table = summary_table(
        {1: {"test_r2": 0.4}, 0: {"test_r2": 0.2, "test_mse": 1.5}}, pooled={"test_r2": 0.31}
    )
    assert table["fold"].tolist() == ["0", "1", "mean", "standard deviation", "pooled"]
    assert table["test_r2"].tolist() == pytest.approx([0.2, 0.4, 0.3, 0.02**0.5, 0.31])
    text = write_summary(tmp_path, table)
    assert text.splitlines()[-1].split() == ["pooled", "0.3100", "-"]
    assert json.loads((tmp_path / "cross_validation.json").read_text()) == {
        "folds": {
            "0": {"test_r2": 0.2, "test_mse": 1.5},
            "1": {"test_r2": 0.4, "test_mse": None},
        },
        "mean": {"test_r2": pytest.approx(0.3), "test_mse": 1.5},
        "standard_deviation": {"test_r2": pytest.approx(0.02**0.5), "test_mse": None},
        "pooled": {"test_r2": 0.31, "test_mse": None},
    }
    assert (tmp_path / "cross_validation.txt").read_text() == text + "\n"
    assert len(pd.read_csv(tmp_path / "cross_validation.csv")) == 5


def test_the_summary_has_a_row_of_the_rows_kept_aside(tmp_path: Path) -> None:
    table = summary_table({0: {"test_r2": 0.2}}, {"test_r2": 0.2}, {"test_r2": 0.1, "rows": 7})
    assert table["fold"].tolist()[-2:] == ["pooled", "kept aside"]
    write_summary(tmp_path, table)
    written = json.loads((tmp_path / "cross_validation.json").read_text())
    assert list(written) == ["folds", "mean", "standard_deviation", "pooled", "kept_aside"]
    assert written["kept_aside"] == {"test_r2": 0.1}


def test_the_text_of_a_summary_has_a_table_for_each_target() -> None:
    metrics = {"test_mse": 2.0, "test_mse_a": 1.0, "test_mse_b_c": 3.0, "rows": 9.0}
    assert summary_text(summary_table({0: metrics, 1: metrics})).split("\n\n") == [
        "mean of the targets\n"
        "fold                test_mse  rows\n"
        "------------------  --------  ----\n"
        "0                     2.0000     9\n"
        "1                     2.0000     9\n"
        "mean                  2.0000     9\n"
        "standard deviation    0.0000     0",
        "a\n"
        "fold                test_mse\n"
        "------------------  --------\n"
        "0                     1.0000\n"
        "1                     1.0000\n"
        "mean                  1.0000\n"
        "standard deviation    0.0000",
        "b_c\n"
        "fold                test_mse\n"
        "------------------  --------\n"
        "0                     3.0000\n"
        "1                     3.0000\n"
        "mean                  3.0000\n"
        "standard deviation    0.0000",
    ]


def test_the_text_of_a_single_fold_has_its_own_line_only() -> None:
    table = summary_table({0: {"test_r2": 0.2, "rows": 9.0}}, {"test_r2": 0.2}, {"test_r2": 0.1})
    assert summary_text(table) == (
        "fold        test_r2  rows\n"
        "----------  -------  ----\n"
        "0            0.2000     9\n"
        "kept aside   0.1000     -"
    )


def test_f1_is_shown_as_the_macro_average_that_it_is() -> None:
    assert text_table(pd.DataFrame({"test_f1": [0.5]})).startswith("test_macro_f1\n")
    assert text_facts({"f1": 0.5, "auroc": 1.0}) == "macro_f1  0.5000\nauroc     1.0000"


def test_counts_are_whole_and_numbers_stay_short() -> None:
    table = pd.DataFrame(
        {
            "fold": ["0", "mean"],
            "epoch": [2.0, 2.5],
            "rows": [150.0, 150.0],
            "label mean": [1.5e37, 2e-9],
        }
    )
    assert text_table(table).splitlines()[2:] == [
        "0         2   150     1.5e+37",
        "mean    2.5   150       2e-09",
    ]


def test_a_text_table_aligns_texts_left_and_numbers_right() -> None:
    table = pd.DataFrame({"fold": ["0", "mean"], "r2": [0.5, float("nan")], "rows": [10, 9]})
    assert text_table(table, digits=2) == (
        "fold    r2  rows\n----  ----  ----\n0     0.50    10\nmean     -     9"
    )


def test_the_labels_of_each_split_are_summed_up_for_each_target() -> None:
    labels = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]])
    prepared: Any = SimpleNamespace(
        labels=labels, splits=["b", "b", "a"], target_names=("half_life", "tpm")
    )
    table = label_table(prepared)
    assert table is not None
    assert table["target"].tolist() == ["half_life", "half_life", "tpm", "tpm"]
    assert table["split"].tolist() == ["a", "b", "a", "b"]
    assert table["label mean"].tolist() == [5.0, 2.0, 40.0, 10.0]
    single: Any = SimpleNamespace(labels=labels[:, :1], splits=["b", "b", "a"], target_names=())
    columns = ["split", "rows", "label mean", "deviation", "min", "max"]
    pd.testing.assert_frame_equal(label_table(single), table.iloc[:2][columns])


def test_of_many_splits_the_largest_are_shown_and_the_others_counted() -> None:
    splits = [str(number) for number in range(1400)] + ["7", "500", "500"]
    prepared: Any = SimpleNamespace(
        labels=np.ones((len(splits), 1)), splits=splits, target_names=()
    )
    lines = describe_labels(prepared).splitlines()
    assert len(lines) == 24
    assert lines[-1] == "... and 1,380 more splits"
    table = label_table(prepared)
    assert table is not None
    rows = table.set_index("split")["rows"]
    assert (rows["7"], rows["500"], rows.sum()) == (2, 3, 18 + 5)


def test_of_many_classes_the_largest_are_shown_and_the_others_counted_together() -> None:
    labels = [f"class {number % 300}" for number in range(600)] + ["class 12"]
    prepared: Any = SimpleNamespace(labels=labels, splits=["a", "b"] * 300 + ["b"], target_names=())
    table = label_table(prepared)
    assert table is not None
    assert table.shape == (2, 12)
    assert table["class 12"].tolist() == [2, 1]
    assert table.drop(columns="split").to_numpy().sum() == 601
    assert table.columns[-1] == "290 other classes"
    assert "more splits" not in describe_labels(prepared)


def test_facts_stand_below_each_other() -> None:
    assert text_facts({"rows": 3, "best r2": 0.25}, digits=2) == "rows     3\nbest r2  0.25"


CONFIRMED = (
    "some were predicted a second time, from sequences edited one by one: their scores differ by "
    "at most 2.4e-07"
)


def test_a_finished_scoring_run_tells_its_rate_and_largest_difference() -> None:
    summary = LooSummary(
        num_sequences=2,
        num_positions=3000,
        num_reused=1000,
        seconds=20.0,
        largest_difference=2.4e-7,
        num_redone=0,
        paths=(Path("loo_scores_replace.csv"),),
        unused_replacements=("z",),
        notes=("something else",),
    )
    assert describe_scoring(summary) == (
        "3,000 edits of 2 sequences scored, 1,000 of them by an earlier run in 20 s "
        f"(100 positions a second); {CONFIRMED}\n"
        "never met in the vocabulary: z\n"
        "something else"
    )
    whole = replace(summary, num_reused=3000, unused_replacements=(), notes=())
    assert describe_scoring(whole) == (
        f"3,000 edits of 2 sequences scored, all of them by an earlier run; {CONFIRMED}"
    )


def test_a_table_among_several_is_named_and_its_noise_is_explained() -> None:
    summary = LooSummary(
        num_sequences=1,
        num_positions=2,
        num_reused=2,
        seconds=1.0,
        largest_difference=0.0,
        num_redone=0,
        paths=(Path("loo_scores_mask.csv"),),
        noise_floors=(0.25,),
        shares_in_noise=(0.5,),
    )
    text = describe_scoring(summary, "fold 0")
    assert text.startswith("fold 0: 2 edits of 1 sequence scored")
    floor = "noise floor: 2.5e-01 (the standard error of a score, from how far the models disagree)"
    assert text.splitlines()[1] == floor
    most = describe_scoring(replace(summary, shares_in_noise=(0.93,)))
    assert most.splitlines()[1] == (
        f"{floor}; 93% of the scores are no larger and cannot be told apart from it: "
        "single positions tell little here, means over many tell more"
    )
