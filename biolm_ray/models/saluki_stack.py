"""Both variants of Saluki as stacks of local blocks."""

import torch.nn.functional as F
from torch import Tensor, nn

from biolm_ray.models.local_stack import (
    Convolution,
    LocalBlock,
    LocalStack,
    column_rows,
    convolution_block,
    gru_tail,
    lookup_products,
    matrix_products,
)
from biolm_ray.models.recurrence import states_after_padding
from biolm_ray.models.saluki import Saluki
from biolm_ray.models.saluki_reference import ReferenceSaluki


def describe_saluki(module: nn.Module) -> LocalStack:
    """Give the stack of a Saluki in evaluation mode."""
    if isinstance(module, ReferenceSaluki):
        return _describe_reference(module)
    assert isinstance(module, Saluki)
    return _describe_default(module)


def _describe_default(module: Saluki) -> LocalStack:
    """Same-padded convolutions; rows beyond the ends of a sequence are zeros for every layer."""
    entry = module.entry
    blocks = [
        Convolution(
            products=lookup_products(entry.weight, entry.num_columns),
            taps=len(entry.weight),
            bias=entry.bias,
            pointwise=lambda rows: F.relu(entry.norm(rows)),
        )
    ]
    blocks += [
        _tower_block(block.weight, block.bias, block.norm)  # type: ignore[union-attr]
        for block in module.tower
    ]

    def start(num_rows: int) -> Tensor:
        nothing = entry.bias.new_zeros(module.gru.input_size)
        num_padded = 0 if module.block_rows is None else max(0, module.block_rows - num_rows)
        return _state_after(module.gru, nothing, num_padded)

    return LocalStack(
        read=lambda ids, specifiers: column_rows(module.columns, ids, specifiers, entry.bias.dtype),
        outside=_outside(entry.weight, entry.num_columns),
        blocks=tuple(
            convolution_block(
                block, left=block.taps // 2, count=lambda n, pool=block.pool: -(-n // pool)
            )
            for block in blocks
        ),
        tail=gru_tail(module.gru, module.head, start=start, backward=True),
    )


def _describe_reference(module: ReferenceSaluki) -> LocalStack:
    """Valid convolutions over a block that is filled up with zero rows."""
    conv, norm = module.entry_block.conv, module.entry_block.layernorm
    entry = conv.weight.permute(2, 1, 0)
    assert conv.bias is not None
    first = Convolution(
        products=lookup_products(entry, module.num_columns),
        taps=len(entry),
        bias=conv.bias,
        pointwise=lambda rows: F.relu(norm(rows)),
    )
    tower = [
        _tower_block(block.conv.weight.permute(2, 1, 0), block.conv.bias, block.layernorm)  # type: ignore
        for block in module.mid_blocks
    ]
    blocks = [_filled_block(block) for block in (first, *tower)]
    gru = module.gru_block.gru
    outside = _outside(entry, module.num_columns)

    def start(num_rows: int) -> Tensor:
        row = _constant_row(outside, blocks)
        return _state_after(gru, row, module.num_reduced - num_rows if module.reads_padding else 0)

    def num_rows(num_tokens: int) -> int:
        return min((num_tokens - 1) // 2 ** len(tower) + 1, module.num_reduced)

    return LocalStack(
        read=lambda ids, specifiers: column_rows(module.columns, ids, specifiers, entry.dtype),
        outside=outside,
        blocks=tuple(blocks),
        tail=gru_tail(
            gru,
            lambda states: module.dense_block(F.relu(module.gru_block.batch_norm(states))),
            start=start,
            backward=True,
        ),
        filled=True,
        num_rows=num_rows,
    )


def _tower_block(weight: Tensor, bias: Tensor, norm: nn.Module) -> Convolution:
    return Convolution(
        products=matrix_products(weight),
        taps=len(weight),
        bias=bias,
        weight=weight,
        pointwise=norm,
        pool=2,
        finish=F.relu,
    )


def _filled_block(convolution: Convolution) -> LocalBlock:
    return convolution_block(convolution, left=0, count=lambda n: -(-n // convolution.pool))


def _outside(weight: Tensor, num_columns: int) -> Tensor:
    """A row of no token and no specifiers."""
    row = weight.new_zeros(1 + weight.shape[1] - num_columns)
    row[0] = num_columns
    return row


def _constant_row(outside: Tensor, blocks: list[LocalBlock]) -> Tensor:
    row = outside
    for block in blocks:
        row = block.run(row.expand(1, block.kernel, -1))[0, 0]
    return row


def _state_after(gru: nn.GRU, row: Tensor, num_steps: int) -> Tensor:
    counts = row.new_zeros(1).long() + num_steps
    return states_after_padding(gru, row, counts)[0]
