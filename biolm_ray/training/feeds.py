"""How rows get from a prepared data set to the model: by number, or streamed along its files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
import torch

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.models.batches import Batches, RowBatches, StreamedBatches
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.ahead import ahead
from biolm_ray.training.batching import (
    SHUFFLE_ROWS,
    Rows,
    count_steps,
    cut_steps,
    epoch_steps,
    even_bounds,
    split_evenly,
    streamed_order,
)
from biolm_ray.training.evaluate import ROWS_AT_ONCE
from biolm_ray.training.loop import Epochs, Step
from biolm_ray.training.seeding import derive_seed
from biolm_ray.training.settings import LoopSettings
from biolm_ray.training.workers import Workers

FIXED_EPOCH = -1
NUM_SAMPLES = 2


class Feed(Protocol):
    """Rows for one of the workers that train a model; in all cases every row exactly once."""

    def epochs(
        self, rows: Rows, weigh: Callable[[Rows], float], settings: LoopSettings, *, by_length: bool
    ) -> Epochs:
        """Give the steps of each epoch over the training rows.

        Args:
            rows: Ascending.
            weigh: Total weight of some rows.
            settings: Sizes and seed.
            by_length: Whether the rows of a micro-batch are of similar length.
        """
        ...

    def fixed_batches(self, rows: Rows, count: int, settings: LoopSettings) -> list[Rows]:
        """Choose at most so many batches of training rows at random, the same on every worker."""
        ...

    def share(self, num_rows: int) -> slice:
        """Which of some rows this worker judges the model on."""
        ...

    def batches_by_length(self, rows: Rows, batch_size: int) -> list[Rows]:
        """Put this worker's share of some rows into batches of similar length."""
        ...

    def open(self, rows: Rows) -> Batches:
        """Make batches of rows that will be asked for in about this order, each once."""
        ...


def make_feed(training: TrainingConfig, batches: RowBatches, workers: Workers) -> Feed:
    """Give the feed that the configuration names."""
    make = StreamedFeed if training.feed == "streaming" else IndexedFeed
    return make(batches, workers)


@dataclass(frozen=True)
class IndexedFeed:
    """Rows by number from files on this node, the same batches for every number of workers."""

    batches: RowBatches
    workers: Workers

    def epochs(
        self, rows: Rows, weigh: Callable[[Rows], float], settings: LoopSettings, *, by_length: bool
    ) -> Epochs:
        sizes = {"batch_size": settings.batch_size, "accumulation": settings.accumulation}
        lengths = self.batches.lengths if by_length else None
        on_gpu = torch.device(self.workers.device).type == "cuda"

        def chosen_steps(epoch: int, first: int) -> Iterator[Step]:
            micro_batches_of_steps = epoch_steps(
                rows,
                **sizes,
                seed=settings.seed,
                fold=settings.fold,
                epoch=epoch,
                lengths=lengths,
            )
            for micro_batches in islice(micro_batches_of_steps, first, None):
                chosen = np.concatenate(micro_batches)
                mine = _loaded(self.batches, self.workers.share_of(micro_batches))
                yield Step(weigh(chosen), len(chosen), mine)

        def steps(epoch: int, first: int) -> Iterator[Step]:
            chosen = chosen_steps(epoch, first)
            return ahead(map(_pinned, chosen)) if on_gpu else chosen

        def samples() -> list[Loaded]:
            longest = np.argsort(self.batches.lengths[rows], kind="stable")[-settings.batch_size :]
            typical = self.fixed_batches(rows, NUM_SAMPLES, settings)
            return list(_loaded(self.batches, [rows[longest], *typical]))

        return Epochs(
            num_steps=count_steps(len(rows), **sizes),
            num_rows=len(rows),
            steps=steps,
            samples=samples,
        )

    def fixed_batches(self, rows: Rows, count: int, settings: LoopSettings) -> list[Rows]:
        steps = epoch_steps(
            rows,
            batch_size=settings.batch_size,
            accumulation=1,
            seed=settings.seed,
            fold=settings.fold,
            epoch=FIXED_EPOCH,
        )
        return [micro_batches[0] for micro_batches in islice(steps, count)]

    def share(self, num_rows: int) -> slice:
        return slice(self.workers.rank, num_rows, self.workers.size)

    def batches_by_length(self, rows: Rows, batch_size: int) -> list[Rows]:
        by_length = rows[np.argsort(self.batches.lengths[rows], kind="stable")]
        return self.workers.share_of(split_evenly(by_length, batch_size))

    def open(self, rows: Rows) -> Batches:
        return self.batches


@dataclass(frozen=True)
class StreamedFeed:
    """Rows along the files that hold them, for data sets that do not fit on a node.

    A worker reads its own stretch of the files, so batches depend on the number of workers. Of
    every row no more is held than numbers and labels: tokens only for rows that wait for their
    batch, at most SHUFFLE_ROWS, those of WINDOW_STEPS steps, and a file.
    """

    batches: RowBatches
    workers: Workers

    def epochs(
        self, rows: Rows, weigh: Callable[[Rows], float], settings: LoopSettings, *, by_length: bool
    ) -> Epochs:
        num_steps = count_steps(
            len(rows), batch_size=settings.batch_size, accumulation=settings.accumulation
        )
        lengths = self.batches.lengths if by_length else None
        rank, size = self.workers.rank, self.workers.size

        def steps(epoch: int, first: int) -> Iterator[Step]:
            order = self._order(rows, settings, epoch, rank, size)
            seed = derive_seed(settings.seed, "micro-batches", settings.fold, epoch, rank)
            draw = np.random.default_rng(seed)
            all_steps = cut_steps(order, num_steps, settings.batch_size, draw, lengths)
            skipped = [part for step in islice(all_steps, first) for part in step]
            batches = self.open(_without(order, skipped))
            for micro_batches in all_steps:
                chosen = np.concatenate([order[:0], *micro_batches])
                sums = self.workers.gather((weigh(chosen), len(chosen)))
                weight, num_rows = sum(part[0] for part in sums), sum(part[1] for part in sums)
                yield Step(weight, num_rows, _loaded(batches, micro_batches))

        return Epochs(num_steps=num_steps, num_rows=len(rows), steps=steps, samples=lambda: [])

    def fixed_batches(self, rows: Rows, count: int, settings: LoopSettings) -> list[Rows]:
        """As for any feed; drawn from a few files, those of some SHUFFLE_ROWS rows."""
        num_rows = count * settings.batch_size
        size = max(1, len(rows) // max(num_rows, SHUFFLE_ROWS))
        order = self._order(rows, settings, FIXED_EPOCH, 0, size)
        draw = np.random.default_rng(derive_seed(settings.seed, "fixed batches", settings.fold))
        return split_evenly(draw.permutation(order)[:num_rows], settings.batch_size)

    def share(self, num_rows: int) -> slice:
        bounds = even_bounds(num_rows, self.workers.size)
        return slice(*bounds[self.workers.rank : self.workers.rank + 2])

    def batches_by_length(self, rows: Rows, batch_size: int) -> list[Rows]:
        """As for any feed; lengths are similar among ROWS_AT_ONCE rows that follow each other."""
        mine = rows[self.share(len(rows))]
        chosen: list[Rows] = []
        for first in range(0, len(mine), ROWS_AT_ONCE):
            window = mine[first : first + ROWS_AT_ONCE]
            by_length = window[np.argsort(self.batches.lengths[window], kind="stable")]
            chosen += split_evenly(by_length, batch_size)
        return chosen

    def open(self, rows: Rows) -> Batches:
        return StreamedBatches(self.batches, rows)

    def _order(self, rows: Rows, settings: LoopSettings, epoch: int, rank: int, size: int) -> Rows:
        return streamed_order(
            rows,
            self.batches.prepared.part_starts,
            rank=rank,
            size=size,
            seed=settings.seed,
            fold=settings.fold,
            epoch=epoch,
        )


def _without(order: Rows, skipped: list[Rows]) -> Rows:
    return order[~np.isin(order, np.concatenate([order[:0], *skipped]))] if skipped else order


def _pinned(step: Step) -> Step:
    """Load a step's micro-batches now, ready for the GPU to fetch."""
    loaded = [Loaded(part.rows, part.batch.pinned()) for part in step.micro_batches]
    return replace(step, micro_batches=loaded)


def _loaded(batches: Batches, micro_batches: list[Rows]) -> Iterator[Loaded]:
    for rows in micro_batches:
        yield Loaded(rows, batches.load(rows))
