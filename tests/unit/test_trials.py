"""How the trials judge what a command has printed."""

import pytest
from trials.command import (
    BARE,
    FINISHED,
    HANG,
    ORPHANS,
    SENTENCE,
    STOPPED,
    TRACEBACK,
    Ended,
    ending,
)

SAID = "reading\nerror: half_life.tsv, line 3: label 'x' is not a number\n"
RAISED = 'Traceback (most recent call last):\n  File "x.py", line 3, in f\nValueError: x\n'


@pytest.mark.parametrize(
    ("ended", "seen"),
    [
        (Ended(0, "results: out"), FINISHED),
        (Ended(3, SAID), SENTENCE),
        (Ended(2, "error: a\nb\n"), SENTENCE),
        (Ended(130, "interrupted; run it again"), STOPPED),
        (Ended(143, "ended; run it again"), STOPPED),
        (Ended(141, ""), STOPPED),
        (Ended(None, SAID), HANG),
        (Ended(1, RAISED), TRACEBACK),
        (Ended(3, RAISED + SAID), TRACEBACK),
        (Ended(0, RAISED), TRACEBACK),
        (Ended(3, "error: ray::predict() (pid=3)"), TRACEBACK),
        (Ended(1, "error: unexpected KeyError: 'x'"), TRACEBACK),
        (Ended(3, "error: load it with weights_only=False"), TRACEBACK),
        (Ended(143, "*** SIGTERM received"), TRACEBACK),
        (Ended(1, SAID), BARE),
        (Ended(3, "reading"), BARE),
        (Ended(3, ""), BARE),
        (Ended(143, ""), BARE),
        (Ended(-9, SAID), BARE),
        (Ended(3, SAID, num_orphans=1), ORPHANS),
        (Ended(0, "", num_orphans=2), ORPHANS),
    ],
    ids=str,
)
def test_an_ending_is_told_by_code_and_text(ended, seen):
    assert ending(ended) == seen
