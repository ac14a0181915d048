"""Descriptions of models as stacks of local layers, found right or wrong."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from described import VARIANTS, Convolved, describe, make_saluki, saved, spec_of
from torch import nn

from biolm_ray.inference import self_check
from biolm_ray.inference.self_check import CheckedStack, awkward_lengths
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import LocalBlock, LocalStack

UNUSED = "model own: its description as a stack of local layers is not used, since "
INSTEAD = "; its scores are those of whole passes"


def checked(module: nn.Module, stack: Any, **more: Any) -> CheckedStack:
    return CheckedStack(saved(module, spec_of(stack), **more))


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(options.values()))
def test_saluki_passes_its_self_check_for_every_shape_of_edit(options: dict[str, Any]) -> None:
    model = make_saluki(options)
    for shape in ((1, 0), (3, 0), (1, 1), (2, 2), (0, 1), (2, 3)):
        assert CheckedStack(model).for_edits(shape) is not None


def test_a_right_description_is_taken() -> None:
    stack = checked(Convolved(), describe)
    assert stack.for_edits((1, 0)) is not None
    assert stack.notes == ()


@pytest.mark.parametrize("kernel", [2, 4, 5])
def test_a_wrong_kernel_is_found_and_told(kernel: int) -> None:
    stack = checked(Convolved(), lambda module: describe(module, kernel=kernel))
    assert stack.for_edits((1, 0)) is None
    (note,) = stack.notes
    assert note.startswith(UNUSED)
    assert note.endswith(INSTEAD)


def test_a_norm_over_the_whole_length_is_refused() -> None:
    stack = checked(Convolved(nn.GroupNorm(1, 2)), describe)
    assert stack.for_edits((1, 1)) is None
    assert stack.notes == (f"{UNUSED}what it predicts differs from full passes{INSTEAD}",)


def test_outputs_that_are_no_numbers_are_refused() -> None:
    module = Convolved()
    nn.init.constant_(module.layer.bias, torch.nan)
    assert checked(module, describe).for_edits((1, 0)) is None


def test_a_kind_of_edit_is_checked_once_and_a_reason_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: list[tuple[int, int]] = []
    monkeypatch.setattr(
        self_check, "find_problem", lambda model, shape: shapes.append(shape) or "it is wrong"
    )
    stack = checked(Convolved(), describe)
    for shape in ((1, 0), (1, 1), (1, 0)):
        assert stack.for_edits(shape) is None
    assert shapes == [(1, 0), (1, 1)]
    assert stack.notes == (f"{UNUSED}it is wrong{INSTEAD}",)


def test_a_module_in_training_takes_whole_passes() -> None:
    model = make_saluki({})
    model.module.train()
    assert CheckedStack(model).for_edits((1, 0)) is None


def test_errors_of_the_model_itself_are_not_taken_for_a_wrong_description() -> None:
    class Broken(Convolved):
        def forward(self, *inputs: Any) -> Any:
            raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        checked(Broken(), describe).for_edits((1, 0))


class Coarse(Convolved):
    """The mean over rows of which each is the sum of so many tokens."""

    stride = 700

    def run(self, rows: Any) -> Any:
        sums = rows[:, : rows.shape[1] // self.stride * self.stride]
        return sums.unflatten(1, (-1, self.stride)).sum(2)

    def forward(self, token_ids: Any, lengths: Any, specifiers: Any = None) -> Any:
        return self.run(self.embedding(token_ids)).mean(1).sum(1, keepdim=True)


def describe_coarse(module: nn.Module, wrong_from: int = 9) -> LocalStack:
    """Sum so many tokens; from a row of a call on, the description may forget the last token."""
    assert isinstance(module, Coarse)
    size = module.stride

    def run(rows: Any) -> Any:
        sums = module.run(rows)
        sums[:, wrong_from:] -= rows[:, wrong_from * size + size - 1 :: size]
        return sums

    block = LocalBlock(run=run, kernel=size, stride=size, left=0, count=lambda n: n // size)
    return replace(describe(module), blocks=(block,))


def test_a_stack_of_large_strides_is_checked_where_its_tail_reads_several_rows() -> None:
    framing = Framing(pad_id=1, block_size=9_000)
    stack = describe_coarse(Coarse())
    assert awkward_lengths(stack, framing, (1, 0)) == [1, 2, 699, 700, 701, 1401, 2101]
    assert awkward_lengths(stack, framing, (1, 2)) == [1, 2, 699, 700, 701, 1401, 2100]
    assert checked(Coarse(), describe_coarse, block=9_000).for_edits((1, 0)) is not None
    for row in (0, 1, 2):
        wrong = checked(Coarse(), partial(describe_coarse, wrong_from=row), block=9_000)
        assert wrong.for_edits((1, 0)) is None


def test_a_block_without_room_for_several_rows_is_checked_as_a_whole() -> None:
    stack, shape = describe_coarse(Coarse()), (1, 0)
    for room, lengths in {1_000: [1, 2, 699, 700, 701, 1_000], 300: [1, 2, 300]}.items():
        assert awkward_lengths(stack, Framing(pad_id=1, block_size=room), shape) == lengths


def test_a_stack_that_is_too_long_to_check_is_not_used_and_told() -> None:
    class Coarsest(Coarse):
        stride = 4_000

    stack = checked(Coarsest(), describe_coarse, block=20_000)
    assert stack.for_edits((1, 0)) is None
    assert stack.notes == (
        f"{UNUSED}a check would take sequences of more than 10,000 tokens{INSTEAD}",
    )
