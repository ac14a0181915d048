"""The passes of one step: the same gradients however they are cut, whoever makes them."""

import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.errors import ConfigError, TrainingError
from biolm_ray.models.spec import Batch
from biolm_ray.training.accumulation import Accumulator, Loaded
from biolm_ray.training.precision import uses_bf16


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(1, 1)

    def forward(self, token_ids, lengths, specifiers=None):
        return self.line(token_ids.to(self.line.weight.dtype).sum(dim=1, keepdim=True))


def loaded(first: int, count: int) -> Loaded:
    rows = np.arange(first, first + count)
    token_ids = torch.from_numpy(rows)[:, None] % 7
    return Loaded(rows, Batch(token_ids=token_ids, lengths=torch.ones(count).long()))


def squares(module: nn.Module, loaded: Loaded) -> torch.Tensor:
    outputs = module(loaded.batch.token_ids, loaded.batch.lengths)
    return (outputs - torch.from_numpy(loaded.rows)[:, None]).square().sum()


def accumulator(module: nn.Module, loss=squares, notes=None, **more) -> Accumulator:
    settings = {"seed": 3, "device": "cpu", "precision": "auto", "compiled": False, **more}
    note = (lambda text: None) if notes is None else notes.append
    return Accumulator(module, loss, **settings, note=note)


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters()]


def test_the_gradient_is_that_of_the_mean_over_the_step():
    module = Sums().double()
    found = accumulator(module).add_gradients([(0, loaded(0, 4)), (1, loaded(4, 3))], 7.0, 0, 0)
    added = gradients(module)
    module.zero_grad()
    mean = squares(module, loaded(0, 7)) / 7
    mean.backward()
    assert found == pytest.approx(mean.item(), rel=1e-12)
    for one, other in zip(added, gradients(module), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_what_does_not_fit_is_cut_until_it_does_and_the_gradient_stays():
    def of_small_memory(module, loaded):
        if len(loaded.rows) > 2:
            loss = squares(module, loaded)
            loss.backward()  # the memory may run out when some gradients are there already
            raise torch.OutOfMemoryError("CUDA out of memory")
        return squares(module, loaded)

    module, notes = Sums().double(), []
    accumulates = accumulator(module, of_small_memory, notes)
    step = [(0, loaded(0, 2)), (1, loaded(2, 7))]
    found = accumulates.add_gradients(step, 9.0, 0, 0)
    cut = gradients(module)
    assert accumulates.num_parts == 4
    assert [note[:50] for note in notes] == [
        "the GPU's memory is too small for 7 rows at once: ",
        "the GPU's memory is too small for 7 rows at once: ",
    ]
    assert found == pytest.approx(accumulator(module).add_gradients(step, 9.0, 0, 0))
    for one, other in zip(cut, gradients(module), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_a_single_row_that_does_not_fit_ends_the_run():
    def never_fits(module, loaded):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="not even a single sequence fit"):
        accumulator(Sums(), never_fits).add_gradients([(0, loaded(0, 3))], 3.0, 0, 0)


def test_parts_keep_the_rows_that_batch_normalization_needs():
    assert [len(part.rows) for part in loaded(0, 7).parts(4, 2)] == [3, 2, 2]
    assert [len(part.rows) for part in loaded(0, 3).parts(2, 2)] == [3]

    def fits_two(module, loaded):
        if len(loaded.rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return squares(module[0], loaded) + module[1](torch.randn(2, 1)).sum()

    module = nn.Sequential(Sums(), nn.BatchNorm1d(1))
    assert accumulator(module, fits_two).add_gradients([(0, loaded(0, 6))], 6.0, 0, 0) > 0
    with pytest.raises(TrainingError, match="not even two sequences fit"):
        accumulator(module, fits_two).add_gradients([(0, loaded(0, 3))], 3.0, 0, 0)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 9])
def test_parts_are_all_rows_once_in_order(number):
    parts = loaded(0, 5).parts(number)
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(5))
    token_ids = torch.cat([part.batch.token_ids for part in parts])
    assert torch.equal(token_ids, loaded(0, 5).batch.token_ids)
    assert len(parts) == min(number, 5)


def test_random_numbers_belong_to_a_place_in_a_step_not_to_who_comes_first():
    def draws(module, loaded):
        drawn[int(loaded.rows[0])] = torch.rand(1).item()
        return squares(module, loaded)

    drawn: dict[int, float] = {}
    first, second = (0, loaded(0, 2)), (1, loaded(2, 2))
    accumulator(Sums(), draws).add_gradients([first, second], 4.0, 1, 2)
    together = dict(drawn)
    accumulator(Sums(), draws).add_gradients([second], 4.0, 1, 2)
    accumulator(Sums(), draws).add_gradients([first], 4.0, 1, 2)
    assert drawn == together
    assert drawn[0] != drawn[2]
    accumulator(Sums(), draws).add_gradients([first], 4.0, 1, 3)
    assert drawn[0] != together[0]


def test_bf16_computes_in_bfloat16_and_keeps_weights_and_gradients_in_float32():
    def loss(module, loaded):
        outputs = module(loaded.batch.token_ids, loaded.batch.lengths)
        kinds.append(outputs.dtype)
        return outputs.float().square().sum()

    module, kinds = Sums(), []
    accumulator(module, loss, precision="bf16").add_gradients([(0, loaded(0, 4))], 4.0, 0, 0)
    rounded = gradients(module)
    accumulator(module, loss, precision="fp32").add_gradients([(0, loaded(0, 4))], 4.0, 0, 0)
    assert kinds == [torch.bfloat16, torch.float32]
    for one, other in zip(rounded, gradients(module), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0)


def test_auto_means_full_precision_on_a_cpu():
    assert not uses_bf16("auto", "cpu")
    assert uses_bf16("bf16", "cpu")


def test_bf16_on_a_gpu_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert not uses_bf16("auto", "cuda")
    with pytest.raises(ConfigError, match="a Tesla T4 does not compute in bfloat16"):
        uses_bf16("bf16", "cuda")


def test_a_model_that_cannot_be_compiled_is_trained_as_it_is(monkeypatch):
    from torch._dynamo.exc import InternalTorchDynamoError

    class Uncompilable(nn.Module):
        def forward(self, *inputs):
            raise InternalTorchDynamoError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda module, dynamic: Uncompilable())
    module, notes = Sums(), []
    compiled = accumulator(module, notes=notes, compiled=True)
    found = compiled.add_gradients([(0, loaded(0, 4))], 4.0, 0, 0)
    assert found == accumulator(module).add_gradients([(0, loaded(0, 4))], 4.0, 0, 0)
    assert notes == [
        "the model cannot be compiled (InternalTorchDynamoError) and is trained as it is"
    ]


def test_a_compiled_model_has_the_same_gradients(monkeypatch):
    module = Sums()
    whole = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda module, dynamic: whole(module, dynamic=dynamic, backend="eager")
    )
    found = accumulator(module, compiled=True).add_gradients([(0, loaded(0, 4))], 4.0, 0, 0)
    compiled = gradients(module)
    assert found == accumulator(module).add_gradients([(0, loaded(0, 4))], 4.0, 0, 0)
    assert all(map(torch.equal, compiled, gradients(module)))
