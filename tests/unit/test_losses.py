"""Losses against values worked out by hand."""

import math

import pytest
import torch

from biolm_ray.training.losses import class_losses, regression_losses


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mse", [0.25, 9.0]), ("mae", [0.5, 3.0]), ("huber", [0.125, 2.5])],
)
def test_a_row_costs_its_squared_huber_or_absolute_error(kind, expected):
    outputs, labels = torch.tensor([[1.5], [-1.0]]), torch.tensor([[1.0], [2.0]])
    assert regression_losses(kind, outputs, labels).tolist() == expected


@pytest.mark.parametrize(("kind", "expected"), [("mse", 5.0), ("mae", 2.0), ("huber", 1.5)])
def test_a_row_of_several_targets_costs_their_mean(kind, expected):
    outputs, labels = torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 2.0]])
    assert regression_losses(kind, outputs, labels).tolist() == [expected]


def test_a_row_of_a_class_costs_what_its_probability_lacks():
    outputs = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    found = class_losses(outputs, torch.tensor([1, 0]))
    torch.testing.assert_close(found, torch.tensor([math.log(4 / 3), math.log(2)]))
