"""Predictions of edited sequences from a few rows of every layer (see docs/leave_one_out.md)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from biolm_ray.inference.incremental_blocks import Step, make_step
from biolm_ray.inference.incremental_groups import Group, group_edits
from biolm_ray.inference.incremental_levels import (
    next_outside,
    place_windows,
    slack_for,
    surround,
)
from biolm_ray.inference.incremental_tails import make_tail_step
from biolm_ray.inference.perturb import Edits
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import LocalStack

CHUNK = 1024


@dataclass(frozen=True)
class Incremental:
    """What the incremental path found.

    Attributes:
        outputs: Of the distinct edits, in the model's units; 0 where not `done`.
        done: The edits it could compute.
        unchanged: Those of them that change no row the tail reads, nor how many.
    """

    outputs: Float[np.ndarray, "distinct outputs"]
    done: Bool[np.ndarray, " distinct"]
    unchanged: Bool[np.ndarray, " distinct"]


def run_incrementally(
    stack: LocalStack,
    edits: Edits,
    framing: Framing,
    *,
    num_outputs: int,
    device: torch.device | str = "cpu",
    chunk: int = CHUNK,
) -> Incremental:
    """Predict the distinct edits of a plan.

    Edits of which a cropped view shows only a part, or nothing, are left to the caller, and so
    are sequences too short for the stack.

    Args:
        stack: Of a model in evaluation mode.
        edits: The plan.
        framing: The model's.
        num_outputs: Outputs of the model.
        device: Where its weights are.
        chunk: Edits computed at once; memory grows with it.
    """
    num_distinct = len(edits.distinct)
    found = Incremental(
        np.zeros((num_distinct, num_outputs)), *np.zeros((2, num_distinct), dtype=bool)
    )
    start, stop = edits.source.window
    original_read = num_rows_read(stack, stop - start + framing.num_special)
    num_read = num_rows_read(stack, edits.width + framing.num_special)
    if num_read < 1:
        return found
    for group in group_edits(edits, framing):
        passes = GroupPasses(stack, group, num_read, torch.device(device))
        for first in range(0, len(group.members), chunk):
            part = slice(first, first + chunk)
            found.outputs[group.members[part]] = passes.outputs(part)
        found.done[group.members] = True
        beyond = passes.levels[-1].lows >= num_read
        found.unchanged[group.members] = beyond & group.keeps_start & (num_read == original_read)
    return found


def num_rows_read(stack: LocalStack, num_tokens: int) -> int:
    """Count the rows that the tail reads of a sequence of so many tokens."""
    count = num_tokens
    for block in stack.blocks:
        if count < 1:
            return 0
        count = -(-count // block.stride) if stack.filled else block.count(count)
    return count if stack.num_rows is None or count < 1 else stack.num_rows(num_tokens)


class GroupPasses:
    """The layers of a stack with their rows of one group's unedited sequences."""

    def __init__(
        self, stack: LocalStack, group: Group, num_read: int, device: torch.device
    ) -> None:
        self.stack, self.device = stack, device
        self.levels = place_windows(
            stack, group.columns, group.window_ids.shape[1], group.bases.shape[1]
        )
        self.lows = [torch.from_numpy(level.lows).to(device) for level in self.levels]
        self.windows = self._rows_of(group.window_ids, group.window_specifiers)
        rows = self._rows_of(group.bases, group.base_specifiers)
        outside = stack.outside
        self.steps: list[Step] = []
        for block, before, after in zip(stack.blocks, self.levels, self.levels[1:], strict=False):
            base = surround(rows, outside, slack_for(block, before, after))
            self.steps.append(make_step(block, base, before, after))
            rows = self.steps[-1].result
            outside = next_outside(stack, block, base, rows)
        if num_read > rows.shape[1]:
            beyond = outside.expand(len(rows), num_read - rows.shape[1], -1)
            rows = torch.cat([rows, beyond], dim=1)
        self.tail = make_tail_step(stack.tail, rows[:, :num_read], self.levels[-1].width)

    def outputs(self, part: slice) -> Float[np.ndarray, "batch outputs"]:
        """Compute the outputs of a slice of the group's edits, in the model's units."""
        windows = self.windows[part]
        for index, step in enumerate(self.steps):
            next_lows = self.lows[index + 1][part]
            windows = step.advance(self.lows[index][part], next_lows, windows)
            windows = self._only_inside(windows, index + 1, part)
        outputs = self.tail.outputs(self.levels[-1].lows[part], windows)
        return outputs.double().cpu().numpy()

    def _only_inside(self, windows: Tensor, index: int, part: slice) -> Tensor:
        """Put what stands outside beyond the ends of an edited sequence."""
        if self.stack.filled:
            return windows
        level, lows = self.levels[index], self.levels[index].lows[part]
        at_ends = np.flatnonzero((lows < 0) | (lows + level.width > level.count))
        places = lows[at_ends, None] + np.arange(level.width)
        edits, columns = np.nonzero((places < 0) | (places >= level.count))
        if len(edits):
            chosen = torch.from_numpy(at_ends[edits]), torch.from_numpy(columns)
            windows[chosen] = self.stack.blocks[index - 1].outside
        return windows

    def _rows_of(self, ids: np.ndarray, specifiers: np.ndarray | None) -> Tensor:
        values = None if specifiers is None else torch.from_numpy(specifiers).to(self.device)
        return self.stack.read(torch.from_numpy(ids).to(self.device), values)
