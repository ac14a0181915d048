"""What a trial is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trials.whole import Whole

Seen = tuple[str, str]
"""One of `command.ENDINGS`, and what was printed."""


@dataclass(frozen=True)
class Trial:
    """One way to use the program that it has to cope with.

    Attributes:
        kind: What is tried, as the table of results names it.
        name: Which of that kind.
        run: Does it in an empty folder and says what was seen.
    """

    kind: str
    name: str
    run: Callable[[Whole, Path], Seen]
