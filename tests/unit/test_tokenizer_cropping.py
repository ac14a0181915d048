import pytest

from biolm_ray.tokenization.cropping import crop_window


@pytest.mark.parametrize(
    ("arguments", "window"),
    [
        ((5, 8, "right"), (0, 5)),
        ((5, 8, "left", 3), (0, 5)),
        ((10, 4, "right"), (0, 4)),
        ((10, 4, "left"), (6, 10)),
        ((11, 5, "right", 5), (3, 8)),
        ((11, 5, "left", 5), (3, 8)),
        ((11, 5, "right", 1), (0, 5)),
        ((11, 5, "right", 10), (6, 11)),
        ((11, 4, "right", 5), (4, 8)),
        ((11, 4, "right", 5, "left"), (3, 7)),
        ((3, 1, "right", 2), (2, 3)),
    ],
)
def test_the_window_is_the_one_worked_out_by_hand(arguments, window):
    assert crop_window(*arguments) == window
