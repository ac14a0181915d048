"""What a prediction leaves in its folder, and what of an earlier one goes."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.inference.predict import MeanPredictions
from biolm_ray.report.predictions import about_equal_predictions, report_predictions
from biolm_ray.training.metrics import classification_metrics

NUMBERS = Targets(task="regression", scaler=Scaler(kind="none"))
CLASSES = Targets(task="classification", classes=("low", "high"))
CHANCES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])


def prepared(labels) -> SimpleNamespace:
    return SimpleNamespace(
        ids_of=lambda rows: [f"g{row}" for row in rows],
        labels=labels,
        place=lambda row: (0, row + 2),
        manifest={"files": ["new.tsv"]},
    )


def predict(folder: Path, labels, predictions, targets: Targets) -> dict[str, float]:
    rows = np.arange(len(predictions))
    found = MeanPredictions(predictions, None, np.ones(len(rows), np.int64))
    return report_predictions(folder, prepared(labels), rows, found, targets)[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_prediction_without_labels_leaves_nothing_of_one_with_labels(tmp_path: Path) -> None:
    predictions = np.array([[1.0], [3.0]])
    results = {"test_results.json", "all_results.json"}
    predict(tmp_path, np.array([[3.0], [1.0]]), predictions, NUMBERS)
    assert names(tmp_path) == {"test_predictions.csv", "rank_deltas.csv"} | results
    predict(tmp_path, ["low", "high", "low"], CHANCES, CLASSES)
    assert names(tmp_path) == {"test_predictions.csv", "classification_report.csv"} | results
    assert predict(tmp_path, None, predictions, NUMBERS) == {}
    assert names(tmp_path) == {"test_predictions.csv"}


def test_ranks_and_class_scores_are_those_of_the_labels(tmp_path: Path) -> None:
    predict(tmp_path, np.array([[3.0], [1.0]]), np.array([[1.0], [3.0]]), NUMBERS)
    assert pd.read_csv(tmp_path / "rank_deltas.csv")["rank_delta"].tolist() == [-1.0, 1.0]
    predict(tmp_path, ["low", "high", "low"], CHANCES, CLASSES)
    report = pd.read_csv(tmp_path / "classification_report.csv").set_index("class")
    assert report.loc["low", "recall"] == 0.5
    assert report.loc["high", "precision"] == 0.5


def test_a_class_that_the_model_does_not_know_is_told_and_judged_by_no_metric(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = predict(tmp_path, ["low", "middle", "low"], CHANCES, CLASSES)
    assert "new.tsv, line 3: the model knows no class 'middle', only low, high" in caplog.text
    assert "(1 of 3)" in caplog.text
    assert metrics == classification_metrics(np.array([0, 0]), CHANCES[[0, 2]])
    assert json.loads((tmp_path / "test_results.json").read_text())["test_accuracy"] == 0.5
    assert len(pd.read_csv(tmp_path / "test_predictions.csv")) == 3
    report = pd.read_csv(tmp_path / "classification_report.csv").set_index("class")
    assert report.loc["weighted avg", "support"] == 2


def test_classes_that_are_all_unknown_leave_predictions_alone(tmp_path: Path) -> None:
    assert predict(tmp_path, ["a", "b", "c"], CHANCES, CLASSES) == {}
    assert names(tmp_path) == {"test_predictions.csv"}


def test_the_last_column_tells_how_many_models_predicted_a_row(tmp_path: Path) -> None:
    found = MeanPredictions(CHANCES[:2], np.array([[0.1, 0.1], [np.nan, np.nan]]), np.array([3, 1]))
    report_predictions(tmp_path, prepared(None), np.arange(2), found, CLASSES)
    table = pd.read_csv(tmp_path / "test_predictions.csv")
    assert table.columns[-1] == "num_models"
    assert table["num_models"].tolist() == [3, 1]
    assert table["prediction_std"].isna().tolist() == [False, True]


def table_of(**columns) -> pd.DataFrame:
    return pd.DataFrame({"sequence": ["a", "b", "c", "d"], **columns})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"prediction": ["x"] * 4}, "all 4 predictions are 'x'\n"),
        (
            {"label": list("xyxy"), "prediction": ["x"] * 4, "prediction_std": [0.1] * 4},
            "all 4 predictions are 'x', though the labels differ\n",
        ),
        ({"label": ["x"] * 4, "prediction": ["x"] * 4}, ""),
        ({"prediction": list("xxxy"), "prediction_std": [0.0] * 4}, ""),
        ({"prediction": [1.5, 1.5 + 1e-9, 1.5, 1.5]}, "all 4 predictions are 1.5\n"),
        ({"prediction": [1.5, 1.6, 1.5, 1.5]}, ""),
        (
            {"prediction_half_life": [2.0] * 4, "prediction_level": [1.0, 2.0, 3.0, 4.0]},
            "all 4 predictions of half_life are 2\n",
        ),
        (
            {"fold": [0, 0, 1, 1], "label": list("xyxy"), "prediction": list("xxxy")},
            "fold 0: all 2 predictions are 'x', though the labels differ\n",
        ),
    ],
)
def test_predictions_that_are_all_the_same_are_told(columns: dict, said: str) -> None:
    assert about_equal_predictions([table_of(**columns)]) == said


def test_a_single_prediction_is_not_called_the_same() -> None:
    assert about_equal_predictions([table_of(prediction=[1.0] * 4).iloc[:1]]) == ""
