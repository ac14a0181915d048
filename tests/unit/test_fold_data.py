"""What of a fold the training sees: its loss, its weights, its validation."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.config.schema import Column, Config, DataConfig, TrainingConfig
from biolm_ray.data.splits import Fold
from biolm_ray.errors import DataError, TrainingError
from biolm_ray.models.batches import Framing
from biolm_ray.models.spec import Recipe
from biolm_ray.tokenization.tokenizer import Encoded
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.fold_data import FoldData, evaluate, make_objective
from biolm_ray.training.settings import loop_settings
from biolm_ray.training.workers import Workers

SETTINGS = loop_settings(TrainingConfig(), Recipe(learning_rate=0.1), fold=0, default_metric="loss")


class Constant(nn.Module):
    """Gives every row the same outputs."""

    def __init__(self, *outputs: float) -> None:
        super().__init__()
        self.outputs = torch.tensor(outputs)

    def forward(self, token_ids, lengths, specifiers=None):
        return self.outputs.expand(len(token_ids), -1)


def fold_data(labels: Any, task: str, weights: Any = None, **training: Any) -> FoldData:
    """Rows of one token each, all of them for training."""
    prepared: Any = SimpleNamespace(
        num_rows=len(labels),
        labels=labels,
        weights=weights,
        target_names=tuple("ab") if task == "regression" and labels.shape[1] == 2 else (),
        label_name="",
        num_specifiers=0,
        lengths=np.ones(len(labels), np.int64),
        encoded=lambda row: Encoded(np.array([7], np.uint8)),
        specifiers=lambda row: None,
        place=lambda row: (0, row + 1),
        ids=[f"g{row}" for row in range(len(labels))],
        manifest={"files": ["rows.tsv"]},
    )
    rows = np.arange(len(labels))
    fold = Fold(index=0, name="", train=rows, validation=rows[:0], test=rows[:0])
    columns = DataConfig(path="rows.tsv", sequence_column=Column(index=1))
    settings = TrainingConfig(**{"scaling": "none", **training})
    config = Config(mode="fine-tune", task=task, output_path="o", data=columns, training=settings)
    return FoldData(config, fold, prepared, Framing(pad_id=1, block_size=4))


def training_loss(data: FoldData, module: nn.Module, rows: np.ndarray) -> float:
    objective = make_objective(data, SETTINGS, Workers())
    loss = objective.loss(module, Loaded(rows, data.batches.load(rows)))
    return float(loss / data.weights[rows].sum())


@pytest.mark.parametrize(("kind", "expected"), [("mse", 10 / 3), ("mae", 4 / 3), ("huber", 1.0)])
def test_training_and_validation_look_at_the_loss_that_is_asked_for(kind, expected):
    data = fold_data(np.array([[0.0], [1.0], [-3.0]]), "regression", loss=kind)
    rows, module = np.arange(3), Constant(0.0)
    assert training_loss(data, module, rows) == pytest.approx(expected)
    assert evaluate(module, data, rows, Workers())[0]["loss"] == pytest.approx(expected)


def test_weights_count_in_training_and_not_in_validation():
    labels, weights = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 0.25, 0.75])
    data = fold_data(labels, "regression", weights, weighted=True, loss="mae")
    rows, module = np.arange(3), Constant(0.0)
    assert training_loss(data, module, rows) == pytest.approx((0.25 + 1.5) / 2)
    assert evaluate(module, data, rows, Workers())[0]["loss"] == pytest.approx(1.0)


@pytest.mark.parametrize("weight", [0.0, 1e-60])
def test_training_rows_that_all_weigh_nothing_are_refused(weight):
    labels = np.array([[0.0], [1.0]])
    with pytest.raises(
        DataError, match=r"all training rows of a fold have the weight 0.*weightpos"
    ):
        fold_data(labels, "regression", np.full(2, weight), weighted=True)
    assert fold_data(labels, "regression", np.array([0.0, 1.0]), weighted=True).weights[0] == 0


def test_classes_are_balanced_unless_that_is_switched_off():
    labels = ["a", "a", "a", "b"]
    assert fold_data(labels, "classification").weights.tolist() == [2 / 3] * 3 + [2.0]
    plain = fold_data(labels, "classification", class_weights="none")
    assert plain.weights.tolist() == [1.0] * 4


def test_the_loss_of_several_targets_is_the_mean_of_theirs_each_scaled_by_its_own_spread():
    labels = np.array([[0.0, 100.0], [2.0, 500.0]])
    data = fold_data(labels, "regression", scaling="standard")
    assert data.encoded.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    scores, outputs = evaluate(Constant(1.0, 0.0), data, np.arange(2), Workers())
    assert outputs.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert scores["loss"] == training_loss(data, Constant(1.0, 0.0), np.arange(2)) == 1.5
    assert (scores["mae_a"], scores["mae_b"], scores["mae"]) == (1.0, 200.0, 100.5)


def test_a_model_that_predicts_no_numbers_ends_the_training_with_the_row():
    data = fold_data(np.array([[0.0], [2.0]]), "regression")
    message = r"the trained model: the predictions of 2 of 2 rows .* that of 'g1' .rows.tsv, line 2"
    with pytest.raises(TrainingError, match=message):
        evaluate(Constant(float("nan")), data, np.array([1, 0]), Workers())


def test_two_targets_alike_cost_what_one_costs():
    labels = np.random.default_rng(0).normal(size=(5, 1))
    one = fold_data(labels, "regression", scaling="standard")
    two = fold_data(np.hstack([labels, labels]), "regression", scaling="standard")
    rows = np.arange(5)
    assert training_loss(two, Constant(0.3, 0.3), rows) == pytest.approx(
        training_loss(one, Constant(0.3), rows), rel=1e-6
    )
    single = evaluate(Constant(0.3), one, rows, Workers())[0]
    double = evaluate(Constant(0.3, 0.3), two, rows, Workers())[0]
    assert {name: double[name] for name in single} == pytest.approx(single)
