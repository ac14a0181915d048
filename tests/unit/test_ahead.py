import threading

import pytest

from biolm_ray.training.ahead import ahead


def test_items_come_in_order_and_each_once():
    assert list(ahead(iter(range(50)), depth=3)) == list(range(50))


def test_no_more_items_are_drawn_than_the_depth_and_the_one_at_hand():
    drawn = []

    def items():
        for number in range(10):
            drawn.append(number)
            yield number

    coming = ahead(items(), depth=2)
    assert next(coming) == 0
    coming.close()
    assert len(drawn) <= 5


def test_an_error_comes_up_where_its_item_would_have():
    def items():
        yield 1
        raise ValueError("broken")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="broken"):
        next(coming)


def test_a_thread_ends_with_an_iteration_that_is_given_up():
    before = threading.active_count()
    coming = ahead(iter(range(1000)))
    next(coming)
    assert threading.active_count() == before + 1
    coming.close()
    assert threading.active_count() == before
