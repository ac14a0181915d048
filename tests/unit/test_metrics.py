import numpy as np
import pytest

from biolm_ray.training.metrics import (
    classification_metrics,
    is_better,
    regression_metrics,
    target_metrics,
)


def test_regression_metrics_worked_out_by_hand():
    scores = target_metrics(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
    assert scores["mse"] == pytest.approx(0.5)
    assert scores["mae"] == pytest.approx(0.5)
    assert scores["r2"] == pytest.approx(1 - 2 / 5)
    assert scores["pearson"] == pytest.approx(0.8)
    assert scores["spearman"] == pytest.approx(0.8)


def test_a_constant_prediction_correlates_with_nothing():
    scores = target_metrics(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    assert scores["pearson"] == scores["spearman"] == 0.0


def test_several_targets_have_metrics_of_their_own_and_the_mean_without_a_name():
    labels = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    predictions = np.array([[1.0, 30.0], [2.0, 20.0], [4.0, 10.0]])
    scores = regression_metrics(labels, predictions, ("_a", "_b"))
    assert len(scores) == 15
    assert (scores["mae_a"], scores["mae_b"]) == pytest.approx((1 / 3, 40 / 3))
    assert scores["mae"] == pytest.approx((1 / 3 + 40 / 3) / 2)
    assert (scores["spearman_a"], scores["spearman_b"]) == pytest.approx((1.0, -1.0))
    assert scores["spearman"] == pytest.approx(0.0)


def test_a_single_target_has_plain_names_alone():
    labels, predictions = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    scores = regression_metrics(labels[:, None], predictions[:, None])
    assert scores == target_metrics(labels, predictions)


def test_classification_metrics_worked_out_by_hand():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    scores = classification_metrics(labels, probabilities)
    assert scores["accuracy"] == pytest.approx(0.75)
    assert scores["auroc"] == pytest.approx(1.0)
    assert scores["f1"] == pytest.approx((2 / 3 + 0.8) / 2)


def test_a_class_without_rows_has_no_part_in_the_area():
    probabilities = np.array([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    assert classification_metrics(np.array([0, 1]), probabilities)["auroc"] == pytest.approx(1.0)


def test_losses_fall_and_correlations_rise():
    assert is_better("loss", 0.1, than=0.2)
    assert is_better("pearson", 0.3, than=0.2)
    assert not is_better("pearson", 0.2, than=0.2)
    assert is_better("pearson", -1.0, than=None)
