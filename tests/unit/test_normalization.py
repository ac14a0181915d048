import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.errors import ConfigError
from biolm_ray.models.spec import Batch
from biolm_ray.training.normalization import check_batch_size, refit_batch_statistics


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.dropout = nn.Dropout(0.9)

    def forward(self, token_ids, lengths, specifiers=None):
        return self.dropout(self.norm(token_ids.float()))


def batches(values: np.ndarray):
    for part in values.reshape(2, -1):
        yield Batch(token_ids=torch.tensor(part[:, None]), lengths=torch.ones(len(part)))


def test_statistics_are_plain_averages_over_the_batches_and_the_mode_is_kept():
    module = Tiny().train()
    values = np.array([0, 2, 4, 6, 10, 12, 14, 16])
    refit_batch_statistics(module, batches(values), "cpu")
    assert module.norm.running_mean.item() == values.mean()
    expected = np.mean([part.var(ddof=1) for part in values.reshape(2, -1)])
    assert np.isclose(module.norm.running_var.item(), expected)
    assert module.norm.momentum == 0.1
    assert module.training
    assert module.norm.training


def test_a_module_without_batch_normalization_reads_no_batch():
    def unread():
        raise AssertionError("read")
        yield

    refit_batch_statistics(nn.Linear(1, 1), unread(), "cpu")


def test_batches_that_may_have_a_single_row_are_refused_with_batch_normalization():
    check_batch_size(nn.Linear(1, 1), 1, 1)
    check_batch_size(Tiny(), 3, 4)
    check_batch_size(Tiny(), 32, 2)
    with pytest.raises(ConfigError, match="batchsize 2 is too small for a model with batch norm"):
        check_batch_size(Tiny(), 2, 100)
    with pytest.raises(ConfigError, match="1 training row: too few for a model with batch norm"):
        check_batch_size(Tiny(), 32, 1)
