import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.errors import ResourceError
from biolm_ray.models.spec import Batch
from biolm_ray.training.evaluate import model_outputs
from biolm_ray.training.halving import is_out_of_memory


class Batches:
    """Row r has r tokens of the number r."""

    def padded_lengths(self, rows):
        return rows

    def load(self, rows):
        token_ids = torch.zeros(len(rows), int(rows.max()), dtype=torch.long)
        for place, row in enumerate(rows.tolist()):
            token_ids[place, :row] = row
        return Batch(token_ids=token_ids, lengths=torch.from_numpy(rows))


ON_GPU = torch.OutOfMemoryError("CUDA out of memory")
ON_CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


class SmallMemory(nn.Module):
    """Sums the tokens of a batch, if it is not too large."""

    def __init__(self, most_tokens: int, error: Exception = ON_GPU) -> None:
        super().__init__()
        self.most_tokens, self.error, self.sizes = most_tokens, error, []

    def forward(self, token_ids, lengths, specifiers=None):
        if token_ids.numel() > self.most_tokens:
            raise self.error
        self.sizes.append(token_ids.numel())
        return token_ids.sum(dim=1, keepdim=True).float()


@pytest.mark.parametrize("error", [ON_GPU, ON_CPU])
def test_batches_that_do_not_fit_are_run_in_halves(error):
    rows = np.random.default_rng(0).permutation(np.arange(1, 60))
    module = SmallMemory(100, error)
    outputs = model_outputs(module, Batches(), rows, num_outputs=1)
    assert np.array_equal(outputs[:, 0], rows.astype(float) ** 2)
    assert max(module.sizes) <= 100


def test_a_sequence_that_does_not_fit_alone_is_told_with_its_length():
    with pytest.raises(ResourceError, match="a sequence of 59 tokens does not fit"):
        model_outputs(SmallMemory(58), Batches(), np.arange(1, 60), num_outputs=1)


def test_other_errors_of_a_module_are_passed_on():
    module = SmallMemory(1, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        model_outputs(module, Batches(), np.arange(1, 9), num_outputs=1)


def test_what_the_cpu_cannot_allocate_is_known_by_its_text():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
