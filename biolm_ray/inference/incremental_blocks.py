"""One layer's step: from the windows of its input to the windows of its output."""

from typing import Protocol

import torch
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
        rows = self.table[read + self.slack + is_b * self.shift_to_b]
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
    """Multiplies only the rows of the windows; products of other rows with each tap are at hand.

    The convolution's rows that see a window are `num_touched`, the first `lows + left - taps + 1`.
    What the taps before and after the window add to them depends on the window's ends alone, so it
    is summed once for every end (`before` and `behind`).
    """

    def __init__(
        self,
        block: LocalBlock,
        convolution: Convolution,
        base: BaseRows,
        before: Level,
        after: Level,
    ) -> None:
        self.block, self.convolution = block, convolution
        self.width, self.next_width = before.width, after.width
        self.num_touched = before.width + convolution.taps - 1
        self.first_touched = block.left - convolution.taps + 1
        self.flat_weight = None
        if convolution.weight is not None:
            self.flat_weight = convolution.weight.flatten(0, 1).contiguous()
        self._pass_over(base, before, after)

    def _pass_over(self, base: BaseRows, before: Level, after: Level) -> None:
        convolution, taps, pool = self.convolution, self.convolution.taps, self.convolution.pool
        self.first_low = int(before.lows.min())
        last_low = int(before.lows.max())
        start = min(0, int(after.lows.min())) * pool - pool
        stop = max(after.count, int(after.lows.max()) + after.width) * pool + pool
        self.first_normed = start
        first_row = min(start - self.block.left, self.first_low - taps + 1)
        last_row = max(stop - self.block.left + taps - 1, last_low + self.width + taps)
        products = convolution.products(base.part(first_row, last_row))

        def product(source: int, tap: int, row: int, num_rows: int) -> Tensor:
            return products[source, row - first_row : row - first_row + num_rows, tap]

        num_rows = stop - start
        normed = convolution.bias + products.new_zeros(len(products), num_rows, 1)
        for tap in range(taps):
            row = start - self.block.left + tap - first_row
            normed += products[:, row : row + num_rows, tap]
        self.normed = convolution.pointwise(normed)
        self.result = convolution.pooled(self.normed[:, -start : after.count * pool - start])

        num_lows, end = last_low - self.first_low + 1, self.first_low + self.width
        bias = convolution.bias
        self.before = bias.repeat(num_lows, taps - 1, 1)
        self.behind = bias.new_zeros(num_lows, taps - 1, len(bias))
        for row in range(taps - 1):
            for tap in range(taps - 1 - row):
                place = self.first_low - taps + 1 + row + tap
                self.before[:, row] += product(A, tap, place, num_lows)
            if self.width + row >= taps - 1:
                self.behind[:, row] = bias
            for tap in range(taps - 1 - row, taps):
                self.behind[:, row] += product(B, tap, end - taps + 1 + row + tap, num_lows)

    def advance(self, lows: Lows, next_lows: Lows, windows: Windows) -> Windows:
        sums = self._around(lows)
        if self.width:
            self._add_windows(sums, windows)
        normed = self.convolution.pointwise(sums)
        if self.convolution.pool == 1:
            return self.convolution.finish(normed)
        return self._pool(lows + self.first_touched, next_lows, normed)

    def _around(self, lows: Lows) -> Windows:
        """Sum the bias and the taps beside the windows."""
        beside, width, bias = self.convolution.taps - 1, self.width, self.convolution.bias
        before = self.before[lows - self.first_low]
        behind = self.behind[lows - self.first_low]
        if width >= beside:
            middle = bias.expand(len(lows), width - beside, -1)
            return torch.cat([before, middle, behind], dim=1)
        sums = torch.cat([before, before.new_zeros(len(lows), width, len(bias))], dim=1)
        sums[:, width:] += behind
        return sums

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

    def _pool(self, firsts: Lows, next_lows: Lows, normed: Windows) -> Windows:
        """Complete the pooling groups at both ends of the touched rows from A and B, and pool."""
        pool, device = self.convolution.pool, firsts.device
        phases = firsts - next_lows * pool
        windows = normed.new_empty(len(normed), self.next_width, self.result.shape[2])
        for phase in range(pool):
            chosen = torch.nonzero(phases == phase)[:, 0]
            num_after = self.next_width * pool - self.num_touched - phase
            first = firsts[chosen, None] - self.first_normed
            before = self.normed[A, first + torch.arange(-phase, 0, device=device)]
            stop = first + self.num_touched
            after = self.normed[B, stop + torch.arange(num_after, device=device)]
            rows = torch.cat([before, normed[chosen], after], dim=1)
            windows[chosen] = self.convolution.pooled(rows)
        return windows
