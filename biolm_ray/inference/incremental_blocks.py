"""One layer's step: from the windows of its input to the windows of its output."""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from biolm_ray.inference.incremental_levels import A, B, BaseRows, Level
from biolm_ray.models.local_stack import Convolution, LocalBlock

Windows = Float[Tensor, "batch width channels"]
Lows = Int[Tensor, " batch"]


class Step(Protocol):
    """A layer with its rows of A and B at hand."""

    result: Float[Tensor, "sources count channels"]

    def advance(self, lows: Lows, next_lows: Lows, windows: Windows) -> Windows:
        """Compute the windows of some edits."""
        ...


def make_step(block: LocalBlock, base: BaseRows, before: Level, after: Level) -> Step:
    """Run a layer over A and B and get ready for the windows."""
    if block.convolution is not None:
        return ConvolutionStep(block, block.convolution, base, before, after)
    return GatheringStep(block, base, before, after)


class GatheringStep:
    """Puts together what a layer reads, from A, window and B, and runs it on that."""

    def __init__(self, block: LocalBlock, base: BaseRows, before: Level, after: Level) -> None:
        self.block, self.before, self.after = block, before, after
        self.num_read = block.kernel + (after.width - 1) * block.stride if after.width else 0
        self.slack, self.length = base.slack, base.rows.shape[1]
        self.table = base.rows.flatten(0, 1)
        self.shift_to_b = (len(base.rows) - 1) * self.length
        stop = (after.count - 1) * block.stride - block.left + block.kernel
        self.result = block.run(base.part(-block.left, stop))

    def advance(self, lows: Lows, next_lows: Lows, windows: Windows) -> Windows:
        if not self.num_read:
            return windows.new_zeros(len(lows), 0, self.result.shape[-1])
        first = next_lows * self.block.stride - self.block.left
        read = first[:, None] + torch.arange(self.num_read, device=lows.device)
        is_b = read >= lows[:, None] + self.before.width
        rows = F.embedding(read + self.slack + is_b * self.shift_to_b, self.table)
        places = (lows - first)[:, None] + torch.arange(self.before.width, device=lows.device)
        self._put(rows, places, windows)
        return self.block.run(rows)

    def _put(self, rows: Windows, places: Int[Tensor, "batch width"], windows: Windows) -> None:
        edits = torch.arange(len(rows), device=rows.device)[:, None]
        if self.block.stride <= self.block.kernel:
            rows[edits, places] = windows
            return
        # A stride may step over rows of a window.
        edits, columns = torch.nonzero((places >= 0) & (places < self.num_read), as_tuple=True)
        rows[edits, places[edits, columns]] = windows[edits, columns]


class ConvolutionStep:
    """Multiplies only the rows of the windows.

    A window changes `num_touched` rows of the convolution, those whose taps read one of its rows.
    What the other taps add to them, and the whole rows that they are pooled with, depend on its
    place alone: they are looked up among sums over A and B (`partial_sums`).
    """

    def __init__(
        self,
        block: LocalBlock,
        convolution: Convolution,
        base: BaseRows,
        before: Level,
        after: Level,
    ) -> None:
        self.block, self.convolution, self.width = block, convolution, before.width
        self.num_touched = before.width + convolution.taps - 1
        self.num_spare = convolution.pool - 1
        self.num_pooled = after.width * convolution.pool
        self.flat_weight = None
        if convolution.weight is not None:
            self.flat_weight = convolution.weight.flatten(0, 1).contiguous()
        self._pass_over(base, before.lows, after.count)

    def _pass_over(self, base: BaseRows, lows: Int[np.ndarray, " rows"], count: int) -> None:
        """Run the layer over A and B, and keep the sums that windows are completed from."""
        convolution, left, taps = self.convolution, self.block.left, self.convolution.taps
        num_rows = self.num_spare + self.num_pooled
        start, stop = -left, count * convolution.pool - left
        # Numbered by the first row they read, a window's rows start so many before it.
        ahead = taps - 1 + self.num_spare
        first = min(start, int(lows.min()) - ahead)
        last = max(stop, int(lows.max()) - ahead + num_rows)
        rows = base.part(first, last + taps - 1)
        sums = partial_sums(convolution, rows)
        whole = sums[:: 2 * taps, start - first : stop - first]
        self.result = convolution.pooled(convolution.pointwise(whole[: len(rows)]))
        for num_reached in range(self.width + 1, taps):
            # Taps to both sides of a window that is narrower than the convolution.
            sums[num_reached] += sums[taps + num_reached - self.width] - convolution.bias
        self.sums = sums.flatten(0, 1)
        kinds = [self._kind(row + 1 - self.num_spare) for row in range(num_rows)]
        places = [kind * sums.shape[1] + row - ahead - first for row, kind in enumerate(kinds)]
        self.offsets = torch.tensor(places, dtype=torch.int64, device=sums.device)

    def _kind(self, num_reached: int) -> int:
        """Choose the sum for a row so many of whose taps read the window or what is behind it."""
        taps = self.convolution.taps
        if num_reached < taps:
            return max(num_reached, 0)
        return taps + min(max(num_reached - self.width, 0), taps)

    def advance(self, lows: Lows, next_lows: Lows, windows: Windows) -> Windows:
        # An embedding is a gather of rows, several times as fast as an index.
        sums = F.embedding(lows[:, None] + self.offsets, self.sums)
        if self.width:
            self._add_windows(sums[:, self.num_spare :], windows)
        if self.num_spare:
            sums = self._aligned(sums, lows, next_lows)
        return self.convolution.pooled(self.convolution.pointwise(sums))

    def _add_windows(self, sums: Windows, windows: Windows) -> None:
        taps = self.convolution.taps
        if self.flat_weight is None:
            products = self.convolution.products(windows)
            for place in range(self.width):
                for tap in range(taps):
                    sums[:, place + taps - 1 - tap] += products[:, place, tap]
            return
        channels = windows.shape[2]
        flat = windows.reshape(len(windows), -1)
        for row in range(self.num_touched):
            first, last = max(0, row - taps + 1), min(self.width - 1, row)
            tap = first + taps - 1 - row
            rows = flat[:, first * channels : (last + 1) * channels]
            weight = self.flat_weight[tap * channels : (tap + last - first + 1) * channels]
            sums[:, row].addmm_(rows, weight)

    def _aligned(self, sums: Windows, lows: Lows, next_lows: Lows) -> Windows:
        """Take the rows that make up whole groups of pooling."""
        pool, taps = self.convolution.pool, self.convolution.taps
        phases = lows + self.block.left - taps + 1 - next_lows * pool
        edits = torch.arange(len(sums), device=sums.device) * sums.shape[1]
        firsts = edits + self.num_spare - phases
        places = firsts[:, None] + torch.arange(self.num_pooled, device=sums.device)
        return F.embedding(places, sums.flatten(0, 1))


def partial_sums(
    convolution: Convolution, rows: Float[Tensor, "sources rows channels"]
) -> Float[Tensor, "kinds valid outputs"]:
    """Sum the first taps of every row of a convolution over A, and the last ones over B.

    Returns:
        The bias and, of A, all taps, all but the last, and so on to none of them; then, of B, the
        last tap, the last two, and so on to all: 2 * taps + 1 kinds.
    """
    taps, bias, weight = convolution.taps, convolution.bias, convolution.weight
    num_valid = rows.shape[1] - taps + 1
    sums = bias.new_empty(2 * taps + 1, num_valid, len(bias))
    sums[taps] = bias
    # From the bias to either end, a tap more in each kind.
    steps = [(A, tap, taps - tap, taps - tap - 1) for tap in range(taps)]
    steps += [(B, tap, 2 * taps - tap - 1, 2 * taps - tap) for tap in reversed(range(taps))]
    if weight is None:
        products = convolution.products(rows)
        for source, tap, known, wanted in steps:
            more = products[source, tap : tap + num_valid, tap]
            torch.add(sums[known], more, out=sums[wanted])
    else:
        for source, tap, known, wanted in steps:
            read = rows[source, tap : tap + num_valid]
            torch.addmm(sums[known], read, weight[tap], out=sums[wanted])
    return sums
