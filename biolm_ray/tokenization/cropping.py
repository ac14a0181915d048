"""Which part of a long sequence a model sees."""

from typing import Literal


def crop_window(
    length: int,
    room: int,
    cut_side: Literal["right", "left"],
    center: int = -1,
    spare_side: Literal["left", "right"] = "right",
) -> tuple[int, int]:
    """Choose the tokens of a sequence that fill the room of a model.

    With a centre the halves on its two sides are equal; what a half cannot use for lack of
    tokens goes to the other one, so that a sequence longer than the room always fills it.

    Args:
        length: Tokens of the sequence.
        room: Tokens that fit, special tokens already taken off; at least 1.
        cut_side: The end that is cut off when there is no centre.
        center: 0-based index of the centre token, or -1.
        spare_side: The side that gets the odd token when an even room is halved around the
            centre. The reference gives it to the right without special tokens and to the left
            with [CLS] and [SEP].

    Returns:
        The half-open window (start, stop).
    """
    assert room > 0, f"a window of {room} tokens"
    assert center < length, f"centre {center} in a sequence of {length} tokens"
    if length <= room:
        return 0, length
    if center >= 0:
        before = (room - 1) // 2 if spare_side == "right" else room // 2
        start = min(max(center - before, 0), length - room)
    else:
        start = 0 if cut_side == "right" else length - room
    return start, start + room
