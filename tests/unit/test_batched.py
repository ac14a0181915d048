"""How many edited sequences are run at once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biolm_ray.inference.batched import outputs_of_rows, row_batches
from biolm_ray.inference.perturb import Source, plan_removals
from biolm_ray.models.batches import Framing

GPU = torch.device("cuda")


class Memory:
    """The memory of a GPU of which 100 bytes are held in use and 60 unused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, free: int, bytes_per_row: int) -> None:
        self.bytes_per_row, self.peak = bytes_per_row, 10_000
        answers = {
            "reset_peak_memory_stats": self.forget_peak,
            "memory_allocated": lambda device: 100,
            "memory_reserved": lambda device: 160,
            "max_memory_allocated": lambda device: self.peak,
            "mem_get_info": lambda device: (free, 10**9),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def forget_peak(self, device: torch.device) -> None:
        self.peak = 0

    def batches(self, num_rows: int, at_once: int) -> list[int]:
        sizes = []
        for batch in row_batches(np.arange(num_rows), at_once, GPU):
            self.peak = max(self.peak, 100 + self.bytes_per_row * len(batch))
            sizes.append(len(batch))
        return sizes


def test_on_a_cpu_all_batches_are_of_one_size() -> None:
    batches = row_batches(np.arange(10), 4, torch.device("cpu"))
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_on_a_gpu_the_first_batch_tells_how_many_rows_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of 940 free bytes and 60 unused ones, at 25 bytes a row.
    memory = Memory(monkeypatch, free=940, bytes_per_row=25)
    assert memory.batches(50, at_once=4) == [4, 20, 20, 6]
    assert memory.batches(4, at_once=4) == [4]
    assert memory.batches(0, at_once=4) == []


def test_on_a_full_gpu_rows_are_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(monkeypatch, free=0, bytes_per_row=70)
    assert memory.batches(5, at_once=2) == [2, 1, 1, 1]


@pytest.mark.parametrize("num_rows", [1, 4, 9, 23])
def test_every_row_is_in_one_batch(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(monkeypatch, free=500, bytes_per_row=0)
    batches = list(row_batches(np.arange(num_rows), 4, GPU))
    assert np.concatenate(batches).tolist() == list(range(num_rows))


class SmallMemory(nn.Module):
    """The sum of the tokens, of two sequences at most."""

    def forward(self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None) -> Tensor:
        if len(token_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return token_ids.sum(1, keepdim=True).float()


def test_batches_that_do_not_fit_are_run_in_halves() -> None:
    model = SimpleNamespace(module=SmallMemory(), framing=Framing(pad_id=1, block_size=20))
    edits = plan_removals(Source(token_ids=np.arange(3, 15), room=20))
    outputs = outputs_of_rows(model, edits, np.arange(12), device="cpu")  # type: ignore[arg-type]
    assert outputs[:, 0].tolist() == [sum(range(3, 15)) - removed for removed in range(3, 15)]
