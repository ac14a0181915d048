"""Work spread over tasks of Ray Data: its order, its failures, its memory of nothing."""

import os
from collections.abc import Iterator

import pytest

from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.preparation.spread import FEWEST_BYTES, spread
from biolm_ray.preparation.stored_pieces import read_state

pytestmark = pytest.mark.usefixtures("ray_cluster")


# The functions are local so that they travel to the workers, which do not know this file.


@pytest.mark.parametrize("num_bytes", [0, FEWEST_BYTES])
def test_results_come_in_the_order_of_the_items(num_bytes):
    def count_up(item: int) -> Iterator[tuple[int, int]]:
        for number in range(3):
            yield item, number

    expected = [(item, number) for item in range(5) for number in range(3)]
    assert list(spread(count_up, range(5), num_bytes)) == expected


def test_a_task_whose_worker_dies_is_repeated(tmp_path):
    mark = tmp_path / "has died"

    def die_once(item: int) -> Iterator[int]:
        if item == 2 and not mark.exists():
            mark.touch()
            os._exit(1)
        yield item

    assert list(spread(die_once, range(4), FEWEST_BYTES)) == [0, 1, 2, 3]
    assert mark.exists()


@pytest.mark.parametrize("num_bytes", [0, FEWEST_BYTES])
def test_what_a_task_refuses_comes_as_it_was_raised(num_bytes):
    def refuse(item: int) -> Iterator[int]:
        if item == 1:
            raise DataError("rows.tsv, line 7: no label")
        yield item

    with pytest.raises(DataError, match=r"^rows\.tsv, line 7: no label$"):
        list(spread(refuse, range(3), num_bytes))


def test_pieces_stored_where_only_another_node_sees_them_are_told(tmp_path):
    with pytest.raises(ResourceError, match="prepared data need a folder that all nodes share"):
        read_state(Folder(tmp_path), 3)
