"""How a model of local layers describes itself, so that an edit costs a few rows, not a pass.

A row is what a layer makes of a place of the sequence. An edit changes few rows of a convolution
or a pooling layer, and a model that tells which rows each of its layers reads lets all others be
taken from a pass over the unedited sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def unchanged(rows: Tensor) -> Tensor:
    """Give rows as they are."""
    return rows


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A block taken apart: a convolution, layers that look at single rows, max-pooling.

    Attributes:
        products: What each tap makes of a row: (*rows, channels) to (*rows, taps, outputs). The
            convolution's row u is `bias` plus the product of tap k with row u + k, over all k.
        taps: Number of taps.
        bias: Added to every row.
        weight: One matrix to a tap, where products are nothing but row @ weight.
        pointwise: Applied to every row of the convolution, such as a layer norm.
        pool: So many rows become one, their maximum; 1 does not pool.
        finish: Applied to every pooled row, such as a ReLU.
    """

    products: Callable[[Tensor], Tensor]
    taps: int
    bias: Float[Tensor, " outputs"]
    weight: Float[Tensor, "taps channels outputs"] | None = None
    pointwise: Callable[[Tensor], Tensor] = unchanged
    pool: int = 1
    finish: Callable[[Tensor], Tensor] = unchanged

    def convolve(
        self, rows: Float[Tensor, "batch rows channels"]
    ) -> Float[Tensor, "batch valid outputs"]:
        """Convolve without padding, and apply the pointwise layers."""
        products = self.products(rows)
        num_valid = rows.shape[1] - self.taps + 1
        summed = self.bias + products[:, :num_valid, 0]
        for tap in range(1, self.taps):
            summed += products[:, tap : tap + num_valid, tap]
        return self.pointwise(summed)

    def pooled(
        self, rows: Float[Tensor, "batch rows outputs"]
    ) -> Float[Tensor, "batch pooled outputs"]:
        """Pool whole groups of rows and finish them."""
        num_groups = rows.shape[1] // self.pool
        groups = [rows[:, first : num_groups * self.pool : self.pool] for first in range(self.pool)]
        return self.finish(reduce(torch.maximum, groups))

    def __call__(
        self, rows: Float[Tensor, "batch rows channels"]
    ) -> Float[Tensor, "batch pooled outputs"]:
        return self.pooled(self.convolve(rows))


@dataclass(frozen=True, kw_only=True)
class LocalBlock:
    """A layer, or some together, whose row u reads `kernel` rows from row stride * u - left on.

    Attributes:
        run: The layers without any padding: `kernel + (n - 1) * stride` rows become n. Must not
            look beyond its rows, nor from one sequence of a batch to another.
        kernel: Rows read.
        stride: Rows from one read to the next.
        left: Rows that stand for padding before the first row.
        count: Rows it makes of a sequence of so many.
        outside: Value of what it makes beyond the ends of a sequence, as the next block reads it.
        convolution: `run` taken apart, where that is possible; then less is computed.
    """

    run: Callable[[Tensor], Tensor]
    kernel: int
    stride: int = 1
    left: int = 0
    count: Callable[[int], int]
    outside: float = 0.0
    convolution: Convolution | None = None


def convolution_block(
    convolution: Convolution, *, left: int, count: Callable[[int], int]
) -> LocalBlock:
    """Describe a convolution with what follows it as one block."""
    return LocalBlock(
        run=convolution,
        kernel=convolution.taps + convolution.pool - 1,
        stride=convolution.pool,
        left=left,
        count=count,
        convolution=convolution,
    )


@dataclass(frozen=True, kw_only=True)
class RecurrentTail:
    """A recurrence over the rows of the last block, whose last state the head reads.

    Attributes:
        project: What is computed of a row before the recurrence: (*rows, channels) to
            (*rows, inputs).
        step: From inputs (batch or 1, inputs) and states (batch, size) to the next states.
        start: The state (size,) before the first row is read, for a sequence of so many rows.
        head: From states to outputs.
        backward: Whether rows are read from the last to the first.
    """

    project: Callable[[Tensor], Tensor]
    step: Callable[[Tensor, Tensor], Tensor]
    start: Callable[[int], Tensor]
    head: Callable[[Tensor], Tensor]
    backward: bool = False


@dataclass(frozen=True, kw_only=True)
class PooledTail:
    """The mean, the sum or the maximum over rows, which the head reads."""

    kind: Literal["mean", "sum", "max"]
    head: Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class WholeTail:
    """Anything else, run anew on all rows: (batch, rows, channels) to (batch, outputs)."""

    run: Callable[[Tensor], Tensor]


Tail = RecurrentTail | PooledTail | WholeTail


@dataclass(frozen=True, kw_only=True)
class LocalStack:
    """A model as local blocks, one after another, and a tail over the rows of the last.

    Attributes:
        read: The rows of tokens: ids (*rows) and specifiers (*rows, channels) or None to
            (*rows, channels). Looks at each token alone.
        outside: The row (channels,) that stands before and after a sequence.
        blocks: From the input to the tail.
        tail: What reads the rows of the last block.
        filled: Whether the sequence is followed by so many `outside` rows that no block sees an
            end; all blocks then have left = 0, and `count` and `outside` of a block mean nothing.
        num_rows: How many rows the tail reads of a sequence of so many tokens (special tokens
            included); unset, as many as the last block counts.
    """

    read: Callable[[Tensor, Tensor | None], Tensor]
    outside: Tensor
    blocks: tuple[LocalBlock, ...]
    tail: Tail
    filled: bool = False
    num_rows: Callable[[int], int] | None = None


def gru_tail(
    gru: nn.GRU,
    head: Callable[[Tensor], Tensor],
    *,
    start: Callable[[int], Tensor] | None = None,
    backward: bool = False,
) -> RecurrentTail:
    """Describe a GRU of one layer, with biases, that starts from zeros unless told otherwise."""
    assert gru.num_layers == 1
    assert gru.bias
    assert not gru.bidirectional
    size = gru.hidden_size
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    input_weight, hidden_weight, input_bias, bias = map(_doubled_new, map(gru.get_parameter, names))
    weight, minus_one = hidden_weight.T.contiguous(), bias.new_tensor(-1.0)
    input_bias, new_bias = input_bias + F.pad(bias[: 2 * size], (0, size)), bias[2 * size :]

    def step(inputs: Tensor, states: Tensor) -> Tensor:
        # What the states add to the new state is gated, so its bias stands apart from its inputs.
        biases = torch.cat([inputs[:, : 2 * size], new_bias.expand(len(inputs), -1)], dim=1)
        sums = torch.addmm(biases, states, weight)
        gates = sums[:, : 2 * size].sigmoid_()
        new = torch.addcmul(inputs[:, 2 * size :], gates[:, :size], sums[:, 2 * size :])
        new = torch.add(minus_one, new.sigmoid_(), alpha=2)
        return torch.lerp(new, states, gates[:, size:])

    return RecurrentTail(
        project=lambda rows: F.linear(rows, input_weight, input_bias),
        step=step,
        start=start or (lambda num_rows: bias.new_zeros(size)),
        head=head,
        backward=backward,
    )


def _doubled_new(parameter: Tensor) -> Tensor:
    """Double what makes the new state of a GRU, the last third of its rows.

    Its tanh(x) is then 2 sigmoid(2x) - 1; on processors, a sigmoid takes a sixth of the time.
    """
    reset, update, new = parameter.chunk(3)
    return torch.cat([reset, update, 2 * new])


def lookup_products(
    weight: Float[Tensor, "taps channels outputs"], num_columns: int
) -> Callable[[Tensor], Tensor]:
    """Give the products of one-hot columns without writing them out.

    The rows are a column's number, then other channels as they are; a number past the last
    column stands for a row of zeros. The weight's first `num_columns` channels are the columns.
    """
    taps, _, outputs = weight.shape
    columns = F.pad(weight[:, :num_columns], (0, 0, 0, 1)).transpose(0, 1).flatten(1)
    others = weight[:, num_columns:].transpose(0, 1).flatten(1)

    def products(rows: Tensor) -> Tensor:
        found = F.embedding(rows[..., 0].long(), columns)
        if len(others):
            found = found + rows[..., 1:] @ others
        return found.unflatten(-1, (taps, outputs))

    return products


def matrix_products(
    weight: Float[Tensor, "taps channels outputs"],
) -> Callable[[Tensor], Tensor]:
    """Give the products of rows with one matrix to a tap."""
    taps, _, outputs = weight.shape
    side_by_side = weight.transpose(0, 1).flatten(1)
    return lambda rows: (rows @ side_by_side).unflatten(-1, (taps, outputs))


def column_rows(
    columns: Int[Tensor, " vocabulary"],
    token_ids: Int[Tensor, "*rows"],
    specifiers: Float[Tensor, "*rows channels"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "*rows channels"]:
    """Make the rows that `lookup_products` reads."""
    numbers = columns[token_ids].to(dtype)[..., None]
    return numbers if specifiers is None else torch.cat([numbers, specifiers.to(dtype)], dim=-1)
