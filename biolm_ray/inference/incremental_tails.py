"""The tail of a stack for many edits at once: what rows beside the windows add is at hand."""

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from biolm_ray.inference.incremental_levels import A, B
from biolm_ray.models.local_stack import PooledTail, RecurrentTail, Tail, WholeTail

Rows = Float[Tensor, "sources rows channels"]
Windows = Float[Tensor, "batch width channels"]
Lows = Int[np.ndarray, " batch"]

WHOLE_VALUES = 1 << 24


class TailStep(Protocol):
    """A tail with the rows of A and B at hand."""

    def outputs(self, lows: Lows, windows: Windows) -> Float[Tensor, "batch outputs"]:
        """Compute the outputs of some edits, given the windows of the last block in their order."""
        ...


def make_tail_step(tail: Tail, rows: Rows, width: int) -> TailStep:
    """Get a tail ready for windows of a width.

    Args:
        tail: The stack's.
        rows: What it reads of A and B.
        width: Rows of a window.
    """
    if isinstance(tail, RecurrentTail):
        return Staircase(tail, rows, width)
    if isinstance(tail, PooledTail):
        return Pooling(tail, rows, width)
    return Again(tail, rows, width)


class Staircase:
    """A recurrence that starts right before each window.

    The states before the windows are at hand. Behind its window every edit has its own state, and
    all read the same rows: edits come in the order of their windows, so that those that have begun
    stand together and a step is one product for all of them.
    """

    def __init__(self, tail: RecurrentTail, rows: Rows, width: int) -> None:
        self.tail, self.width, self.num_rows = tail, width, rows.shape[1]
        first, second = (B, A) if tail.backward else (A, B)
        before, behind = tail.project(rows[first]), tail.project(rows[second])
        if tail.backward:
            before, behind = before.flip(0), behind.flip(0)
        self.behind = behind
        states = [tail.start(self.num_rows)[None]]
        for inputs in before.split(1):
            states.append(tail.step(inputs, states[-1]))
        self.states = torch.cat(states)

    def outputs(self, lows: Lows, windows: Windows) -> Float[Tensor, "batch outputs"]:
        if not self.tail.backward:
            return self.tail.head(self._last_states(lows, windows))
        # What reads backward reads the mirror image forward.
        lows, windows = (self.num_rows - lows - self.width)[::-1], windows.flip(0, 1)
        return self.tail.head(self._last_states(lows, windows)).flip(0)

    def _last_states(self, lows: Lows, windows: Windows) -> Float[Tensor, "batch size"]:
        starts = torch.from_numpy(lows.clip(0, self.num_rows)).to(windows.device)
        states = self._read_windows(self.states[starts], lows, windows)
        return self._read_behind(states, (lows + self.width).clip(0, self.num_rows))

    def _read_windows(self, states: Tensor, lows: Lows, windows: Windows) -> Tensor:
        inputs = self.tail.project(windows)
        for place in range(self.width):
            after = self.tail.step(inputs[:, place], states)
            is_row = (lows + place >= 0) & (lows + place < self.num_rows)
            if not is_row.all():
                chosen = torch.from_numpy(is_row).to(states.device)[:, None]
                after = torch.where(chosen, after, states)
            states = after
        return states

    def _read_behind(self, states: Tensor, firsts: Lows) -> Tensor:
        rows = np.arange(int(firsts.min(initial=self.num_rows)), self.num_rows)
        for row, num_active in zip(rows, np.searchsorted(firsts, rows, side="right"), strict=True):
            after = self.tail.step(self.behind[row : row + 1], states[:num_active])
            if num_active == len(states):
                states = after
            else:
                states[:num_active] = after
        return states


class Pooling:
    """Sums or maxima of the rows before every window and of those behind it."""

    def __init__(self, tail: PooledTail, rows: Rows, width: int) -> None:
        self.tail, self.width, self.num_rows = tail, width, rows.shape[1]
        self.dtype = rows.dtype
        self.before = self._accumulated(rows[A])
        self.behind = self._accumulated(rows[B].flip(0)).flip(0)

    def _accumulated(self, rows: Float[Tensor, "rows channels"]) -> Tensor:
        """Accumulate from the first row on, in float64, nothing at first."""
        nothing = rows.new_full((1, rows.shape[1]), self._nothing, dtype=torch.float64)
        rows = torch.cat([nothing, rows.double()])
        return rows.cummax(0).values if self.tail.kind == "max" else rows.cumsum(0)

    @property
    def _nothing(self) -> float:
        return -torch.inf if self.tail.kind == "max" else 0.0

    def outputs(self, lows: Lows, windows: Windows) -> Float[Tensor, "batch outputs"]:
        device = windows.device
        places = torch.from_numpy(lows)[:, None] + torch.arange(self.width)
        is_row = ((places >= 0) & (places < self.num_rows)).to(device)
        values = windows.double().masked_fill(~is_row[..., None], self._nothing)
        ends = (lows.clip(0, self.num_rows), (lows + self.width).clip(0, self.num_rows))
        before, behind = (torch.from_numpy(end).to(device) for end in ends)
        parts = torch.cat(
            [self.before[before][:, None], values, self.behind[behind][:, None]], dim=1
        )
        pooled = parts.amax(1) if self.tail.kind == "max" else parts.sum(1)
        if self.tail.kind == "mean":
            pooled = pooled / self.num_rows
        return self.tail.head(pooled.to(self.dtype))


class Again:
    """Runs the tail on all rows of every edit."""

    def __init__(self, tail: WholeTail, rows: Rows, width: int) -> None:
        self.tail, self.width, self.rows = tail, width, rows

    def outputs(self, lows: Lows, windows: Windows) -> Float[Tensor, "batch outputs"]:
        at_once = max(1, WHOLE_VALUES // max(1, self.rows[A].numel()))
        parts = [
            self.tail.run(self._rows_of(lows[i : i + at_once], windows[i : i + at_once]))
            for i in range(0, len(lows), at_once)
        ]
        return torch.cat(parts)

    def _rows_of(self, lows: Lows, windows: Windows) -> Float[Tensor, "batch rows channels"]:
        num_rows, device = self.rows.shape[1], windows.device
        first = torch.from_numpy(lows).to(device)[:, None]
        is_a = torch.arange(num_rows, device=device) < first
        rows = torch.where(is_a[..., None], self.rows[A], self.rows[B])
        places = first + torch.arange(self.width, device=device)
        edits, columns = torch.nonzero((places >= 0) & (places < num_rows), as_tuple=True)
        rows[edits, places[edits, columns]] = windows[edits, columns]
        return rows
