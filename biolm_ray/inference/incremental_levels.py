"""Where an edit's changes lie in every layer, and the rows of the unedited sequences around them.

A plan replaces some tokens by others, the same numbers for all its rows. In every layer the rows
of an edited sequence are, from left to right: those of the source (A); a window, computed anew;
those of the source shifted by what the edit makes it longer or shorter (B).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from biolm_ray.models.local_stack import LocalBlock, LocalStack

A, B = 0, -1


@dataclass(frozen=True)
class Level:
    """The windows of one layer: `width` rows from `lows` on; `count` rows in all."""

    lows: Int[np.ndarray, " rows"]
    width: int
    count: int


def place_windows(
    stack: LocalStack, lows: Int[np.ndarray, " rows"], width: int, num_tokens: int
) -> list[Level]:
    """Find the windows of every layer, that of the input first.

    Windows of a layer are equally wide: where the strides would allow a narrower one, unchanged
    rows beyond it are computed again.

    Args:
        stack: The layers.
        lows: The first changed token of each edit.
        width: Changed tokens; 0 where tokens are removed.
        num_tokens: Tokens of an edited sequence, special tokens included.
    """
    levels = [Level(lows, width, num_tokens)]
    for block in stack.blocks:
        before, stride = levels[-1], block.stride
        reach = before.width + block.kernel - 1
        width = max(-(-(phase + reach) // stride) - -(-phase // stride) for phase in range(stride))
        lows = -(-(before.lows + block.left - block.kernel + 1) // stride)
        count = -(-before.count // stride) if stack.filled else block.count(before.count)
        levels.append(Level(lows, width, count))
    return levels


@dataclass(frozen=True)
class BaseRows:
    """The rows of A and B in one layer, row 0 after `slack` rows that stand for the outside."""

    rows: Float[Tensor, "sources slack+length+slack channels"]
    slack: int
    outside: Float[Tensor, " channels"]

    def part(self, start: int, stop: int) -> Float[Tensor, "sources rows channels"]:
        """Give some rows of A and B; they may lie outside."""
        assert start + self.slack >= 0
        assert stop + self.slack <= self.rows.shape[1]
        return self.rows[:, start + self.slack : stop + self.slack]


def surround(
    rows: Float[Tensor, "sources length channels"], outside: Float[Tensor, " channels"], slack: int
) -> BaseRows:
    """Put `slack` rows of the outside before and after."""
    beyond = outside.expand(len(rows), slack, -1)
    return BaseRows(torch.cat([beyond, rows, beyond], dim=1), slack, outside)


def slack_for(block: LocalBlock, before: Level, after: Level) -> int:
    """Count the rows beyond the ends of a layer that the next layer may ask for."""
    lows, stride, spare = after.lows, block.stride, block.kernel + block.stride
    first = min(0, int(lows.min()) if len(lows) else 0) - 1
    last = max(after.count, int(lows.max()) + after.width if len(lows) else 0) + 1
    left = block.left + spare - first * stride
    right = last * stride + spare - block.left - before.count
    return max(left, right, int(before.lows.max(initial=0)) + before.width + spare - before.count)


def next_outside(
    stack: LocalStack, block: LocalBlock, base: BaseRows, result: Tensor
) -> Float[Tensor, " channels"]:
    """The row that stands beyond the ends of what a block makes."""
    if not stack.filled:
        return result.new_full((result.shape[-1],), block.outside)
    return block.run(base.outside.expand(1, block.kernel, -1))[0, 0]
