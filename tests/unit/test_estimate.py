import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.models.spec import Batch
from biolm_ray.training import estimate as estimating
from biolm_ray.training.accumulation import Accumulator, Loaded
from biolm_ray.training.estimate import estimate
from biolm_ray.training.workers import Workers

SECONDS_PER_ROW = 0.01


class Clock:
    """Stands still but for the rows that are worked on."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def loss(self, module: nn.Module, loaded: Loaded) -> torch.Tensor:
        self.seconds += len(loaded.rows) * SECONDS_PER_ROW
        return module(torch.ones(1, 1)).sum()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(estimating, "time", clock)
    return clock


def sample(count: int) -> Loaded:
    zeros = torch.zeros(count, 1).long()
    return Loaded(np.arange(count), Batch(token_ids=zeros, lengths=zeros[:, 0] + 1))


def estimated(clock: Clock, samples: list[Loaded], size: int = 1) -> dict[str, float | str]:
    module = nn.Linear(1, 1)
    accumulator = Accumulator(
        module,
        clock.loss,
        seed=0,
        device="cpu",
        precision="fp32",
        compiled=False,
        note=lambda text: None,
    )
    found = estimate(accumulator, samples, 1000, 300, Workers(size=size))
    assert all(parameter.grad is None for parameter in module.parameters())
    return found


def test_an_epoch_takes_its_rows_and_a_third_for_those_it_is_judged_with(clock):
    found = estimated(clock, [sample(2), sample(8), sample(8)])
    expected = (1000 + 300 / 3) * SECONDS_PER_ROW
    assert found["seconds_per_epoch"] == pytest.approx(expected)


def test_workers_share_the_time(clock):
    found = estimated(clock, [sample(2), sample(8), sample(8)], size=4)
    expected = (1000 + 300 / 3) * SECONDS_PER_ROW / 4
    assert found["seconds_per_epoch"] == pytest.approx(expected)


def test_memory_is_that_of_the_process_without_a_gpu(clock):
    import psutil

    before = psutil.Process().memory_info().rss
    assert estimated(clock, [sample(2)])["memory_gb"] >= 0.9 * before / 1e9


def test_without_samples_nothing_is_estimated(clock):
    assert estimated(clock, []) == {}


def test_the_time_of_the_longest_rows_does_not_count(clock):
    found = estimated(clock, [sample(30), sample(4)])
    assert found["seconds_per_epoch"] == pytest.approx(11)
