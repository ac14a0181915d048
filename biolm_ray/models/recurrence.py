"""A GRU that reads sequences from their end to their start, after the padding or without it."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def read_backwards(
    gru: nn.GRU,
    rows: Float[Tensor, "rows channels"],
    starts: Int[Tensor, " batch"],
    last: Int[Tensor, " batch"],
    initial: Float[Tensor, "batch channels"] | None = None,
) -> Float[Tensor, "batch channels"]:
    """Run a GRU from the last row of each sequence to its first and give the states it ends in.

    Args:
        gru: One layer, `batch_first`.
        rows: Of all sequences.
        starts: The first row of each sequence.
        last: Its last row, counted from its first.
        initial: The states it starts from; zeros if not given.
    """
    steps = torch.arange(int(last.max()) + 1, device=rows.device)
    chosen = starts[:, None] + (last[:, None] - steps).clamp(min=0)
    states, _ = gru(_as_weights(gru, rows[chosen]), None if initial is None else initial[None])
    return states[torch.arange(len(last), device=rows.device), last]


def states_after_padding(
    gru: nn.GRU, row: Float[Tensor, " channels"], counts: Int[Tensor, " batch"]
) -> Float[Tensor, "batch channels"]:
    """Give the states of a GRU that has read the same row so many times, running it only once."""
    most = max(1, int(counts.max()))
    states, _ = gru(_as_weights(gru, row).expand(1, most, -1))
    return F.pad(states[0], (0, 0, 1, 0))[counts]


def full_precision(device: torch.device) -> AbstractContextManager:
    """Switch autocast off: a recurrence adds up rounding, and costs little beside a tower."""
    return torch.autocast(device.type, enabled=False)


def _as_weights(
    gru: nn.GRU, rows: Float[Tensor, "*rows channels"]
) -> Float[Tensor, "*rows channels"]:
    return rows.to(next(gru.parameters()).dtype)
