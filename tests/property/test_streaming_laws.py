"""A streamed epoch has every row once over all workers, in an order that files allow."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm_ray.training import batching
from biolm_ray.training.batching import (
    count_steps,
    cut_steps,
    shuffle_nearby,
    streamed_order,
)

SIZES = (1, 2, 4, 8)


@st.composite
def streamed_epochs(draw) -> dict[str, Any]:
    """Arguments of `streamed_order`, but for the worker."""
    part_rows = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_rows = draw(st.integers(1, sum(part_rows)))
    return {
        "rows": np.sort(rng.permutation(sum(part_rows))[:num_rows]),
        "part_starts": np.cumsum([0, *part_rows])[:-1],
        "seed": draw(st.integers(0, 9)),
        "fold": draw(st.integers(0, 9)),
        "epoch": draw(st.integers(0, 9)),
    }


def orders(arguments: dict[str, Any], size: int) -> list[np.ndarray]:
    return [streamed_order(**arguments, rank=rank, size=size) for rank in range(size)]


def parts_of(rows: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    return np.searchsorted(arguments["part_starts"], rows, side="right") - 1


@given(arguments=streamed_epochs())
def test_every_row_is_dealt_to_one_worker_and_all_get_the_same_number(arguments):
    for size in SIZES:
        dealt = orders(arguments, size)
        assert sorted(np.concatenate(dealt)) == arguments["rows"].tolist()
        counts = [len(rows) for rows in dealt]
        assert max(counts) - min(counts) <= 1


@given(arguments=streamed_epochs())
def test_workers_share_fewer_parts_than_they_are(arguments):
    num_parts = len(set(parts_of(arguments["rows"], arguments)))
    for size in SIZES:
        read = sum(len(set(parts_of(rows, arguments))) for rows in orders(arguments, size))
        assert read < num_parts + size


@given(arguments=streamed_epochs())
def test_a_streamed_epoch_repeats_exactly_and_the_next_one_differs(arguments):
    first, again = orders(arguments, 2), orders(arguments, 2)
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]
    if len(arguments["rows"]) > 20:
        other = orders({**arguments, "epoch": arguments["epoch"] + 1}, 2)
        assert [rows.tolist() for rows in first] != [rows.tolist() for rows in other]


@given(num_rows=st.integers(0, 300), reach=st.integers(1, 400), seed=st.integers(0, 99))
def test_a_row_comes_less_than_the_reach_too_early(num_rows, reach, seed):
    shuffled = shuffle_nearby(np.arange(num_rows), reach, np.random.default_rng(seed))
    assert sorted(shuffled) == list(range(num_rows))
    assert all(row < place + reach for place, row in enumerate(shuffled.tolist()))


def test_rows_of_several_parts_are_mixed():
    arguments = {"rows": np.arange(20_000), "part_starts": np.arange(0, 20_000, 1000)}
    order = streamed_order(**arguments, rank=0, size=1, seed=0, fold=0, epoch=0)
    parts_at_hand = [len(set(order[at : at + 512] // 1000)) for at in range(0, 19_000, 512)]
    assert np.mean(parts_at_hand) > 5
    assert batching.SHUFFLE_ROWS == 8192


@given(
    arguments=streamed_epochs(),
    batch_size=st.integers(1, 33),
    shares=st.integers(1, 3),
    by_length=st.booleans(),
)
def test_the_steps_of_all_workers_are_as_many_and_as_large_as_asked(
    arguments, batch_size, shares, by_length
):
    rows = arguments["rows"]
    lengths = np.random.default_rng(0).integers(1, 900, rows[-1] + 1) if by_length else None
    for size in SIZES:
        accumulation = shares * size
        num_steps = count_steps(len(rows), batch_size=batch_size, accumulation=accumulation)
        cut = [
            list(cut_steps(order, num_steps, batch_size, np.random.default_rng(0), lengths))
            for order in orders(arguments, size)
        ]
        assert {len(steps) for steps in cut} == {num_steps}
        micro_batches = [rows for steps in cut for step in steps for rows in step]
        assert sorted(np.concatenate(micro_batches)) == rows.tolist()
        assert all(1 <= len(rows) <= batch_size for rows in micro_batches)
        assert all(len(step) <= shares for steps in cut for step in steps)
        assert all(cut[0]), "the first worker has rows in every step"
