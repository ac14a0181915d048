"""One function over many items, by tasks of Ray Data."""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from biolm_ray.errors import BiolmError, root_cause

Item = TypeVar("Item")
Result = TypeVar("Result")

FEWEST_BYTES = 64 << 20
"""Less than this is worked on in this process: Ray Data takes seconds to start."""


class _Carrier(Exception):
    """Takes an error out of a task; Ray Data adds lines to the message of what it sees."""

    def __init__(self, cause: BiolmError) -> None:
        super().__init__()
        self.cause = cause


def spread(
    work: Callable[[Item], Iterable[Result]], items: Sequence[Item], num_bytes: int
) -> Iterator[Result]:
    """Yield the results of `work(item)` for every item, in the order of the items.

    A task works on one item at a time and its results travel as soon as they are there, so that
    memory grows neither with the items nor with the size of what a task reads and writes. Ray
    must be connected unless the work is small. A task whose worker dies is repeated, so `work`
    must bear being run twice.

    Args:
        work: Pickles, as do its results, which should be small.
        items: Each pickles.
        num_bytes: Of the text behind all items.

    Raises:
        BiolmError: As `work` raised it.
    """
    if len(items) < 2 or num_bytes < FEWEST_BYTES:
        for item in items:
            yield from work(item)
        return
    for block in run_tasks(partial(_pickled, work=work), items):
        for pickled in block["pickled"]:
            yield pickle.loads(pickled.as_py())


def run_tasks(
    work: Callable[[Item], Iterator[pa.Table]],
    items: Sequence[Item],
    *,
    num_cpus: float = 1,
    concurrency: int | None = None,
    read_ahead_bytes: int | None = None,
) -> Iterator[pa.Table]:
    """Yield the tables of `work(item)`, a task to an item, in the order of the items.

    Args:
        work: Pickles.
        items: Each pickles.
        num_cpus: CPUs that a task takes. With 0 they may be taken by those who wait for it.
        concurrency: Most tasks at a time; None for as many as fit.
        read_ahead_bytes: Most bytes of tables that wait to be taken; None leaves it to Ray.

    Raises:
        BiolmError: As `work` raised it.
    """
    import ray.data
    from ray.exceptions import RayError

    pickled = [pickle.dumps(item) for item in items]
    context = _quiet_context(read_ahead_bytes)
    with ray.data.DataContext.current(context):
        # Not from_arrow: for each of its tables Ray runs a task that takes a CPU.
        tables = ray.data.from_items(pickled, override_num_blocks=len(pickled)).map_batches(
            partial(_run, work=work),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=num_cpus,
            concurrency=concurrency,
        )
    try:
        yield from tables.iter_batches(batch_size=None, batch_format="pyarrow")  # pyright: ignore
    except RayError as error:
        cause = root_cause(error)
        if isinstance(cause, BiolmError):
            raise cause from None
        raise


def _run(items: pa.Table, *, work: Callable[[Any], Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """What a task does; a library starts no threads of its own, as every core has its task."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        for item in items["item"]:
            yield from work(pickle.loads(item.as_py()))
    except BiolmError as error:
        raise _Carrier(error) from error


def _pickled(item: Any, *, work: Callable[[Any], Iterable[Any]]) -> Iterator[pa.Table]:
    for result in work(item):
        yield pa.table({"pickled": pa.array([pickle.dumps(result)], pa.large_binary())})


def _quiet_context(read_ahead_bytes: int | None) -> Any:
    """Settings under which a dataset keeps its order and prints nothing."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # we tell of errors ourselves
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    options = context.execution_options
    options.preserve_order = True
    if read_ahead_bytes is not None:
        limits = options.resource_limits
        options.resource_limits = limits.copy(object_store_memory=read_ahead_bytes)
    return context
