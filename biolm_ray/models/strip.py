"""The sequences of a batch end to end, and the convolution over their rows."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Strip:
    """The rows of a batch, end to end, with zero rows between sequences.

    `starts` are the first rows of the slots, multiples of the total stride, so that a sequence
    keeps its phase through all pooling layers. `inside` tells which rows belong to a sequence.
    """

    columns: Int[Tensor, " rows"]
    specifiers: Float[Tensor, "rows channels"] | None
    inside: Bool[Tensor, " rows"]
    starts: Int[Tensor, " batch"]


def lay_end_to_end(
    columns: Int[Tensor, "batch length"],
    lengths: Int[Tensor, " batch"],
    specifiers: Float[Tensor, "batch length channels"] | None,
    shifts: Int[Tensor, " batch"],
    *,
    stride: int,
    gap: int,
    outside: int,
) -> Strip:
    """Lay right-padded sequences into one strip.

    Args:
        columns: One-hot columns of the tokens.
        lengths: True lengths; what lies beyond them is ignored.
        specifiers: Further input channels.
        shifts: Rows left free at the start of each slot.
        stride: Slots start at multiples of this.
        gap: Fewest rows between two sequences; a multiple of the stride.
        outside: The column of rows that belong to no sequence.
    """
    slots = (shifts + lengths + stride - 1) // stride * stride + gap
    ends = torch.cumsum(slots, dim=0)
    starts = ends - slots
    num_rows = int(ends[-1])
    offsets = torch.arange(columns.shape[1], device=columns.device)
    present = offsets < lengths[:, None]
    rows = ((starts + shifts)[:, None] + offsets)[present]
    strip = columns.new_full((num_rows,), outside)
    strip[rows] = columns[present]
    inside = torch.zeros(num_rows, dtype=torch.bool, device=columns.device)
    inside[rows] = True
    strip_specifiers = None
    if specifiers is not None:
        strip_specifiers = specifiers.new_zeros(num_rows, specifiers.shape[2])
        strip_specifiers[rows] = specifiers[present]
    return Strip(strip, strip_specifiers, inside, starts)


def convolve_rows(
    rows: Float[Tensor, "rows channels"],
    weight: Float[Tensor, "taps channels outputs"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "rows outputs"]:
    """Convolve rows with zeros beyond both ends, in the type of autocast where that is on."""
    device = rows.device.type
    if not torch.is_autocast_enabled(device):
        return RowConvolution.apply(rows, weight, bias)
    # Sums in place must have the type of what they add, so nothing may be cast on the way.
    dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        return RowConvolution.apply(rows.to(dtype), weight.to(dtype), bias.to(dtype))


class RowConvolution(torch.autograd.Function):
    """Same-padded convolution over rows, one matrix product per tap; all of one type.

    On one CPU core the weight gradient of `conv2d` takes 5 times as long as these products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Float[Tensor, "rows channels"],
        weight: Float[Tensor, "taps channels outputs"],
        bias: Float[Tensor, " outputs"],
    ) -> Float[Tensor, "rows outputs"]:
        ctx.save_for_backward(rows, weight)
        center = len(weight) // 2
        output = torch.addmm(bias, rows, weight[center])
        for tap, written, read in _shifts(len(weight), len(rows)):
            output[written].addmm_(rows[read], weight[tap])
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        center = len(weight) // 2
        rows_gradient = gradient @ weight[center].T
        weight_gradient = torch.empty_like(weight)
        torch.mm(rows.T, gradient, out=weight_gradient[center])
        for tap, written, read in _shifts(len(weight), len(rows)):
            rows_gradient[read].addmm_(gradient[written], weight[tap].T)
            torch.mm(rows[read].T, gradient[written], out=weight_gradient[tap])
        return rows_gradient, weight_gradient, gradient.sum(0)


def _shifts(num_taps: int, num_rows: int) -> list[tuple[int, slice, slice]]:
    """Pair each tap beside the central one with the rows it writes and the rows it reads."""
    shifts = [(tap, tap - num_taps // 2) for tap in range(num_taps)]
    return [
        (
            tap,
            slice(max(0, -shift), num_rows - max(0, shift)),
            slice(max(0, shift), num_rows - max(0, -shift)),
        )
        for tap, shift in shifts
        if shift
    ]
