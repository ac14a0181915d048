import numpy as np
import pytest

from biolm_ray.training.batching import count_steps, epoch_steps, split_evenly
from biolm_ray.training.seeding import derive_seed
from biolm_ray.training.workers import Workers


def steps_of(num_rows: int, epoch: int = 0, **settings):
    options = {"batch_size": 4, "accumulation": 2, "seed": 3, "fold": 1, **settings}
    return list(epoch_steps(np.arange(num_rows) + 100, epoch=epoch, **options))


@pytest.mark.parametrize("num_rows", [1, 2, 7, 8, 9, 63, 64, 65])
def test_every_row_is_in_one_micro_batch_of_an_epoch(num_rows):
    rows = np.concatenate([batch for step in steps_of(num_rows) for batch in step])
    assert sorted(rows) == list(range(100, 100 + num_rows))


def test_no_micro_batch_is_larger_than_asked_nor_a_left_over_of_one_row():
    sizes = [len(batch) for step in steps_of(65) for batch in step]
    assert max(sizes) <= 4
    assert min(sizes) >= 3


def test_epochs_differ_and_repeat_with_the_seed():
    first, again, second = steps_of(30), steps_of(30), steps_of(30, epoch=1)
    assert [batch.tolist() for s in first for batch in s] == [
        batch.tolist() for s in again for batch in s
    ]
    assert first[0][0].tolist() != second[0][0].tolist()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_workers_deal_the_same_micro_batches_among_themselves(size):
    for step in steps_of(50, accumulation=4):
        dealt = [Workers(rank, size).share_of(step) for rank in range(size)]
        rows = np.concatenate([batch for share in dealt for batch in share])
        assert sorted(rows) == sorted(np.concatenate(step))


def test_without_lengths_an_epoch_is_one_shuffle_cut_evenly():
    order = np.random.default_rng(derive_seed(3, "order", 1, 2)).permutation(np.arange(50) + 100)
    expected = [
        part.tolist() for step in np.array_split(order, 7) for part in np.array_split(step, 2)
    ]
    found = [batch.tolist() for step in steps_of(50, epoch=2) for batch in step]
    assert found == expected
    assert count_steps(50, batch_size=4, accumulation=2) == 7


def test_with_lengths_a_micro_batch_holds_neighbours_of_its_window():
    lengths = np.random.default_rng(0).permutation(164)
    batches = [batch for (batch,) in steps_of(64, accumulation=1, lengths=lengths)]
    assert len(batches) == 16
    for window in (batches[first : first + 4] for first in range(0, 16, 4)):
        expected = np.sort(lengths[np.concatenate(window)]).reshape(4, 4)
        assert sorted(lengths[batch].tolist() for batch in window) == expected.tolist()


def test_splitting_keeps_the_order_and_differs_by_one_row_at_most():
    parts = split_evenly(np.arange(10), 4)
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
